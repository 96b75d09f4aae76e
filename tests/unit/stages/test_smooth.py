from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.config.smooth import SmoothConfig
from shoal.stages.kernels import smooth as kernels
from shoal.stages.smooth import learn, smooth
from shoal.types import Poses, Tracks, select

CONFIG = SmoothConfig()


@pytest.fixture(scope="module")
def swim(glass):
    """Truth (F, N, K, 2) of two animals and what a network saw of them: noise, outliers, keypoints and rows missing."""
    rng = np.random.default_rng(3)
    truth = glass.swimmers(n_frames=900, n=2, turning=0.05)
    seen = truth + rng.normal(0, 1.0, truth.shape)
    outlier = rng.random(seen.shape[:3]) < 0.03
    seen[outlier] += rng.normal(0, 12, (int(outlier.sum()), 2))
    for start in range(20, 880, 40):
        seen[start : start + 6, :, start // 40 % 5] = np.nan  # a keypoint is hidden
        seen[start + 20 : start + 24] = np.nan  # the animals are
    return truth, glass.as_tracks(seen, noise=0.0)


def errors(truth, table):
    return np.linalg.norm(table.poses.xy - truth[table.poses.frame, table.track], axis=-1)


def test_positions_get_better_and_outliers_lose_their_weight(swim):
    truth, tracks = swim
    found = smooth(tracks, CONFIG)
    seen = ~found.is_filled
    raw = errors(truth, tracks)
    assert errors(truth, found.tracks)[seen].mean() < 0.85 * np.nanmean(raw)
    assert np.quantile(errors(truth, found.tracks)[seen], 0.99) < 0.6 * np.nanquantile(raw, 0.99)


def test_gaps_and_hidden_keypoints_are_filled_better_than_by_straight_lines(swim):
    truth, tracks = swim
    found = smooth(tracks, CONFIG)
    new = found.tracks.poses.item < 0
    assert new.sum() == 2 * 4 * 22 and found.is_filled[new].all()
    assert (found.tracks.poses.confidence[new] <= 0.011).all()
    line = np.full(truth.shape, np.nan)
    line[tracks.poses.frame, tracks.track] = tracks.poses.xy
    for animal in range(2):
        for k in range(5):
            known = np.flatnonzero(np.isfinite(line[:, animal, k, 0]))
            for c in range(2):
                line[:, animal, k, c] = np.interp(np.arange(len(line)), known, line[known, animal, k, c])
    straight = np.linalg.norm(line - truth, axis=-1)[found.tracks.poses.frame, found.tracks.track]
    ours = errors(truth, found.tracks)
    for kind in (found.is_filled & new[:, None], found.is_filled & ~new[:, None]):
        assert ours[kind].mean() < 0.9 * straight[kind].mean()


def test_what_is_stated_holds(swim):
    truth, tracks = swim
    found = smooth(tracks, CONFIG)
    z = np.abs(found.tracks.poses.xy - truth[found.tracks.poses.frame, found.tracks.track]) / found.sd[..., None]
    assert 0.6 < (z[~found.is_filled] < 1).mean() < 0.98 and 0.55 < (z[found.is_filled] < 1).mean() < 0.95
    assert np.median(found.sd[found.is_filled]) > 1.05 * np.median(found.sd[~found.is_filled])


def test_raw_rows_stay_and_keep_their_keys(swim):
    _, tracks = swim
    before = tracks.poses.xy.copy()
    found = smooth(tracks, CONFIG).tracks
    old = select(found, found.poses.item >= 0)
    assert np.array_equal(old.poses.frame, tracks.poses.frame) and np.array_equal(old.poses.item, tracks.poses.item)
    assert np.array_equal(old.track, tracks.track) and np.array_equal(tracks.poses.xy, before, equal_nan=True)
    assert not np.isnan(found.poses.xy).any()


def test_limbs_keep_their_lengths_in_gaps(swim):
    _, tracks = swim
    found = smooth(tracks, CONFIG)
    known = learn(tracks, CONFIG)
    new = found.tracks.poses.xy[found.tracks.poses.item < 0]
    distance = np.linalg.norm(new[:, :, None] - new[:, None], axis=-1)
    assert (distance > known.shortest - 1.0).all() and (distance < known.longest + 1.0).all()


def test_long_gaps_stay_open(swim):
    _, tracks = swim
    frames = smooth(tracks, SmoothConfig(max_gap=3)).tracks.poses
    assert (frames.item >= 0).all()  # gaps are of four frames


def test_kernels_without_jit_give_the_same():
    rng = np.random.default_rng(1)
    y = np.cumsum(rng.normal(0, 1, (30, 2)), 0)
    y[[0, 7, 8, 15, 16, 17]] = np.nan
    begin = np.array([0, 15, 18, 30])
    args = (y, np.full(30, 0.1), begin, 0.3, 0.5, 0.7, 4.0)
    for fast, slow in zip(kernels.smooth_points(*args), kernels.smooth_points.py_func(*args), strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-9)
    xy, other = rng.normal(0, 5, (6, 4, 2)), None
    other = xy.copy()
    limits = np.full((4, 4), 2.0), np.full((4, 4), 6.0)
    kernels.keep_distances(xy, np.ones((6, 4)), np.arange(6), *limits, 5)
    kernels.keep_distances.py_func(other, np.ones((6, 4)), np.arange(6), *limits, 5)
    np.testing.assert_allclose(xy, other)


def test_smoothing_is_that_of_all_positions_at_once():
    """Against the joint normal distribution of a short series, written out."""
    rng = np.random.default_rng(2)
    n, q, lasting, memory, speed = 8, 0.4, 0.6, 0.7, 3.0
    y = np.cumsum(rng.normal(0, 1, (n, 2)), 0)
    variance = rng.uniform(0.1, 0.5, n)
    y[3] = np.nan
    step = np.array([[1, 1, 0], [0, 1, 0], [0, 0, memory]])
    noise = np.array([[q / 3, q / 2, 0], [q / 2, q, 0], [0, 0, lasting * (1 - memory**2)]])
    start = np.diag([1e4 * (lasting + variance[0]) + speed**2, speed**2, lasting])
    full = np.zeros((3 * n, 3 * n))
    blocks = [start]
    for _ in range(n - 1):
        blocks.append(step @ blocks[-1] @ step.T + noise)
    for i in range(n):
        cross = blocks[i]
        for j in range(i, n):
            full[3 * j : 3 * j + 3, 3 * i : 3 * i + 3] = cross
            full[3 * i : 3 * i + 3, 3 * j : 3 * j + 3] = cross.T
            cross = step @ cross
    look = np.zeros((n, 3 * n))
    for i in range(n):
        look[i, [3 * i, 3 * i + 2]] = 1
    known = np.isfinite(y[:, 0])
    look, seen = look[known], y[known]
    gain = full @ look.T @ np.linalg.inv(look @ full @ look.T + np.diag(variance[known]))
    mean = y[0] + gain @ (seen - y[0])  # the filter starts at the first position: only position has a mean
    prior = np.zeros((3 * n, 2))
    prior[::3] = y[0]
    mean = prior + gain @ (seen - look @ prior)
    spread = np.sqrt(np.diag(full - gain @ look @ full))
    found, sd, *_ = kernels.smooth_points(y, variance, np.array([0, n]), q, lasting, memory, speed)
    np.testing.assert_allclose(found, mean[::3], atol=1e-6)
    np.testing.assert_allclose(sd, spread[::3], rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_anything_goes_in_and_comes_out_in_order(seed):
    rng = np.random.default_rng(seed)
    n_frames, n, k = int(rng.integers(1, 40)), int(rng.integers(1, 4)), int(rng.integers(1, 5))
    frame, track = np.nonzero(rng.random((n_frames, n)) < rng.uniform(0.05, 1))
    xy = rng.normal(0, 30, (len(frame), k, 2)) + frame[:, None, None]
    xy[rng.random((len(frame), k)) < 0.3] = np.nan
    item = np.arange(len(frame)) - np.searchsorted(frame, frame)
    poses = Poses(frame, item, xy, np.isfinite(xy[..., 0]), np.ones(len(frame)), (0, n_frames))
    found = smooth(Tracks(poses, track), SmoothConfig(max_gap=int(rng.integers(0, 20))))
    table = found.tracks
    key = table.poses.frame * 10 + table.track
    assert len(np.unique(key)) == len(key)
    known = np.isfinite(table.poses.xy[..., 0])
    assert np.array_equal(known, np.isfinite(found.sd)) and (found.sd[known] >= 0).all()
    kept = np.isfinite(xy[..., 0]).any(axis=1)
    assert (table.poses.item >= 0).sum() == kept.sum()
    assert np.isfinite(table.poses.xy[table.poses.item >= 0]).any(axis=(1, 2)).all()
