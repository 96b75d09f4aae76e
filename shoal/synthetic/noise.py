"""What a network would have seen: true keypoints with the errors that a real one makes.

The errors are described by a table (``noise.json``), fitted by ``bench/fit_noise.py`` to a trained network on
frames that it had not learned from. Trackers and stitchers can so be tested on hours of detections in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from scipy.signal import lfilter
from scipy.spatial import KDTree
from scipy.special import ndtr

from shoal.synthetic.truth import Truth
from shoal.types import Detections, body_length

TABLE = Path(__file__).with_name("noise.json")
MAX_LIMBS = 3
"""Limb candidates kept per source peak and edge, as in prediction."""

MIN_AFFINITY = 0.05
"""Weaker limbs are not stored, as in prediction."""

LIMB_REACH = 1.3
"""Peaks of different animals further apart than this (body lengths) are never linked."""


@dataclass(frozen=True)
class NoiseTable:
    """Error rates of a network; lengths in body lengths, distributions as 11 quantiles (0, 10, ... 100 %).

    Attributes:
        source: which network on which frames; "not fitted" if the numbers are guesses.
        miss_clear: (K,) chance to miss a visible keypoint of a fish that touches no other.
        miss_crowded: (K,) the same for a fish that touches another.
        miss_covered: (K,) chance that nothing is found at a keypoint under another fish.
        jitter: (K,) standard deviation per axis of a found keypoint.
        outlier: share of found keypoints whose error is ``outlier_scale`` times larger.
        outlier_scale: see ``outlier``.
        persistence: correlation of a keypoint's error, and of its being missed, from frame to frame.
        false_peaks: (K,) per frame, at nothing.
        false_near: share of false peaks that lie within a body length of a fish.
        merge: same keypoints of two animals nearer than this become one peak.
        reflection: (K,) chance that a visible reflected keypoint is found.
        confidence_clear: of found keypoints of free fish.
        confidence_crowded: of found keypoints of touching or covered fish.
        confidence_false: of false peaks.
        affinity_right: of limbs within an animal.
        link_wrong: chance that two peaks of different animals within reach are linked at all.
        affinity_wrong: of such limbs.
    """

    source: str
    miss_clear: tuple[float, ...]
    miss_crowded: tuple[float, ...]
    miss_covered: tuple[float, ...]
    jitter: tuple[float, ...]
    outlier: float
    outlier_scale: float
    persistence: float
    false_peaks: tuple[float, ...]
    false_near: float
    merge: float
    reflection: tuple[float, ...]
    confidence_clear: tuple[float, ...]
    confidence_crowded: tuple[float, ...]
    confidence_false: tuple[float, ...]
    affinity_right: tuple[float, ...]
    link_wrong: float
    affinity_wrong: tuple[float, ...]


def load_noise(path: Path = TABLE) -> NoiseTable:
    """Read a table.

    Raises:
        ValueError: columns are missing or unknown.
    """
    data = json.loads(path.read_text())
    wanted = {f.name for f in fields(NoiseTable)}
    if set(data) != wanted:
        raise ValueError(f"noise table: expected columns {sorted(wanted)}, got {sorted(data)}\nwhere: {path}")
    columns: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return NoiseTable(**columns)


def save_noise(path: Path, table: NoiseTable) -> None:
    """Write a table."""
    path.write_text(json.dumps(asdict(table), indent=1) + "\n")


@dataclass(frozen=True, eq=False)
class _Peaks:
    """Peaks before numbering; owners: fish, fish + N * (wall + 1) for reflections, negative for none."""

    frame: Int64[ndarray, "P"]
    keypoint: Int64[ndarray, "P"]
    xy: Float64[ndarray, "P 2"]
    confidence: Float64[ndarray, "P"]
    owner: Int64[ndarray, "P"]
    second: Int64[ndarray, "P"]

    def take(self, rows: ndarray) -> _Peaks:
        return _Peaks(*(getattr(self, f.name)[rows] for f in fields(self)))


def noisy_detections(
    truth: Truth, *, edges: Int64[ndarray, "E 2"] | Sequence[Sequence[int]], seed: int, table: NoiseTable | None = None
) -> Detections:
    """True keypoints -> detections with misses, jitter, false peaks, merges and limbs, right and wrong.

    Args:
        truth: of a video.
        edges: limbs, as keypoint indices.
        seed: of the errors.
        table: rates; None = the shipped table.

    >>> from shoal.synthetic.dataset import make_truth
    >>> from shoal.synthetic.scenes import SCENES, SKELETON
    >>> truth = make_truth(SCENES["zebra"], seed=1, n_frames=5)
    >>> noisy_detections(truth, edges=SKELETON.edges, seed=1).span
    (0, 5)
    """
    rng = np.random.default_rng(seed)
    table = load_noise() if table is None else table
    edges = np.asarray(edges, np.int64).reshape(-1, 2)
    length = body_length(truth.full_xy)
    parts = [
        _true_peaks(truth, table, rng),
        _reflected_peaks(truth, table, rng),
        _false_peaks(truth, table, rng, length),
    ]
    peaks = _Peaks(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(_Peaks)))
    peaks = _merge(peaks, table.merge * length)
    peaks = peaks.take(np.lexsort((-peaks.confidence, peaks.keypoint, peaks.frame)))
    first = np.searchsorted(peaks.frame, peaks.frame)
    number = np.arange(len(peaks.frame)) - first
    limbs = _limbs(peaks, edges, table, rng, length)
    return Detections(
        peaks.frame, number, peaks.keypoint, peaks.xy, peaks.confidence, peaks.frame[limbs[1]], limbs[0],
        number[limbs[1]], number[limbs[2]], limbs[3], np.zeros((len(number), 0)), truth.span,
    )  # fmt: skip


def crowded(truth: Truth) -> Bool[ndarray, "F N"]:
    """Which fish touch another, per frame."""
    start, stop = truth.span
    change = np.zeros((stop - start + 1, len(truth.names)), np.int64)
    c = truth.crossings
    for fish in (c.a, c.b):
        np.add.at(change, (c.first - start, fish), 1)
        np.add.at(change, (c.stop - start, fish), -1)
    return np.cumsum(change, 0)[:-1] > 0


def in_view(truth: Truth) -> Bool[ndarray, "M K"]:
    """Keypoints that are seen, or only hidden by another fish's body."""
    return np.isfinite(truth.tracks.poses.xy).all(-1) | (truth.covered & ~truth.hidden[:, None])


def _draw(rng: np.random.Generator, quantiles: Sequence[float], n: int) -> Float64[ndarray, "n"]:
    return np.interp(rng.random(n), np.linspace(0, 1, len(quantiles)), quantiles)


def _persistent(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> Float64[ndarray, "..."]:
    """Standard normal noise, correlated along the first axis (AR(1), stationary from its start)."""
    white = rng.standard_normal(shape)
    white[1:] *= np.sqrt(1 - correlation**2)
    return np.asarray(lfilter([1.0], [1.0, -correlation], white, axis=0))


def _true_peaks(truth: Truth, table: NoiseTable, rng: np.random.Generator) -> _Peaks:
    n, k = len(truth.names), truth.skeleton.n_keypoints
    n_frames = truth.span[1] - truth.span[0]
    shape = (n_frames, n, k)
    covered = truth.covered.reshape(shape)
    touched = np.broadcast_to(crowded(truth)[..., None], shape)
    miss = np.where(touched, np.array(table.miss_crowded), np.array(table.miss_clear))
    miss = np.where(covered, np.array(table.miss_covered), miss)
    luck = ndtr(_persistent(rng, shape, table.persistence))
    found = in_view(truth).reshape(shape) & (luck >= miss)
    sigma = np.array(table.jitter)[:, None] * truth.lengths.astype(np.float64)[:, None, None]
    error = _persistent(rng, (*shape, 2), table.persistence) * sigma
    error[rng.random(shape) < table.outlier] *= table.outlier_scale
    frame, fish, keypoint = np.nonzero(found)
    xy = (truth.full_xy.reshape(*shape, 2) + error)[found]
    hard = (touched | covered)[found]
    count = len(frame)
    confidence = np.where(hard, _draw(rng, table.confidence_crowded, count), _draw(rng, table.confidence_clear, count))
    return _Peaks(frame + truth.span[0], keypoint, xy, confidence, fish, np.full(count, -1))


def _reflected_peaks(truth: Truth, table: NoiseTable, rng: np.random.Generator) -> _Peaks:
    poses = truth.reflections.poses
    seen = np.isfinite(poses.xy).all(-1)
    seen &= rng.random(seen.shape) < np.array(table.reflection)
    row, keypoint = np.nonzero(seen)
    n = len(truth.names)
    sigma = (1.5 * np.array(table.jitter)[keypoint] * truth.lengths[truth.reflections.track[row] % n])[:, None]
    xy = poses.xy[row, keypoint] + sigma * rng.standard_normal((len(row), 2))
    confidence = _draw(rng, table.confidence_crowded, len(row))
    owner = truth.reflections.track[row].astype(np.int64) + n
    return _Peaks(poses.frame[row], keypoint, xy, confidence, owner, np.full(len(row), -1))


def _false_peaks(truth: Truth, table: NoiseTable, rng: np.random.Generator, length: float) -> _Peaks:
    start, stop = truth.span
    n = len(truth.names)
    count = rng.poisson(np.array(table.false_peaks), (stop - start, truth.skeleton.n_keypoints))
    cells = np.repeat(np.arange(count.size), count.ravel())
    frame, keypoint = np.divmod(cells, truth.skeleton.n_keypoints)
    total = len(frame)
    xy = rng.random((total, 2)) * np.array(truth.size)
    if total and n:
        host = truth.full_xy.reshape(-1, n, truth.skeleton.n_keypoints, 2)[frame, rng.integers(0, n, total)].mean(1)
        angle, radius = rng.uniform(0, 2 * np.pi, total), length * np.sqrt(rng.random(total))
        beside = host + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        xy = np.where((rng.random(total) < table.false_near)[:, None], beside, xy)
    xy = np.clip(xy, 0, np.array(truth.size) - 0.01)
    owner = -2 - np.arange(total)  # each false peak belongs to an animal of its own: to none
    return _Peaks(frame + start, keypoint, xy, _draw(rng, table.confidence_false, total), owner, np.full(total, -1))


def _merge(peaks: _Peaks, distance: float) -> _Peaks:
    """Peaks of one keypoint nearer than ``distance`` become the stronger one, halfway, owned by both."""
    far = 1e6
    where = np.column_stack([peaks.frame * far, peaks.keypoint * far, peaks.xy])
    if len(where) < 2 or distance <= 0:
        return peaks
    pairs = KDTree(where).query_pairs(distance, output_type="ndarray")
    order = np.argsort(peaks.confidence[pairs].max(1), kind="stable")[::-1]
    keep, xy, second = np.ones(len(where), bool), peaks.xy.copy(), peaks.second.copy()
    for i, j in pairs[order]:
        strong, weak = (i, j) if peaks.confidence[i] >= peaks.confidence[j] else (j, i)
        if keep[strong] and keep[weak]:
            keep[weak] = False
            xy[strong] = (peaks.xy[strong] + peaks.xy[weak]) / 2
            second[strong] = peaks.owner[weak]
    return _Peaks(peaks.frame, peaks.keypoint, xy, peaks.confidence, peaks.owner, second).take(np.flatnonzero(keep))


def _limbs(
    peaks: _Peaks, edges: ndarray, table: NoiseTable, rng: np.random.Generator, length: float
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """(edge, source row, target row, affinity), sorted by (frame, edge, source, target); peaks sorted."""
    parts: list[tuple[ndarray, ...]] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for e, (a, b) in enumerate(edges):
        source, target = _pairs(peaks.frame, np.flatnonzero(peaks.keypoint == a), np.flatnonzero(peaks.keypoint == b))
        left = np.stack([peaks.owner[source], peaks.second[source]], 1)
        right = np.stack([peaks.owner[target], peaks.second[target]], 1)
        same = ((left[:, :, None] == right[:, None]) & (left[:, :, None] != -1)).any((1, 2))
        near = np.linalg.norm(peaks.xy[source] - peaks.xy[target], axis=1) < LIMB_REACH * length
        wrong = ~same & near & (rng.random(len(source)) < table.link_wrong)
        affinity = np.where(
            same, _draw(rng, table.affinity_right, len(same)), _draw(rng, table.affinity_wrong, len(same))
        )
        keep = (same | wrong) & (affinity > MIN_AFFINITY)
        source, target, affinity = source[keep], target[keep], affinity[keep]
        order = np.lexsort((-affinity, source))
        rank = np.arange(len(order)) - np.searchsorted(source[order], source[order])
        chosen = np.sort(order[rank < MAX_LIMBS])
        parts.append((np.full(len(chosen), e), source[chosen], target[chosen], affinity[chosen]))
    edge, source, target, affinity = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((target, source, edge, peaks.frame[source]))
    return edge[order], source[order], target[order], affinity[order]


def _pairs(frame: ndarray, left: ndarray, right: ndarray) -> tuple[ndarray, ndarray]:
    """All pairs of rows of one frame; left and right are increasing rows of a table sorted by frame."""
    low = np.searchsorted(frame[right], frame[left], side="left")
    count = np.searchsorted(frame[right], frame[left], side="right") - low
    source = np.repeat(left, count)
    offset = np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
    return source, right[np.repeat(low, count) + offset] if len(source) else np.zeros(0, np.int64)
