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

VERSION = 1

FILLED = 0.01
"""Confidence of keypoints that were filled in (DLC's)."""
Method = Literal["median", "spline", "arima"]
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
    """What an ARMA(ar, ma) model of each column expects from the frames before; fills short gaps on its way.

    The model is fitted by the two-step least squares of Hannan and Rissanen (Biometrika 69, 1982) on stretches without
    gaps. DLC fits the same kind of model by maximum likelihood (statsmodels' SARIMAX), so figures are near
    but not equal. Frames without enough history, and columns too short to fit, keep their values.
    """
    out = values.copy()
    for column in range(values.shape[1]):
        series = values[:, column]
        fitted = _fit_arma(series, ar, ma)
        if fitted is not None:
            out[:, column] = _one_step(series, *fitted)
    return out


def _fit_arma(series: Float64[ndarray, "F"], ar: int, ma: int) -> tuple[float, ndarray, ndarray] | None:
    """Mean, AR and MA coefficients; None = too little to fit."""
    mean = float(np.nanmean(series)) if np.isfinite(series).any() else 0.0
    x = series - mean
    long = ar + ma + 2
    past = _lagged(x, long)
    usable = np.isfinite(past).all(axis=1) & np.isfinite(x)
    if usable.sum() < 4 * (long + 1):
        return None
    residual = np.full(len(x), np.nan)
    residual[usable] = x[usable] - past[usable] @ np.linalg.lstsq(past[usable], x[usable], rcond=None)[0]
    design = np.concatenate([_lagged(x, ar), _lagged(residual, ma)], axis=1)
    usable = np.isfinite(design).all(axis=1) & np.isfinite(x)
    if usable.sum() < 4 * (ar + ma):
        return None
    weights = np.linalg.lstsq(design[usable], x[usable], rcond=None)[0]
    moving = weights[ar:]  # errors feed on themselves unless their weights stay small (an invertible model)
    return mean, weights[:ar], moving * min(1.0, 0.95 / max(float(np.abs(moving).sum()), 1e-9))


def _lagged(x: Float64[ndarray, "F"], n: int) -> Float64[ndarray, "F n"]:
    """The n values before each frame, nearest first; NaN before the first."""
    padded = np.concatenate([np.full(n, np.nan), x])
    return (
        np.stack([padded[n - lag : len(padded) - lag] for lag in range(1, n + 1)], axis=1)
        if n
        else np.zeros((len(x), 0))
    )


def _one_step(
    series: Float64[ndarray, "F"], mean: float, ar: Float64[ndarray, "p"], ma: Float64[ndarray, "q"]
) -> Float64[ndarray, "F"]:
    """Expected value of each frame; in a gap the expectation stands in, for as many frames as the model looks back."""
    out = series.copy()
    recent: list[float] = []
    errors = [0.0] * len(ma)
    p = ar.tolist()
    q = ma.tolist()
    missing = 0
    for i, value in enumerate((series - mean).tolist()):
        known = value == value
        missing = 0 if known else missing + 1
        if len(recent) < len(p) or missing > max(len(p), 1):
            recent = [value, *recent][: len(p)] if known else []
            errors = [0.0] * len(q)
            continue
        expected = sum(w * v for w, v in zip(p, recent, strict=True))
        expected += sum(w * e for w, e in zip(q, errors, strict=True))
        out[i] = expected + mean
        recent = [value if known else expected, *recent][: len(p)]
        errors = [value - expected if known else 0.0, *errors][: len(q)]
    return out
