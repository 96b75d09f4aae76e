"""Peaks -> animals: each peak joins at most one animal, each animal has at most one peak per keypoint."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (numba and scipy come without types)

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from shoal.config.assemble import AssembleConfig
from shoal.stages.shape import ShapeModel, limb_plausibility
from shoal.types import Detections, Poses

VERSION = 4

DOUBT = 0.5  # affinity of a limb that contradicts better ones counts this much
GHOST_SHARE, GHOST_SCORE = 0.7, 0.5
IMPLAUSIBLE = 1e-3  # a limb whose length is less likely than this in an animal loses affinity in proportion
NO_LIMIT = np.iinfo(np.int64).max


def assemble(
    detections: Detections,
    edges: Int64[ndarray, "E 2"],
    config: AssembleConfig,
    *,
    n_keypoints: int,
    shapes: ShapeModel | None = None,
) -> tuple[Poses, Int64[ndarray, "M K"]]:
    """Group the peaks of each frame into animals.

    Limb candidates speak for two peaks being of one animal where their affinity exceeds ``min_affinity``, and against
    it where it does not or where the network saw none; groups merge by the sum of what all limbs between them say,
    then exchange keypoints while that fits better (``kernels/group.py``); with ``adopt`` a peak left over joins an
    animal that lacks its keypoint and that a limb speaks for. Frames do not influence each other. Where the network
    has an identity head, its scores at the two ends of a limb speak, too.

    Args:
        detections: peaks and limb candidates. Limbs that name an absent peak are ignored.
        edges: (E, 2) keypoints that each value of ``detections.edge`` connects.
        config: thresholds.
        n_keypoints: K. Peaks of later keypoints are unique ones and belong to no animal (``pick_unique``).
        shapes: from the labels: limbs of a length that no animal has lose affinity; None = any length may be.

    Returns:
        The animals, items numbered by descending score, and (M, K) the row in ``detections`` of each
        keypoint's peak, -1 = missing.

    Raises:
        ValueError: a peak's keypoint is negative or an edge lies outside 0 to K - 1.

    >>> poses, rows = assemble(Detections.empty((0, 5)), np.array([[0, 1]]), AssembleConfig(), n_keypoints=2)
    >>> len(poses), rows.shape
    (0, (0, 2))
    """
    edges = np.asarray(edges, np.int64).reshape(-1, 2)
    _check_indices(detections, edges, n_keypoints)
    confidence = detections.confidence.astype(np.float64)
    usable = (confidence >= config.min_confidence) & np.isfinite(detections.xy).all(axis=1)
    usable &= detections.keypoint < n_keypoints
    limit = config.max_animals or NO_LIMIT
    if config.identity_only and detections.identity.shape[1]:
        frame, rows, score = _named_peaks(detections, usable, confidence, config, n_keypoints)
    elif n_keypoints == 1:
        frame, rows, score = _single_peaks(detections, usable, confidence, limit)
    elif not len(edges) and config.max_animals == 1:
        frame, rows, score = _best_peaks(detections, detections.frame, usable, confidence, n_keypoints)
    else:
        frame, rows, score = _grouped_peaks(detections, usable, confidence, edges, config, n_keypoints, shapes)
    sure = score >= config.min_score
    frame, rows, score = frame[sure], rows[sure], score[sure]
    return _poses(detections, frame, rows, score, confidence), rows


def _check_indices(detections: Detections, edges: Int64[ndarray, "E 2"], n_keypoints: int) -> None:
    if edges.size and (edges.min() < 0 or edges.max() >= n_keypoints):
        raise ValueError(f"assemble: expected edges in 0-{n_keypoints - 1}, got {edges.min()}-{edges.max()}")
    if len(detections) and detections.keypoint.min() < 0:
        raise ValueError(f"assemble: expected keypoints from 0 on, got {detections.keypoint.min()}")


def _poses(
    detections: Detections,
    frame: Int64[ndarray, "M"],
    rows: Int64[ndarray, "M K"],
    score: Float64[ndarray, "M"],
    confidence: Float64[ndarray, "P"],
) -> Poses:
    """Look up positions and confidences of the grouped peaks; items count from 0 in every frame."""
    present = rows >= 0
    xy = np.full((*rows.shape, 2), np.nan, np.float32)
    xy[present] = detections.xy[rows[present]]
    shown = np.zeros(rows.shape, np.float32)
    shown[present] = confidence[rows[present]]
    return Poses(frame, _number_within(frame), xy, shown, score, detections.span)


def _number_within(frame: Int64[ndarray, "M"]) -> Int64[ndarray, "M"]:
    """0, 1, 2, ... restarting at every new frame."""
    if not len(frame):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.r_[True, frame[1:] != frame[:-1]])
    return np.arange(len(frame)) - np.repeat(starts, np.diff(np.r_[starts, len(frame)]))


def _single_peaks(
    detections: Detections, usable: Bool[ndarray, "P"], confidence: Float64[ndarray, "P"], limit: int
) -> tuple[Int64[ndarray, "M"], Int64[ndarray, "M 1"], Float64[ndarray, "M"]]:
    """K = 1: every peak is an animal, best first."""
    rows = np.flatnonzero(usable)
    x, y = detections.xy[rows].T
    rows = rows[np.lexsort((y, x, -confidence[rows], detections.frame[rows]))]
    rows = rows[_number_within(detections.frame[rows]) < limit]
    return detections.frame[rows], rows[:, None], np.clip(confidence[rows], 0, 1)


def _best_peaks(
    detections: Detections,
    group: Int64[ndarray, "P"],
    usable: Bool[ndarray, "P"],
    confidence: Float64[ndarray, "P"],
    n_keypoints: int,
) -> tuple[Int64[ndarray, "M"], Int64[ndarray, "M K"], Float64[ndarray, "M"]]:
    """The highest peak of every keypoint in each group: DLC's rule for single animals (group = frame)."""
    picked = np.flatnonzero(usable)
    groups, index = np.unique(group[picked], return_inverse=True)
    rows = np.full((len(groups), n_keypoints), -1)
    x, y = detections.xy[picked].T
    ascending = np.lexsort((-y, -x, confidence[picked]))  # the best is written last
    rows[index[ascending], detections.keypoint[picked][ascending]] = picked[ascending]
    score = np.where(rows >= 0, confidence[rows], 0.0).mean(axis=1) if len(groups) else np.zeros(0)
    return groups, rows, np.clip(score, 0, 1)


def _named_peaks(
    detections: Detections,
    usable: Bool[ndarray, "P"],
    confidence: Float64[ndarray, "P"],
    config: AssembleConfig,
    n_keypoints: int,
) -> tuple[Int64[ndarray, "M"], Int64[ndarray, "M K"], Float64[ndarray, "M"]]:
    """No limbs: of each named individual the highest peak of every keypoint that looks most like it."""
    n_named = detections.identity.shape[1]
    group = detections.frame * n_named + detections.identity.argmax(axis=1)
    key, rows, score = _best_peaks(detections, group, usable, confidence, n_keypoints)
    enough = (rows >= 0).sum(axis=1) >= min(config.min_keypoints, n_keypoints)
    order = np.flatnonzero(enough)[np.lexsort((key[enough], -score[enough], key[enough] // n_named))]
    frame = key[order] // n_named
    kept = _number_within(frame) < (config.max_animals or NO_LIMIT)
    return frame[kept], rows[order][kept], score[order][kept]


def pick_unique(detections: Detections, config: AssembleConfig, *, n_keypoints: int, n_unique: int) -> Poses:
    """The keypoints that exist once per frame: the highest peak of each.

    Args:
        detections: peaks; keypoints from ``n_keypoints`` on are the unique ones.
        config: ``min_confidence``.
        n_keypoints: K of the animals.
        n_unique: U.

    Returns:
        One row of U keypoints per frame that shows any.
    """
    confidence = detections.confidence.astype(np.float64)
    usable = (confidence >= config.min_confidence) & np.isfinite(detections.xy).all(axis=1)
    usable &= (detections.keypoint >= n_keypoints) & (detections.keypoint < n_keypoints + n_unique)
    frame, rows, score = _best_peaks(detections, detections.frame, usable, confidence, n_keypoints + n_unique)
    return _poses(detections, frame, rows[:, n_keypoints:], score, confidence)


def name_animals(
    detections: Detections, frame: Int64[ndarray, "M"], rows: Int64[ndarray, "M K"]
) -> tuple[Int64[ndarray, "M"], Float64[ndarray, "M I"]]:
    """Which named individual each animal looks like, by the identity head; every name at most once per frame.

    Args:
        detections: peaks with ``identity``.
        frame: (M,) of each animal.
        rows: (M, K) its peaks, from ``assemble``.

    Returns:
        (M,) individual, -1 = no name left or no identity head; (M, I) mean over the animal's keypoints of confidence
        times identity score, DLC's weight for the assignment.
    """
    seen = rows >= 0
    weight = detections.confidence.astype(np.float64)[:, None] * detections.identity
    total = np.where(seen[..., None], weight[rows], 0.0).sum(axis=1) if len(weight) else np.zeros((len(rows), 0))
    score = total / np.maximum(seen.sum(axis=1), 1)[:, None]
    name = np.full(len(rows), -1)
    for f in np.unique(frame) if score.shape[1] else ():
        mine = np.flatnonzero(frame == f)
        i, j = linear_sum_assignment(score[mine], maximize=True)
        name[mine[i]] = j
    return name, score


def _grouped_peaks(
    detections: Detections,
    usable: Bool[ndarray, "P"],
    confidence: Float64[ndarray, "P"],
    edges: Int64[ndarray, "E 2"],
    config: AssembleConfig,
    n_keypoints: int,
    shapes: ShapeModel | None,
) -> tuple[Int64[ndarray, "M"], Int64[ndarray, "M K"], Float64[ndarray, "M"]]:
    from shoal.stages.kernels.assemble import group_frames

    limb, source, target = _links(detections, usable, edges)
    is_edge = np.zeros((n_keypoints, n_keypoints), np.bool_)
    is_edge[edges[:, 0], edges[:, 1]] = is_edge[edges[:, 1], edges[:, 0]] = True
    affinity = detections.affinity[limb].astype(np.float64)
    if shapes is not None:
        length = np.linalg.norm(detections.xy[source].astype(np.float64) - detections.xy[target], axis=1)
        likely = limb_plausibility(shapes, detections.keypoint[source], detections.keypoint[target], length)
        affinity *= np.minimum(likely / IMPLAUSIBLE, 1.0)
    frames, first = np.unique(detections.frame, return_index=True)
    index, rows, score = group_frames(
        np.r_[first, len(detections)],
        np.r_[np.searchsorted(detections.limb_frame[limb], frames), len(limb)],
        detections.keypoint.astype(np.int64), detections.xy.astype(np.float64), confidence,
        detections.edge[limb].astype(np.int64), source, target, affinity, _identity(detections),
        edges, is_edge,
        (config.min_affinity, DOUBT, config.identity_weight, config.min_affinity if config.adopt else np.inf),
        min(config.min_keypoints, n_keypoints), config.max_animals or NO_LIMIT,
        (config.duplicate_overlap, config.duplicate_distance, GHOST_SHARE, GHOST_SCORE),
    )  # fmt: skip
    return frames[index], rows, score


def _identity(detections: Detections) -> Float64[ndarray, "P I"]:
    """Identity scores as shares; no columns where fewer than two individuals are told apart."""
    share = detections.identity.astype(np.float64)
    if share.shape[1] < 2:
        return share[:, :0]
    share = np.nan_to_num(np.clip(share, 1e-6, None), nan=1e-6)
    return share / share.sum(axis=1, keepdims=True)


def _links(
    detections: Detections, usable: Bool[ndarray, "P"], edges: Int64[ndarray, "E 2"]
) -> tuple[Int64[ndarray, "N"], Int64[ndarray, "N"], Int64[ndarray, "N"]]:
    """Limb candidates worth using: their rows, and the peak rows of their two ends."""
    n_peaks = len(detections)
    strong = (detections.affinity > 0) & (detections.edge >= 0) & (detections.edge < len(edges))
    limb = np.flatnonzero(strong)
    if not n_peaks or not len(limb):
        return np.zeros((3, 0), np.int64)[0], np.zeros(0, np.int64), np.zeros(0, np.int64)
    source, found_source = _find_peaks(detections, detections.limb_frame[limb], detections.source[limb])
    target, found_target = _find_peaks(detections, detections.limb_frame[limb], detections.target[limb])
    ends = edges[detections.edge[limb]]
    good = found_source & found_target & usable[source] & usable[target]
    good &= (detections.keypoint[source] == ends[:, 0]) & (detections.keypoint[target] == ends[:, 1])
    return limb[good], source[good], target[good]


def _find_peaks(
    detections: Detections, frame: Int64[ndarray, "N"], number: Int64[ndarray, "N"]
) -> tuple[Int64[ndarray, "N"], Bool[ndarray, "N"]]:
    """Row of each (frame, peak number), and whether there is such a peak."""
    first = np.searchsorted(detections.frame, frame)
    row = np.clip(first + number, 0, len(detections) - 1)  # numbers run from 0 without holes, as a rule
    found = (detections.frame[row] == frame) & (detections.number[row] == number)
    if not found.all():
        key = detections.frame * 2**16 + detections.number
        sought = frame[~found] * 2**16 + number[~found]
        row[~found] = np.minimum(np.searchsorted(key, sought), len(key) - 1)
        found = (detections.frame[row] == frame) & (detections.number[row] == number)
    return row, found
