"""Animals -> tracklets: a Kalman tracker that cuts where it is not sure.

SORT (Bewley et al., ICIP 2016: constant-velocity Kalman filter, one optimal assignment per frame) with
three changes. A pair is joined only if exchanging it with another would clearly cost similarity; otherwise
both tracklets end there and new ones begin, because a swap inside a tracklet cannot be mended later.
While an animal's score is far below its usual one it gets a tracklet of its own: where bodies cross, such
animals are often put together from two, and what follows them may be either.
And a pair further apart than the gate is still joined if nothing else is near: startled fish
jump more than a body length in one frame.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (numba and scipy come without types)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from shoal.config.associate import AssociateConfig
from shoal.stages import similarity
from shoal.stages.similarity import Shapes
from shoal.types import DECISION_KINDS, DECISION_REASONS, Decisions, Poses, Span, Tracks, select

VERSION = 3

DEFAULT_BODY_PX = 40.0  # single keypoints, or none seen yet: DLC's box slack
SIZES_KEPT = 512  # animals that the running body length is the median of
# Kalman noise as shares of the body length: centre x, y; width, height; angle in radians
MEASUREMENT = np.array([0.02, 0.02, 0.05, 0.05, 0.1])
ACCELERATION = np.array([0.1, 0.1, 0.001, 0.001, 0.01])
FIRST_VELOCITY = np.array([0.2, 0.2, 0.01, 0.01, 0.05])
COST_DOUBT = 20.0
SCORE_WEIGHT, SCORE_RATE = 0.3, 0.2
JUMP_CLEARANCE = 0.5  # a jump needs a margin of this share of its length
CROSSING = 0.5  # rivals whose centres are closer than this many body lengths are crossing
CLEAR_RATE = 0.1  # of the running mean of the usual score
MAX_MIXED = 30  # frames: a score that stays low for longer is the usual one
AMBIGUOUS, JUMP, CROSSED, MIXED = (DECISION_REASONS.index(r) for r in ("ambiguous", "jump", "crossing", "mixed"))


@dataclass
class State:
    """The tracker between two frames. T live tracklets.

    Attributes:
        config: settings.
        frame: last frame taken in.
        n_started: tracklets started so far = the next number.
        number: (T,) tracklet numbers.
        last: (T,) frame of each one's last observation.
        mean: (T, 5) ellipse, filtered or predicted, at ``frame``.
        velocity: (T, 5) per frame.
        covariance: (T, 5, 3) of (mean, velocity): variance, covariance, variance.
        offset: (T, K, 2) last known keypoints relative to the centre.
        size: (T,) largest distance of two keypoints, NaN = unknown.
        score: (T,) running mean of the animal's score.
        usual: (T,) the same without the frames in which it was far below.
        mixed: (T,) frames for which it has been far below, 0 = it is not.
        sizes: sizes of the animals seen last, for the body length.
        scores: scores of the animals seen last.
        cuts: decisions so far: frame, source, target, gap, cost, margin, reason.
    """

    config: AssociateConfig
    frame: int
    n_started: int
    number: Int64[ndarray, "T"]
    last: Int64[ndarray, "T"]
    mean: Float64[ndarray, "T 5"]
    velocity: Float64[ndarray, "T 5"]
    covariance: Float64[ndarray, "T 5 3"]
    offset: Float64[ndarray, "T K 2"]
    size: Float64[ndarray, "T"]
    score: Float64[ndarray, "T"]
    usual: Float64[ndarray, "T"]
    mixed: Int64[ndarray, "T"]
    sizes: Float64[ndarray, "S"]
    scores: Float64[ndarray, "S"]
    cuts: list[tuple[int, int, int, int, float, float, int]]


def start(config: AssociateConfig, n_keypoints: int) -> State:
    """A tracker that has seen nothing."""
    none = np.zeros(0)
    return State(
        config, 0, 0, np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 5)), np.zeros((0, 5)),
        np.zeros((0, 5, 3)), np.zeros((0, n_keypoints, 2)), none, none, none, np.zeros(0, np.int64), none, none, [],
    )  # fmt: skip


def associate(poses: Poses, config: AssociateConfig) -> tuple[Tracks, Decisions]:
    """Link animals from frame to frame.

    Args:
        poses: the animals of a whole video.
        config: similarity, gates, ages.

    Returns:
        The same rows with tracklet numbers (0 to C - 1 by first frame; -1 for rows without a keypoint),
        and one ``cut`` per place where a link was refused.

    >>> xy = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    >>> poses = Poses(np.arange(4), np.zeros(4), xy, np.ones((4, 3)), np.ones(4), (0, 4))
    >>> associate(poses, AssociateConfig())[0].track.tolist()
    [0, 0, 0, 0]
    """
    state, track = follow(start(config, poses.n_keypoints), poses)
    return Tracks(poses, track), cuts(state, poses.span)


def follow(state: State, poses: Poses) -> tuple[State, Int64[ndarray, "M"]]:
    """Take in the frames of one span.

    Args:
        state: from ``start`` or the span before; changed in place.
        poses: the animals of the next frames.

    Returns:
        The state and the tracklet number of each animal, -1 for rows without a keypoint.
    """
    track = np.full(len(poses), -1)
    bounds = np.flatnonzero(np.r_[True, poses.frame[1:] != poses.frame[:-1], True]) if len(poses) else np.zeros(1, int)
    for first, last in pairwise(bounds):
        state, track[first:last] = step(state, select(poses, np.arange(first, last)))
    return state, track


def step(state: State, poses_of_frame: Poses) -> tuple[State, Int64[ndarray, "M"]]:
    """Take in one frame.

    Args:
        state: from ``start`` or the frame before; changed in place.
        poses_of_frame: the animals of one later frame. Frames without animals may be left out: age
            is counted in frame numbers.

    Returns:
        The state and the tracklet number of each animal.
    """
    from shoal.stages.kernels.associate import margins

    numbers = np.full(len(poses_of_frame), -1)
    if not len(poses_of_frame):
        return state, numbers
    frame = int(poses_of_frame.frame[0])
    seen = _observe(state, poses_of_frame)
    _keep(state, frame - state.last - 1 <= state.config.max_age)
    _predict(state, frame, seen.body)
    alike = _similarity(state, frame, seen)
    likeness = alike - SCORE_WEIGHT * np.abs(state.score[:, None] - seen.score) / max(seen.typical, 1e-6)
    column = _assign(alike, likeness, _floor(state.config))
    margin, rival = margins(likeness, column)
    joined, reason = _judge(state, frame, seen, alike, column, margin, rival)
    refused = np.flatnonzero(reason >= 0)
    unsafe = np.flatnonzero((reason >= 0) & (reason != JUMP))
    source, last = state.number[refused], state.last[refused]
    # the filter goes on with its best guess, under a new number: velocity helps to tell the next frames apart
    state.number[unsafe] = state.n_started + np.arange(len(unsafe))
    state.n_started += len(unsafe)
    numbers[seen.row] = _advance(state, frame, seen, np.where(joined | ((reason >= 0) & (reason != JUMP)), column, -1))
    for k, i in enumerate(refused):
        target, cost = int(numbers[seen.row[column[i]]]), 1 - float(alike[i, column[i]])
        gap = frame - int(last[k]) - 1
        state.cuts.append((frame, int(source[k]), target, gap, cost, float(margin[i]), int(reason[i])))
    lost = np.zeros(len(state.number), np.bool_)  # rivals without an animal of their own
    rivals = rival[unsafe]
    lost[rivals[(rivals >= 0) & (column[rivals] < 0)]] = True
    _keep(state, ~lost)
    return state, numbers


@dataclass
class _Seen:
    """The animals of one frame that have a keypoint; the usual body length and score."""

    row: Int64[ndarray, "N"]
    ellipse: Float64[ndarray, "N 5"]
    xy: Float64[ndarray, "N K 2"]
    size: Float64[ndarray, "N"]
    score: Float64[ndarray, "N"]
    body: float
    typical: float


def _observe(state: State, poses: Poses) -> _Seen:
    """Describe the animals and renew the running body length."""
    from shoal.stages.kernels.associate import describe

    xy = poses.xy.astype(np.float64)
    ellipse, size = describe(xy)
    state.sizes = np.r_[state.sizes, size[size > 0]][-SIZES_KEPT:]
    body = state.config.body_px or (float(np.median(state.sizes)) if len(state.sizes) else DEFAULT_BODY_PX)
    row = np.flatnonzero(np.isfinite(ellipse[:, 0]))
    score = poses.score[row].astype(np.float64)
    state.scores = np.r_[state.scores, score][-SIZES_KEPT:]
    typical = float(np.median(state.scores)) if len(state.scores) else 1.0
    return _Seen(row, ellipse[row], xy[row], size[row], score, body, typical)


def _keep(state: State, mask: Bool[ndarray, "T"]) -> None:
    """Forget the tracklets that the mask leaves out."""
    if not mask.all():
        for name in ("number", "last", "mean", "velocity", "covariance", "offset", "size", "score", "usual", "mixed"):
            setattr(state, name, getattr(state, name)[mask])


def _predict(state: State, frame: int, body: float) -> None:
    """Move every tracklet on to ``frame`` with constant velocity."""
    dt = frame - state.frame
    state.frame = frame
    noise = (ACCELERATION * np.array([body, body, body, body, 1.0])) ** 2
    here, both, speed = (state.covariance[..., c] for c in range(3))
    state.mean += dt * state.velocity
    here += 2 * dt * both + dt**2 * speed + noise * dt**3 / 3
    both += dt * speed + noise * dt**2 / 2
    speed += noise * dt


def _similarity(state: State, frame: int, seen: _Seen) -> Float64[ndarray, "T N"]:
    """Similarity of predictions and observations, floored where a jump would be too long."""
    own = np.where(np.isfinite(state.size), state.size, seen.body)
    other = np.where(np.isfinite(seen.size), seen.size, seen.body)
    length = np.maximum(own[:, None], other)
    length = length * np.sqrt(frame - state.last)[:, None]  # uncertainty grows while unseen
    slack = state.config.box_slack_px
    expected = Shapes(state.mean, state.mean[:, None, :2] + state.offset, slack)
    value = SIMILARITIES[state.config.similarity](expected, Shapes(seen.ellipse, seen.xy, slack), length)
    return np.maximum(value, _floor(state.config))


def _floor(config: AssociateConfig) -> float:
    """Similarity of a pair that is too far apart to be one animal, and of leaving an animal alone."""
    return 1 - max(config.max_jump, 1.0)


Similarity = Callable[[Shapes, Shapes, Float64[ndarray, "T N"]], Float64[ndarray, "T N"]]
SIMILARITIES: dict[str, Similarity] = {
    "pose": similarity.pose,
    "ellipse": similarity.ellipse,
    "box": similarity.box,
    "skeleton": similarity.skeleton,
}


def _assign(alike: Float64[ndarray, "T N"], likeness: Float64[ndarray, "T N"], floor: float) -> Int64[ndarray, "T"]:
    """Column of each row in the assignment of largest total likeness, -1 = none or at the floor."""
    column = np.full(len(alike), -1)
    i, j = linear_sum_assignment(likeness, maximize=True)
    column[i] = j
    column[i[alike[i, j] <= floor]] = -1
    return column


def _judge(
    state: State,
    frame: int,
    seen: _Seen,
    alike: Float64[ndarray, "T N"],
    column: Int64[ndarray, "T"],
    margin: Float64[ndarray, "T"],
    rival: Int64[ndarray, "T"],
) -> tuple[Bool[ndarray, "T"], Int64[ndarray, "T"]]:
    """Which assigned pairs are safe to join, and why the others are not.

    Returns:
        (T,) True where the pair is joined; (T,) index into ``DECISION_REASONS`` where a pair is refused, else -1.
    """
    rows = np.flatnonzero(column >= 0)
    taken = np.full(len(column), np.nan)
    taken[rows] = alike[rows, column[rows]]
    near = taken >= state.config.min_similarity
    needed = state.config.min_margin * (1 + COST_DOUBT * (1 - taken))
    clear = margin >= np.where(near, needed, JUMP_CLEARANCE * (1 - taken))
    joined = (column >= 0) & clear & (near | (state.last == frame - 1))
    reason = np.full(len(column), -1)
    refused = (column >= 0) & ~joined
    reason[refused] = np.where(near[refused], AMBIGUOUS, JUMP)
    contested = np.flatnonzero(refused & near & (rival >= 0))
    apart = np.linalg.norm(state.mean[contested, :2] - state.mean[rival[contested], :2], axis=1)
    reason[contested[apart < CROSSING * seen.body]] = CROSSED
    turned = _mix(state, rows, seen.score[column[rows]])
    reason[turned & joined] = MIXED
    return joined & ~turned, reason


def _mix(state: State, rows: Int64[ndarray, "n"], score: Float64[ndarray, "n"]) -> Bool[ndarray, "T"]:
    """Note which tracklets have a low score for now; (T,) True where that begins or ends."""
    low = score < state.config.min_clear * state.usual[rows]
    turned = np.zeros(len(state.number), np.bool_)
    turned[rows] = low != (state.mixed[rows] > 0)
    lasting = low & (state.mixed[rows] >= MAX_MIXED)
    state.mixed[rows] = np.where(low & ~lasting, state.mixed[rows] + 1, 0)
    usual = state.usual[rows]
    usual = np.where(low, usual, usual + CLEAR_RATE * (score - usual))
    state.usual[rows] = np.where(lasting, score, usual)
    return turned


def _advance(state: State, frame: int, seen: _Seen, column: Int64[ndarray, "T"]) -> Int64[ndarray, "N"]:
    """Update joined tracklets, start new ones from the other animals; the tracklet number of each animal."""
    rows = np.flatnonzero(column >= 0)
    columns = column[rows]
    numbers = np.full(len(seen.row), -1)
    numbers[columns] = state.number[rows]
    _correct(state, rows, frame, seen, columns)
    fresh = np.flatnonzero(numbers < 0)
    numbers[fresh] = state.n_started + np.arange(len(fresh))
    state.n_started += len(fresh)
    unit = np.array([seen.body, seen.body, seen.body, seen.body, 1.0])
    covariance = np.zeros((len(fresh), 5, 3))
    covariance[..., 0], covariance[..., 2] = (MEASUREMENT * unit) ** 2, (FIRST_VELOCITY * unit) ** 2
    ellipse = seen.ellipse[fresh]
    added = {
        "number": numbers[fresh], "last": np.full(len(fresh), frame), "mean": ellipse,
        "velocity": np.zeros((len(fresh), 5)), "covariance": covariance,
        "offset": seen.xy[fresh] - ellipse[:, None, :2], "size": seen.size[fresh], "score": seen.score[fresh],
        "usual": seen.score[fresh], "mixed": np.zeros(len(fresh), np.int64),
    }  # fmt: skip
    for name, values in added.items():
        setattr(state, name, np.concatenate([getattr(state, name), values]))
    return numbers


def _correct(state: State, rows: Int64[ndarray, "n"], frame: int, seen: _Seen, columns: Int64[ndarray, "n"]) -> None:
    """Kalman update of tracklets ``rows`` with animals ``columns``."""
    observed, xy = seen.ellipse[columns].copy(), seen.xy[columns]
    # the centre of the visible keypoints moves when one is missing: measure displacement on the shared ones
    shift = xy - (state.mean[rows, None, :2] + state.offset[rows])
    shared = np.isfinite(shift[..., 0])
    has = shared.any(axis=1)
    n_shared = np.maximum(shared.sum(axis=1), 1)[:, None]
    moved = np.where(shared[..., None], shift, 0.0).sum(axis=1) / n_shared
    observed[has, :2] = state.mean[rows[has], :2] + moved[has]
    residual = observed - state.mean[rows]
    residual[:, 4] = (residual[:, 4] + np.pi / 2) % np.pi - np.pi / 2  # an ellipse looks the same turned by half
    unit = np.array([seen.body, seen.body, seen.body, seen.body, 1.0])
    here, both, speed = (state.covariance[rows, :, c] for c in range(3))
    gain = here / (here + (MEASUREMENT * unit) ** 2)
    speed_gain = both / (here + (MEASUREMENT * unit) ** 2)
    known = np.isfinite(residual)
    gain, speed_gain, residual = gain * known, speed_gain * known, np.where(known, residual, 0.0)
    unknown = np.isnan(state.mean[rows]) & np.isfinite(observed)  # first time the shape is seen
    state.mean[rows] = np.where(unknown, observed, state.mean[rows] + gain * residual)
    state.velocity[rows] += speed_gain * residual
    state.covariance[rows] = np.stack([(1 - gain) * here, (1 - gain) * both, speed - speed_gain * both], axis=-1)
    state.offset[rows] = np.where(np.isfinite(xy), xy - observed[:, None, :2], state.offset[rows])
    state.size[rows] = np.fmax(state.size[rows] * 0.9, seen.size[columns])
    state.score[rows] += SCORE_RATE * (seen.score[columns] - state.score[rows])
    state.last[rows] = frame


def cuts(state: State, span: Span) -> Decisions:
    """The cuts of all frames so far as a table."""
    if not state.cuts:
        return Decisions.empty(span)
    frame, source, target, gap, cost, margin, reason = (np.array(c) for c in zip(*state.cuts, strict=True))
    kind = np.full(len(frame), DECISION_KINDS.index("cut"))
    unknown = np.full(len(frame), np.nan)
    return Decisions(kind, frame, source, target, gap, cost, margin, unknown, reason, span)
