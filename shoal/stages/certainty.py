"""How likely it is that decisions about identity are right, judged by what is known without truth.

A decision's costs are log odds, but neighbouring ones are not independent and the models behind them are not exact: as
they are they would be far too sure. So each decision is described by a few figures (``FEATURES``), most of them
nats that other answers would lose, and a curve per figure, learned from simulated animals whose truth is known
(``certainty_table.py``, made by ``bench/fit_certainty.py``), turns them into log odds that add up: an additive logistic
model (Hastie & Tibshirani, Generalized Additive Models, 1990).
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (numba and scipy come without types)

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from scipy.special import expit, logit
from scipy.stats import nbinom

from shoal.stages.certainty_table import LOOKS, SPREAD, SWAPS_PER_WRONG_JOIN, TABLE
from shoal.stages.insertion import Price
from shoal.stages.survey import Nodes
from shoal.types import DECISION_KINDS, DECISION_REASONS, Decisions

REACH = 2  # tracklets that a piece may have which another track could take over
SURE = 40.0  # nats: as good as certain; where nothing else is possible
FEW = 1e-9  # exchanges, weighed, that count as none
BUILD_ROWS = 300  # rows of a track before and after a join that its build is measured on
APART = 300  # frames between two tracks that are too far apart in time to exchange anything
JOIN = ("rivals", "tail", "weakest", "cost", "detour", "long", "gap", "margin", "build")
FEATURES = {
    "join": JOIN,
    "adjoin": JOIN,
    "start": ("rivals", "margin", "cost", "rows"),
    "end": ("rivals", "margin", "cost", "rows"),
    "leftover": ("rows", "score"),
}
"""Of joins over frames in which the animal was not seen, of joins without such frames (across a cut), and so on.

rivals: all exchanges with other tracks that would undo the step, weighed by what they lose, nats; tail: the best one
of all that follows; weakest: the best exchange at any step of the same gap between two long tracklets; cost: of the
step; detour: what the short tracklets in that gap cost more than none; long: the best exchange between long tracklets
alone; gap: log frames; margin: of the step; build: what the body proportions before and after say against one
animal; rows: log number; score: share of the usual one."""


class Known(NamedTuple):
    """What ``describe`` needs to know of a solution.

    nodes: described tracklets; is_long: (C,) those that paths were found through, not those put into their gaps; ends:
    (C, 2) cost of starting and of ending there; margin: by pair of positions, -1 = beginning or end; price: of joins;
    rivals: (vectors, weights, odds) of looks and the model of motion, as ``best_exchange`` takes them; between: (Q,)
    variance of body proportions between animals.
    """

    nodes: Nodes
    is_long: Bool[ndarray, "C"]
    ends: Float64[ndarray, "C 2"]
    margin: dict[tuple[int, int], float]
    price: Price
    rivals: tuple[tuple[Any, Any, Any], tuple[Any, ...]]
    between: Float64[ndarray, "Q"]


class Described(NamedTuple):
    """Decisions of one kind: (n, 2) positions in ``Nodes`` before and after (-1 = none), (n, F) ``FEATURES``."""

    step: Int64[ndarray, "n 2"]
    value: Float64[ndarray, "n F"]


def certainties(paths: list[list[int]], known: Known, max_gap: int) -> dict[tuple[int, int], float]:
    """The probability that each decision is right, by pair of positions; -1 = beginning, end, or on no path.

    Where looks were weighed, too, they make other answers lose more nats than they should, as those of neighbouring
    tracklets are alike: the log odds of joins are brought down by ``LOOKS``, learned from looks that were simulated.
    """
    found: dict[tuple[int, int], float] = {}
    has_looks = bool(known.rivals[0][1].any())
    for kind, (step, value) in describe(paths, known, max_gap).items():
        sure = probability(kind, value)
        if has_looks and FEATURES[kind] == JOIN:
            sure = expit(LOOKS[0] + LOOKS[1] * logit(np.clip(sure, FEW, 1 - FEW)))
        pairs = ((int(i), int(j)) for i, j in step)
        found.update(zip(pairs, sure.tolist(), strict=True))
    return found


def probability(kind: str, value: Float64[ndarray, "n F"]) -> Float64[ndarray, "n"]:
    """That decisions are right.

    >>> clear, doubtful = np.full((1, 9), 30.0), np.zeros((1, 9))
    >>> bool(probability("join", clear) > probability("join", doubtful))
    True
    """
    offset, curves = TABLE[kind]
    odds = np.full(len(value), offset)
    for column, name in enumerate(FEATURES[kind]):
        odds += np.interp(value[:, column], *curves[name])
    return expit(odds)


def describe(paths: list[list[int]], known: Known, max_gap: int) -> dict[str, Described]:
    """The figures that decisions are judged by, by kind: every join, every start and end, every leftover."""
    nodes = known.nodes
    every = [np.array(path, np.int64) for path in paths]
    loss = losses(every, known, max_gap)
    longs = [path[known.is_long[path]] for path in every]
    loss_of_longs = losses(longs, known, max_gap)
    rows = np.log1p(nodes.n)
    joins: list[tuple[ndarray, ndarray]] = [(np.zeros((0, 2), np.int64), np.zeros((0, len(JOIN))))]
    ends: tuple[list[Any], list[Any]] = ([], [])
    for path, own, own_long in zip(every, loss, loss_of_longs, strict=True):
        joins.append((np.stack([path[:-1], path[1:]], axis=1), _joins(path, own, own_long, known)))
        for side, step in ((0, (-1, int(path[0]))), (1, (int(path[-1]), -1))):
            node, last = step[1 - side], -1 if side else 0
            margin = min(known.margin.get(step, SURE), SURE)
            ends[side].append((step, (_soft(own[last, -1]), margin, known.ends[node, side], rows[node])))
    left = np.setdiff1d(np.arange(len(nodes.n)), np.concatenate([np.zeros(0, np.int64), *every]))
    mean = nodes.score / nodes.n
    usual = float(np.median(np.repeat(mean, np.minimum(nodes.n, 100)))) if len(mean) else 1.0
    of_left = np.stack([rows[left], mean[left] / max(usual, 1e-9)], axis=1)
    step, value = (np.concatenate(column) for column in zip(*joins, strict=True))
    adjoins = value[:, JOIN.index("gap")] == 0
    found = {"join": Described(step[~adjoins], value[~adjoins]), "adjoin": Described(step[adjoins], value[adjoins])}
    for name, some in zip(("start", "end"), ends, strict=True):
        found[name] = Described(
            np.array([s for s, _ in some]).reshape(-1, 2), np.array([v for _, v in some]).reshape(-1, 4)
        )
    return found | {"leftover": Described(np.stack([np.full(len(left), -1), left], axis=1), of_left)}


def losses(paths: list[Int64[ndarray, "m"]], known: Known, max_gap: int) -> list[Float64[ndarray, "s 4"]]:
    """What exchanges with other tracks that undo a step would lose, as ``best_exchange`` has it; below 0: gain.

    For each track one row for each of its steps, beginning and end included.
    """
    from shoal.stages.kernels.exchange import ALL, best_exchange

    nodes, (looks, model) = known.nodes, known.rivals
    found = [np.full((len(path) + 1, 4), np.inf) for path in paths]
    for loss in found:
        loss[:, ALL] = 0.0
    begin = [int(nodes.first[path[0]]) if len(path) else 0 for path in paths]
    end = [int(nodes.last[path[-1]]) if len(path) else 0 for path in paths]
    for x, y in combinations(range(len(paths)), 2):
        if len(paths[x]) and len(paths[y]) and begin[x] <= end[y] + APART and begin[y] <= end[x] + APART:
            given = (paths[x], paths[y], nodes.first, nodes.last, known.ends, max_gap, REACH, looks, model)
            for which, more in zip((x, y), best_exchange(*given)[2:], strict=True):
                found[which][:, :ALL] = np.minimum(found[which][:, :ALL], more[:, :ALL])
                found[which][:, ALL] += more[:, ALL]
    return found


def _soft(weighed: Any) -> Any:
    """Nats, from the sum over exchanges."""
    from shoal.stages.kernels.exchange import SOFT

    return -SOFT * np.log(weighed + FEW)


def _joins(
    path: Int64[ndarray, "m"], loss: Float64[ndarray, "s 4"], loss_of_long: Float64[ndarray, "t 4"], known: Known
) -> Float64[ndarray, "j F"]:
    """The figures of one track's joins, in the order of ``JOIN``."""
    from shoal.stages.kernels.exchange import ALL, TAIL

    nodes, inner = known.nodes, loss[1:-1]
    if len(path) < 2:
        return np.zeros((0, len(JOIN)))
    source, target = path[:-1], path[1:]
    cost = known.price(source, target)
    best = np.minimum(inner[:, :ALL].min(axis=1), SURE)
    is_long = known.is_long[path]
    gap_of = np.cumsum(is_long)[:-1]  # long tracklets so far = number of the step between long ones
    weakest, sums = np.full(gap_of.max() + 1, SURE), np.zeros(gap_of.max() + 1)
    np.minimum.at(weakest, gap_of, best)
    np.add.at(sums, gap_of, cost)
    longs = path[is_long]
    n = max(len(longs) - 1, 0)
    inside = (gap_of > 0) & (gap_of <= n)  # before the first long tracklet and after the last there is no such step
    of_long, direct, build = np.full(len(cost), SURE), np.zeros(len(cost)), np.zeros(len(cost))
    if inside.any():
        at = gap_of[inside] - 1
        of_long[inside] = np.minimum(loss_of_long[1:-1, :ALL].min(axis=1), SURE)[at]
        direct[inside] = known.price(longs[:-1], longs[1:])[at]
        build[inside] = _build_doubt(longs, known)[at]
    margin = [known.margin.get(step, SURE) for step in zip(source.tolist(), target.tolist(), strict=True)]
    gap = np.log1p(nodes.first[target] - nodes.last[source] - 1)
    columns = (
        _soft(inner[:, ALL]), np.minimum(inner[:, TAIL], SURE), weakest[gap_of], cost, sums[gap_of] - direct, of_long,
        gap, np.minimum(np.nan_to_num(margin, nan=SURE, posinf=SURE), SURE), build,
    )  # fmt: skip
    return np.stack(columns, axis=1)


def _build_doubt(longs: Int64[ndarray, "t"], known: Known) -> Float64[ndarray, "s"]:
    """Negative log odds that what comes before and after each step of a track is built alike, over many tracklets."""
    nodes, between = known.nodes, known.between
    rows = np.r_[0, np.cumsum(nodes.n[longs])]
    at = np.arange(1, len(longs))
    begin = np.searchsorted(rows, rows[at] - BUILD_ROWS, side="right") - 1
    end = np.searchsorted(rows, rows[at] + BUILD_ROWS, side="left")
    begin, end = np.minimum(np.maximum(begin, 0), at - 1), np.maximum(np.minimum(end, len(longs)), at + 1)
    doubt = np.zeros(len(at))
    for q in np.flatnonzero(between[: nodes.build.shape[1]] > 0):
        value, variance = nodes.build[longs, q], nodes.build_variance[longs, q]
        seen = np.isfinite(value) & np.isfinite(variance)
        weight = np.divide(1.0, variance, out=np.zeros(len(longs)), where=seen)
        total, weights = np.r_[0, np.cumsum(np.where(seen, value, 0.0) * weight)], np.r_[0, np.cumsum(weight)]
        before, after = weights[at] - weights[begin], weights[end] - weights[at]
        both = (before > 0) & (after > 0)
        before, after = np.where(both, before, 1.0), np.where(both, after, 1.0)
        apart = (total[at] - total[begin]) / before - (total[end] - total[at]) / after
        error = 1 / before + 1 / after
        wide = error + 2 * between[q]
        doubt += np.where(both, 0.5 * np.log(error / wide) + 0.5 * apart**2 * (1 / error - 1 / wide), 0.0)
    return doubt


def kinds_of(decisions: Decisions) -> list[str]:
    """The key of ``FEATURES`` for each decision; empty = none."""
    names = np.array(DECISION_KINDS)[decisions.kind].astype(object)
    names[np.array(DECISION_REASONS)[decisions.reason] == "leftover"] = "leftover"
    names[(names == "join") & (decisions.gap == 0)] = "adjoin"
    return [name if name in FEATURES else "" for name in names.tolist()]


def bridge(cuts: Decisions, joins: Decisions) -> Decisions:
    """Cuts with the probability of the join that bridges them, where one does: that the two are one animal after all.

    >>> bridge(Decisions.empty((0, 9)), Decisions.empty((0, 9))).probability.tolist()
    []
    """
    rows = np.flatnonzero((joins.kind == DECISION_KINDS.index("join")) & np.isfinite(joins.probability))
    ends = zip(joins.source[rows].tolist(), joins.target[rows].tolist(), strict=True)
    sure = dict(zip(ends, joins.probability[rows].tolist(), strict=True))
    pairs = zip(cuts.source.tolist(), cuts.target.tolist(), strict=True)
    return replace(cuts, probability=np.array([sure.get(pair, np.nan) for pair in pairs]))


def expect_swaps(decisions: Decisions) -> tuple[float, float, float] | None:
    """How many identity swaps there will be: expected, and the limits of a 90 % interval.

    Wrong joins are counted by their probabilities. A swap of two tracks takes several, and some happen within
    tracklets: ``SWAPS_PER_WRONG_JOIN`` is learned. The number is negative binomial: Poisson, its mean known only up to
    ``SPREAD``, its relative standard deviation over simulated videos.

    Returns:
        None where no join has a probability, though there are joins.

    >>> expect_swaps(Decisions.empty((0, 9)))
    (0.0, 0.0, 0.0)
    """
    joins = decisions.kind == DECISION_KINDS.index("join")
    sure = decisions.probability[joins].astype(np.float64)
    sure = sure[np.isfinite(sure)]
    if not len(sure):
        return None if joins.any() else (0.0, 0.0, 0.0)
    mean = SWAPS_PER_WRONG_JOIN * float((1 - sure).sum())
    if mean <= 0:
        return 0.0, 0.0, 0.0
    size = 1 / SPREAD**2
    low, high = nbinom.ppf((0.05, 0.95), size, size / (size + mean))
    return mean, float(low), float(high)
