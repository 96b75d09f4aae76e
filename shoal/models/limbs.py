"""Which pairs of keypoints the network learns as limbs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.types import LabeledFrame, Skeleton

MIN_TOGETHER = 3
"""Animals that must show both keypoints before their distance counts as known."""


def choose_edges(
    skeleton: Skeleton, labels: Sequence[LabeledFrame], kind: Literal["auto", "skeleton", "all"]
) -> Int64[ndarray, "E 2"]:
    """The limbs to learn.

    ``auto``: the cheapest tree over the labelled data, where a limb costs its median length times one plus its
    relative variation (short limbs are seldom ambiguous, steady ones are easy to learn), then the cheapest further
    limbs that keep an animal in one piece when any one keypoint is missing; at most 2K in all.

    Args:
        skeleton: K keypoints and the project's own limbs.
        labels: labelled images.
        kind: see ``ModelConfig.edges``; ``skeleton`` falls back to ``auto`` where the project has no limbs.

    Returns:
        (E, 2) keypoint pairs, sorted, first < second.
    """
    k = skeleton.n_keypoints
    if k < 2:
        return np.zeros((0, 2), np.int64)
    if kind == "all":
        return np.argwhere(np.triu(np.ones((k, k), bool), 1)).astype(np.int64)
    if kind == "skeleton" and len(skeleton.edges):
        return skeleton.edges
    cost = limb_costs(skeleton, labels)
    edges = _tree(cost)
    for missing in range(k):
        edges |= _bridges(edges, cost, missing=missing, room=2 * k - len(edges))
    return np.array(sorted(edges), np.int64).reshape(-1, 2)


def limb_costs(skeleton: Skeleton, labels: Sequence[LabeledFrame]) -> Float64[ndarray, "K K"]:
    """Cost of each pair, symmetric and finite; pairs hardly ever seen together cost more than any seen one."""
    k = skeleton.n_keypoints
    xy = np.concatenate([np.zeros((0, k, 2)), *(frame.xy.astype(np.float64) for frame in labels)])
    distance = np.linalg.norm(xy[:, :, None] - xy[:, None], axis=-1)  # (M, K, K)
    together = np.isfinite(distance).sum(0)
    known = together >= MIN_TOGETHER
    filled = np.where(known[None], distance, 0.0)
    lower, median, upper = np.nanquantile(filled, [0.25, 0.5, 0.75], axis=0) if len(xy) else np.zeros((3, k, k))
    variation = (upper - lower) / np.maximum(median, 1e-6)
    share = together / max(together.max(initial=1), 1)
    cost = median * (1 + variation) / np.maximum(share, 1e-3)
    unknown = 2 * cost.max(initial=1.0) + 1.0
    steps = np.abs(np.arange(k)[:, None] - np.arange(k))  # neighbours in the list are a fair guess without labels
    cost = np.where(known, cost, unknown * steps)
    drawn = np.zeros((k, k), bool)
    drawn[skeleton.edges[:, 0], skeleton.edges[:, 1]] = True
    cost = np.where((drawn | drawn.T) & ~known, 0.9 * unknown, cost)
    np.fill_diagonal(cost, np.inf)
    return cost


def _tree(cost: Float64[ndarray, "K K"]) -> set[tuple[int, int]]:
    """Minimum spanning tree (Prim); ties go to the lowest indices."""
    k = len(cost)
    inside, edges = [0], set[tuple[int, int]]()
    while k and len(inside) < k:
        outside = [j for j in range(k) if j not in inside]
        block = cost[np.ix_(inside, outside)]
        i, j = np.unravel_index(int(block.argmin()), block.shape)
        edges.add((min(inside[i], outside[j]), max(inside[i], outside[j])))
        inside.append(outside[j])
    return edges


def _bridges(edges: set[tuple[int, int]], cost: Float64[ndarray, "K K"], *, missing: int, room: int) -> set:
    """The cheapest limbs that join what falls apart without keypoint ``missing``."""
    new: set[tuple[int, int]] = set()
    while len(new) < room:
        part = _parts(edges | new, len(cost), missing)
        apart = (part[:, None] != part) & (part[:, None] >= 0) & (part >= 0)
        if not apart.any():
            break
        i, j = np.unravel_index(int(np.where(apart, cost, np.inf).argmin()), cost.shape)
        new.add((int(min(i, j)), int(max(i, j))))
    return new


def _parts(edges: set[tuple[int, int]], k: int, missing: int) -> Int64[ndarray, "K"]:
    """Connected part of each keypoint without ``missing`` (-1)."""
    part = np.arange(k)
    part[missing] = -1
    for _ in range(k):
        for i, j in edges:
            if missing not in (i, j):
                part[i] = part[j] = min(part[i], part[j])
    return part
