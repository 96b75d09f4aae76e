"""The cheapest way from one tracklet to another along paths and from path to path."""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def cheapest_route(begin, goal, ahead, barred, arc_start, arc_target, arc_cost):
    """Cheapest way from one tracklet to another along paths (free) and from path to path (at a cost), forward in time.

    Args:
        begin: position in order of first frame, which is topological.
        goal: a later one.
        ahead: (C,) next tracklet on each path, negative = none.
        barred: (C,) tracklets that the way must not touch.
        arc_start: (goal - begin + 1,) where the arcs of each tracklet from ``begin`` on start.
        arc_target: later tracklet of each change.
        arc_cost: of each change.

    Returns:
        the changes (index of arcs) on the way, in order of time; whether there is a way.
    """
    n = goal - begin + 1
    dist = np.full(n, np.inf)
    came_from, came_by = np.full(n, -1), np.full(n, -1)
    dist[0] = 0.0
    for x in range(n - 1):
        if dist[x] == np.inf:
            continue
        to = ahead[begin + x] - begin
        if 0 <= to < n and not barred[begin + to] and dist[x] < dist[to]:
            dist[to], came_from[to], came_by[to] = dist[x], x, -1
        for k in range(arc_start[x], arc_start[x + 1]):
            to = arc_target[k] - begin
            if to < n and not barred[begin + to] and dist[x] + arc_cost[k] < dist[to]:
                dist[to], came_from[to], came_by[to] = dist[x] + arc_cost[k], x, k
    changes = np.empty(n, np.int64)
    n_changes, x = 0, n - 1
    while dist[n - 1] < np.inf and x > 0:
        if came_by[x] >= 0:
            changes[n_changes] = came_by[x]
            n_changes += 1
        x = came_from[x]
    return changes[:n_changes][::-1], dist[n - 1] < np.inf
