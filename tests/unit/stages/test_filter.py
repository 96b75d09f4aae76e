"""Median, spline and ARMA filters on tracks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import medfilt

from shoal.errors import InputError
from shoal.stages.filter import FILLED, fill_gaps, filter_tracks, median_filter
from shoal.types import Poses, Tracks

ARIMA = Path(__file__).parents[2] / "golden" / "filter_arima.npz"


def line(frames, n_frames=40):
    """One animal of one keypoint that moves 2 px a frame, seen in ``frames``; and a second one that always is."""
    frames = np.asarray(frames)
    frame = np.concatenate([frames, np.arange(n_frames)])
    track = np.repeat([0, 1], [len(frames), n_frames])
    xy = np.stack([2.0 * frame + 5, 300 + track * 50 - frame], axis=1)[:, None]
    order = np.lexsort((track, frame))
    n = len(frame)
    poses = Poses(frame[order], track[order], xy[order], np.full((n, 1), 0.75), np.ones(n), (0, n_frames))
    return Tracks(poses, track[order])


def test_median_is_scipys_on_tracks_without_gaps():
    rng = np.random.default_rng(0)
    values = rng.uniform(-5, 300, (50, 4))
    for window in (1, 3, 5, 9):
        expected = np.stack([medfilt(column, window) for column in values.T], axis=1)
        assert np.array_equal(median_filter(values, window), expected)


def test_median_leaves_missing_values_missing_and_out_of_windows():
    values = np.array([[5.0], [np.nan], [7], [100], [8], [9], [np.nan]])
    found = median_filter(values, 3)[:, 0]
    assert np.isnan(found[[1, 6]]).all()
    assert found[[2, 3, 4]].tolist() == [53.5, 8, 9]


def test_median_takes_out_a_lone_outlier_and_keeps_rows_and_confidence():
    tracks = line(range(40))
    xy = tracks.poses.xy.copy()
    xy[20] += 100
    poses = tracks.poses
    spiked = Tracks(Poses(poses.frame, poses.item, xy, poses.confidence, poses.score, poses.span), tracks.track)
    found = filter_tracks(spiked, method="median", window=5)
    assert np.array_equal(found.poses.item, poses.item) and np.array_equal(found.track, tracks.track)
    assert np.array_equal(found.poses.confidence, poses.confidence)
    assert np.abs(found.poses.xy - poses.xy)[4:-4].max() <= 4


def test_spline_fills_short_gaps_only():
    seen = [f for f in range(40) if f not in (10, 11, *range(20, 30))]
    found = filter_tracks(line(seen), method="spline", window=5)
    new = found.poses.item == -1
    assert found.poses.frame[new].tolist() == [10, 11]
    assert np.allclose(found.poses.xy[new][:, 0], [[25, 290], [27, 289]])
    assert np.allclose(found.poses.confidence[new], FILLED)
    assert len(found) == len(seen) + 40 + 2
    assert (np.diff(found.poses.frame) >= 0).all()


def test_spline_is_cubic():
    t = np.arange(20.0)
    values = (t**3)[:, None].copy()
    values[[7, 8, 13]] = np.nan
    assert np.allclose(fill_gaps(values, 2)[:, 0], t**3)
    assert np.isnan(fill_gaps(values, 1)[[7, 8], 0]).all()


def test_arma_predicts_an_autoregressive_series():
    rng = np.random.default_rng(1)
    x, noise = np.zeros(400), rng.normal(0, 1, 400)
    for i in range(2, 400):
        x[i] = 1.6 * x[i - 1] - 0.8 * x[i - 2] + noise[i]
    poses = Poses(np.arange(400), np.zeros(400), np.stack([x, x], 1)[:, None], np.ones((400, 1)),
                  np.ones(400), (0, 400))  # fmt: skip
    found = filter_tracks(Tracks(poses, np.zeros(400)), method="arima")
    error = found.poses.xy[10:, 0, 0] - (x - noise)[10:]  # what is predictable
    assert np.sqrt((error**2).mean()) < 0.25 * np.sqrt((noise**2).mean())


def test_arima_is_deeplabcuts():
    """DeepLabCut 3.0.2's answer (tests/peer/test_result_files.py stores it).

    The likelihood of some columns is flat or has two maxima, and two optimizers end at different ones.
    """
    stored = np.load(ARIMA)
    n = len(stored["xy"])
    poses = Poses(np.arange(n), np.zeros(n), stored["xy"], stored["confidence"], np.ones(n), (0, n))
    found = filter_tracks(Tracks(poses, np.zeros(n)), method="arima").poses
    apart = np.abs(found.xy - stored["filtered"])[10:]
    same = np.median(apart, axis=0) < 0.05
    assert same.sum() >= 6, "of 8 columns"
    assert apart.mean() < 0.5
    assert np.abs(found.xy - stored["xy"])[10:].mean() > 3 * apart.mean()


def test_arima_fills_short_gaps_and_starts_anew_after_long_ones():
    t = np.arange(120)
    xy = np.stack([60 + 20 * np.sin(t / 9), 50 + 20 * np.cos(t / 9)], 1)[:, None]
    seen = np.delete(t, [30, 31, 60, 61, 62, 63, 64, 65])
    poses = Poses(seen, np.zeros(len(seen)), xy[seen], np.ones((len(seen), 1)), np.ones(len(seen)), (0, 120))
    found = filter_tracks(Tracks(poses, np.zeros(len(seen))), method="arima").poses
    assert set(t) - set(found.frame.tolist()) == {63, 64, 65}
    filled = found.item == -1
    assert found.frame[filled].tolist() == [30, 31, 60, 61, 62]
    assert np.abs(found.xy - xy[found.frame]).max() < 6
    for first in (0, 66):  # too little was seen before them
        kept = (found.frame >= first) & (found.frame < first + 3)
        assert np.allclose(found.xy[kept], xy[first : first + 3])


@pytest.mark.parametrize("method", ["median", "spline", "arima"])
def test_odd_tracks_pass(method):
    empty = Tracks.empty((0, 9), 3)
    assert filter_tracks(empty, method=method) is empty
    short = line([3], n_frames=6)
    found = filter_tracks(short, method=method)
    assert len(found) == len(short)
    loose = Tracks(short.poses, np.full(len(short), -1))
    assert np.array_equal(filter_tracks(loose, method=method).poses.xy, short.poses.xy)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(InputError, match="median, spline, arima"):
        filter_tracks(line([1]), method="mean")
    with pytest.raises(InputError, match="odd"):
        filter_tracks(line([1]), window=4)
