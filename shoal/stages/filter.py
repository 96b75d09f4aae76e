"""Smoothing of tracks as DLC's ``filterpredictions`` offers it: median, spline and ARIMA.

Each track and coordinate is filtered over all frames of the table. Where DLC's result depends on how missing values
happen to be sorted, missing ones are left out here; on tracks without gaps the median is DLC's (SciPy's ``medfilt``).
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (scipy comes without types)

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from shoal.errors import InputError
from shoal.types import Poses, Tracks

VERSION = 2

FILLED = 0.01
"""Confidence of keypoints that were filled in (DLC's)."""
Method = Literal["median", "spline", "arima"]
MIN_PRESENT = 10
"""Values per weight of an ARMA model that a column must have."""
FIT_FRAMES = 5000
"""Frames that an ARMA model is fitted to; a minute and more says how an animal moves."""
START = 2.0
"""Where the search for its weights begins: a partial autocorrelation of .9, as animals are where they were."""
METHODS: tuple[str, ...] = ("median", "spline", "arima")


def filter_tracks(
    tracks: Tracks,
    *,
    method: str = "median",
    window: int = 5,
    p_bound: float = 0.001,
    ar: int = 3,
    ma: int = 1,
) -> Tracks:
    """Tracks with filtered positions; confidences are kept.

    Args:
        tracks: rows of no track stay as they are.
        method: ``median`` over ``window`` frames; ``spline`` fills gaps of up to ``window`` frames by a cubic spline
            (confidence .01, rows filled in have item -1); ``arima`` is the one-step prediction of an ARMA model.
        window: frames; odd for the median.
        p_bound: ``arima`` takes keypoints below this confidence for missing.
        ar: degree of the autoregressive part.
        ma: degree of the moving average.

    Raises:
        InputError: an unknown method, or a window that is no odd number.
    """
    if method not in METHODS:
        raise InputError(f"expected filtertype {', '.join(METHODS)}, got '{method}'")
    if method == "median" and (window < 1 or window % 2 == 0):
        raise InputError(f"expected an odd windowlength, got {window}")
    span, k = tracks.span, tracks.poses.n_keypoints
    parts: list[tuple[ndarray, ...]] = []
    for number in range(-1, tracks.n_tracks):
        rows = np.flatnonzero(tracks.track == number)
        if not len(rows):
            continue
        poses = tracks.poses
        if number < 0:
            parts.append((rows, poses.frame[rows], poses.xy[rows], poses.confidence[rows], tracks.track[rows]))
            continue
        frame = poses.frame[rows]
        first, last = int(frame[0]), int(frame[-1])
        start, stop = (first, last + 1) if method != "median" else span  # zeros beside the video, not the track
        xy = np.full((stop - start, 2 * k), np.nan)
        xy[frame - start] = poses.xy[rows].reshape(len(rows), -1)
        confidence = np.zeros((stop - start, k))
        confidence[frame - start] = poses.confidence[rows]
        if method == "median":
            smooth = median_filter(xy, window)
        elif method == "spline":
            smooth = fill_gaps(xy, window)
        else:
            smooth = predict_arma(np.where(np.repeat(confidence < p_bound, 2, axis=1), np.nan, xy), ar, ma)
        filled = np.isfinite(smooth) & np.isnan(xy)
        confidence[filled[:, ::2]] = FILLED
        keep = np.isfinite(smooth).any(axis=1)
        source = np.full(stop - start, -1)
        source[frame - start] = rows
        at = np.flatnonzero(keep)
        parts.append((source[at], at + start, smooth[at].reshape(-1, k, 2), confidence[at], np.full(len(at), number)))
    return _gather(tracks, parts)


def _gather(tracks: Tracks, parts: list[tuple[ndarray, ...]]) -> Tracks:
    """Rows of all tracks, sorted by frame, then as they were; rows that are new come last in their frame."""
    if not parts:
        return tracks
    source, frame, xy, confidence, track = (np.concatenate(column) for column in zip(*parts, strict=True))
    poses = tracks.poses
    order = np.lexsort((np.where(source < 0, len(poses) + track, source), frame))
    source, frame, xy, confidence, track = source[order], frame[order], xy[order], confidence[order], track[order]
    is_new = source < 0
    item = np.where(is_new, -1, poses.item[source])
    score = np.where(is_new, FILLED, poses.score[source])
    confidence = np.where(np.isnan(xy[..., 0]), 0.0, confidence)
    return Tracks(Poses(frame, item, xy, confidence, score, tracks.span), track)


def median_filter(values: Float64[ndarray, "F C"], window: int) -> Float64[ndarray, "F C"]:
    """Running median of each column, with zeros before the first and after the last frame.

    Missing values stay missing and do not count in the windows of others.
    """
    half, n = window // 2, len(values)
    padded = np.zeros((n + 2 * half, values.shape[1]))
    padded[half : half + n] = values
    out = np.empty_like(values)
    step = max(1, 4_000_000 // max(window * values.shape[1], 1))
    for start in range(0, n, step):
        stop = min(start + step, n)
        windows = np.lib.stride_tricks.sliding_window_view(padded[start : stop + 2 * half], window, axis=0)
        ordered = np.sort(windows, axis=2)  # NaN last
        count = np.isfinite(ordered).sum(axis=2)
        low, high = np.maximum(count - 1, 0) // 2, count // 2
        pair = np.stack([low, np.minimum(high, window - 1)], axis=2)
        out[start:stop] = np.take_along_axis(ordered, pair, axis=2).mean(axis=2)
    out[np.isnan(values)] = np.nan
    return out


def fill_gaps(values: Float64[ndarray, "F C"], longest: int) -> Float64[ndarray, "F C"]:
    """Gaps of up to ``longest`` frames filled by a cubic spline through all present values of the column."""
    from scipy.interpolate import CubicSpline

    out = values.copy()
    for column in range(values.shape[1]):
        known = np.flatnonzero(np.isfinite(values[:, column]))
        gap = np.diff(known) - 1
        wanted = [np.arange(known[i] + 1, known[i + 1]) for i in np.flatnonzero((gap > 0) & (gap <= longest))]
        if not wanted:
            continue
        at = np.concatenate(wanted)
        if len(known) < 4:  # no cubic through fewer points
            out[at, column] = np.interp(at, known, values[known, column])
        else:
            out[at, column] = CubicSpline(known, values[known, column])(at)
    return out


def predict_arma(values: Float64[ndarray, "F C"], ar: int, ma: int) -> Float64[ndarray, "F C"]:
    """What an ARMA(ar, ma) model of each column expects from the frames before; fills gaps of up to ``ar`` frames.

    DLC's model, found by its answers: stationary, without a mean, fitted by maximum likelihood with missing values left
    out (statsmodels' SARIMAX). Where the likelihood has one maximum the figures are DLC's (tests/unit/stages). Columns
    with less than ``MIN_PRESENT`` values per weight keep theirs, as do the first ``ar`` values of a column and after a
    longer gap: what DLC says of these is up to tens of pixels off.
    """
    out = values.copy()
    for column in range(values.shape[1]):
        series = values[:, column]
        known = np.isfinite(series)
        if known.sum() < MIN_PRESENT * (ar + ma) or not ar + ma:
            continue
        expected = _expected(series, ar, ma)
        frame, seen = np.arange(len(series)), np.cumsum(known) - known  # values before each frame
        missing = frame - np.maximum.accumulate(np.where(known, frame, -1))  # frames since the last value
        begins = known & (np.r_[ar + 1, missing[:-1]] > ar)
        history = seen - np.maximum.accumulate(np.where(begins, seen, 0))  # of them, since the last long gap
        usable = (history >= max(ar, 1)) & (missing <= ar)
        out[usable, column] = expected[usable]
    return out


def _expected(series: Float64[ndarray, "F"], ar: int, ma: int) -> Float64[ndarray, "F"]:
    """Expectations of the likeliest model."""
    from scipy.optimize import minimize

    from shoal.stages.kernels.arma import one_step, stationary_spread, weights

    part = series[:FIT_FRAMES]

    def improbable(free: ndarray) -> float:
        by_ar, by_ma = weights(free, ar, ma)
        cost = one_step(part, by_ar, by_ma, stationary_spread(by_ar, by_ma))[1]
        return cost if np.isfinite(cost) else 1e12

    start = np.zeros(ar + ma)
    start[:1] = START
    found = minimize(improbable, start, method="L-BFGS-B", options={"maxiter": 50})
    by_ar, by_ma = weights(found.x, ar, ma)
    return one_step(series, by_ar, by_ma, stationary_spread(by_ar, by_ma))[0]
