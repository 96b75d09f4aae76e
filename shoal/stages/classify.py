"""Tracklets -> what each is: an animal, a reflection of one in a wall, or a second detection of one.

Before stitching, because a tracklet is one thing from end to end while a track that took a reflection for the animal
is not. A row is evidence for a reflection if it lies behind a wall (``stages/mirrors.py``) and more so if it has its
animal before the glass; how much each of the two says is learned from the video itself. A row is a duplicate if a
larger row of its frame has the same keypoints at the same places, or just those that it lacks, at distances that one
body has.
"""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from shoal.config.classify import ClassifyConfig
from shoal.stages.mirrors import Mirror, Parts, depth_of, find_mirrors, has_partner, row_pairs
from shoal.types import TRACK_KINDS, Poses, TrackInfo, Tracks, body_length

VERSION = 1

ANIMAL, REFLECTION, DUPLICATE = (TRACK_KINDS.index(kind) for kind in ("animal", "reflection", "duplicate"))
SURE = 0.99  # no probability above: of an animal where there are no walls, too
BEFORE_WALL = 0.02  # likelihood ratio of a row before all walls: images are behind them
ROWS_COUNT = 5.0, 0.1  # neighbouring rows repeat each other: so many count in full, of the others this share
MAX_EVIDENCE = 12.0  # nats
LEARN_ROUNDS = 20
SAME = 0.12  # body lengths: keypoints of one animal, found twice, are nearer
REACH = 1.3  # body lengths between the middles of two halves of one animal, at most
FITTING = 0.8  # share of the distances between two halves that a whole body must have, too
MIN_WHOLE = 50  # rows with (nearly) all keypoints that the distances of a whole body are learned from
HALF_QUANTILES = 0.02, 0.98


class _Counts(NamedTuple):
    """Per tracklet: rows, frames it spans, rows behind a wall, those with a partner, duplicate rows."""

    n: Int64[ndarray, "C"]
    first: Int64[ndarray, "C"]
    last: Int64[ndarray, "C"]
    behind: Int64[ndarray, "C"]
    matched: Int64[ndarray, "C"]
    double: Int64[ndarray, "C"]


def classify(tracklets: Tracks, swap: Int64[ndarray, "K"], config: ClassifyConfig) -> TrackInfo:
    """What each tracklet is.

    Args:
        tracklets: from ``associate``; rows of no tracklet count as partners.
        swap: (K,) ``Skeleton.mirror``.
        config: with ``reflections="keep"`` all are animals.

    Returns:
        One row per tracklet number.

    >>> xy = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    >>> poses = Poses(np.arange(4), np.zeros(4), xy, np.ones((4, 3)), np.ones(4), (0, 4))
    >>> classify(Tracks(poses, np.zeros(4)), np.arange(3), ClassifyConfig()).kind.tolist()
    [0]
    """
    return survey_kinds(lambda: (tracklets,), swap, config)[0]


def survey_kinds(
    parts: Parts, swap: Int64[ndarray, "K"], config: ClassifyConfig
) -> tuple[TrackInfo, tuple[Mirror, ...]]:
    """As ``classify``, of tracklets that come in adjoining spans; also the walls."""
    looks_for = config.reflections != "keep"
    mirrors = find_mirrors(parts, swap) if looks_for else ()
    body = _learn_body(parts) if looks_for else None
    counts = _Counts(*(np.zeros(0, np.int64) for _ in _Counts._fields))
    for tracks in parts():
        counts = _count(counts, tracks, mirrors, swap, body)
    reflection = np.zeros(len(counts.n))
    if mirrors:
        share, chance = (
            float(np.mean(values)) for values in zip(*((m.matched, m.chance) for m in mirrors), strict=True)
        )
        reflection = _reflection_probability(counts, share, chance)
    share = (counts.double + 0.5 * (counts.double > 0)) / np.maximum(counts.n + 1, 1)
    duplicate = SURE * np.minimum(share, 1.0)
    is_reflection = reflection >= config.min_probability
    is_duplicate = ~is_reflection & (duplicate > config.min_probability)
    kind = np.where(is_reflection, REFLECTION, np.where(is_duplicate, DUPLICATE, ANIMAL))
    probability = np.where(is_reflection, reflection, np.where(is_duplicate, duplicate, 1 - reflection))
    probability = np.clip(np.where(kind == ANIMAL, probability * (1 - 0.5 * duplicate), probability), 0, SURE)
    number = np.arange(len(counts.n))
    return TrackInfo(number, kind, probability, counts.first, counts.last, counts.n), mirrors


def combine(info: TrackInfo, number: Int64[ndarray, "T"], n_tracks: int) -> TrackInfo:
    """What tracks are, from what their tracklets are (by rows) and the track of each tracklet (-1 = none)."""
    used = np.flatnonzero(number >= 0)
    weight = np.zeros((n_tracks, len(TRACK_KINDS)))
    of_kind = info.probability[used] * info.n[used]
    np.add.at(weight, (number[used], info.kind[used]), of_kind)
    total = np.maximum(np.bincount(number[used], info.n[used], minlength=n_tracks), 1)
    first = np.full(n_tracks, np.iinfo(np.int64).max)
    last, n = np.full(n_tracks, -1), np.zeros(n_tracks, np.int64)
    np.minimum.at(first, number[used], info.first[used])
    np.maximum.at(last, number[used], info.last[used])
    np.add.at(n, number[used], info.n[used])
    kind = weight.argmax(axis=1)
    probability = weight[np.arange(n_tracks), kind] / total
    return TrackInfo(np.arange(n_tracks), kind, probability, np.where(n > 0, first, 0), np.maximum(last, 0), n)


def _count(
    counts: _Counts, tracks: Tracks, mirrors: tuple[Mirror, ...], swap: Int64[ndarray, "K"], body: _Body | None
) -> _Counts:
    """Add the rows of one span."""
    poses, known = tracks.poses, np.flatnonzero(tracks.track >= 0)
    size = max(tracks.n_tracks, len(counts.n))
    first = np.r_[counts.first, np.full(size - len(counts.n), np.iinfo(np.int64).max)]
    rest = [np.r_[c, np.zeros(size - len(c), np.int64)] for c in counts if c is not counts.first]
    n, last, behind, matched, double = rest
    track = tracks.track[known]
    np.minimum.at(first, track, poses.frame[known])
    np.maximum.at(last, track, poses.frame[known])
    is_matched, is_behind = np.zeros(len(poses), np.bool_), np.zeros(len(poses), np.bool_)
    for mirror in mirrors:
        hit = has_partner(mirror, poses, swap)
        is_matched |= hit
        is_behind |= hit | (depth_of(mirror, poses.xy) > 0)
    is_double = _doubles(poses, body) if body is not None else is_matched & False
    for total, rows in ((behind, is_behind), (matched, is_matched), (double, is_double)):
        total += np.bincount(track[rows[known]], minlength=size)
    return _Counts(n + np.bincount(track, minlength=size), first, last, behind, matched, double)


def _reflection_probability(counts: _Counts, share: float, chance: float) -> Float64[ndarray, "C"]:
    """Posterior of what lies behind walls: an image whose animal is seen, one whose animal is hidden, or an animal.

    Args:
        counts: rows of each tracklet.
        share: of the rows behind walls that have a partner; of the tracklets that have none, as many are taken to be
            images (their animal is hidden or was not found), the others to be animals.
        chance: share that would have one by chance.

    How often the partner of an image is seen is learned by expectation maximization.
    """
    weight = np.minimum(counts.n, ROWS_COUNT[0] + ROWS_COUNT[1] * counts.n) / np.maximum(counts.n, 1)
    chance, share = float(np.clip(chance, 1e-3, 0.5)), float(np.clip(share, 0.5, SURE))
    found = 0.9
    posterior = np.zeros(len(counts.n))
    for _ in range(LEARN_ROUNDS):
        seen = counts.matched * np.log(found / chance)
        seen += (counts.behind - counts.matched) * np.log((1 - found) / (1 - chance))
        evidence = np.logaddexp(np.log(share) + seen * weight, np.log(share * (1 - share)))
        evidence += (counts.n - counts.behind) * np.log(BEFORE_WALL) * weight
        odds = -2 * np.log(1 - share) + np.clip(evidence, -MAX_EVIDENCE, MAX_EVIDENCE)
        posterior = np.where(counts.behind > 0, 1 / (1 + np.exp(-odds)), 0.0)
        sure = weight * posterior * (counts.matched > 0)
        found = float(((counts.matched * sure).sum() + 1.8) / ((counts.behind * sure).sum() + 2))
        found = float(np.clip(found, chance + 0.01, SURE))
    return np.minimum(posterior, SURE)


class _Body(NamedTuple):
    """One animal's shape: body length, px; the smallest and largest distance of each pair of keypoints."""

    length: float
    low: Float64[ndarray, "K K"]
    high: Float64[ndarray, "K K"]


def _learn_body(parts: Parts) -> _Body | None:
    """From rows that have nearly all keypoints; None = too few to tell halves from wholes."""
    some: list[ndarray] = []
    for tracks in parts():
        seen = np.isfinite(tracks.poses.xy[..., 0]).sum(axis=1)
        whole = np.flatnonzero(seen >= max(2, 0.85 * tracks.poses.n_keypoints))
        some.append(tracks.poses.xy[whole[:: max(1, len(whole) // 500)]])
        if sum(map(len, some)) > 5000:
            some = [np.concatenate(some)[::2]]
    xy = np.concatenate(some).astype(np.float64) if some else np.zeros((0, 1, 2))
    length = body_length(xy)
    if len(xy) < MIN_WHOLE or not np.isfinite(length):
        return None
    distance = np.linalg.norm(xy[:, :, None] - xy[:, None], axis=-1)
    low, high = np.nanquantile(distance, HALF_QUANTILES, axis=0)
    return _Body(length, 0.85 * low - 0.05 * length, 1.1 * high + 0.05 * length)


def _doubles(poses: Poses, body: _Body) -> Bool[ndarray, "M"]:
    """Rows that are what a larger row of their frame is already, or lacks."""
    xy = poses.xy.astype(np.float64)
    size = np.isfinite(xy[..., 0]).sum(axis=1)
    middle = np.where(np.isfinite(xy), xy, 0).sum(axis=1) / np.maximum(size, 1)[:, None]
    rank = size + poses.score  # larger first; of the same size the surer one
    double = np.zeros(len(poses), np.bool_)
    for small, large in row_pairs(poses.frame, np.flatnonzero(size > 0)):
        later = (rank[small] < rank[large]) | ((rank[small] == rank[large]) & (small > large))
        near = np.linalg.norm(middle[small] - middle[large], axis=1) < REACH * body.length
        keep = later & near & (size[large] > 0)
        double[_same_body(xy, small[keep], large[keep], body)] = True
    return double


def _same_body(
    xy: Float64[ndarray, "M K 2"], small: Int64[ndarray, "Q"], large: Int64[ndarray, "Q"], body: _Body
) -> Int64[ndarray, "q"]:
    """Those of ``small`` that are the same animal as their ``large``."""
    a, b = xy[small], xy[large]
    apart = np.linalg.norm(a - b, axis=-1)
    shared = np.isfinite(apart).sum(axis=1)
    typical = np.where(shared > 0, np.where(np.isfinite(apart), apart, 0).sum(axis=1) / np.maximum(shared, 1), np.inf)
    same = (shared >= 2) & (typical < SAME * body.length)
    halves = np.flatnonzero((shared <= 1) & ((shared == 0) | (typical < SAME * body.length)))
    across = np.linalg.norm(a[halves][:, :, None] - b[halves][:, None], axis=-1)
    n = np.isfinite(across).sum(axis=(1, 2))
    fits = ((across >= body.low) & (across <= body.high)).sum(axis=(1, 2))
    same[halves] = (n > 0) & (fits >= FITTING * n)
    return small[same]


def tracklets_of(tracklets: Tracks, info: TrackInfo, kinds: tuple[int, ...]) -> Tracks:
    """The same rows; those of tracklets of other kinds belong to none."""
    known = tracklets.track >= 0
    wanted = np.isin(info.kind, kinds)
    track = np.where(known, tracklets.track, -1)
    track[known] = np.where(wanted[tracklets.track[known]], tracklets.track[known], -1)
    return Tracks(tracklets.poses, track)


def most_at_once(parts: Parts, info: TrackInfo, kind: int) -> int:
    """How many tracklets of one kind are seen in one frame, but for the fullest hundredth of the frames."""
    per_frame: list[ndarray] = [np.zeros(0, np.int64)]
    for tracks in parts():
        own = tracklets_of(tracks, info, (kind,))
        frames = own.poses.frame[own.track >= 0]
        per_frame.append(np.bincount(frames - own.span[0], minlength=own.span[1] - own.span[0]))
    count = np.concatenate(per_frame)
    return int(np.quantile(count, 0.99, method="higher")) if len(count) else 0
