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
"""Peaks further apart than this (body lengths) are never linked."""

REFLECTION_PERSISTENCE = 0.97
"""Correlation, from frame to frame, of whether a reflection is taken for a fish."""


@dataclass(frozen=True)
class NoiseTable:
    """Error rates of a network; lengths in body lengths, distributions as 11 quantiles (0, 10, ... 100 %).

    Attributes:
        source: which network on which frames; "not fitted" if the numbers are guesses.
        edges: limbs of that network, as keypoint indices: more than the skeleton's, and better at telling fish apart.
        miss_clear: (K,) chance to miss a visible keypoint of a fish that touches no other.
        miss_crowded: (K,) the same for a fish that touches another.
        miss_covered: (K,) chance that nothing is found at a keypoint under another fish.
        jitter: (K,) standard deviation per axis of a found keypoint.
        outlier: share of found keypoints whose error is ``outlier_scale`` times larger.
        outlier_scale: see ``outlier``.
        persistence: correlation of a keypoint's error, and of its being missed, from frame to frame.
        false_peaks: (K,) per frame, at nothing.
        false_near: share of false peaks that lie within a body length of a fish, and move with it.
        false_life: frames that a false peak lasts on average.
        merge: same keypoints of two animals nearer than this become one peak.
        reflection: (K,) chance that a visible reflected keypoint is found.
        confidence_clear: of found keypoints of free fish.
        confidence_crowded: of found keypoints of touching or covered fish.
        confidence_false: of false peaks.
        limb_width: of the field of limbs, see ``ideal_affinity``.
        affinity_right: of limbs within an animal, less the ideal one.
        affinity_wrong: of pairs of peaks of two animals, less the ideal one.
        affinity_reflection: of limbs within a reflection: near 1 if the network has learned reflections as animals.
        link_false: chance that a false peak is linked with another peak within reach that is not false.
        affinity_false: of such links, less the ideal one.
        link_ghost: chance that two false peaks within reach are linked.
        affinity_ghost: of such links, less the ideal one.
    """

    source: str
    edges: tuple[tuple[int, int], ...]
    miss_clear: tuple[float, ...]
    miss_crowded: tuple[float, ...]
    miss_covered: tuple[float, ...]
    jitter: tuple[float, ...]
    outlier: float
    outlier_scale: float
    persistence: float
    false_peaks: tuple[float, ...]
    false_near: float
    false_life: float
    merge: float
    reflection: tuple[float, ...]
    confidence_clear: tuple[float, ...]
    confidence_crowded: tuple[float, ...]
    confidence_false: tuple[float, ...]
    limb_width: float
    affinity_right: tuple[float, ...]
    affinity_wrong: tuple[float, ...]
    affinity_reflection: tuple[float, ...]
    link_false: float
    affinity_false: tuple[float, ...]
    link_ghost: float
    affinity_ghost: tuple[float, ...]


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
    columns["edges"] = tuple((int(a), int(b)) for a, b in columns["edges"])
    return NoiseTable(**columns)


def save_noise(path: Path, table: NoiseTable) -> None:
    """Write a table."""
    path.write_text(json.dumps(asdict(table), indent=1) + "\n")


@dataclass(frozen=True, eq=False)
class _Peaks:
    """Peaks before numbering; owners: fish, fish + N * (wall + 1) for reflections, -2 and less: one per false peak."""

    frame: Int64[ndarray, "P"]
    keypoint: Int64[ndarray, "P"]
    xy: Float64[ndarray, "P 2"]
    confidence: Float64[ndarray, "P"]
    owner: Int64[ndarray, "P"]
    second: Int64[ndarray, "P"]

    def take(self, rows: ndarray) -> _Peaks:
        return _Peaks(*(getattr(self, f.name)[rows] for f in fields(self)))


def noisy_detections(
    truth: Truth,
    *,
    seed: int,
    edges: Int64[ndarray, "E 2"] | Sequence[Sequence[int]] | None = None,
    table: NoiseTable | None = None,
) -> Detections:
    """True keypoints -> detections with misses, jitter, false peaks, merges and limbs, right and wrong.

    Args:
        truth: of a video.
        seed: of the errors.
        edges: limbs, as keypoint indices; None = the table's.
        table: rates; None = the shipped table.

    >>> from shoal.synthetic.dataset import make_truth
    >>> from shoal.synthetic.scenes import SCENES
    >>> truth = make_truth(SCENES["zebra"], seed=1, n_frames=5)
    >>> noisy_detections(truth, seed=1).span
    (0, 5)
    """
    rng = np.random.default_rng(seed)
    table = load_noise() if table is None else table
    edges = np.asarray(table.edges if edges is None else edges, np.int64).reshape(-1, 2)
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
    limbs = _limbs(peaks, truth, edges, table, rng, length)
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


def _value(quantiles: Sequence[float], luck: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
    """What stands at these places (0-1) of a distribution."""
    return np.interp(luck, np.linspace(0, 1, len(quantiles)), quantiles)


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
    height = ndtr(_persistent(rng, shape, table.persistence))[found]
    hard = (touched | covered)[found]
    confidence = np.where(hard, _value(table.confidence_crowded, height), _value(table.confidence_clear, height))
    return _Peaks(frame + truth.span[0], keypoint, xy, confidence, fish, np.full(len(frame), -1))


def _reflected_peaks(truth: Truth, table: NoiseTable, rng: np.random.Generator) -> _Peaks:
    """Reflections are seen and missed for a while, as a whole rather than keypoint by keypoint."""
    poses = truth.reflections.poses
    start, stop = truth.span
    n, k = len(truth.names), truth.skeleton.n_keypoints
    images = int(truth.reflections.track.max(initial=-1)) + 1
    whole = _persistent(rng, (stop - start, images, 1), REFLECTION_PERSISTENCE)
    each = _persistent(rng, (stop - start, images, k), table.persistence)
    luck = ndtr((whole + each) / np.sqrt(2))[poses.frame - start, truth.reflections.track]
    seen = np.isfinite(poses.xy).all(-1) & (luck < np.array(table.reflection))
    row, keypoint = np.nonzero(seen)
    sigma = (1.5 * np.array(table.jitter)[keypoint] * truth.lengths[truth.reflections.track[row] % n])[:, None]
    xy = poses.xy[row, keypoint] + sigma * rng.standard_normal((len(row), 2))
    confidence = _value(table.confidence_crowded, rng.random(len(row)))
    owner = truth.reflections.track[row].astype(np.int64) + n
    return _Peaks(poses.frame[row], keypoint, xy, confidence, owner, np.full(len(row), -1))


def _false_peaks(truth: Truth, table: NoiseTable, rng: np.random.Generator, length: float) -> _Peaks:
    """Each is born, stays where it is (or beside its fish) for a while, and is an animal of its own: nobody's."""
    start, stop = truth.span
    n, k = len(truth.names), truth.skeleton.n_keypoints
    rate, life = np.array(table.false_peaks), max(table.false_life, 1.0)
    born = rng.poisson(rate / life, (stop - start, k))
    if stop > start:
        born[0] = rng.poisson(rate)
    birth, keypoint = np.divmod(np.repeat(np.arange(born.size), born.ravel()), k)
    total = len(birth)
    lasts = np.minimum(rng.geometric(1 / life, total), stop - start - birth)
    place, height = rng.random((total, 2)) * np.array(truth.size), rng.standard_normal(total)
    angle, radius = rng.uniform(0, 2 * np.pi, total), length * np.sqrt(rng.random(total))
    beside = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    host = np.where(rng.random(total) < table.false_near, rng.integers(0, max(n, 1), total), -1)
    peak = np.repeat(np.arange(total), lasts)
    frame = birth[peak] + np.arange(len(peak)) - np.repeat(np.cumsum(lasts) - lasts, lasts)
    xy = place[peak]
    if n:
        middle = truth.full_xy.reshape(stop - start, n, k, 2).mean(axis=2)
        near = host[peak] >= 0
        xy[near] = middle[frame[near], host[peak[near]]] + beside[peak[near]]
    xy = np.clip(xy, 0, np.array(truth.size) - 0.01)
    weight = table.persistence
    luck = ndtr(weight * height[peak] + np.sqrt(1 - weight**2) * rng.standard_normal(len(peak)))
    order = np.lexsort((peak, keypoint[peak], frame))
    peak, frame, xy = peak[order], frame[order], xy[order]
    confidence = _value(table.confidence_false, luck[order])
    return _Peaks(frame + start, keypoint[peak], xy, confidence, -2 - peak, np.full(len(peak), -1))


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
    peaks: _Peaks, truth: Truth, edges: ndarray, table: NoiseTable, rng: np.random.Generator, length: float
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """(edge, source row, target row, affinity), sorted by (frame, edge, source, target); peaks sorted.

    A network learns the field of limbs: pairs of peaks get its integral along their line, whoever they belong to,
    with an error that lasts as those of the keypoints do. Only false peaks have limbs where no fish is.
    """
    n, width = len(truth.names), table.limb_width * length
    n_frames = truth.span[1] - truth.span[0]
    parts: list[tuple[ndarray, ...]] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for e, (a, b) in enumerate(edges):
        source, target = near_pairs(
            peaks.frame, peaks.xy, peaks.keypoint == a, peaks.keypoint == b, LIMB_REACH * length
        )
        frame = peaks.frame[source] - truth.span[0]
        ideal = ideal_affinity(truth, (int(a), int(b)), peaks.xy[source], peaks.xy[target], frame, width)
        left = np.stack([peaks.owner[source], peaks.second[source]], 1)
        right = np.stack([peaks.owner[target], peaks.second[target]], 1)
        alike = (left[:, :, None] == right[:, None]) & (left[:, :, None] != -1)
        same = alike.any((1, 2))
        fish = np.where(alike[:, 0].any(1), left[:, 0], left[:, 1])  # whose limb it is, where it is one
        own = ndtr(_persistent(rng, (n_frames, max(n, 1)), table.persistence))
        both = ndtr(_persistent(rng, (n_frames, max(n, 1), max(n, 1)), table.persistence))
        i, j = left[:, 0] % max(n, 1), right[:, 0] % max(n, 1)
        real = (left[:, 0] >= 0) & (right[:, 0] >= 0) & (left[:, 0] < n) & (right[:, 0] < n)
        ghost = (left[:, 0] < 0) & (right[:, 0] < 0)
        chance, height = _fixed_luck(left[:, 0], right[:, 0], e, int(rng.integers(1 << 62)))
        error = np.where(ghost, _value(table.affinity_ghost, height), _value(table.affinity_false, height))
        error = np.where(chance < np.where(ghost, table.link_ghost, table.link_false), error, 0.0)
        error = np.where(real, _value(table.affinity_wrong, both[frame, i, j]), error)
        luck = own[frame, fish % max(n, 1)]
        affinity = ideal + np.where(same, _value(table.affinity_right, luck), error)
        affinity = np.where(same & (fish >= n), _value(table.affinity_reflection, luck), affinity)
        keep = affinity > MIN_AFFINITY
        source, target, affinity = source[keep], target[keep], affinity[keep]
        order = np.lexsort((-affinity, source))
        rank = np.arange(len(order)) - np.searchsorted(source[order], source[order])
        chosen = np.sort(order[rank < MAX_LIMBS])
        parts.append((np.full(len(chosen), e), source[chosen], target[chosen], affinity[chosen]))
    edge, source, target, affinity = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((target, source, edge, peaks.frame[source]))
    return edge[order], source[order], target[order], affinity[order]


def ideal_affinity(
    truth: Truth,
    edge: tuple[int, int],
    source: Float64[ndarray, "n 2"],
    target: Float64[ndarray, "n 2"],
    frame: Int64[ndarray, "n"],
    width: float,
) -> Float64[ndarray, "n"]:
    """What a perfect network would say of pairs of points: the mean of the limb field along their line.

    The field of a limb (Cao et al., CVPR 2017) points from its first keypoint to its second; here it fades out beside
    the limb with a Gaussian of standard deviation ``width``. Of several fish the nearest counts.

    Args:
        truth: of the video.
        edge: keypoints of the limb.
        source: where the lines begin, px.
        target: where they end.
        frame: of each line, counted from the first frame of the truth.
        width: px, see above.
    """
    from shoal.synthetic.raster import limb_integral

    shape = (truth.span[1] - truth.span[0], len(truth.names), truth.skeleton.n_keypoints, 2)
    ends = truth.full_xy.reshape(shape)[:, :, list(edge)].astype(np.float64)
    return limb_integral(ends, source, target, frame, width)


def _fixed_luck(
    left: Int64[ndarray, "n"], right: Int64[ndarray, "n"], edge: int, seed: int
) -> tuple[Float64[ndarray, "n"], Float64[ndarray, "n"]]:
    """Two numbers from 0 to 1 per pair of owners, the same in all frames (the mixing of splitmix64)."""
    state = np.uint64(seed) + left.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state ^= right.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(edge)
    lucks: list[ndarray] = []
    for _ in range(2):
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
        lucks.append((state >> np.uint64(11)) / float(1 << 53))
    return lucks[0], lucks[1]


def near_pairs(
    frame: Int64[ndarray, "P"],
    xy: Float64[ndarray, "P 2"],
    is_left: Bool[ndarray, "P"],
    is_right: Bool[ndarray, "P"],
    reach: float,
) -> tuple[Int64[ndarray, "n"], Int64[ndarray, "n"]]:
    """Rows of all pairs of one frame that are nearer than ``reach`` px; rows are sorted by frame."""
    source, target = _pairs(frame, np.flatnonzero(is_left), np.flatnonzero(is_right))
    near = np.hypot(*(xy[source] - xy[target]).T) < reach
    return source[near], target[near]


def _pairs(frame: ndarray, left: ndarray, right: ndarray) -> tuple[ndarray, ndarray]:
    """All pairs of rows of one frame; left and right are increasing rows of a table sorted by frame."""
    low = np.searchsorted(frame[right], frame[left], side="left")
    count = np.searchsorted(frame[right], frame[left], side="right") - low
    source = np.repeat(left, count)
    offset = np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
    return source, right[np.repeat(low, count) + offset] if len(source) else np.zeros(0, np.int64)
