"""Where animals go while nobody sees them: learned from a video's own tracklets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.types import Tracks, body_length

BETAS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
N_SAMPLES = 4000  # pairs of rows looked at per lag
MIN_SAMPLES = 20
VELOCITY_FRAMES = 3  # velocity is a mean over this many frames
INFLATE = 1.3  # animals are lost where they move unlike elsewhere
SMALLEST = 0.03  # body lengths: no prediction is better than the centre's noise
RAYLEIGH_MEDIAN = 1.1774  # median length of a 2-D error with unit deviation per axis
DEFAULT_STEP = 0.1  # body lengths per frame where a video has no tracklets to learn from


class Nodes(NamedTuple):
    """C tracklets in order of first frame.

    number: (C,) tracklet number; first, last: (C,) frames; n: (C,) rows; score: (C,) sum over rows;
    xy, velocity: (C, 2, 2) centre and velocity at first and last frame, velocity NaN = unknown.
    """

    number: Int64[ndarray, "C"]
    first: Int64[ndarray, "C"]
    last: Int64[ndarray, "C"]
    n: Int64[ndarray, "C"]
    score: Float64[ndarray, "C"]
    xy: Float64[ndarray, "C 2 2"]
    velocity: Float64[ndarray, "C 2 2"]


class Motion(NamedTuple):
    """beta: frames over which velocity is remembered; sigma: (3, G) px by known velocities and frames ahead;
    area: px^2 that animals were seen in; body: body length, px; low, high: (2,) corners of that area.
    """  # noqa: D205

    beta: float
    sigma: Float64[ndarray, "3 G"]
    area: float
    body: float
    low: Float64[ndarray, "2"]
    high: Float64[ndarray, "2"]


def centres(tracks: Tracks) -> Float64[ndarray, "M 2"]:
    """Mean of each row's keypoints, NaN without any."""
    xy = tracks.poses.xy.astype(np.float64)
    seen = np.isfinite(xy).all(axis=2)
    total = np.where(seen[..., None], xy, 0.0).sum(axis=1)
    n = seen.sum(axis=1)[:, None]
    return np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)


def describe_tracklets(tracks: Tracks, centre: Float64[ndarray, "M 2"]) -> Nodes:
    """Ends of every tracklet; rows without a keypoint or a track are left out."""
    rows = np.flatnonzero((tracks.track >= 0) & np.isfinite(centre[:, 0]))
    rows = rows[np.lexsort((tracks.poses.frame[rows], tracks.track[rows]))]
    track, frame, xy = tracks.track[rows], tracks.poses.frame[rows], centre[rows]
    begin = np.flatnonzero(np.r_[True, track[1:] != track[:-1]][: len(track)])
    end = np.r_[begin[1:], len(track)] - 1
    into = np.minimum(begin + VELOCITY_FRAMES, end)
    out_of = np.maximum(end - VELOCITY_FRAMES, begin)
    ends = np.stack([xy[begin], xy[end]], axis=1)
    velocity = np.stack([_slope(frame, xy, begin, into), _slope(frame, xy, out_of, end)], axis=1)
    score = np.add.reduceat(tracks.poses.score[rows].astype(np.float64), begin) if len(rows) else np.zeros(0)
    order = np.lexsort((track[begin], frame[begin]))
    columns = (track[begin].astype(np.int64), frame[begin], frame[end], end - begin + 1, score, ends, velocity)
    return Nodes(*(c[order] for c in columns))


def _slope(
    frame: Int64[ndarray, "m"], xy: Float64[ndarray, "m 2"], early: Int64[ndarray, "n"], late: Int64[ndarray, "n"]
) -> Float64[ndarray, "n 2"]:
    """Mean velocity between two rows each, NaN where they are one."""
    dt = (frame[late] - frame[early]).astype(np.float64)[:, None]
    return np.divide(xy[late] - xy[early], dt, out=np.full((len(early), 2), np.nan), where=dt > 0)


def learn_motion(tracks: Tracks, centre: Float64[ndarray, "M 2"]) -> Motion:
    """Fit the memory of velocity and the error scales to what the tracklets do.

    Args:
        tracks: tracklets.
        centre: (M, 2) of every row.
    """
    body = body_length(tracks.poses.xy)
    body = body if np.isfinite(body) else 40.0
    seen = centre[np.isfinite(centre[:, 0])]
    low, high = (seen.min(axis=0), seen.max(axis=0)) if len(seen) else (np.zeros(2), np.zeros(2))
    low, high = low - body / 2, high + body / 2
    span = max(2, tracks.span[1] - tracks.span[0] + 1)
    samples = {lag: s for lag in LAGS if len((s := _samples(tracks, centre, lag))[0]) >= MIN_SAMPLES}
    # the fit of beta weighs every lag alike: log of the median error with both velocities known
    misfit = [sum(np.log(np.median(_errors(s, lag, beta, 2)) + 1e-9) for lag, s in samples.items()) for beta in BETAS]
    beta = BETAS[int(np.argmin(misfit))] if samples else BETAS[0]
    area = float(np.prod(high - low))
    sigma = np.stack([_scale(samples, beta, known, body, span, area) for known in range(3)])
    return Motion(beta, sigma, area, body, low, high)


def _samples(
    tracks: Tracks, centre: Float64[ndarray, "M 2"], lag: int
) -> tuple[Float64[ndarray, "n 2"], Float64[ndarray, "n 2"], Float64[ndarray, "n 2"]]:
    """Displacement over ``lag`` frames within tracklets, velocity just before and just after."""
    rows = np.flatnonzero((tracks.track >= 0) & np.isfinite(centre[:, 0]))
    rows = rows[np.lexsort((tracks.poses.frame[rows], tracks.track[rows]))]
    w, span = VELOCITY_FRAMES, 2 * VELOCITY_FRAMES + lag
    if len(rows) <= span:
        return (np.zeros((0, 2)),) * 3
    track, frame = tracks.track[rows], tracks.poses.frame[rows]
    whole = np.flatnonzero((track[span:] == track[:-span]) & (frame[span:] - frame[:-span] == span))
    if len(whole) > N_SAMPLES:
        whole = whole[np.linspace(0, len(whole) - 1, N_SAMPLES).astype(np.int64)]
    at = centre[rows]
    a, b, c, d = (at[whole + step] for step in (0, w, w + lag, span))
    return c - b, (b - a) / w, (d - c) / w


def _errors(
    sample: tuple[Float64[ndarray, "n 2"], Float64[ndarray, "n 2"], Float64[ndarray, "n 2"]],
    lag: int,
    beta: float,
    known: int,
) -> Float64[ndarray, "n"]:
    """Prediction errors, px; the formulas are those of ``kernels.stitch.join_cost``."""
    move, before, after = sample
    if known == 2:
        move = move - (before + after) * beta * np.tanh(lag / (2 * beta))
    elif known == 1:
        move = move - before * beta * (1 - np.exp(-lag / beta))
    return np.linalg.norm(move, axis=1)


def _scale(
    samples: dict[int, tuple[Float64[ndarray, "n 2"], Float64[ndarray, "n 2"], Float64[ndarray, "n 2"]]],
    beta: float,
    known: int,
    body: float,
    span: int,
    area: float,
) -> Float64[ndarray, "G"]:
    """Error scale for 0 to span - 1 frames ahead: interpolated in log-log, beyond the data like a random walk."""
    ahead = np.arange(span)
    largest = np.sqrt(area / (2 * np.pi))  # an error this large says nothing
    if not samples:
        return np.clip(DEFAULT_STEP * body * np.sqrt(np.maximum(ahead, 1)), SMALLEST * body, largest)
    lags = np.array(list(samples))
    scale = np.array([np.median(_errors(s, lag, beta, known)) for lag, s in samples.items()]) / RAYLEIGH_MEDIAN
    scale = np.maximum.accumulate(np.maximum(scale * INFLATE, SMALLEST * body))
    curve = np.exp(np.interp(np.log(np.maximum(ahead, 1)), np.log(lags), np.log(scale)))
    curve[ahead > lags[-1]] = scale[-1] * np.sqrt(ahead[ahead > lags[-1]] / lags[-1])
    return np.minimum(curve, max(largest, SMALLEST * body))
