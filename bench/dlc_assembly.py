"""DeepLabCut's rules for making animals of peaks, to compare with (shoal has its own: shoal/stages/assemble.py).

Written from dlc_formats.md, 6.3, for the case that its PyTorch engine runs: optimal links, no calibration, no identity,
no memory of other frames; its special cases (one keypoint, one animal) are left out. Slow and plain; what that page
leaves open is said where it is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from shoal.types import Detections, Poses

PCUTOFF, MIN_AFFINITY, MIN_LINKS, MAX_OVERLAP = 0.1, 0.05, 2, 0.8

Link = tuple[float, int, int]
"""Affinity, peak row of each end."""


@dataclass
class Animal:
    """Peak row of each keypoint, and the links (positions in the frame's list) that hold them together."""

    rows: dict[int, int] = field(default_factory=dict)
    links: set[int] = field(default_factory=set)


def group_like_dlc(detections: Detections, edges: ndarray, *, n_keypoints: int, max_animals: int) -> Poses:
    """The animals of every frame.

    Args:
        detections: all peaks and the affinity of all pairs; a pair that is not listed has 0.
        edges: (E, 2) keypoints of each limb.
        n_keypoints: K.
        max_animals: at most this many per frame, and peaks per keypoint.
    """
    frames: list[int] = []
    items: list[int] = []
    rows: list[list[int]] = []
    confidence = detections.confidence.astype(np.float64)
    for frame in np.unique(detections.frame).tolist():
        peaks = np.flatnonzero((detections.frame == frame) & (detections.keypoint < n_keypoints))
        limbs = np.flatnonzero(detections.limb_frame == frame)
        strength = np.zeros((len(edges), len(peaks), len(peaks)))
        place = np.full(int(detections.number[peaks].max(initial=0)) + 1, -1)
        place[detections.number[peaks]] = np.arange(len(peaks))
        ends = place[detections.source[limbs]], place[detections.target[limbs]]
        strength[detections.edge[limbs], *ends] = detections.affinity[limbs].astype(np.float64).round(3)  # 6.2
        animals = group_frame(
            detections.keypoint[peaks], confidence[peaks], detections.xy[peaks], strength, edges,
            n_keypoints=n_keypoints, max_animals=max_animals,
        )  # fmt: skip
        for item, animal in enumerate(animals):
            frames.append(frame)
            items.append(item)
            rows.append([int(peaks[animal[k]]) if k in animal else -1 for k in range(n_keypoints)])
    row = np.array(rows, np.int64).reshape(-1, n_keypoints)
    seen = row >= 0
    xy = np.full((*row.shape, 2), np.nan)
    xy[seen] = detections.xy[row[seen]]
    shown = np.zeros(row.shape)
    shown[seen] = confidence[row[seen]]
    score = shown.sum(1) / np.maximum(seen.sum(1), 1)
    return Poses(np.array(frames, np.int64), np.array(items, np.int64), xy, shown, score, detections.span)


def group_frame(
    keypoint: ndarray, confidence: ndarray, xy: ndarray, strength: ndarray, edges: ndarray, *, n_keypoints: int,
    max_animals: int,
) -> list[dict[int, int]]:  # fmt: skip
    """The animals of one frame, each {keypoint: peak}.

    Args:
        keypoint: (P,) of each peak.
        confidence: (P,).
        xy: (P, 2).
        strength: (E, P, P) affinity of each edge between its first and its second end.
        edges: (E, 2).
        n_keypoints: K.
        max_animals: N.
    """
    links = choose_links(keypoint, confidence, strength, edges, max_animals)
    links.sort(key=lambda link: -link[0])  # stable: equal ones in the order of the edges
    of = keypoint.tolist()
    animals = whole_animals(links, of, n_keypoints)
    if len(animals) < max_animals:
        taken = {row for animal in animals for row in animal.rows.values()}
        for first, (_, a, b) in enumerate(links):
            if a in taken or b in taken:
                continue
            animal = Animal({of[a]: a, of[b]: b}, {first})
            grow(animal, links, of, taken | {a, b})
            taken |= set(animal.rows.values())
            animals.append(animal)
        merge(animals, links, n_keypoints, max_animals)
        for animal in animals:
            if len(animal.rows) < n_keypoints:
                grow(animal, links, of, taken)
                taken |= set(animal.rows.values())
    animals = [animal for animal in animals if len(animal.links) >= MIN_LINKS]
    animals = suppress(animals, links, xy)
    if len(animals) > max_animals:
        animals = sorted(animals, key=lambda animal: -len(animal.rows))[:max_animals]
    return [animal.rows for animal in animals]


def choose_links(
    keypoint: ndarray, confidence: ndarray, strength: ndarray, edges: ndarray, max_animals: int
) -> list[Link]:
    """Of every limb, the one-to-one pairs of largest summed affinity among its best peaks."""
    links: list[Link] = []
    for limb, ends in enumerate(edges.tolist()):
        sides: list[ndarray] = []
        for end in ends:
            rows = np.flatnonzero(keypoint == end)
            best = rows[np.argsort(-confidence[rows], kind="stable")[:max_animals]]
            sides.append(best[confidence[best] >= PCUTOFF])
        table = strength[limb][np.ix_(*sides)]
        for i, j in zip(*linear_sum_assignment(table, maximize=True), strict=True):
            if table[i, j] >= MIN_AFFINITY:
                links.append((float(table[i, j]), int(sides[0][i]), int(sides[1][j])))
    return links


def whole_animals(links: list[Link], of: list[int], n_keypoints: int) -> list[Animal]:
    """Connected peaks that are exactly K. Two of one keypoint among them: left to growing (the page does not say)."""
    part = {row: {row} for _, a, b in links for row in (a, b)}
    for _, a, b in links:
        if part[a] is not part[b]:
            joined = part[a] | part[b]
            for row in joined:
                part[row] = joined
    parts = list({id(p): p for p in part.values()}.values())
    whole = [p for p in parts if len(p) == n_keypoints == len({of[row] for row in p})]
    return [Animal({of[row]: row for row in p}, {i for i, link in enumerate(links) if link[1] in p}) for p in whole]


def grow(animal: Animal, links: list[Link], of: list[int], taken: set[int]) -> None:
    """Take peaks over the strongest link first, as long as they are free and their keypoint is, too."""
    rows = set(animal.rows.values())
    queue = [i for i, (_, a, b) in enumerate(links) if i not in animal.links and (a in rows or b in rows)]
    heapify(queue)  # a link's position is its rank
    while queue:
        rank = heappop(queue)
        _, a, b = links[rank]
        if rank in animal.links:
            continue
        if a in rows and b in rows:
            animal.links.add(rank)
            continue
        new = b if a in rows else a
        if new in taken or of[new] in animal.rows:
            continue
        animal.rows[of[new]] = new
        animal.links.add(rank)
        rows.add(new)
        for i, (_, c, d) in enumerate(links):
            if new in (c, d) and i not in animal.links:
                heappush(queue, i)


def merge(animals: list[Animal], links: list[Link], n_keypoints: int, max_animals: int) -> None:
    """While there are too many: join two incomplete ones that an unused link connects, the strongest first."""
    while len(animals) > max_animals:
        owner = {row: animal for animal in animals if len(animal.rows) < n_keypoints for row in animal.rows.values()}
        for rank, (_, a, b) in enumerate(links):
            one, other = owner.get(a), owner.get(b)
            if one is None or other is None or one is other or one.rows.keys() & other.rows.keys():
                continue
            one.rows |= other.rows
            one.links |= other.links | {rank}
            animals[:] = [animal for animal in animals if animal is not other]
            break
        else:
            return


def suppress(animals: list[Animal], links: list[Link], xy: ndarray) -> list[Animal]:
    """Of animals that lie on each other only the one with the largest sum of affinities stays."""
    kept: list[Animal] = []
    for animal in sorted(animals, key=lambda animal: -sum(links[i][0] for i in animal.links)):
        if all(overlap(xy[[*animal.rows.values()]], xy[[*other.rows.values()]]) < MAX_OVERLAP for other in kept):
            kept.append(animal)
    return kept


def overlap(one: ndarray, other: ndarray) -> float:
    """Share of the points, of whichever has fewer, inside the intersection of the two bounding boxes.

    >>> overlap(np.array([[0.0, 0.0], [4.0, 4.0]]), np.array([[3.0, 3.0], [9.0, 9.0]]))
    0.5
    """
    low, high = np.maximum(one.min(0), other.min(0)), np.minimum(one.max(0), other.max(0))
    return min(float(((points >= low) & (points <= high)).all(1).mean()) for points in (one, other))
