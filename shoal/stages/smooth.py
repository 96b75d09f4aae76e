"""Tracks -> smoothed tracks, gaps filled, each keypoint with the standard deviation of its position.

A Kalman smoother per keypoint whose two strengths, of the animal's acceleration and of the network's error, are
learned from the video (largest likelihood). Part of the network's error lasts from frame to frame, so that smoothing
promises no more than it can hold; outliers lose their weight (Student-t). A keypoint that is missing while others of
the animal are seen is first guessed from those, by regression on the video's own complete animals; last, distances
between keypoints of what was guessed are brought within the limits that the same video shows. How far the answers can
be trusted is tried out on keypoints that were seen, by hiding them. Raw values are not touched: this makes a new table.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (numba comes without types)

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from shoal.config.smooth import SmoothConfig
from shoal.stages.filter import FILLED
from shoal.types import Poses, Tracks, body_length, column

VERSION = 1

MEMORY = 0.7  # of the network's error, frame to frame: .72 fitted (synthetic/noise.json)
FLEETING = 0.3  # of the error's variance, what does not last
ERRORS = (0.002, 0.004, 0.008, 0.016, 0.03, 0.06)  # standard deviations tried, body lengths
ACCELERATIONS = (0.004, 0.008, 0.016, 0.03, 0.06, 0.12, 0.24)  # the same, body lengths per frame
FIRST_SPEED = 0.3  # body lengths per frame
LEARN_ROWS = 4000  # that the strengths are learned from
FREEDOM = 4.0  # of Student's t
ROUNDS = 2  # of smoothing, each with the weights that follow from the one before
GUESS_ROWS, MIN_GUESS_ROWS = 3000, 60  # complete animals that missing keypoints are learned from
MIN_SEEN = 3  # keypoints that the others are guessed from
GUESS_FACTOR = 2.0  # a guess's error lasts as long as the keypoint is missing: it counts as so much larger
LIMITS, LIMIT_ROUNDS = (0.01, 0.99), 8
ONE_SD, CHI_ONE_SD = 0.683, 2.298  # share of a normal error within one deviation; that share of chi square (2)
HIDDEN_ERROR = 1.2  # errors that last look like motion: rendered fish (seeds 0-2), 61 % of errors within 1 sd
TRY_EVERY, TRY_FRAMES = 30, (3, 6, 12)


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Smoothed tracks. Rows of the input that belong to a track, and one per frame of a gap that was filled (item -1).

    Attributes:
        tracks: positions are smoothed; confidences are the network's, ``filter.FILLED`` where it saw nothing.
        sd: (M, K) standard deviation of each position per axis, px; NaN where there is none.
        is_filled: (M, K) no keypoint was seen there.
    """

    tracks: Tracks
    sd: Float32[ndarray, "M K"]
    is_filled: Bool[ndarray, "M K"]

    def __post_init__(self) -> None:
        m, k = self.tracks.poses.xy.shape[:2]
        column(self, "sd", np.float32, m, k)
        column(self, "is_filled", np.bool_, m, k)


class Learned(NamedTuple):
    """What a video says about its animals. K keypoints.

    error: (K,) standard deviation of the network's error, px; acceleration: (K,) of the velocity's change per frame;
    whole: (N, K, 2) complete animals; shortest, longest: (K, K) limits of the distances; length: body length, px;
    trust: what the smoother's deviations are multiplied by where a keypoint was seen, where others of its animal were,
    and where nothing was.
    """

    error: Float64[ndarray, "K"]
    acceleration: Float64[ndarray, "K"]
    whole: Float64[ndarray, "N K 2"]
    shortest: Float64[ndarray, "K K"]
    longest: Float64[ndarray, "K K"]
    length: float
    trust: tuple[float, float, float] = (1.0, 1.0, 1.0)


def smooth(tracks: Tracks, config: SmoothConfig, *, learned: Learned | None = None) -> Smoothed:
    """Smooth all tracks and fill their gaps.

    Args:
        tracks: rows of no track are left out.
        config: what is filled and what counts as seen.
        learned: from ``learn`` on more of the video; None = from these tracks.

    >>> xy = np.stack([np.arange(6.0) * 2, np.zeros(6)], -1)[:, None].repeat(2, 1) + [[[0, 0], [9, 0]]]
    >>> rows = np.array([0, 1, 2, 4, 5])
    >>> poses = Poses(rows, np.zeros(5), xy[rows], np.ones((5, 2)), np.ones(5), (0, 6))
    >>> found = smooth(Tracks(poses, np.zeros(5)), SmoothConfig())
    >>> found.tracks.poses.frame.tolist(), found.is_filled[:, 0].astype(int).tolist()
    ([0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 0, 0])
    """
    dense = _lay_out(tracks, config)
    if not len(dense.frame):
        empty = Tracks(Poses.empty(tracks.span, tracks.poses.n_keypoints), np.zeros(0))
        return Smoothed(empty, np.zeros((0, tracks.poses.n_keypoints)), np.zeros((0, tracks.poses.n_keypoints)))
    known = learned or learn(tracks, config)
    smoothed, sd = _fill(dense.xy, dense.begin, known)
    return _gather(tracks, dense, smoothed, sd, np.isfinite(dense.xy[..., 0]))


def _fill(
    xy: Float64[ndarray, "N K 2"], begin: Int64[ndarray, "p"], known: Learned
) -> tuple[Float64[ndarray, "N K 2"], Float64[ndarray, "N K"]]:
    """Positions and standard deviations of all keypoints in all frames."""
    seen = np.isfinite(xy[..., 0])
    guess, doubt = _guess(xy, known)
    error = np.where(seen, known.error, GUESS_FACTOR * doubt)
    smoothed, sd = _smooth_all(np.where(seen[..., None], xy, guess), error, begin, known)
    _keep_limbs(smoothed, sd, seen, known)
    partly = np.asarray(seen.any(axis=1))[:, None]
    return smoothed, sd * np.where(seen, known.trust[0], np.where(partly, known.trust[1], known.trust[2]))


class _Dense(NamedTuple):
    """Every frame of every piece of track, one piece after the other.

    row: (N,) row of the table, -1 = none; track, frame: (N,); begin: (P + 1,) of each piece;
    xy: (N, K, 2) what was seen.
    """

    row: Int64[ndarray, "N"]
    track: Int64[ndarray, "N"]
    frame: Int64[ndarray, "N"]
    begin: Int64[ndarray, "p"]
    xy: Float64[ndarray, "N K 2"]


def _lay_out(tracks: Tracks, config: SmoothConfig) -> _Dense:
    """Pieces end where an animal is missing for longer than is filled in."""
    poses = tracks.poses
    rows = np.flatnonzero((tracks.track >= 0) & np.isfinite(poses.xy[..., 0]).any(axis=1))
    rows = rows[np.lexsort((poses.frame[rows], tracks.track[rows]))]
    frame, track = poses.frame[rows], tracks.track[rows].astype(np.int64)
    step = np.diff(frame)
    is_new = np.r_[True, (np.diff(track) != 0) | (step > config.max_gap + 1)][: len(rows)]
    length = np.where(is_new, 1, np.r_[0, step][: len(rows)])  # frames up to and with this row
    place = np.cumsum(length) - 1
    n = int(place[-1]) + 1 if len(place) else 0
    row = np.full(n, -1)
    row[place] = rows
    begin = np.r_[place[is_new], n]
    piece = np.repeat(np.arange(len(begin) - 1), np.diff(begin))
    first = frame[is_new]
    xy = np.full((n, *poses.xy.shape[1:]), np.nan)
    sure = (poses.confidence[rows] >= config.min_confidence) & np.isfinite(poses.xy[rows]).all(axis=2)
    xy[place] = np.where(sure[..., None], poses.xy[rows], np.nan)
    return _Dense(row, track[is_new][piece], first[piece] + np.arange(n) - begin[piece], begin, xy)


def learn(tracks: Tracks, config: SmoothConfig) -> Learned:
    """Strengths and shapes of a video's animals, from its longest pieces of track and its complete animals."""
    dense = _lay_out(tracks, config)
    seen = np.isfinite(dense.xy[..., 0])
    length = body_length(dense.xy)
    length = length if np.isfinite(length) and length > 0 else 40.0
    whole = dense.xy[seen.all(axis=1)]
    whole = whole[:: max(1, len(whole) // GUESS_ROWS)]
    k = seen.shape[1]
    shortest, longest = np.zeros((k, k)), np.full((k, k), np.inf)
    if len(whole) >= MIN_GUESS_ROWS:
        distance = np.linalg.norm(whole[:, :, None] - whole[:, None], axis=-1)
        shortest, longest = np.quantile(distance, LIMITS, axis=0)
    size = np.diff(dense.begin)
    order = np.argsort(-size, kind="stable")
    chosen = np.sort(order[: int(np.searchsorted(np.cumsum(size[order]), LEARN_ROWS)) + 1])
    bounds = zip(dense.begin[chosen].tolist(), dense.begin[chosen + 1].tolist(), strict=True)
    rows = [np.arange(low, min(high, low + LEARN_ROWS)) for low, high in bounds]
    begin = np.cumsum([0, *map(len, rows)])
    sample = dense.xy[np.concatenate(rows)] if rows else dense.xy[:0]
    strengths = [_strengths(sample[:, point], begin, length) for point in range(k)]
    error, acceleration, trust = np.array(strengths).reshape(-1, 3).T
    known = Learned(error, acceleration, whole, shortest, longest, length)
    tried = (_try_out(sample, begin, known, every_keypoint=whole) for whole in (False, True))
    return known._replace(trust=(HIDDEN_ERROR * float(np.median(trust)) if k else 1.0, *tried))


def _strengths(y: Float64[ndarray, "N 2"], begin: Int64[ndarray, "p"], length: float) -> tuple[float, float, float]:
    """Error and acceleration (standard deviations, px) under which the positions are likeliest, and a factor to both.

    Likelihood as Student's t, so that outliers do not decide; the factor makes the middle 68 % as wide as they were.
    """
    from shoal.stages.kernels.smooth import smooth_points

    best = (-np.inf, ERRORS[2] * length, ACCELERATIONS[3] * length, 1.0)
    if np.isfinite(y[:, 0]).sum() < 20:
        return best[1:]
    y = np.ascontiguousarray(y)
    for error, acceleration in product(ERRORS, ACCELERATIONS):
        e, a = error * length, acceleration * length
        fleeting = np.full(len(y), FLEETING * e * e)
        lasting = (1 - FLEETING) * e * e
        *_, surprise, expected = smooth_points(y, fleeting, begin, a * a, lasting, MEMORY, FIRST_SPEED * length)
        ratio = surprise / expected
        likelihood = -np.nansum(np.log(expected) + (FREEDOM / 2 + 1) * np.log1p(ratio / FREEDOM))
        if likelihood > best[0]:
            best = (float(likelihood), e, a, float(np.sqrt(np.nanquantile(ratio, ONE_SD) / CHI_ONE_SD)))
    return best[1:]


def _try_out(
    xy: Float64[ndarray, "N K 2"], begin: Int64[ndarray, "p"], known: Learned, *, every_keypoint: bool
) -> float:
    """How much larger errors are than the smoother says, tried out on keypoints that were seen and are hidden here.

    In every stretch of ``TRY_EVERY`` frames one keypoint after the other (or the whole animal) is taken away for some
    frames.
    """
    n, k = xy.shape[:2]
    stretch, place = np.divmod(np.arange(n), TRY_EVERY)
    away = (place < np.array(TRY_FRAMES)[stretch % len(TRY_FRAMES)])[:, None]
    away = np.broadcast_to(away, (n, k)) if every_keypoint else away & ((stretch[:, None] + np.arange(k)) % 3 == 0)
    holed = np.where(away[..., None], np.nan, xy)
    found, sd = _fill(holed, begin, known)
    judged = away & np.isfinite(xy[..., 0]) & np.isfinite(found[..., 0])
    if judged.sum() < 100:
        return 2.0
    off = np.abs(found - xy)[judged] / sd[judged][:, None]
    return float(max(1.0, np.quantile(off, 0.683)))


def _guess(xy: Float64[ndarray, "N K 2"], known: Learned) -> tuple[Float64[ndarray, "N K 2"], Float64[ndarray, "N K"]]:
    """Missing keypoints from those seen, and the standard deviation of that; NaN where nothing can be guessed.

    For each pattern of seen keypoints, complete animals are laid onto each other by these keypoints, and the others
    regressed on them.
    """
    seen = np.isfinite(xy[..., 0])
    guess, doubt = np.full(xy.shape, np.nan), np.full(seen.shape, np.nan)
    if len(known.whole) < MIN_GUESS_ROWS:
        return guess, doubt
    code = seen @ (1 << np.arange(seen.shape[1], dtype=np.int64))
    order = np.argsort(code, kind="stable")
    bounds = np.flatnonzero(np.r_[True, np.diff(code[order]) != 0, True]) if len(code) else np.zeros(1, np.int64)
    for low, high in pairwise(bounds):
        rows = order[low:high]
        here = np.flatnonzero(seen[rows[0]])
        gone = np.flatnonzero(~seen[rows[0]])
        if len(here) < MIN_SEEN or not len(gone):
            continue
        reference = known.whole[:, here] - known.whole[:, here].mean(axis=1, keepdims=True)
        template = _laid_onto(reference, reference[0])[0].mean(axis=0)
        placed, turn, middle = _placed(known.whole, here, template)
        features = np.c_[placed[:, here].reshape(len(placed), -1), np.ones(len(placed))]
        ridge = 1e-3 * known.length**2 * len(placed) * np.eye(features.shape[1])
        ridge[-1, -1] = 0
        target = placed[:, gone].reshape(len(placed), -1)
        weights = np.linalg.solve(features.T @ features + ridge, features.T @ target)
        miss = np.sqrt(((features @ weights - target) ** 2).reshape(len(placed), len(gone), 2).mean(axis=(0, 2)))
        placed, turn, middle = _placed(xy[rows], here, template)
        found = np.c_[placed[:, here].reshape(len(rows), -1), np.ones(len(rows))] @ weights
        back = found.reshape(len(rows), len(gone), 2) @ turn.swapaxes(1, 2) + middle
        guess[rows[:, None], gone] = back
        doubt[rows[:, None], gone] = np.maximum(miss, 1e-3 * known.length)
    return guess, doubt


def _placed(
    xy: Float64[ndarray, "N K 2"], here: Int64[ndarray, "h"], template: Float64[ndarray, "h 2"]
) -> tuple[Float64[ndarray, "N K 2"], Float64[ndarray, "N 2 2"], Float64[ndarray, "N 1 2"]]:
    """Animals moved and turned onto the template by some keypoints; how to get back: x @ turn^T + middle."""
    middle = xy[:, here].mean(axis=1, keepdims=True)
    _, turn = _laid_onto(xy[:, here] - middle, template)
    return (xy - middle) @ turn, turn, middle


def _laid_onto(
    xy: Float64[ndarray, "N h 2"], template: Float64[ndarray, "h 2"]
) -> tuple[Float64[ndarray, "N h 2"], Float64[ndarray, "N 2 2"]]:
    """Centred points turned onto the template (least squares), and the turns."""
    cos = (xy * template).sum(axis=(1, 2))
    sin = (xy[..., 1] * template[:, 0] - xy[..., 0] * template[:, 1]).sum(axis=1)
    norm = np.maximum(np.hypot(cos, sin), 1e-12)
    cos, sin = cos / norm, sin / norm
    turn = np.stack([cos, -sin, sin, cos], axis=-1).reshape(-1, 2, 2)
    return xy @ turn, turn


def _smooth_all(
    xy: Float64[ndarray, "N K 2"], error: Float64[ndarray, "N K"], begin: Int64[ndarray, "p"], known: Learned
) -> tuple[Float64[ndarray, "N K 2"], Float64[ndarray, "N K"]]:
    """Each keypoint, twice: what lies far from the first answer has less weight in the second.

    Far means further than the animal's other keypoints do in that frame: where all of them are off, it is the animal
    that moved faster than thought, and the network that was right.
    """
    from shoal.stages.kernels.smooth import smooth_points

    lasting = (1 - FLEETING) * known.error**2
    variance = np.nan_to_num(error**2, nan=1.0)
    base = np.where(variance > known.error**2 * 1.0001, variance, FLEETING * known.error**2)
    out, sd, weighed = xy, error, base
    for turn in range(ROUNDS):
        if turn:
            square = ((xy - out) ** 2).sum(axis=2) / (base + lasting)
            square /= np.maximum(_middle(square), 1.0)[:, None]
            weighed = base + (base + lasting) * np.maximum((FREEDOM + np.nan_to_num(square)) / (FREEDOM + 2) - 1, 0)
        answers = [
            smooth_points(
                np.ascontiguousarray(xy[:, point]), np.ascontiguousarray(weighed[:, point]), begin,
                known.acceleration[point] ** 2, lasting[point], MEMORY, FIRST_SPEED * known.length,
            ) for point in range(xy.shape[1])
        ]  # fmt: skip
        out, sd = (np.stack(column, axis=1) for column in list(zip(*answers, strict=True))[:2])
    return out, sd


def _middle(values: Float64[ndarray, "N K"]) -> Float64[ndarray, "N"]:
    """Median of the values that are known; 0 where there are fewer than three, or none."""
    n = np.isfinite(values).sum(axis=1)
    ordered = np.sort(values, axis=1)  # NaN last
    return np.where(n > 2, ordered[np.arange(len(n)), np.maximum(n - 1, 0) // 2], 0.0)


def _keep_limbs(
    xy: Float64[ndarray, "N K 2"], sd: Float64[ndarray, "N K"], seen: Bool[ndarray, "N K"], known: Learned
) -> None:
    """Bring the distances of animals that were partly guessed within the limits, in place."""
    from shoal.stages.kernels.smooth import keep_distances

    if np.isfinite(known.longest).all():
        rows = np.flatnonzero(~seen.all(axis=1))
        keep_distances(xy, sd, rows, known.shortest, known.longest, LIMIT_ROUNDS)


def _gather(
    tracks: Tracks,
    dense: _Dense,
    xy: Float64[ndarray, "N K 2"],
    sd: Float64[ndarray, "N K"],
    seen: Bool[ndarray, "N K"],
) -> Smoothed:
    """Back to a table, sorted by frame, then as the rows were; new rows come last in their frame."""
    poses, is_new = tracks.poses, dense.row < 0
    order = np.lexsort((np.where(is_new, len(poses) + dense.track, dense.row), dense.frame))
    row, new = dense.row[order], is_new[order]
    xy, sd, seen = xy[order], np.where(np.isfinite(xy[order, :, 0]), sd[order], np.nan), seen[order]
    known = np.isfinite(xy[..., 0])
    confidence = np.where(seen, poses.confidence[row], np.where(known, FILLED, 0))
    table = Poses(
        dense.frame[order], np.where(new, -1, poses.item[row]), xy, confidence,
        np.where(new, FILLED, poses.score[row]), tracks.span,
    )  # fmt: skip
    return Smoothed(Tracks(table, dense.track[order]), sd, known & ~seen)
