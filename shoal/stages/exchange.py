"""Tracks exchange their parts while whole tracks then look more like one animal each.

Joins know two neighbouring tracklets. Where a short one that shows little lies between two long ones, or where one
looks odd, pairs of neighbours say nothing or the wrong thing, but all of a track together does. The likeness within a
track of m tracklets is the mean over its pairs times m - 1, as if each was compared once with what the others
have in common. Two tracks exchange everything after some moment, or a piece between two moments, as long as motion and
likeness together gain: a local search that starts at the optimum of the pairs (Kernighan & Lin, Bell System Technical
Journal 1970, is the classic of such exchanges).
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (numba and scipy come without types)

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from shoal.stages.survey import Nodes
from shoal.types import Evidence

MAX_ROUNDS = 50  # over all pairs of tracks; each exchange gains, so this is never reached but for rounding
REACH = 12  # tracklets of either track that a piece taken from its middle may have
NO_LIMIT = np.iinfo(np.int64).max


def looks_of(nodes: Nodes, evidence: Evidence | None) -> tuple[Any, Any, Any]:
    """Appearance of nodes as kernels take it: (C, D) vectors, (C,) weights, (2,) slope and offset of the log odds."""
    n = len(nodes.number)
    if evidence is None:
        return np.zeros((n, 0)), np.zeros(n), np.zeros(2)
    known = nodes.number < len(evidence.weight)
    vector, weight = np.zeros((n, evidence.vector.shape[1])), np.zeros(n)
    vector[known] = evidence.vector[nodes.number[known]]
    weight[known] = evidence.weight[nodes.number[known]]
    return vector, weight, np.array([evidence.slope, evidence.offset])


def exchange(
    paths: list[list[int]],
    nodes: Nodes,
    ends: Float64[ndarray, "C 2"],
    evidence: Evidence,
    model: tuple[Any, ...],
    max_gap: int,
    *,
    allowed: Callable[[list[int], list[int]], bool] | None = None,
) -> dict[tuple[int, int], float]:
    """Improve paths in place; none is emptied.

    Args:
        paths: positions in ``nodes``, in order of time.
        nodes: described tracklets.
        ends: cost of starting and of ending at each node.
        evidence: appearance.
        model: the arguments of ``join_cost`` from ``xy`` on, without evidence.
        max_gap: frames a gap may last; 0 = no limit.
        allowed: whether two paths may come out of an exchange; None = any.

    Returns:
        margins of the paths' joins, starts and ends by pair of positions (-1 = beginning or end): what the best other
        exchange that undoes it costs more. Joins that no exchange can undo are left out.
    """
    from shoal.stages.kernels.exchange import ALL, best_exchange

    looks = looks_of(nodes, evidence)
    gap = max_gap or NO_LIMIT

    def look(x: int, y: int) -> Any:
        a, b = np.array(paths[x], np.int64), np.array(paths[y], np.int64)
        return best_exchange(a, b, nodes.first, nodes.last, ends, gap, REACH, looks, model)

    changed = set(range(len(paths)))
    for _ in range(MAX_ROUNDS):
        before, changed = changed, set[int]()
        for x, y in combinations(range(len(paths)), 2):
            if not {x, y} & (before | changed):
                continue
            gain, (i, k, i2, k2), *_ = look(x, y)
            if gain > 1e-6:
                a, b = paths[x], paths[y]
                new = a[:i] + b[k:k2] + a[i2:], b[:k] + a[i:i2] + b[k2:]
                if allowed is None or allowed(*new):
                    paths[x], paths[y] = new
                    changed |= {x, y}
        if not changed:
            break
    margin: dict[tuple[int, int], float] = {}
    for x, y in combinations(range(len(paths)), 2):
        for path, losses in zip((paths[x], paths[y]), look(x, y)[2:], strict=True):
            dearer = np.maximum(losses[:, :ALL].min(axis=1), 0.0)
            for step, value in zip(pairwise([-1, *path, -1]), dearer.tolist(), strict=True):
                if value < margin.get(step, np.inf):
                    margin[step] = value
    return margin
