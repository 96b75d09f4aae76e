"""Mirror walls, found in the motion of the animals: where they are, and which rows have a partner before the glass.

A mirror image moves with its animal. On a straight wall with normal n every keypoint's displacement from animal to
image is parallel to n, and across the wall the image's shape is turned round; so each pair of rows of one frame that
could be animal and image votes for one line. A wall is a line with many more votes than pairs of rows of *different*
frames give it: fish that merely look alike, school, or stand still vote in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from shoal.types import Poses, Tracks, body_length, concatenate, select

Parts = Callable[[], Iterable[Tracks]]

MAX_FRAMES = 2000  # looked at for walls
MAX_PAIRS = 150_000  # of rows
MAX_MIRRORS, MAX_TRIES = 4, 8
MIN_MATCHED = 0.5  # of the rows behind a wall; on rendered fish .95 and more, .12 at most behind lines that are none
MIN_PLACES, MAX_IN_PLACE = 3, 0.8  # body lengths of wall where images were seen; share of the images in one of them
MIN_VOTES = 25  # pairs of rows that a wall needs
TIMES_CHANCE = 5.0  # and so many times the votes that chance gives it
SHIFTS = 3  # how many times chance is asked
ANGLES = 60  # bins of half a turn
# lengths in body lengths
STEP = 0.1  # bins of a wall's place
ALONG = 0.06  # keypoints of animal and image lie this well on lines across the wall
EXTENT = 0.15  # across the wall, of a body that shows whether it is turned round
NARROW, WIDE = 0.03, 0.15  # the smallest and largest tolerance that is learned
FAR = 1.0  # and of the wall's place: the higher a fish swims, the nearer to the camera, the further out it seems
SLOPES = (0.5, 1.5)  # depth of an image behind the wall against that of the animal before it


class Mirror(NamedTuple):
    """One wall. Lengths in px.

    normal: (2,) unit vector towards the images; offset: normal . xy on the line; depth: how far behind the line an
    image stands, relative to its animal (refraction: below 1); is_swapped: left and right keypoints exchange their
    names; along, across, shape: largest residual of a partner along the wall, across it, and of its shape;
    matched: share of rows behind the line that have a partner; chance: share that would have one by chance;
    n_votes: pairs that showed the wall.
    """

    normal: Float64[ndarray, "2"]
    offset: float
    depth: float
    is_swapped: bool
    along: float
    across: float
    shape: float
    matched: float
    chance: float
    n_votes: int


def find_mirrors(parts: Parts, swap: Int64[ndarray, "K"]) -> tuple[Mirror, ...]:
    """The walls that show reflections, most votes first; none where nothing is mirrored.

    Args:
        parts: gives adjoining spans of tracklets (or tracks) in order; numbers of tracks do not matter.
        swap: (K,) ``Skeleton.mirror``: a network may name an image's left eye after the eye, or after its side.
    """
    poses = _sample(parts)
    length = body_length(poses.xy)
    if len(poses) < MIN_VOTES or not np.isfinite(length):
        return ()
    middle = np.nanmean(poses.xy.astype(np.float64), axis=(0, 1))  # angles turn around it
    xy = poses.xy.astype(np.float64) - middle
    shifts = _shifts(poses.frame)
    pairs = [_pairs(poses.frame, shift) for shift in shifts]
    ballots: list[list[_Votes]] = []
    for is_swapped in (False, True) if (swap != np.arange(len(swap))).any() else (False,):
        names = swap if is_swapped else np.arange(len(swap))
        ballots.append([_vote(xy, first, second, names, length) for first, second in pairs])
    found: list[Mirror] = []
    for _ in range(MAX_TRIES):
        peaks = [_peak(votes, length) for votes in ballots]
        best = int(np.argmax([peak[0] for peak in peaks]))
        lead, angle, place = peaks[best]
        if lead <= 0 or len(found) == MAX_MIRRORS:
            break
        normal = np.array([np.cos(angle), np.sin(angle)])
        begin = Mirror(
            normal, float(normal @ middle + place), 1.0, bool(best), 2 * ALONG * length, 4 * STEP * length,
            2 * ALONG * length, 0.0, 0.0, 0,
        )  # fmt: skip
        mirror = _settle(begin, poses, ballots[best][0], shifts, swap, length)
        if mirror is not None:
            found.append(mirror)
        for votes in ballots:  # whatever this peak was, its voters have been heard
            votes[0] = _others(votes[0], mirror or begin, angle, place, poses, swap, length)
    return tuple(found)


def has_partner(mirror: Mirror, poses: Poses, swap: Int64[ndarray, "K"], *, shift: int = 0) -> Bool[ndarray, "M"]:
    """Which rows another row of the frame is the animal of, as seen in the mirror.

    Args:
        mirror: the wall.
        poses: rows.
        swap: (K,) ``Skeleton.mirror``.
        shift: look for the partner so many frames (with rows) later instead: what chance gives.
    """
    matched = np.zeros(len(poses), np.bool_)
    behind = np.flatnonzero(depth_of(mirror, poses.xy) > -mirror.across)
    centre, radius = _circles(poses.xy)
    tangent = np.array([-mirror.normal[1], mirror.normal[0]])
    along, ahead = centre @ tangent, mirror.offset - centre @ mirror.normal
    for image, animal in row_pairs(poses.frame, behind, shift):
        reach = radius[image] + mirror.depth * radius[animal]
        near = np.abs(along[image] - along[animal]) < mirror.along + radius[image] + radius[animal]
        near &= np.abs(ahead[image] + mirror.depth * ahead[animal]) < mirror.across + mirror.shape + reach
        image, animal = image[near & ~matched[image]], animal[near & ~matched[image]]
        matched[image[_fits(mirror, poses.xy, animal, image, swap)[1]]] = True
    return matched


def _circles(xy: ndarray) -> tuple[Float64[ndarray, "M 2"], Float64[ndarray, "M"]]:
    """Centre of each row's keypoints, and how far from it the furthest is: most pairs are too far apart to look at."""
    known = np.isfinite(xy[..., 0])
    total = np.where(known[..., None], xy, 0).sum(axis=1, dtype=np.float64)
    centre = total / np.maximum(known.sum(axis=1), 1)[:, None]
    distance = np.where(known, np.linalg.norm(xy - centre[:, None], axis=-1), 0)
    return centre, distance.max(axis=1, initial=0)


def depth_of(mirror: Mirror, xy: ndarray) -> Float64[ndarray, "M"]:
    """How far behind the wall the median keypoint of each row lies, px (negative: before it, NaN: no keypoint)."""
    return _median(xy.astype(np.float64) @ mirror.normal) - mirror.offset


def _fits(
    mirror: Mirror, xy: ndarray, animal: Int64[ndarray, "Q"], image: Int64[ndarray, "Q"], swap: Int64[ndarray, "K"]
) -> tuple[Float64[ndarray, "Q 3"], Bool[ndarray, "Q"]]:
    """Residuals of pairs (along, across, shape), and which pairs are animal and image."""
    names = swap if mirror.is_swapped else np.arange(len(swap))
    a, b = xy[animal].astype(np.float64), xy[image][:, names].astype(np.float64)
    tangent = np.array([-mirror.normal[1], mirror.normal[0]])
    before = mirror.offset - a @ mirror.normal
    across = b @ mirror.normal - mirror.offset - mirror.depth * before
    enough = np.isfinite(across).sum(axis=1) >= min(2, xy.shape[1])
    middle = _median(across)
    residual = np.stack(
        [_median(np.abs((b - a) @ tangent)), np.abs(middle), _median(np.abs(across - middle[:, None]))], axis=1
    )
    limit = np.array([mirror.along, mirror.across, mirror.shape])
    return residual, enough & (residual < limit).all(axis=1) & (_median(before) > -mirror.across)


def _sample(parts: Parts) -> Poses:
    """Rows of at most ``MAX_FRAMES`` frames, those whose number a power of two divides: no matter how spans are cut."""
    kept: list[Poses] = []
    stride = 1
    for tracks in parts():
        poses = tracks.poses
        kept.append(select(poses, (poses.frame % stride == 0) & np.isfinite(poses.xy[..., 0]).any(axis=1)))
        while sum(len(np.unique(p.frame)) for p in kept) > MAX_FRAMES:
            stride *= 2
            kept = [select(p, p.frame % stride == 0) for p in kept]
    return concatenate(kept) if kept else Poses.empty((0, 0), 1)


def _shifts(frame: Int64[ndarray, "M"]) -> list[int]:
    """0, then some that are far apart in time."""
    n = len(np.unique(frame))
    return [0, *(n * (i + 1) // (SHIFTS + 1) for i in range(SHIFTS) if n > 4 * SHIFTS)]


def _pairs(frame: Int64[ndarray, "M"], shift: int) -> tuple[Int64[ndarray, "Q"], Int64[ndarray, "Q"]]:
    """Pairs of rows, each once: of one frame, or of frames ``shift`` apart; thinned to ``MAX_PAIRS``."""
    size = np.bincount(np.unique(frame, return_inverse=True)[1])
    total = int((size * size).sum())
    pieces = list(row_pairs(frame, np.arange(len(frame)), shift))
    second, first = (np.concatenate(side) for side in zip(*pieces, strict=True)) if pieces else (frame[:0], frame[:0])
    keep = first < second
    if total > MAX_PAIRS:  # whole frames are left out, so that pairs of a frame stay together
        every = -(-total // MAX_PAIRS)
        keep &= np.unique(frame, return_inverse=True)[1][second] % every == 0
    return first[keep], second[keep]


def row_pairs(
    frame: Int64[ndarray, "M"], rows: Int64[ndarray, "R"], shift: int = 0
) -> Iterator[tuple[Int64[ndarray, "Q"], Int64[ndarray, "Q"]]]:
    """(row of ``rows``, any other row of its frame or of the frame ``shift`` later), some 100,000 at a time."""
    if not len(rows):
        return
    begin = np.flatnonzero(np.r_[True, np.diff(frame) > 0])
    size = np.diff(np.r_[begin, len(frame)])
    place = (np.searchsorted(frame[begin], frame[rows]) + shift) % len(begin)
    count = size[place]
    last = np.cumsum(count)
    for low, high in _runs(last, 100_000):
        source = np.repeat(np.arange(low, high), count[low:high])
        offset = np.arange(len(source)) - (last[source] - count[source] - (last[low] - count[low]))
        target = begin[place[source]] + offset
        other = target != rows[source]
        yield rows[source][other], target[other]


def _runs(last: Int64[ndarray, "R"], most: int) -> Iterator[tuple[int, int]]:
    low = 0
    while low < len(last):
        done = int(last[low - 1]) if low else 0
        high = max(int(np.searchsorted(last, done + most, side="right")), low + 1)
        yield low, high
        low = high


class _Votes(NamedTuple):
    """Pairs that could be animal and image: their rows, the wall's angle (0 to pi) and place (px from the middle)."""

    first: Int64[ndarray, "V"]
    second: Int64[ndarray, "V"]
    angle: Float64[ndarray, "V"]
    place: Float64[ndarray, "V"]


def _vote(
    xy: Float64[ndarray, "M K 2"], first: Int64[ndarray, "Q"], second: Int64[ndarray, "Q"],
    names: Int64[ndarray, "K"], length: float,
) -> _Votes:  # fmt: skip
    """The line that each pair would be mirrored by, of those pairs that are each other's image in any line."""
    out = [_Votes(first[:0], first[:0], np.zeros(0), np.zeros(0))]
    for low in range(0, len(first), 20_000):
        i, j = first[low : low + 20_000], second[low : low + 20_000]
        a, b = xy[i], xy[j][:, names]
        step = b - a
        known = np.isfinite(step[..., 0])
        step[~known] = 0
        xx, yy, xy_ = (step[..., 0] ** 2).sum(1), (step[..., 1] ** 2).sum(1), (step[..., 0] * step[..., 1]).sum(1)
        angle = 0.5 * np.arctan2(2 * xy_, xx - yy) % np.pi
        x, y = np.cos(angle)[:, None], np.sin(angle)[:, None]
        p, r = (np.where(known, side[..., 0] * x + side[..., 1] * y, np.nan) for side in (a, b))
        slope, extent = _slope(p, r)
        fits = (known.sum(axis=1) >= min(3, xy.shape[1])) & (extent > EXTENT * length)
        fits &= (-slope > SLOPES[0]) & (-slope < SLOPES[1])
        rows = np.flatnonzero(fits)
        aside = np.where(known, np.abs(step[..., 1] * x - step[..., 0] * y), np.nan)[rows]
        rows = rows[_median(aside) < ALONG * length]
        out.append(_Votes(i[rows], j[rows], angle[rows], _median(0.5 * (p[rows] + r[rows]))))
    return _Votes(*(np.concatenate(column) for column in zip(*out, strict=True)))


def _slope(p: Float64[ndarray, "Q K"], r: Float64[ndarray, "Q K"]) -> tuple[ndarray, ndarray]:
    """Regression of r on p per pair, and the extent of p; NaN keypoints do not count."""
    known = np.isfinite(p)
    n = np.maximum(known.sum(axis=1), 1)
    dp, dr = (np.where(known, x - (np.where(known, x, 0).sum(axis=1) / n)[:, None], 0) for x in (p, r))
    spread = (dp * dp).sum(axis=1)
    return (dp * dr).sum(axis=1) / np.maximum(spread, 1e-9), 2 * np.sqrt(spread / n)


def _peak(votes: list[_Votes], length: float) -> tuple[float, float, float]:
    """Lead over chance (0 = no wall), angle and place of the line with the most votes."""
    reach = max(float(np.abs(v.place).max(initial=0)) for v in votes) + 2 * STEP * length
    count = [_histogram(v, reach, STEP * length) for v in votes]
    chance = np.mean(count[1:], axis=0) if len(count) > 1 else np.zeros_like(count[0])
    lead = np.where(count[0] >= np.maximum(MIN_VOTES, TIMES_CHANCE * (chance + 1)), count[0] - chance, 0)
    row, column = np.unravel_index(int(np.argmax(lead)), lead.shape)
    return float(lead[row, column]), (row + 0.5) * np.pi / ANGLES, (column + 0.5) * STEP * length - reach


def _others(
    votes: _Votes, mirror: Mirror, angle: float, place: float, poses: Poses, swap: Int64[ndarray, "K"], length: float
) -> _Votes:
    """Votes that neither voted for this line nor fit into this wall."""
    turn = np.abs((votes.angle - angle + np.pi / 2) % np.pi - np.pi / 2)
    side = np.where(np.abs(votes.angle - angle) > np.pi / 2, -1, 1)  # the same line, its normal turned round
    heard = (turn < 2 * np.pi / ANGLES) & (np.abs(votes.place * side - place) < 2 * STEP * length)
    for a, b in ((votes.first, votes.second), (votes.second, votes.first)):
        heard |= _fits(mirror, poses.xy, a, b, swap)[1]
    return _Votes(*(column[~heard] for column in votes))


def _histogram(votes: _Votes, reach: float, step: float) -> Float64[ndarray, "A S"]:
    """Votes per angle and place, of each bin and its eight neighbours; a line turned by pi has the opposite place."""
    shape = (ANGLES, int(np.ceil(2 * reach / step)))
    row = np.minimum((votes.angle / np.pi * ANGLES).astype(np.int64), ANGLES - 1)
    column = np.clip(((votes.place + reach) / step).astype(np.int64), 0, shape[1] - 1)
    count = np.bincount(row * shape[1] + column, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    count = np.concatenate([count[-1:, ::-1], count, count[:1, ::-1]])
    count = count[:-2] + count[1:-1] + count[2:]
    count = np.pad(count, ((0, 0), (1, 1)))
    return count[:, :-2] + count[:, 1:-1] + count[:, 2:]


def _settle(
    mirror: Mirror, poses: Poses, votes: _Votes, shifts: list[int], swap: Int64[ndarray, "K"], length: float
) -> Mirror | None:
    """The line, its depth and tolerances, fitted to the votes near it, images on their side; None = no wall.

    What lies behind a wall is images: most rows there must have a partner before it, and not in one place only (two
    animals that rest opposite each other).
    """
    names = swap if mirror.is_swapped else np.arange(len(swap))
    animal = image = votes.first[:0]
    for _ in range(4):
        ahead = depth_of(mirror, poses.xy[votes.first]) < depth_of(mirror, poses.xy[votes.second])
        animal, image = (np.where(ahead, a, b) for a, b in ((votes.first, votes.second), (votes.second, votes.first)))
        residual, ok = _fits(mirror, poses.xy, animal, image, swap)
        animal, image = animal[ok], image[ok]
        if len(animal) < MIN_VOTES:
            return None
        mirror = _refit(mirror, poses.xy, animal, image, residual[ok], names, length)
    sides: list[Mirror] = []
    for side in (mirror, _turned(mirror)):
        behind = depth_of(side, poses.xy) > 0
        share = [
            float((has_partner(side, poses, swap, shift=s) & behind).sum() + 1) / (float(behind.sum()) + 2)
            for s in shifts
        ]
        sides.append(side._replace(matched=share[0], chance=float(np.mean(share[1:] or 0.0)), n_votes=len(animal)))
    best = max(sides, key=lambda side: side.matched)
    along = np.nanmedian(poses.xy[image], axis=1) @ np.array([-best.normal[1], best.normal[0]])
    places = np.unique(np.floor(along / length), return_counts=True)[1]
    spread_out = len(places) >= MIN_PLACES and places.max() <= MAX_IN_PLACE * places.sum()
    return best if best.matched >= MIN_MATCHED and spread_out else None


def _refit(
    mirror: Mirror, xy: ndarray, animal: Int64[ndarray, "Q"], image: Int64[ndarray, "Q"],
    residual: Float64[ndarray, "Q 3"], names: Int64[ndarray, "K"], length: float,
) -> Mirror:  # fmt: skip
    """The line through the middles of pairs, across their displacements."""
    a, b = xy[animal].astype(np.float64), xy[image][:, names].astype(np.float64)
    step = np.stack([_median(b[..., i] - a[..., i]) for i in (0, 1)], axis=1)
    moment = step.T @ step
    axis = np.linalg.eigh(moment)[1][:, -1]
    normal = axis * np.sign(axis @ mirror.normal)
    shared = np.isfinite(a[..., 0] + b[..., 0])
    p, r = (_median(np.where(shared, side @ normal, np.nan)) for side in (a, b))
    depth, level = _line(p, r)
    offset = level / (1 + depth)
    mirror = mirror._replace(normal=normal, offset=float(offset), depth=float(depth))
    scale = np.clip(6 * np.median(residual, axis=0), NARROW * length, WIDE * length)
    scale[1] = np.clip(6 * np.median(np.abs(r - (level - depth * p))), 2 * NARROW * length, FAR * length)
    return mirror._replace(along=float(scale[0]), across=float(scale[1]), shape=float(scale[2]))


def _line(p: Float64[ndarray, "Q"], r: Float64[ndarray, "Q"]) -> tuple[float, float]:
    """Depth and level of r = level - depth p, by least squares on the better half; depth 1 where p hardly varies."""
    keep = np.ones(len(p), np.bool_)
    depth, level = 1.0, float(np.median(p + r))
    for _ in range(5):
        x, y = p[keep], r[keep]
        spread = float(np.var(x))
        if spread < 1e-6:
            break
        depth = float(np.clip(-np.cov(x, y)[0, 1] / spread, *SLOPES))
        level = float(np.median(y + depth * x))
        error = np.abs(r - (level - depth * p))
        keep = error <= np.maximum(np.median(error), 1e-9)
        if keep.sum() < 10:
            break
    return depth, level


def _turned(mirror: Mirror) -> Mirror:
    """The same wall, images on the other side."""
    return mirror._replace(normal=-mirror.normal, offset=-mirror.offset, depth=1 / mirror.depth)


def _median(values: Float64[ndarray, "Q K"]) -> Float64[ndarray, "Q"]:
    """Median of the values that are known, NaN where there is none (``nanmedian`` warns there, and is slow)."""
    ordered = np.sort(values, axis=1)  # NaN last
    n = np.isfinite(values).sum(axis=1)
    low, high = np.maximum(n - 1, 0) // 2, np.minimum(n // 2, values.shape[1] - 1)
    rows = np.arange(len(values))
    middle = 0.5 * (ordered[rows, low] + ordered[rows, high])
    return np.where(n > 0, middle, np.nan)
