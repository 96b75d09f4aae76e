"""Tracklets that are on no path, put into the gaps of paths where they fit."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (scipy comes without types)

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from shoal.config.stitch import StitchConfig
from shoal.stages.survey import Nodes

NO_LIMIT = np.iinfo(np.int64).max

Price = Callable[[Any, Any], Float64[ndarray, "J"]]
"""Positions of earlier and later tracklets in ``Nodes`` -> cost of joining each pair, nats."""


def insert(
    paths: list[list[int]],
    nodes: Nodes,
    price: Price,
    gain: Float64[ndarray, "C"],
    config: StitchConfig,
    limits: tuple[Int64[ndarray, "C"], Bool[ndarray, "G G"]],
) -> dict[tuple[int, int], float]:
    """Put tracklets that are on no path into the gaps of paths where they fit, in place, in order of time.

    All that start in the same frame compete in one assignment. A tracklet fits where the odds that it continues
    its predecessor and is continued by its successor, against those two following each other, pay. ``limits``: the
    animal of each tracklet, and which animals are two and cannot be on one path.

    Returns:
        margins of the joins made here: what the next best place, or none, would have cost more.
    """
    margin: dict[tuple[int, int], float] = {}
    used = np.zeros(len(nodes.number), np.bool_)
    for path in paths:
        used[path] = True
    free = np.flatnonzero(~used)
    if not len(free) or not paths:
        return margin
    bounds = np.flatnonzero(np.r_[True, np.diff(nodes.first[free]) > 0, True])
    for begin, end in pairwise(bounds):
        group = free[begin:end]
        cost, place = _insertion_costs(paths, group, nodes, price, config)
        cost -= gain[group, None]
        animal, apart = limits
        for row in np.flatnonzero(animal[group] >= 0):
            foes = apart[animal[group[row]]]
            cost[row, [bool(foes[animal[p]][animal[p] >= 0].any()) for p in paths]] = np.inf
        i, p = linear_sum_assignment(np.minimum(cost, 0.0))
        for row, path in zip(i, p, strict=True):
            if cost[row, path] < 0:
                node, at = int(group[row]), int(place[row, path])
                other = min([0.0, *np.delete(cost[row], path).tolist()])
                paths[path].insert(at, node)
                for a, b in pairwise([-1, *paths[path], -1][at : at + 3]):
                    margin[a, b] = max(other - float(cost[row, path]), 0.0)
    return margin


def _insertion_costs(
    paths: list[list[int]], group: Int64[ndarray, "n"], nodes: Nodes, price: Price, config: StitchConfig
) -> tuple[Float64[ndarray, "n p"], Int64[ndarray, "n p"]]:
    """Cost of putting each tracklet into each path (inf = no room), and where."""
    cost = np.full((len(group), len(paths)), np.inf)
    place = np.zeros(cost.shape, np.int64)
    for p, path in enumerate(paths):
        firsts = nodes.first[path]
        for row, node in enumerate(group):
            at = int(np.searchsorted(firsts, nodes.first[node], side="right"))
            before = path[at - 1] if at else -1
            after = path[at] if at < len(path) else -1
            joins = [(a, b) for a, b in ((before, node), (node, after)) if min(a, b) >= 0]
            gaps = [nodes.first[b] - nodes.last[a] - 1 for a, b in joins]
            if any(gap < 0 or gap > (config.max_gap or NO_LIMIT) for gap in gaps):
                continue
            prices = price(*zip(*joins, *([(before, after)] if len(joins) == 2 else []), strict=True))
            cost[row, p] = prices[: len(joins)].sum() - prices[len(joins) :].sum()
            place[row, p] = at
    return cost, place
