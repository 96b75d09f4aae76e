"""Animals -> tracklets: a Kalman tracker that cuts where it is not sure.

SORT (Bewley et al., ICIP 2016: constant-velocity Kalman filter, one optimal assignment per frame) with
three changes. A pair is joined only if exchanging it with another would clearly cost similarity; otherwise
both tracklets end there and new ones begin, because a swap inside a tracklet cannot be mended later.
While an animal's score is far below its usual one it gets a tracklet of its own: where bodies cross, such
animals are often put together from two, and what follows them may be either. Where an animal turns up on
top of a tracklet, the two may have been seen as one before, and the tracklet ends, too.
And a pair further apart than the gate is still joined if nothing else is near: startled fish
jump more than a body length in one frame.

What happens in a frame is in ``kernels/associate.py``; here are its tables, before and after a span.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (numba comes without types)

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.config.associate import AssociateConfig
from shoal.types import DECISION_KINDS, Decisions, Poses, Span, Tracks

if TYPE_CHECKING:
    from shoal.stages.kernels.associate import Live, Recent, Rules

VERSION = 4

SIMILARITIES: tuple[str, ...] = get_args(AssociateConfig.model_fields["similarity"].annotation)
"""In the order of the numbers in ``kernels/similarity.py``."""
DEFAULT_BODY_PX = 40.0  # single keypoints, or none seen yet: DLC's box slack
RECENT = 512  # animals that the running body length and the usual score are medians of
ROOM = 64  # rows of the kernel's tables at first


@dataclass
class State:
    """The tracker between two frames. T live tracklets.

    Attributes:
        config: settings.
        frame: last frame taken in.
        n_started: tracklets started so far = the next number.
        count: (T, 3) tracklet number, frame of the last observation, frames for which the score has been far below the
            usual one (0 = it is not).
        fact: (T, 3) size = largest distance of two keypoints, NaN = unknown; running mean of the animal's score; the
            same without the frames in which it was far below.
        filter: (T, 5, 5) for centre x, y, width, height, angle of the ellipse at ``frame``: mean, velocity per frame,
            variance, covariance of the two, variance of the velocity.
        offset: (T, K, 2) last known keypoints relative to the centre.
        sizes: sizes of the animals seen last, oldest first, for the body length.
        scores: scores of the animals seen last.
        cuts: (C, 7) decisions so far: frame, source, target, gap, cost, margin, reason.
    """

    config: AssociateConfig
    frame: int
    n_started: int
    count: Int64[ndarray, "T 3"]
    fact: Float64[ndarray, "T 3"]
    filter: Float64[ndarray, "T 5 5"]
    offset: Float64[ndarray, "T K 2"]
    sizes: Float64[ndarray, "S"]
    scores: Float64[ndarray, "S"]
    cuts: Float64[ndarray, "C 7"]


def start(config: AssociateConfig, n_keypoints: int) -> State:
    """A tracker that has seen nothing."""
    none = np.zeros(0)
    return State(
        config, 0, 0, np.zeros((0, 3), np.int64), np.zeros((0, 3)), np.zeros((0, 5, 5)), np.zeros((0, n_keypoints, 2)),
        none, none, np.zeros((0, 7)),
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
        poses: the animals of the next frames. Frames without animals may be left out: age is counted in frame
            numbers.

    Returns:
        The state and the tracklet number of each animal, -1 for rows without a keypoint.
    """
    from shoal.stages.kernels.associate import CUTS, FRAME, LIVE, STARTED, Seen, fold
    from shoal.stages.kernels.similarity import describe

    numbers = np.full(len(poses), -1)
    if not len(poses):
        return state, numbers
    bounds = np.flatnonzero(np.r_[True, poses.frame[1:] != poses.frame[:-1], True])
    frames, xy = poses.frame[bounds[:-1]], poses.xy.astype(np.float64)
    score = np.where(np.isfinite(poses.score), poses.score, 0.0).astype(np.float64)
    ellipse, size = describe(xy)
    seen = Seen(ellipse, xy, size, score)
    at = np.array([state.frame, state.n_started, len(state.count), 0])
    live, sizes, scores, rules = _live(state), _recent(state.sizes), _recent(state.scores), _rules(state.config)
    cuts, found, done = np.zeros((ROOM, 7)), [state.cuts], 0
    while done < len(frames):
        done += fold(bounds[done:], seen, at, live, sizes, scores, rules, frames[done:], numbers, cuts)
        found.append(cuts[: at[CUTS]].copy())
        at[CUTS] = 0
        if done < len(frames):  # the next frame may need more room than there is
            n = int(bounds[done + 1] - bounds[done])
            live = type(live)(*(_room(column, 2 * int(at[LIVE]) + n) for column in live))
            cuts = _room(cuts, max(n, 2 * len(cuts)))
    state.frame, state.n_started, state.cuts = int(at[FRAME]), int(at[STARTED]), np.concatenate(found)
    for name, column in live._asdict().items():
        setattr(state, name, column[: at[LIVE]].copy())
    state.sizes, state.scores = _oldest_first(sizes), _oldest_first(scores)
    return state, numbers


def step(state: State, poses_of_frame: Poses) -> tuple[State, Int64[ndarray, "M"]]:
    """Take in one frame: ``follow`` of its animals."""
    return follow(state, poses_of_frame)


def _live(state: State) -> Live:
    """The tracklets of a state with room for more."""
    from shoal.stages.kernels.associate import Live

    return Live(*(_room(getattr(state, name), ROOM) for name in Live._fields))


def _room(column: ndarray, n: int) -> ndarray:
    """A copy of the column, at least ``n`` rows long."""
    longer = np.zeros((max(n, len(column)), *column.shape[1:]), column.dtype)
    longer[: len(column)] = column
    return longer


def _recent(values: Float64[ndarray, "S"]) -> Recent:
    """The latest values as the kernel keeps them."""
    from shoal.stages.kernels.associate import Recent

    return Recent(_room(values, RECENT), _room(np.sort(values), RECENT), np.array([len(values)]))


def _oldest_first(recent: Recent) -> Float64[ndarray, "S"]:
    n = int(recent.n[0])
    return np.roll(recent.ring, -(n % RECENT)) if n > RECENT else recent.ring[:n].copy()


def _rules(config: AssociateConfig) -> Rules:
    from shoal.stages.kernels.associate import Rules

    return Rules(
        SIMILARITIES.index(config.similarity), config.min_similarity, config.min_margin, 1 - max(config.max_jump, 1.0),
        config.min_clear, config.max_age, config.box_slack_px, config.body_px, DEFAULT_BODY_PX,
    )  # fmt: skip


def cuts(state: State, span: Span) -> Decisions:
    """The cuts of all frames so far as a table."""
    frame, source, target, gap, cost, margin, reason = state.cuts.T
    kind, unknown = np.full(len(frame), DECISION_KINDS.index("cut")), np.full(len(frame), np.nan)
    return Decisions(kind, frame, source, target, gap, cost, margin, unknown, reason, span)
