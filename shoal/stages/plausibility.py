"""Which labeled-data folders look wrong: every folder's labels against those of the other folders.

Corrupted annotation (swapped sides, labels of another video or another resolution, shuffled keypoints) is
consistent inside a folder and odd beside the rest. All measures are medians and median deviations, so that
a minority of bad folders cannot hide itself by moving the standard. Each check gives a suspicion of 0 to 1;
a folder's score is one minus the product of (1 - suspicion).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from shoal.types import LabeledFrame, Skeleton, column

VERSION = 1

# Spread below which folders do not differ in earnest: animals of one species vary this much in size (log scale)
# and in shape (share of a distance) from video to video.
_SIZE_FLOOR = 0.08
_SHAPE_FLOOR = 0.10
_SIDE_FLOOR = 0.15
_ODD_ANIMAL = 5.0  # deviations at which one animal is odd
_MIN_ANIMALS = 10  # to tell how far a folder's animals reach
_MIN_FOLDERS = 3  # fewer have no "other folders" to compare with
_WEIGHT = {
    "side": 0.95,
    "size": 0.9,
    "shape": 0.95,
    "odd": 0.7,
    "outside": 0.9,
    "copy": 0.9,
    "image": 0.3,
    "count": 0.3,
}


@dataclass(frozen=True, eq=False)
class LabelTable:
    """All labelled animals of a project, flat.

    Attributes:
        folder: (F,) folder number of each image.
        size: (F, 2) width and height of each image, px; 0 = not known.
        image: (M,) image row of each animal.
        xy: (M, K, 2) keypoints, NaN = not labelled.
    """

    folder: Int64[ndarray, "F"]
    size: Int64[ndarray, "F 2"]
    image: Int64[ndarray, "M"]
    xy: Float64[ndarray, "M K 2"]

    def __post_init__(self) -> None:
        column(self, "folder", np.int64, None)
        column(self, "size", np.int64, len(self.folder), 2)
        column(self, "image", np.int64, None)
        column(self, "xy", np.float64, len(self.image), None, 2)


@dataclass(frozen=True, eq=False)
class Plausibility:
    """One row per folder, most suspicious first.

    Attributes:
        folder: (N,) folder number.
        score: (N,) 0 = like the others, 1 = surely wrong.
        n_images: (N,) labelled images.
        n_animals: (N,) labelled animals.
        size: (N,) animals' size relative to the other folders', 1 = equal, NaN = no animal.
        reasons: per folder, what is odd, worst first.
    """

    folder: Int64[ndarray, "N"]
    score: Float64[ndarray, "N"]
    n_images: Int64[ndarray, "N"]
    n_animals: Int64[ndarray, "N"]
    size: Float64[ndarray, "N"]
    reasons: tuple[tuple[str, ...], ...]


class _Findings:
    """Collects (suspicion, reason) per folder."""

    def __init__(self, n: int) -> None:
        self.of: list[list[tuple[float, str]]] = [[] for _ in range(n)]

    def add(self, folder: int, check: str, strength: float, reason: str) -> None:
        """Note a finding of ``strength`` 0 to 1, weighted by how much the check can prove."""
        suspicion = _WEIGHT[check] * float(np.clip(strength, 0, 1))
        if suspicion > 0:
            self.of[folder].append((suspicion, reason))

    def reasons(self, folder: int) -> tuple[str, ...]:
        """A folder's reasons, worst first."""
        return tuple(text for _, text in sorted(self.of[folder], key=lambda note: -note[0]))


def gather_labels(
    frames: Sequence[LabeledFrame], sizes: Sequence[tuple[int, int]] = ()
) -> tuple[LabelTable, tuple[str, ...]]:
    """Flatten a project's labels.

    Args:
        frames: labelled images.
        sizes: width and height of each image; empty = not known.

    Returns:
        The table and the folder names that its numbers mean.
    """
    names = tuple(sorted({frame.video for frame in frames}))
    at = {name: i for i, name in enumerate(names)}
    k = frames[0].xy.shape[1] if frames else 0
    xy = [frame.xy for frame in frames]
    table = LabelTable(
        folder=np.array([at[frame.video] for frame in frames], np.int64),
        size=np.array(sizes if sizes else np.zeros((len(frames), 2)), np.int64).reshape(len(frames), 2),
        image=np.repeat(np.arange(len(frames)), [len(a) for a in xy]),
        xy=np.concatenate(xy) if xy else np.zeros((0, k, 2)),
    )
    return table, names


def judge_labels(labels: LabelTable, skeleton: Skeleton) -> Plausibility:
    """Rank folders by how implausible their labels are.

    Args:
        labels: all labels of a project.
        skeleton: mirror pairs (to find exchanged sides) and names (for the reasons).
    """
    n = int(labels.folder.max(initial=-1)) + 1
    owner = labels.folder[labels.image]
    found = _Findings(n)
    scale, shape = _scale_and_shape(labels.xy)
    relative = _judge_size(scale, _extent(labels, owner, n), owner, found)
    _judge_shape(shape, owner, skeleton, found)
    _judge_sides(labels.xy, owner, skeleton, found)
    _judge_outside(labels, owner, found)
    _judge_copies(labels, owner, found)
    _judge_images(labels, n, found)
    _judge_counts(labels, n, found)
    score = np.array([1 - np.prod([1 - s for s, _ in notes]) for notes in found.of], np.float64)
    order = np.argsort(-score, kind="stable")
    reasons = [found.reasons(folder) for folder in order.tolist()]
    return Plausibility(
        folder=order,
        score=score[order],
        n_images=np.bincount(labels.folder, minlength=n)[order],
        n_animals=np.bincount(owner, minlength=n)[order],
        size=relative[order],
        reasons=tuple(reasons),
    )


def _scale_and_shape(xy: Float64[ndarray, "M K 2"]) -> tuple[Float64[ndarray, "M"], Float64[ndarray, "M K K"]]:
    """Size of each animal relative to the typical one, and its distances relative to typical ones of that size.

    The size is a median over keypoint pairs, so missing keypoints do not make an animal small and one
    misplaced keypoint does not make it large.
    """
    distance = np.linalg.norm(xy[:, :, None] - xy[:, None], axis=-1)
    k = xy.shape[1]
    distance[:, np.arange(k), np.arange(k)] = np.nan
    typical = _median(distance, axis=0)
    typical[~(typical > 0)] = np.nan
    ratio = distance / typical
    scale = _median(ratio.reshape(len(xy), k * k), axis=1)
    scale[~(scale > 0)] = np.nan
    return scale, ratio / scale[:, None, None]


def _judge_size(
    scale: Float64[ndarray, "M"], extent: Float64[ndarray, "N"], owner: Int64[ndarray, "M"], found: _Findings
) -> Float64[ndarray, "N"]:
    """Folders whose animals are all of another size, or which hold many animals of odd size.

    Species vary in size; but where the area that animals cover changed by the same factor, the labels were
    made on an image of another size.
    """
    n, log = len(found.of), np.log(scale)
    middle = np.array([_median(log[owner == f], axis=0) for f in range(n)], np.float64).reshape(n)
    centre, usual = float(_median(middle, axis=0)), float(_median(extent, axis=0))
    relative = np.exp(middle - centre)
    if n < _MIN_FOLDERS or np.isnan(centre):
        return relative
    between = max(_deviation(middle, centre), _SIZE_FLOOR)
    within = max(float(_median(_spreads(log, owner, n), axis=0)), _SIZE_FLOOR)
    reach = max(_deviation(extent, usual), _SIZE_FLOOR)
    for f in range(n):
        mine = log[owner == f]
        mine = mine[~np.isnan(mine)]
        if not len(mine):
            continue
        z = float(abs(middle[f] - centre) / np.hypot(between, within / np.sqrt(len(mine))))
        reason = f"animals are {relative[f]:.2f} x the size of those in the other folders"
        # the animals' own size hides part of the factor
        if z > 1 and abs((extent[f] - usual) - (middle[f] - centre)) < 3 * between:
            z = float(np.hypot(z, (extent[f] - usual) / reach))
            reason += f" and so is the area they cover ({np.exp(extent[f] - usual):.2f} x): another image size?"
        found.add(f, "size", _ramp(z, 3, 6), reason)
        odd = _share(np.abs(mine - middle[f]) > _ODD_ANIMAL * within)
        found.add(f, "odd", _ramp(odd, 0.05, 0.5), f"{odd:.0%} of animals differ in size from the rest of the folder")
    return relative


def _extent(labels: LabelTable, owner: Int64[ndarray, "M"], n: int) -> Float64[ndarray, "N"]:
    """Log of how far labels reach towards the right and lower border, as a share of the image; NaN = not known."""
    size = labels.size[labels.image].astype(np.float64)
    size[size <= 0] = np.nan
    reach = np.full(n, np.nan)
    for f in range(n):
        far = _median(labels.xy[owner == f], axis=1) / size[owner == f]
        far = far[~np.isnan(far).any(axis=1)]
        if len(far) >= _MIN_ANIMALS:
            reach[f] = np.log(np.maximum(np.quantile(far, 0.95, axis=0), 1e-3)).mean()
    return reach


def _judge_shape(
    shape: Float64[ndarray, "M K K"], owner: Int64[ndarray, "M"], skeleton: Skeleton, found: _Findings
) -> None:
    """Keypoints that stand elsewhere on the body than in other folders, in all animals or in some."""
    n, k = len(found.of), shape.shape[1]
    if n < _MIN_FOLDERS or k < 3 or not len(shape):
        return
    middle = np.stack([_median(shape[owner == f], axis=0) for f in range(n)])
    centre = _median(middle, axis=0)
    between = np.maximum(1.4826 * _median(np.abs(middle - centre), axis=0), _SHAPE_FLOOR)
    spread = np.stack([1.4826 * _median(np.abs(shape[owner == f] - middle[f]), axis=0) for f in range(n)])
    within = np.maximum(_median(spread, axis=0), _SHAPE_FLOOR)
    # a keypoint is elsewhere if most of its distances to the others changed
    animal = _median(np.abs(shape - centre) / within, axis=2)
    for f in range(n):
        mine = owner == f
        n_mine = int(mine.sum())
        if not n_mine:
            continue
        z = np.abs(middle[f] - centre) / np.hypot(between, within / np.sqrt(n_mine))
        moved = np.nan_to_num(_median(z, axis=1))
        worst: list[int] = np.argsort(-moved, kind="stable")[:3].tolist()
        named = ", ".join([skeleton.keypoints[i] for i in worst if moved[i] > 3])
        found.add(
            f, "shape", _ramp(float(moved.max()), 3, 8), f"{named} stand elsewhere on the body than in other folders"
        )
        odd = _share(np.nan_to_num(animal[mine]).max(axis=1) > _ODD_ANIMAL)
        found.add(f, "odd", _ramp(odd, 0.05, 0.5), f"{odd:.0%} of animals have a keypoint far from where it belongs")


def _judge_sides(
    xy: Float64[ndarray, "M K 2"], owner: Int64[ndarray, "M"], skeleton: Skeleton, found: _Findings
) -> None:
    """Left and right exchanged: the side of each mirror pair against the body axis, by majority of folders.

    Reflections in glass, labelled as animals, are mirror images: where there are many, no side is usual. The
    pairs of one animal must agree with each other all the same.
    """
    assert skeleton.mirror is not None
    mirror = skeleton.mirror
    left = np.flatnonzero(mirror > np.arange(len(mirror)))
    axis = _body_axis(xy, mirror)
    if len(found.of) < _MIN_FOLDERS or not len(left) or axis is None:
        return
    across = xy[:, mirror[left]] - xy[:, left]
    side = np.sign(axis[:, None, 0] * across[..., 1] - axis[:, None, 1] * across[..., 0])
    names = [(skeleton.keypoints[int(i)], skeleton.keypoints[int(mirror[i])]) for i in left]
    _judge_votes(side, owner, [f"{a} and {b} are exchanged" for a, b in names], found)
    known = np.nan_to_num(side)
    others = known.sum(axis=1, keepdims=True) - known
    agrees = np.where(others == 0, np.nan, side * np.sign(others))
    _judge_votes(agrees, owner, [f"{a} and {b} lie on other sides than other pairs" for a, b in names], found)


def _judge_votes(
    vote: Float64[ndarray, "M Q"], owner: Int64[ndarray, "M"], what: Sequence[str], found: _Findings
) -> None:
    """Folders in which -1 and 1 are distributed otherwise than in the other folders; NaN = no vote."""
    n = len(found.of)
    votes = np.stack([np.nan_to_num(vote[owner == f]).sum(axis=0) for f in range(n)])
    counts = np.stack([(~np.isnan(vote[owner == f])).sum(axis=0) for f in range(n)])
    mean = np.divide(votes, counts, out=np.full(votes.shape, np.nan), where=counts > 0)
    usual = _median(mean, axis=0)
    between = np.maximum(1.4826 * _median(np.abs(mean - usual), axis=0), _SIDE_FLOOR)
    # animals seen from the side or rolling show either side: their votes scatter and prove little
    z = np.abs(mean - usual) / np.hypot(between, np.sqrt((1.05 - usual**2) / np.maximum(counts, 1)))
    wrong, usually = 0.5 * (1 - np.sign(usual) * mean), 0.5 * (1 - np.abs(usual))
    for f in range(n):
        pair = int(np.nan_to_num(np.where(wrong[f] > usually, z[f], 0)).argmax())
        if wrong[f, pair] > usually[pair]:
            reason = f"{what[pair]} in {wrong[f, pair]:.0%} of animals (usually {usually[pair]:.0%})"
            found.add(f, "side", _ramp(float(z[f, pair]), 3, 6), reason)


def _body_axis(xy: Float64[ndarray, "M K 2"], mirror: Int64[ndarray, "K"]) -> Float64[ndarray, "M 2"] | None:
    """A direction along each body that a mirror image keeps: between midline points (or pairs' middles) far apart."""
    middles = 0.5 * (xy + xy[:, mirror])[:, mirror >= np.arange(len(mirror))]
    if middles.shape[1] < 2:
        return None
    distance = np.linalg.norm(middles[:, :, None] - middles[:, None], axis=-1)
    # far apart and often labelled together
    worth = np.nan_to_num(_median(distance, axis=0)) * (~np.isnan(distance)).sum(axis=0)
    a, b = np.unravel_index(int(worth.argmax()), worth.shape)
    return middles[:, b] - middles[:, a] if a != b else None


def _judge_outside(labels: LabelTable, owner: Int64[ndarray, "M"], found: _Findings) -> None:
    size = labels.size[labels.image][:, None].astype(np.float64)
    known = (size > 0).all(axis=-1)
    labelled = ~np.isnan(labels.xy[..., 0]) & known
    with np.errstate(invalid="ignore"):
        outside = labelled & ((labels.xy < 0) | (labels.xy > size)).any(axis=-1)
    for f in range(len(found.of)):
        mine = owner == f
        total, n_out = int(labelled[mine].sum()), int(outside[mine].sum())
        if n_out:
            share = n_out / total
            found.add(f, "outside", _ramp(share, -0.02, 0.2), f"{n_out} points ({share:.1%}) lie outside the image")


def _judge_copies(labels: LabelTable, owner: Int64[ndarray, "M"], found: _Findings) -> None:
    """Labels that stand in several places, digit for digit, and animals labelled twice in one image."""
    enough = np.flatnonzero((~np.isnan(labels.xy[..., 0])).sum(axis=1) >= min(3, max(labels.xy.shape[1], 1)))
    if not len(enough):
        return
    keys = np.nan_to_num(labels.xy[enough].reshape(len(enough), -1), nan=-1.0)
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = np.asarray(group, np.int64).reshape(-1)
    folder, image = owner[enough], labels.image[enough]
    copied = np.bincount(group)[group] > 1
    n_folders = _distinct(group, folder)[group]
    n_images = _distinct(group, image)[group]
    twice = _near_duplicates(labels)
    for f in range(len(found.of)):
        mine = folder == f
        if not mine.any():
            continue
        foreign = _share(n_folders[mine] > 1)
        found.add(
            f, "copy", _ramp(foreign, 0, 0.3), f"{foreign:.0%} of animals have exactly the labels of another folder"
        )
        still = _share((copied & (n_images > 1) & (n_folders == 1))[mine])
        found.add(f, "odd", _ramp(still, 0.1, 1.0), f"{still:.0%} of animals repeat the exact labels of another image")
        doubled = _share(twice[owner == f])
        found.add(f, "odd", _ramp(doubled, 0.0, 0.5), f"{doubled:.0%} of animals lie on another one: labelled twice?")


def _near_duplicates(labels: LabelTable) -> Bool[ndarray, "M"]:
    """Animals whose shared keypoints all lie within a twentieth of a body length of another's in the image."""
    xy = labels.xy
    twice = np.zeros(len(xy), dtype=bool)
    spread = np.nan_to_num(np.linalg.norm(xy[:, :, None] - xy[:, None], axis=-1)).max(axis=(1, 2), initial=0.0)
    order = np.argsort(labels.image, kind="stable")
    starts = np.flatnonzero(np.diff(labels.image[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        if len(rows) < 2:
            continue
        apart = np.linalg.norm(xy[rows][:, None] - xy[rows][None], axis=-1)
        n_shared = (~np.isnan(apart)).sum(axis=2)
        near = (np.nan_to_num(apart).max(axis=2) < 0.05 * spread[rows][:, None]) & (n_shared >= 2)
        np.fill_diagonal(near, False)
        twice[rows] = near.any(axis=1)
    return twice


def _judge_images(labels: LabelTable, n: int, found: _Findings) -> None:
    """Folders whose images have another size than most folders'."""
    known = labels.size.min(axis=1, initial=1) > 0
    firsts: list[tuple[int, int] | None] = []
    for f in range(n):
        sizes, count = np.unique(labels.size[(labels.folder == f) & known], axis=0, return_counts=True)
        firsts.append((int(sizes[count.argmax()][0]), int(sizes[count.argmax()][1])) if len(count) else None)
    present = [s for s in firsts if s is not None]
    if len(present) < _MIN_FOLDERS:
        return
    usual = max(sorted(set(present)), key=present.count)
    if 2 * present.count(usual) <= len(present):
        return
    for f, size in enumerate(firsts):
        if size is not None and size != usual:
            reason = f"images are {size[0]} x {size[1]} px, most others {usual[0]} x {usual[1]}"
            found.add(f, "image", 1.0, reason)


def _judge_counts(labels: LabelTable, n: int, found: _Findings) -> None:
    """Folders with many more or fewer animals an image than the others."""
    per_image = np.bincount(labels.image, minlength=len(labels.folder))
    mean = np.array([per_image[labels.folder == f].mean() for f in range(n)], np.float64)
    if n < _MIN_FOLDERS:
        return
    centre = float(_median(mean, axis=0))
    spread = max(_deviation(mean, centre), 0.15 * centre, 0.25)
    for f in range(n):
        reason = f"{mean[f]:.1f} animals an image, usually {centre:.1f}"
        found.add(f, "count", _ramp(abs(mean[f] - centre) / spread, 3, 10), reason)


def _distinct(group: Int64[ndarray, "N"], value: Int64[ndarray, "N"]) -> Int64[ndarray, "G"]:
    """Number of distinct values in each group."""
    pairs = np.unique(np.column_stack([group, value]), axis=0)
    return np.bincount(pairs[:, 0])


def _spreads(value: Float64[ndarray, "M"], owner: Int64[ndarray, "M"], n: int) -> Float64[ndarray, "N"]:
    middle = [_median(value[owner == f], axis=0) for f in range(n)]
    return np.array([_deviation(value[owner == f], float(middle[f])) for f in range(n)], np.float64)


def _deviation(value: Float64[ndarray, "N"], centre: float) -> float:
    """Median deviation, scaled to the standard deviation of a normal distribution."""
    return 1.4826 * float(_median(np.abs(value - centre), axis=0))


def _share(mask: Bool[ndarray, "N"]) -> float:
    """Share of True; 0 of nothing is 0."""
    return float(np.count_nonzero(mask)) / max(len(mask), 1)


def _ramp(value: float, low: float, high: float) -> float:
    """0 at ``low``, 1 at ``high``, straight between."""
    return float(np.clip((value - low) / (high - low), 0, 1))


def _median(array: Float64[ndarray, "..."], *, axis: int) -> Float64[ndarray, "..."]:
    """Median of the numbers along an axis; NaN, without a warning, where there are none."""
    ordered = np.moveaxis(np.sort(array, axis=axis), axis, 0)
    if not len(ordered):
        return np.full(ordered.shape[1:], np.nan)
    count = (~np.isnan(ordered)).sum(axis=0)[None]
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0), axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(ordered) - 1), axis=0)[0]
    return 0.5 * (low + high)
