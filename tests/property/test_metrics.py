"""What must hold for any tracks and poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.stages.metrics import figures, ignore_regions, score_poses, score_tracks
from shoal.types import Poses, Regions, Tracks, select

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40, deadline=None)


def some_tracks(rng: np.random.Generator) -> tuple[Tracks, Tracks]:
    """A few animals that wander through each other, and noisy, broken tracks of them."""
    n_frames, n = int(rng.integers(1, 12)), int(rng.integers(1, 5))
    centre = np.cumsum(rng.normal(0, 6, (n_frames, n, 2)), 0) + rng.uniform(0, 60, (n, 2))
    xy = centre[:, :, None] + rng.uniform(-20, 20, (1, n, 4, 2))
    frame, track = np.repeat(np.arange(n_frames), n), np.tile(np.arange(n), n_frames)
    truth = as_tracks(frame, track, xy.reshape(-1, 4, 2), n_frames, rng)
    noisy = truth.poses.xy + rng.normal(0, rng.choice([0.5, 4]), (n_frames * n, 4, 2))
    noisy[rng.random(noisy.shape[:2]) < 0.1] = np.nan
    broken = rng.permutation(n)[track] + n * (rng.random(n_frames).cumsum() > 2)[frame]
    predicted = as_tracks(frame, broken, noisy, n_frames, rng)
    return select(truth, rng.random(len(truth)) < 0.9), select(predicted, rng.random(len(predicted)) < 0.9)


def as_tracks(frame: np.ndarray, track: np.ndarray, xy: np.ndarray, n_frames: int, rng: np.random.Generator) -> Tracks:
    xy = np.round(8 * xy) / 8  # so that a shift by whole pixels is exact in float32: HOTA's thresholds are steps
    confidence = np.where(np.isnan(xy).any(-1), 0.0, rng.random(xy.shape[:2]))
    return Tracks(Poses(frame, np.zeros(len(frame)), xy, confidence, np.zeros(len(frame)), (0, n_frames)), track)


def shuffled(tracks: Tracks, rng: np.random.Generator) -> Tracks:
    return select(tracks, np.lexsort((rng.random(len(tracks)), tracks.poses.frame)))


@quick
@given(seeds)
def test_names_and_order_and_place_do_not_matter_to_tracking(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = some_tracks(rng)
    regions = ignore_regions(truth)
    want = score_tracks(truth, predicted, ignore=regions, fps=30)
    names = rng.permutation(1000)
    renamed = shuffled(Tracks(predicted.poses, names[predicted.track]), rng)
    assert score_tracks(shuffled(truth, rng), renamed, ignore=regions, fps=30) == pytest.approx(want, nan_ok=True)
    truth_names = Tracks(truth.poses, names[truth.track])
    assert score_tracks(truth_names, predicted, ignore=regions, fps=30) == pytest.approx(want, nan_ok=True)
    shift = np.array([512.0, -64.0])
    moved = [Tracks(replace(t.poses, xy=t.poses.xy + shift), t.track) for t in (truth, predicted)]
    moved_regions = Regions(regions.frame, regions.xy + shift, regions.radius)
    assert score_tracks(*moved, ignore=moved_regions, fps=30) == pytest.approx(want, nan_ok=True, rel=1e-6)


@quick
@given(seeds)
def test_a_perfect_copy_scores_1(seed: int) -> None:
    truth, _ = some_tracks(np.random.default_rng(seed))
    found = score_tracks(truth, truth, ignore=Regions.empty())
    if len(truth):
        assert [found[n] for n in ("HOTA", "IDF1", "MOTA", "recall", "precision")] == pytest.approx([1.0] * 5)
    assert found["switches"] == found["misses"] == found["false_positives"] == 0


@quick
@given(seeds)
def test_figures_stay_in_their_range_and_count_every_row(seed: int) -> None:
    truth, predicted = some_tracks(np.random.default_rng(seed))
    found = score_tracks(truth, predicted, ignore=ignore_regions(truth))
    for name in ("HOTA", "DetA", "AssA", "LocA", "IDF1", "IDP", "IDR", "MOTP", "recall", "precision"):
        assert 0 <= found[name] <= 1 + 1e-12, name
    assert found["matches"] + found["misses"] == found["truth_rows"] == len(truth)
    seen = int((~np.isnan(predicted.poses.xy).any(-1)).any(-1).sum())
    assert found["matches"] + found["false_positives"] + found["ignored"] == seen
    assert found["HOTA"] ** 2 <= found["DetA"] + 1e-12


@quick
@given(seeds)
def test_regions_where_nothing_is_predicted_change_nothing(seed: int) -> None:
    truth, predicted = some_tracks(np.random.default_rng(seed))
    regions = ignore_regions(truth)
    elsewhere = Regions(regions.frame, regions.xy + 10_000, regions.radius)
    want = score_tracks(truth, predicted, ignore=Regions.empty())
    assert score_tracks(truth, predicted, ignore=elsewhere) == pytest.approx(want, nan_ok=True)


@quick
@given(seeds)
def test_order_of_animals_and_place_do_not_matter_to_poses(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = some_tracks(rng)
    mirror = np.array([1, 0, 2, 3])
    want = figures(score_poses(truth.poses, predicted.poses, mirror=mirror))
    again = score_poses(shuffled(truth, rng).poses, shuffled(predicted, rng).poses, mirror=mirror)
    assert figures(again) == pytest.approx(want, nan_ok=True)
    shift = np.array([256.0, 32.0])
    moved = [replace(t.poses, xy=t.poses.xy + shift) for t in (truth, predicted)]
    assert figures(score_poses(*moved, mirror=mirror))["rmse"] == pytest.approx(want["rmse"], rel=1e-3, nan_ok=True)
