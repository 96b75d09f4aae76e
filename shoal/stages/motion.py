"""Where animals go while nobody sees them: learned from a video's own tracklets."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (numba and scipy come without types)

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.stages.size import measure_sizes, spread_between
from shoal.types import Tracks, body_length

DEFAULT_BETA = 8.0  # frames, where a video has no tracklets to learn from
BETAS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
N_SAMPLES = 3000  # pairs of rows looked at per lag
MIN_SAMPLES = 20
WINDOW = 8  # rows at each end of a tracklet that velocity and posture are measured on
INFLATE = 1.3  # animals are lost where they move unlike elsewhere
SMALLEST = 0.03  # body lengths: no prediction is better than the centre's noise
RAYLEIGH_MEDIAN = 1.1774  # median length of a 2-D error with unit deviation per axis
DEFAULT_STEP = 0.1  # body lengths per frame where a video has no tracklets to learn from
DEFAULT_BODY_PX = 40.0


class Nodes(NamedTuple):
    """C tracklets in order of first frame.

    number: (C,) tracklet number; first, last: (C,) frames; n: (C,) rows; score: (C,) sum over rows;
    xy: (C, 2, 2) centre at first and last frame; velocity: (C, 2, 2) there, NaN = unknown;
    shape: (C, 2, K, 2) keypoints relative to the centre there, NaN = not seen;
    size: (C,) log body length; size_variance: (C,) of its error, inf = not known.
    """

    number: Int64[ndarray, "C"]
    first: Int64[ndarray, "C"]
    last: Int64[ndarray, "C"]
    n: Int64[ndarray, "C"]
    score: Float64[ndarray, "C"]
    xy: Float64[ndarray, "C 2 2"]
    velocity: Float64[ndarray, "C 2 2"]
    shape: Float64[ndarray, "C 2 K 2"]
    size: Float64[ndarray, "C"]
    size_variance: Float64[ndarray, "C"]


class Motion(NamedTuple):
    """What the tracklets of a video say about motion.

    beta: frames over which velocity is remembered; sigma: (3, G) error scale of the centre, px, by known
    velocities and frames ahead; shape_sigma: (G,) of the shape; shape_any: that of two unrelated animals;
    size_between: variance of log body length between animals;
    area: px^2 that animals were seen in; body: body length, px; low, high: (2,) corners of that area.
    """

    beta: float
    sigma: Float64[ndarray, "3 G"]
    shape_sigma: Float64[ndarray, "G"]
    shape_any: float
    size_between: float
    area: float
    body: float
    low: Float64[ndarray, "2"]
    high: Float64[ndarray, "2"]


def ordered_rows(tracks: Tracks) -> Int64[ndarray, "m"]:
    """Rows that belong to a track and have a keypoint, by track and frame."""
    seen = np.isfinite(tracks.poses.xy).all(axis=2).sum(axis=1) > 0
    rows = np.flatnonzero((tracks.track >= 0) & seen)
    return rows[np.lexsort((tracks.poses.frame[rows], tracks.track[rows]))]


def describe_tracklets(tracks: Tracks, rows: Int64[ndarray, "m"]) -> Nodes:
    """Ends of every tracklet; ``rows`` from ``ordered_rows``."""
    track, frame = tracks.track[rows].astype(np.int64), tracks.poses.frame[rows]
    begin = np.flatnonzero(np.r_[True, track[1:] != track[:-1]][: len(track)])
    end = np.r_[begin[1:], len(track)][: len(begin)] - 1
    ends = []
    for start, direction in ((begin, 1), (end, -1)):
        place = start[:, None] + direction * np.arange(WINDOW)
        inside = (place >= begin[:, None]) & (place <= end[:, None])
        ends.append(_look(tracks, rows[np.where(inside, place, start[:, None])], inside))
    xy, velocity, shape = (np.stack(pair, axis=1) for pair in zip(*ends, strict=True))
    score = np.add.reduceat(tracks.poses.score[rows].astype(np.float64), begin) if len(rows) else np.zeros(0)
    sizes = measure_sizes(tracks, rows, begin, end + 1)
    order = np.lexsort((track[begin], frame[begin]))
    columns = (track[begin], frame[begin], frame[end], end - begin + 1, score, xy, velocity, shape, *sizes)
    return Nodes(*(c[order] for c in columns))


def _look(
    tracks: Tracks, rows: Int64[ndarray, "n W"], inside: ndarray
) -> tuple[Float64[ndarray, "n 2"], Float64[ndarray, "n 2"], Float64[ndarray, "n K 2"]]:
    """Centre, velocity and shape at the first row of each window; keypoints missing there come from the next rows."""
    xy = np.where(inside[..., None, None], tracks.poses.xy[rows].astype(np.float64), np.nan)
    frame = tracks.poses.frame[rows].astype(np.float64)
    n_inside = inside.sum(axis=1)
    far = np.maximum(n_inside - 1, 0)
    each = np.arange(len(rows))
    move, _ = _mean(xy[each, far] - xy[:, 0])
    centre, _ = _mean(xy[:, 0])
    apart, _ = _mean(xy[each, far])
    move = np.where(np.isfinite(move), move, apart - centre)
    dt = frame[each, far] - frame[:, 0]
    velocity = np.divide(move, dt[:, None], out=np.full(move.shape, np.nan), where=(dt != 0)[:, None])
    filled = xy[:, 0].copy()
    for w in range(1, xy.shape[1]):
        drift = np.where(np.isfinite(velocity), velocity, 0.0) * (frame[:, w] - frame[:, 0])[:, None]
        filled = np.where(np.isfinite(filled), filled, xy[:, w] - drift[:, None])
    centre, _ = _mean(filled)
    return centre, velocity, filled - centre[:, None]


def _mean(xy: Float64[ndarray, "n K 2"]) -> tuple[Float64[ndarray, "n 2"], Int64[ndarray, "n"]]:
    """Mean over the finite keypoints, NaN without any; how many there are."""
    seen = np.isfinite(xy[..., 0]) & np.isfinite(xy[..., 1])
    n = seen.sum(axis=1)
    total = np.where(seen[..., None], xy, 0.0).sum(axis=1)
    return np.divide(total, n[:, None], out=np.full(total.shape, np.nan), where=n[:, None] > 0), n


class _Samples(NamedTuple):
    """Displacement over a lag within tracklets, velocity before and after, change of shape."""

    move: Float64[ndarray, "n 2"]
    before: Float64[ndarray, "n 2"]
    after: Float64[ndarray, "n 2"]
    bend: Float64[ndarray, "n"]


def learn_motion(tracks: Tracks, rows: Int64[ndarray, "m"], nodes: Nodes) -> Motion:
    """Fit the memory of velocity and the error scales to what the tracklets do.

    Args:
        tracks: tracklets.
        rows: from ``ordered_rows``.
        nodes: from ``describe_tracklets``.
    """
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), 20000)).astype(np.int64)]
    body = body_length(tracks.poses.xy[chosen])
    body = body if np.isfinite(body) else DEFAULT_BODY_PX
    seen, _ = _mean(tracks.poses.xy[chosen].astype(np.float64))
    low, high = (seen.min(axis=0), seen.max(axis=0)) if len(seen) else (np.zeros(2), np.zeros(2))
    span = max(2, tracks.span[1] - tracks.span[0] + 1)
    samples = {lag: s for lag in LAGS if len((s := _samples(tracks, rows, lag)).bend) >= MIN_SAMPLES}
    # the fit of beta weighs every lag alike: log of the median error with both velocities known
    misfit = [sum(np.log(np.median(_errors(s, lag, beta, 2)) + 1e-9) for lag, s in samples.items()) for beta in BETAS]
    beta = BETAS[int(np.argmin(misfit))] if samples else DEFAULT_BETA
    area = float(np.prod(high - low + body))
    smallest = SMALLEST * body
    largest = max(smallest, np.sqrt(area / (2 * np.pi)))  # an error this large says nothing
    errors = [{lag: np.median(_errors(s, lag, beta, known)) for lag, s in samples.items()} for known in range(3)]
    sigma = np.stack([_curve(e, span, smallest, largest, DEFAULT_STEP * body) for e in errors])
    shape_any = max(_unrelated(tracks, chosen), smallest)
    bends = {lag: np.nanmedian(s.bend) for lag, s in samples.items() if np.isfinite(s.bend).any()}
    shape_sigma = _curve(bends, span, smallest, shape_any, DEFAULT_STEP * body)
    between = spread_between(nodes.size, nodes.size_variance, nodes.first, nodes.last)
    return Motion(beta, sigma, shape_sigma, shape_any, between, area, body, low, high)


def _samples(tracks: Tracks, rows: Int64[ndarray, "m"], lag: int) -> _Samples:
    """What happens over ``lag`` frames in the middle of tracklets that have a window on either side."""
    w = WINDOW - 1
    reach = 2 * w + lag
    track, frame = tracks.track[rows], tracks.poses.frame[rows]
    whole = np.flatnonzero((track[reach:] == track[:-reach]) & (frame[reach:] - frame[:-reach] == reach))
    if len(whole) > N_SAMPLES:
        whole = whole[np.linspace(0, len(whole) - 1, N_SAMPLES).astype(np.int64)]
    inside = np.ones((len(whole), WINDOW), np.bool_)
    place = whole[:, None] + np.arange(WINDOW)
    here, before, shape = _look(tracks, rows[(place[:, ::-1])], inside)
    there, after, later = _look(tracks, rows[place + w + lag], inside)
    return _Samples(there - here, before, after, shape_distance(shape, later))


def shape_distance(a: Float64[ndarray, "n K 2"], b: Float64[ndarray, "n K 2"]) -> Float64[ndarray, "n"]:
    """Root mean square distance of shared keypoints, NaN with fewer than 2."""
    square = ((a - b) ** 2).sum(axis=2)
    seen = np.isfinite(square)
    n = seen.sum(axis=1)
    total = np.where(seen, square, 0.0).sum(axis=1)
    return np.sqrt(np.divide(total, n, out=np.full(len(n), np.nan), where=n > 1))


def _unrelated(tracks: Tracks, rows: Int64[ndarray, "n"]) -> float:
    """Typical shape distance of two animals picked at random, as an error scale; 0 if there is none."""
    centre, _ = _mean(tracks.poses.xy[rows].astype(np.float64))
    shape = tracks.poses.xy[rows] - centre[:, None]
    distance = shape_distance(shape, np.roll(shape, len(shape) // 3 + 1, axis=0))
    return float(np.nanmedian(distance)) / RAYLEIGH_MEDIAN if np.isfinite(distance).any() else 0.0


def _errors(sample: _Samples, lag: int, beta: float, known: int) -> Float64[ndarray, "n"]:
    """Prediction errors, px; the formulas are those of ``kernels.stitch.join_cost``."""
    move = sample.move
    if known == 2:
        move = move - (sample.before + sample.after) * beta * np.tanh(lag / (2 * beta))
    elif known == 1:
        move = move - sample.before * beta * (1 - np.exp(-lag / beta))
    return np.linalg.norm(move, axis=1)


def _curve(
    median: dict[int, float], span: int, smallest: float, largest: float, default: float
) -> Float64[ndarray, "G"]:
    """Error scale for 0 to span - 1 frames ahead: interpolated in log-log, beyond the data like a random walk."""
    ahead = np.maximum(np.arange(span), 1)
    if not median:
        return np.clip(default * np.sqrt(ahead), smallest, largest)
    lags = np.array(list(median))
    scale = np.array(list(median.values())) / RAYLEIGH_MEDIAN * INFLATE
    scale = np.maximum.accumulate(np.maximum(scale, smallest))
    curve = np.exp(np.interp(np.log(ahead), np.log(lags), np.log(scale)))
    beyond = ahead > lags[-1]
    curve[beyond] = scale[-1] * np.sqrt(ahead[beyond] / lags[-1])
    return np.minimum(curve, largest)
