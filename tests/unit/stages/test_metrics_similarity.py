"""Similarities, pairs of a frame, ignore regions."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.stages import metrics_similarity
from shoal.stages.metrics_similarity import (
    ignore_regions,
    inside_regions,
    oks,
    pairs_of_frames,
    pose_similarity,
    similar_pairs,
)
from shoal.types import Poses, Regions, Tracks

NAN = float("nan")
MOUSE = np.array([[[0.0, 0.0], [10.0, 2.0], [20.0, 0.0], [30.0, 4.0]]])


def tracks(frame: list[int], track: list[int], xy: np.ndarray, stop: int) -> Tracks:
    m = len(frame)
    return Tracks(Poses(frame, np.zeros(m), xy, np.ones(xy.shape[:2]), np.ones(m), (0, stop)), track)


def test_similarity_falls_with_distance_in_tenths_of_a_body_length() -> None:
    truth = np.array([[[0.0, 0.0], [50.0, 0.0]]])
    moved = truth + np.array([5.0, 0.0])
    assert pose_similarity(truth, np.stack([truth[0], moved[0]]), 50.0) == pytest.approx(np.array([[1, np.exp(-0.5)]]))


def test_similarity_counts_a_missing_prediction_as_nothing_and_an_unlabelled_keypoint_not_at_all() -> None:
    full, half = np.array([[0.0, 0.0], [50.0, 0.0]]), np.array([[0.0, 0.0], [NAN, NAN]])
    nothing = np.full((2, 2), NAN)
    found = pose_similarity(np.stack([full, half, nothing]), np.stack([full, half, nothing]), 50.0)
    assert found.tolist() == [[1.0, 0.5, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_similarity_without_a_length_or_without_animals_is_0() -> None:
    assert pose_similarity(MOUSE, MOUSE, NAN).tolist() == [[0.0]]
    assert pose_similarity(MOUSE, MOUSE[:0], 5.0).shape == (1, 0)


def test_oks_of_deeplabcut_tests() -> None:
    other = MOUSE + 500
    half = MOUSE.copy()
    half[0, :2] = NAN
    nothing = np.full_like(MOUSE, NAN)
    found = oks(MOUSE, np.concatenate([MOUSE, other, half, nothing]))
    assert found[0].tolist() == [1.0, 0.0, 0.5, 0.0]
    assert np.isnan(oks(nothing, MOUSE)).all()


def test_oks_scale_is_the_box_of_the_visible_keypoints() -> None:
    truth = np.array([[[0.0, 0.0], [30.0, 10.0], [NAN, NAN]]])
    predicted = np.array([[[0.0, 4.0], [30.0, 10.0], [7.0, 7.0]]])
    want = (1 + np.exp(-16 / (2 * 300 * 0.2**2))) / 2
    assert oks(truth, predicted)[0, 0] == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("flat", [[[0.0, 0.0], [10.0, 0.0]], [[3.0, 3.0], [NAN, NAN]]])
def test_oks_of_a_box_without_area_is_undefined(flat: list) -> None:
    assert np.isnan(oks(np.array([flat]), np.array([flat]))).all()


def test_pairs_of_frames_are_all_and_only_those_of_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_similarity, "BLOCK_ROWS", 2)
    first, second = np.array([0, 0, 2, 5]), np.array([0, 1, 5, 5])
    found = [pair for i, j in pairs_of_frames(first, second) for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert found == [(0, 0), (1, 0), (3, 2), (3, 3)]


def test_similar_pairs_leave_out_only_what_is_nothing() -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 300, (40, 1, 2)) + rng.normal(0, 12, (40, 4, 2))
    xy[rng.random((40, 4)) < 0.2] = NAN
    one = tracks([0] * 40, [0] * 40, xy, 1)
    other = tracks([0] * 40, [0] * 40, xy + rng.normal(0, 4, xy.shape), 1)
    i, j, value = similar_pairs(one, other, 40.0)
    dense = pose_similarity(one.poses.xy, other.poses.xy, 40.0)
    found = np.zeros_like(dense)
    found[i, j] = value
    assert 40 < len(i) < 800
    assert found == pytest.approx(dense, abs=1e-11)


def test_ignore_regions_follow_an_animal_through_frames_without_label() -> None:
    xy = np.array([[[0.0, 0.0], [10.0, 0.0]], [[40.0, 8.0], [50.0, 8.0]]])
    found = ignore_regions(tracks([1, 5], [0, 0], xy, 8))
    assert found.frame.tolist() == [0, 2, 3, 4, 6, 7]
    assert found.xy.tolist() == [[5, 0], [15, 2], [25, 4], [35, 6], [45, 8], [45, 8]]
    assert found.radius.tolist() == [10.0] * 6


def test_ignore_regions_treat_a_row_without_keypoints_as_no_label_and_one_without_identity_as_a_region() -> None:
    xy = np.array([[[0.0, 0.0], [10.0, 0.0]], [[NAN, NAN], [NAN, NAN]], [[70.0, 0.0], [80.0, 0.0]]])
    found = ignore_regions(tracks([0, 1, 1], [0, 0, -1], xy, 2))
    assert (found.frame.tolist(), found.xy.tolist()) == ([1, 1], [[75, 0], [5, 0]])


def test_ignore_regions_of_nothing_are_empty() -> None:
    assert len(ignore_regions(Tracks.empty((0, 9), 3))) == 0
    assert len(ignore_regions(tracks([0], [0], np.zeros((1, 1, 2)), 4))) == 0  # one keypoint has no length
    assert len(ignore_regions(tracks([0], [0], np.zeros((1, 1, 2)), 4), length=5.0)) == 3


def test_inside_regions_needs_the_same_frame_and_no_more_than_the_radius() -> None:
    regions = Regions([1], [[0.0, 0.0]], [5.0])
    found = inside_regions(np.array([0, 1, 1, 1]), np.array([[0.0, 0], [3, 4], [3, 4.1], [NAN, NAN]]), regions)
    assert found.tolist() == [False, True, False, False]
