"""Paths through tracklets -> paths that keep to what edits say: ends of paths are exchanged where that costs least.

Which tracklets are on one path is no property of single joins, so the cheapest paths cannot be asked for it; with any
number of such constraints the problem is one of integer multi-commodity flow, for which no fast exact method is known.
So: if the cheapest paths keep to all constraints, they are the answer, and exact. Else tracklets that edits are about
are taken in order of time. Where two of one animal are on two paths, the cheapest way from the one to the other along
paths and over joins is found, every change of path taken as an exchange of two ends; where two animals are on one path,
the cheapest exchange between them that breaks nothing. What earlier ones need is never touched. At last ends are
exchanged as long as that makes the whole cheaper. There is always an answer that keeps to all constraints: in the worst
case an animal's tracklets are taken out to a path of their own. It is a local optimum, also with one constraint: of
small problems with random costs more than 3 in 4 are solved as cheaply as brute force does
(tests/unit/stages/test_repair.py).
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

ROUNDS = 50  # of improving, each of which looks at all joins
TRIES = 200  # exchanges tried per round or constraint, cheapest first
LEAST_GAIN = 1e-6  # nats


@dataclass(frozen=True, eq=False)
class Costs:
    """What paths cost.

    first, last: (C,) frames; ends: (C, 2) of starting and ending; source, target: (J,) likely joins, sorted by both;
    cost: (J,) of these; price: of any joins, where they can be; max_gap: frames; most: paths that there may be;
    extra: of each path more.
    """

    first: Int64[ndarray, "C"]
    last: Int64[ndarray, "C"]
    ends: Float64[ndarray, "C 2"]
    source: Int64[ndarray, "J"]
    target: Int64[ndarray, "J"]
    cost: Float64[ndarray, "J"]
    price: Callable[[Any, Any], Float64[ndarray, "n"]]
    max_gap: int
    most: int
    extra: float

    def fits(self, a: Any, b: Any) -> Bool[ndarray, "n"]:
        """Can ``b`` follow ``a``?"""
        gap = self.first[b] - self.last[a] - 1
        return (gap >= 0) & (gap <= self.max_gap)

    def join(self, a: Int64[ndarray, "n"], b: Int64[ndarray, "n"]) -> Float64[ndarray, "n"]:
        """Of joins that can be, likely or not."""
        n = len(self.first)
        key, wanted = self.source * n + self.target, a * n + b
        at = np.minimum(np.searchsorted(key, wanted), max(len(key) - 1, 0))
        known = key[at] == wanted if len(key) else np.zeros(len(a), np.bool_)
        found = np.empty(len(a))
        found[known] = self.cost[at[known]]
        found[~known] = self.price(a[~known], b[~known])
        return found


class _Lanes:
    """Paths while they change: path and place of each tracklet, the next and the one before; -1 = none."""

    def __init__(self, paths: Iterable[list[int]], n: int) -> None:
        self.paths = [list(path) for path in paths]
        self.lane, self.ahead, self.before, self.place = (np.full(n, -1) for _ in range(4))
        for number in range(len(self.paths)):
            self._note(number)

    def _note(self, number: int) -> None:
        path = np.array(self.paths[number], np.int64)
        self.lane[path], self.place[path] = number, np.arange(len(path))
        self.ahead[path], self.before[path] = np.r_[path[1:], -1][: len(path)], np.r_[-1, path[:-1]][: len(path)]

    def copy(self) -> _Lanes:
        return _Lanes(self.paths, len(self.lane))

    def count(self) -> int:
        return sum(map(bool, self.paths))

    def set(self, number: int, path: list[int]) -> None:
        if number == len(self.paths):
            self.paths.append(path)
        self.paths[number] = path
        self._note(number)

    def exchange(self, a: int, b: int, costs: Costs, fine: Callable[[_Lanes], bool] | None = None) -> bool:
        """``b`` follows ``a``; what followed ``a`` follows what was before ``b``, or is a path of its own.

        Returns:
            whether that was done: it is undone if it is not ``fine``.
        """
        i, k = int(self.lane[a]), int(self.lane[b])
        if i == k:
            return False
        old, n = (self.paths[i], self.paths[k]), len(self.paths)
        head, tail = self.paths[i][: self.place[a] + 1], self.paths[i][self.place[a] + 1 :]
        other, rest = self.paths[k][: self.place[b]], self.paths[k][self.place[b] :]
        self.set(i, head + rest)
        if other and tail and not costs.fits(other[-1], tail[0]):
            self.set(k, other)
            self.set(n, tail)
        else:
            self.set(k, other + tail)
        if fine is None or fine(self):
            return True
        del self.paths[n:]
        self.set(i, old[0])
        self.set(k, old[1])
        return False


def keep_constraints(
    paths: list[list[int]],
    animal: Int64[ndarray, "C"],
    apart: Bool[ndarray, "G G"],
    costs: Costs,
    *,
    improve: bool = True,
) -> list[list[int]]:
    """Paths that keep to all constraints.

    Args:
        paths: the cheapest ones, as positions in order of first frame.
        animal: (C,) tracklets of equal number are one animal, -1 = any; those of one do not overlap.
        apart: which animals are two.
        costs: what paths cost.
        improve: exchange ends at last where that pays by these costs; False where something else does it that knows
            more (``stages/exchange.py``).
    """
    lanes = _Lanes(paths, len(animal))
    anchored = np.flatnonzero((animal >= 0) & (lanes.lane >= 0))
    if _is_kept(lanes, anchored, animal, apart):
        return paths
    for n, v in enumerate(anchored.tolist(), start=1):
        lanes = _settle(lanes, v, anchored[:n], animal, apart, costs)
    lanes = _improve(lanes, anchored, animal, apart, costs) if improve else lanes
    return [path for path in lanes.paths if path]


def may_be(animal: Int64[ndarray, "C"], apart: Bool[ndarray, "G G"]) -> Callable[[list[int], list[int]], bool] | None:
    """Whether two paths keep to all constraints if the two that they are made from did; None = there are none."""
    if not (animal >= 0).any():
        return None

    def is_kept(a: list[int], b: list[int]) -> bool:
        here, there = ({int(g) for g in animal[path] if g >= 0} for path in (a, b))
        return not here & there and not any(apart[np.ix_(list(on), list(on))].any() for on in (here, there) if on)

    return is_kept


def _settle(
    lanes: _Lanes, v: int, done: Int64[ndarray, "d"], animal: Int64[ndarray, "C"], apart: ndarray, costs: Costs
) -> _Lanes:
    """Paths on which tracklet ``v``, the last one of ``done``, is where it must be; what is before it stays kept."""
    if _is_kept(lanes, done, animal, apart):
        return lanes
    mine = done[(animal[done] == animal[v]) & (done < v)]
    found = _lead(lanes, int(mine[-1]), v, done, animal, apart, costs) if len(mine) else None
    found = found if len(mine) else _part(lanes, v, done, animal, apart, costs)
    if found is not None and _is_kept(found, done, animal, apart):
        return found
    for x in [*mine.tolist(), v]:  # nothing else helps
        i = int(lanes.lane[x])
        lanes.set(i, [y for y in lanes.paths[i] if y != x])
    lanes.set(len(lanes.paths), [*mine.tolist(), v])
    return lanes


def _is_kept(lanes: _Lanes, done: Int64[ndarray, "d"], animal: Int64[ndarray, "C"], apart: ndarray) -> bool:
    lane, who = lanes.lane[done], animal[done]
    where = np.full(len(apart), -1)
    where[who] = lane
    if (where[who] != lane).any():
        return False
    same = (where[:, None] == where[None]) & (where[:, None] >= 0)
    return not (same & apart).any()


def _needed(lanes: _Lanes, done: Int64[ndarray, "d"], animal: Int64[ndarray, "C"]) -> Bool[ndarray, "C"]:
    """Tracklets whose way to the next one must stay: it is between two of one animal on one path."""
    needed = np.zeros(len(animal), np.bool_)
    for g in np.unique(animal[done]):
        for a, b in pairwise(done[animal[done] == g].tolist()):
            if lanes.lane[a] == lanes.lane[b]:
                needed[lanes.paths[lanes.lane[a]][lanes.place[a] : lanes.place[b]]] = True
    return needed


def _deltas(
    lanes: _Lanes, a: Int64[ndarray, "n"], b: Int64[ndarray, "n"], needed: Bool[ndarray, "C"], costs: Costs
) -> tuple[Float64[ndarray, "n"], Int64[ndarray, "n"]]:
    """What exchanges (``b`` follows ``a``) cost, inf = not possible; how many paths more there are after them."""
    delta, more = np.full(len(a), np.inf), np.zeros(len(a), np.int64)
    tail, other = lanes.ahead[a], lanes.before[b]
    fine = (lanes.lane[a] >= 0) & (lanes.lane[b] >= 0) & (lanes.lane[a] != lanes.lane[b])
    fine &= ~needed[a] & ~((other >= 0) & needed[other]) & (costs.last[a] < costs.first[b])
    rows = np.flatnonzero(fine)
    a, b, tail, other = a[rows], b[rows], tail[rows], other[rows]
    t, o = np.flatnonzero(tail >= 0), np.flatnonzero(other >= 0)
    value = costs.join(a, b)
    value[t] -= costs.join(a[t], tail[t])
    value[o] -= costs.join(other[o], b[o])
    value -= np.where(tail < 0, costs.ends[a, 1], 0) + np.where(other < 0, costs.ends[b, 0], 0)
    value += np.where((tail < 0) & (other >= 0), costs.ends[other, 1], 0)
    value += np.where((other < 0) & (tail >= 0), costs.ends[tail, 0], 0)
    both = np.flatnonzero((tail >= 0) & (other >= 0))
    can = costs.fits(other[both], tail[both])
    value[both[can]] += costs.join(other[both[can]], tail[both[can]])
    torn = both[~can]
    value[torn] += costs.ends[other[torn], 1] + costs.ends[tail[torn], 0]
    change = np.where((tail < 0) & (other < 0), -1, 0)
    change[torn] = 1
    over = np.maximum(lanes.count() + change - costs.most, 0) - max(lanes.count() - costs.most, 0)
    delta[rows], more[rows] = value + costs.extra * over, change
    return delta, more


def _lead(
    lanes: _Lanes, u: int, v: int, done: Int64[ndarray, "d"], animal: Int64[ndarray, "C"], apart: ndarray, costs: Costs
) -> _Lanes | None:
    """The path of ``u`` leads to ``v``; None = not found."""
    from shoal.stages.kernels.repair import cheapest_route

    likely = np.flatnonzero((costs.source >= u) & (costs.source < v) & (costs.target <= v))
    straight = u + np.flatnonzero(costs.last[u:v] < costs.first[v])  # a way there always is, likely or not
    a = np.r_[costs.source[likely], straight]
    b = np.r_[costs.target[likely], np.full(len(straight), v)]
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    delta, _ = _deltas(lanes, a, b, _needed(lanes, done[:-1], animal), costs)
    others = done[:-1]
    company = animal[others[lanes.lane[others] == lanes.lane[u]]]
    barred = np.zeros(len(animal), np.bool_)
    barred[others] = np.any(apart[company], axis=0)[animal[others]]
    starts = np.searchsorted(a, np.arange(u, v + 1))
    changes, is_found = cheapest_route(u, v, lanes.ahead, barred, starts, b, delta)
    if not is_found:
        return None
    found = lanes.copy()
    for k in changes.tolist():
        found.exchange(int(a[k]), int(b[k]), costs)
    return found


def _part(
    lanes: _Lanes, v: int, done: Int64[ndarray, "d"], animal: Int64[ndarray, "C"], apart: ndarray, costs: Costs
) -> _Lanes:
    """``v`` goes away from the animals on its path that are others: by an exchange, or its path is cut before it."""
    path = lanes.paths[lanes.lane[v]]
    others = done[:-1]
    foes = others[(lanes.lane[others] == lanes.lane[v]) & apart[animal[v]][animal[others]]]
    inside = np.zeros(len(animal), np.bool_)
    inside[path[lanes.place[foes.max()] : lanes.place[v]]] = True
    enters = np.zeros(len(animal), np.bool_)
    enters[lanes.ahead[inside]] = True
    likely = np.flatnonzero(inside[costs.source] ^ enters[costs.target])
    a, b = costs.source[likely], costs.target[likely]
    delta, _ = _deltas(lanes, a, b, _needed(lanes, others, animal), costs)
    last = int(lanes.before[v])
    over = costs.extra if lanes.count() >= costs.most else 0.0
    cut = costs.ends[last, 1] + costs.ends[v, 0] - float(costs.join(np.array([last]), np.array([v]))[0]) + over
    for k in np.argsort(delta, kind="stable")[:TRIES].tolist():
        if delta[k] >= cut:
            break
        if lanes.exchange(int(a[k]), int(b[k]), costs, lambda new: _is_kept(new, done, animal, apart)):
            return lanes
    i, at = int(lanes.lane[v]), int(lanes.place[v])
    lanes.set(i, path[:at])
    lanes.set(len(lanes.paths), path[at:])
    return lanes


def _improve(
    lanes: _Lanes, anchored: Int64[ndarray, "d"], animal: Int64[ndarray, "C"], apart: ndarray, costs: Costs
) -> _Lanes:
    """Exchange ends of paths as long as the whole gets cheaper and constraints are kept."""
    for _ in range(ROUNDS):
        needed = _needed(lanes, anchored, animal)
        delta, more = _deltas(lanes, costs.source, costs.target, needed, costs)
        delta[(more != 0) & ~((more < 0) & (lanes.count() > costs.most))] = np.inf
        order = np.argsort(delta, kind="stable")[:TRIES]
        changed: set[int] = set()
        for k in order[delta[order] < -LEAST_GAIN].tolist():
            a, b = int(costs.source[k]), int(costs.target[k])
            both = {int(lanes.lane[a]), int(lanes.lane[b])}
            if both & changed:
                continue
            if lanes.exchange(a, b, costs, lambda new: _is_kept(new, anchored, animal, apart)):
                changed |= both
        if not changed:
            break
    return lanes
