"""What joining tracklets needs of all their rows, gathered in two passes over spans of the video.

The first pass counts: how long each tracklet is and where it has no gaps. That says which rows are worth looking at:
both ends of every tracklet, and a fixed number of samples of how animals move. The second pass looks at these. Only
one span is in memory, and the answer does not depend on where spans end.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (numba comes without types)

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from shoal.stages.proportions import ProportionLog
from shoal.types import Span, Tracks

LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
N_SAMPLES = 3000  # pairs of rows looked at per lag
MIN_SAMPLES = 20
N_CHOSEN = 20000  # rows looked at one by one
WINDOW = 8  # rows at each end of a tracklet that velocity and posture are measured on
BLOCK = 512  # windows looked at in one go: their copies stay below a few MB

Parts = Callable[[], Iterable[Tracks]]
"""Gives the spans of a video in order; called once per pass."""


class Nodes(NamedTuple):
    """C tracklets in order of first frame.

    number: (C,) tracklet number; first, last: (C,) frames; n: (C,) rows; score: (C,) sum over rows;
    xy: (C, 2, 2) centre at first and last frame; velocity: (C, 2, 2) there, NaN = unknown;
    shape: (C, 2, K, 2) keypoints relative to the centre there, NaN = not seen;
    build: (C, Q) body proportions, see ``ProportionLog``; build_variance: (C, Q) of their error, inf = not known.
    """

    number: Int64[ndarray, "C"]
    first: Int64[ndarray, "C"]
    last: Int64[ndarray, "C"]
    n: Int64[ndarray, "C"]
    score: Float64[ndarray, "C"]
    xy: Float64[ndarray, "C 2 2"]
    velocity: Float64[ndarray, "C 2 2"]
    shape: Float64[ndarray, "C 2 K 2"]
    build: Float64[ndarray, "C Q"]
    build_variance: Float64[ndarray, "C Q"]


class Samples(NamedTuple):
    """Displacement over a lag within tracklets, velocity before and after, change of shape."""

    move: Float64[ndarray, "n 2"]
    before: Float64[ndarray, "n 2"]
    after: Float64[ndarray, "n 2"]
    bend: Float64[ndarray, "n"]


class Survey(NamedTuple):
    """All that is known of a video's tracklets.

    nodes: the tracklets; samples: by lag, where there are enough; chosen: (n, K, 2) keypoints of rows spread evenly
    over all; span: frames covered; n_tracklets: numbers run from 0 to n_tracklets - 1.
    """

    nodes: Nodes
    samples: dict[int, Samples]
    chosen: Float32[ndarray, "n K 2"]
    span: Span
    n_tracklets: int


def survey(parts: Parts) -> Survey:
    """Look at the tracklets of a video.

    Args:
        parts: gives the adjoining spans of its tracklets, at least one.

    >>> from shoal.types import Poses
    >>> xy = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    >>> poses = Poses(np.arange(4), np.zeros(4), xy, np.ones((4, 3)), np.ones(4), (0, 4))
    >>> survey(lambda: [Tracks(poses, np.zeros(4))]).nodes.n.tolist()
    [4]
    """
    from shoal.stages.kernels.stitch import shifts

    count = _count(parts)
    ends, pairs = _end_windows(count), _sample_windows(count)
    windows = _Windows(*(np.concatenate(columns) for columns in zip(ends, *pairs.values(), strict=True)))
    order = np.argsort(windows.frame, kind="stable")
    complete = windows.frame[order]
    centre, velocity = np.empty((len(order), 2)), np.empty((len(order), 2))
    shape = np.empty((len(order), count.n_keypoints, 2))
    chosen_at = np.linspace(0, count.n_rows - 1, min(count.n_rows, N_CHOSEN)).astype(np.int64)
    chosen = np.empty((len(chosen_at), count.n_keypoints, 2), np.float32)
    score, log = np.zeros(len(count.n)), ProportionLog(count.n)
    carried = _Rows.none(count.n_keypoints)
    taken = np.zeros(len(count.n), np.int64)
    for part in parts():
        new, scores, taken = _place(part, count, taken)
        np.add.at(score, new.track, scores)  # one by one, so that spans do not matter
        log.add(new.track, new.nth, new.xy)
        at = np.minimum(np.searchsorted(new.position, chosen_at), max(len(new.position) - 1, 0))
        found = np.flatnonzero(new.position[at] == chosen_at) if len(new.position) else at[:0]
        chosen[found] = new.xy[at[found]]
        rows = carried.merge(new)
        due = order[slice(*np.searchsorted(complete, part.span))]
        for begin in range(0, len(due), BLOCK):
            some = due[begin : begin + BLOCK]
            centre[some], velocity[some], shape[some] = _look(rows, windows.take(some))
        carried = rows.keep(_still_needed(rows, count, part.span[1]))
    nodes = _nodes(count, score, log, centre, velocity, shape)
    samples: dict[int, Samples] = {}
    begin = len(ends.start)
    for lag, pair in pairs.items():
        n = len(pair.start) // 2
        here, there = slice(begin, begin + n), slice(begin + n, begin + 2 * n)
        move, bend = shifts(centre[here, None] + shape[here], centre[there, None] + shape[there])
        samples[lag] = Samples(move, velocity[here], velocity[there], bend)
        begin += 2 * n
    return Survey(nodes, samples, chosen, count.span, len(count.n))


def mean_point(xy: Float64[ndarray, "n K 2"]) -> Float64[ndarray, "n 2"]:
    """Mean over the finite keypoints, NaN without any."""
    seen = np.isfinite(xy[..., 0]) & np.isfinite(xy[..., 1])
    n = seen.sum(axis=1)
    total = np.where(seen[..., None], xy, 0.0).sum(axis=1)
    return np.divide(total, n[:, None], out=np.full(total.shape, np.nan), where=n[:, None] > 0)


@dataclass
class _Count:
    """First pass. T tracklet numbers, R gapless runs of rows, by tracklet and frame.

    A row's *position* counts the rows of all tracklets, one after the other.
    """

    n: Int64[ndarray, "T"]
    first: Int64[ndarray, "T"]
    full: Int64[ndarray, "T"]  # frame at which the window at the beginning is complete
    last: Int64[ndarray, "T"]
    begin: Int64[ndarray, "T"]  # position of the first row
    run_position: Int64[ndarray, "R"]
    run_frame: Int64[ndarray, "R"]
    run_length: Int64[ndarray, "R"]
    span: Span
    n_keypoints: int

    @property
    def n_rows(self) -> int:
        return int(self.n.sum())


class _Windows(NamedTuple):
    """Up to WINDOW rows from position ``start`` on, ``step`` = 1 forwards, -1 backwards; complete at ``frame``."""

    start: Int64[ndarray, "W"]
    step: Int64[ndarray, "W"]
    n: Int64[ndarray, "W"]
    frame: Int64[ndarray, "W"]

    def take(self, rows: Int64[ndarray, "n"]) -> _Windows:
        return _Windows(*(column[rows] for column in self))


class _Rows(NamedTuple):
    """Rows by position."""

    position: Int64[ndarray, "m"]
    nth: Int64[ndarray, "m"]  # of its tracklet
    track: Int64[ndarray, "m"]
    frame: Int64[ndarray, "m"]
    xy: Float32[ndarray, "m K 2"]

    @staticmethod
    def none(n_keypoints: int) -> _Rows:
        zero = np.zeros(0, np.int64)
        return _Rows(zero, zero, zero, zero, np.zeros((0, n_keypoints, 2), np.float32))

    def keep(self, mask: ndarray) -> _Rows:
        return _Rows(*(column[mask] for column in self))

    def merge(self, other: _Rows) -> _Rows:
        both = _Rows(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))
        return both.keep(np.argsort(both.position, kind="stable"))


def _ordered(part: Tracks) -> Int64[ndarray, "m"]:
    """Rows that belong to a tracklet and have a keypoint, by tracklet and frame."""
    seen = np.isfinite(part.poses.xy).all(axis=2).sum(axis=1) > 0
    rows = np.flatnonzero((part.track >= 0) & seen)
    return rows[np.lexsort((part.poses.frame[rows], part.track[rows]))]


def _grown(values: Int64[ndarray, "a"], n: int) -> Int64[ndarray, "b"]:
    return np.concatenate([values, np.zeros(max(0, n - len(values)), np.int64)])


def _starts(track: Int64[ndarray, "m"]) -> Int64[ndarray, "c"]:
    """Where each stretch of equal numbers begins."""
    return np.flatnonzero(np.r_[True, track[1:] != track[:-1]][: len(track)])


def _count(parts: Parts) -> _Count:
    """Rows, ends and gapless runs of each tracklet."""
    n = first = full = last = np.zeros(0, np.int64)
    place = np.zeros((0, 2))
    runs: list[ndarray] = []
    span, n_keypoints = None, 0
    for part in parts():
        span, n_keypoints = (span[0] if span else part.span[0], part.span[1]), part.poses.n_keypoints
        rows = _ordered(part)
        track, frame = part.track[rows].astype(np.int64), part.poses.frame[rows]
        n, first, full, last = (_grown(values, part.n_tracks) for values in (n, first, full, last))
        begin = _starts(track)
        here = track[begin]
        index = np.arange(len(track)) - np.repeat(begin, np.diff(np.r_[begin, len(track)])) + n[track]
        place = np.concatenate([place, np.zeros((len(n) - len(place), 2))])
        fresh = n[here] == 0
        place[here[fresh]] = mean_point(part.poses.xy[rows[begin[fresh]]].astype(np.float64))
        first[here] = np.where(fresh, frame[begin], first[here])
        n[here] += np.diff(np.r_[begin, len(track)])
        last[here] = frame[np.r_[begin[1:], len(track)][: len(begin)] - 1]
        early = index < WINDOW
        np.maximum.at(full, track[early], frame[early])
        fresh = np.flatnonzero(np.r_[True, (np.diff(track) != 0) | (np.diff(frame) != 1)][: len(track)])
        runs.append(np.stack([track[fresh], frame[fresh], np.diff(np.r_[fresh, len(track)])]))
    if span is None:
        raise ValueError("survey: expected at least one span, got none")
    track, frame, length = np.concatenate(runs, axis=1)
    # tracklets of one frame are numbered by the order of animals in it, on which nothing may depend
    order = np.lexsort((np.arange(len(n)), place[:, 0], place[:, 1], n, last, first))
    start = np.empty(len(n), np.int64)
    start[order] = np.cumsum(n[order]) - n[order]
    order = np.lexsort((frame, start[track]))
    track, frame, length = track[order], frame[order], length[order]
    fresh = np.flatnonzero(np.r_[True, (np.diff(track) != 0) | (frame[1:] != frame[:-1] + length[:-1])][: len(track)])
    length = np.add.reduceat(length, fresh) if len(fresh) else length
    return _Count(n, first, full, last, start, np.cumsum(length) - length, frame[fresh], length, span, n_keypoints)


def _end_windows(count: _Count) -> _Windows:
    """Both ends of every tracklet: first those at the beginnings, then those at the ends."""
    known = np.flatnonzero(count.n > 0)
    begin, n, ones = count.begin[known], count.n[known], np.ones(len(known), np.int64)
    inside = np.minimum(n, WINDOW)
    return _Windows(
        np.r_[begin, begin + n - 1], np.r_[ones, -ones], np.r_[inside, inside],
        np.r_[count.full[known], count.last[known]],
    )  # fmt: skip


def _sample_windows(count: _Count) -> dict[int, _Windows]:
    """For each lag, windows before and after it in the middle of gapless runs."""
    found: dict[int, _Windows] = {}
    w = WINDOW - 1
    for lag in LAGS:
        room = np.maximum(count.run_length - (2 * w + lag), 0)
        total = int(room.sum())
        if total < MIN_SAMPLES:
            continue
        which = np.linspace(0, total - 1, min(total, N_SAMPLES)).astype(np.int64)
        upto = np.cumsum(room)
        run = np.searchsorted(upto, which, side="right")
        offset = which - (upto[run] - room[run])
        here, frame = count.run_position[run] + offset + w, count.run_frame[run] + offset + w
        ones = np.ones(len(which), np.int64)
        found[lag] = _Windows(
            np.r_[here, here + lag], np.r_[-ones, ones], np.r_[ones, ones] * WINDOW, np.r_[frame, frame + lag + w]
        )
    return found


def _place(
    part: Tracks, count: _Count, taken: Int64[ndarray, "T"]
) -> tuple[_Rows, Float64[ndarray, "m"], Int64[ndarray, "T"]]:
    """The rows of a span with their places among all, their scores, and how many rows each tracklet has had by now."""
    rows = _ordered(part)
    track = part.track[rows].astype(np.int64)
    begin = _starts(track)
    length = np.diff(np.r_[begin, len(track)])
    index = np.arange(len(track)) - np.repeat(begin, length) + taken[track]
    taken = taken.copy()
    taken[track[begin]] += length
    poses = part.poses
    placed = _Rows(count.begin[track] + index, index, track, poses.frame[rows], poses.xy[rows])
    order = np.argsort(placed.position, kind="stable")
    return placed.keep(order), poses.score[rows[order]].astype(np.float64), taken


def _still_needed(rows: _Rows, count: _Count, stop: int) -> Bool[ndarray, "m"]:
    """Rows of windows that are not complete before frame ``stop``."""
    n = count.n[rows.track]
    recent = rows.frame > stop - WINDOW  # samples have no gaps
    beginning = (rows.nth < WINDOW) & (count.full[rows.track] >= stop)
    ending = (rows.nth >= n - WINDOW) & (count.last[rows.track] >= stop)
    return recent | beginning | ending


def _look(
    rows: _Rows, windows: _Windows
) -> tuple[Float64[ndarray, "n 2"], Float64[ndarray, "n 2"], Float64[ndarray, "n K 2"]]:
    """Centre, velocity and shape at the first row of each window; keypoints missing there come from the next rows."""
    from shoal.stages.kernels.stitch import shifts

    step = np.arange(WINDOW)
    inside = step < windows.n[:, None]
    place = windows.start[:, None] + np.where(inside, step * windows.step[:, None], 0)
    at = np.searchsorted(rows.position, place)
    xy = np.where(inside[..., None, None], rows.xy[at].astype(np.float64), np.nan)
    frame = rows.frame[at].astype(np.float64)
    each, far = np.arange(len(at)), np.maximum(windows.n - 1, 0)
    move, _ = shifts(xy[:, 0], xy[each, far])
    move = np.where(np.isfinite(move), move, mean_point(xy[each, far]) - mean_point(xy[:, 0]))
    dt = frame[each, far] - frame[:, 0]
    velocity = np.divide(move, dt[:, None], out=np.full(move.shape, np.nan), where=(dt != 0)[:, None])
    filled = xy[:, 0].copy()
    for w in range(1, WINDOW):
        drift = np.where(np.isfinite(velocity), velocity, 0.0) * (frame[:, w] - frame[:, 0])[:, None]
        filled = np.where(np.isfinite(filled), filled, xy[:, w] - drift[:, None])
    centre = mean_point(filled)
    return centre, velocity, filled - centre[:, None]


def _nodes(
    count: _Count,
    score: Float64[ndarray, "T"],
    log: ProportionLog,
    centre: Float64[ndarray, "W 2"],
    velocity: Float64[ndarray, "W 2"],
    shape: Float64[ndarray, "W K 2"],
) -> Nodes:
    """The tracklets, from what was seen through the windows at their ends, which are the first of all windows."""
    known = np.flatnonzero(count.n > 0)
    c = len(known)
    ends = [np.stack([values[:c], values[c : 2 * c]], axis=1) for values in (centre, velocity, shape)]
    build, variance = log.finish()
    columns = (
        known, count.first[known], count.last[known], count.n[known], score[known], *ends,
        build[known], variance[known],
    )  # fmt: skip
    order = np.lexsort((count.begin[known], count.first[known]))
    return Nodes(*(column[order] for column in columns))
