"""Tracklets -> tracks: the cheapest set of disjoint paths through all tracklets, which always exists.

Costs are natural log odds. Covering a tracklet earns by its rows; joining two costs the negative log odds
that one continues the other, by a motion model learned from this video's own tracklets, less the
``Evidence`` of appearance; starting or ending a track in mid-view costs. One path = one animal. What edits say is kept
in any case: tracklets are cut for it (``stages/constraints.py``), and paths exchange their ends (``stages/repair.py``).
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (numba and scipy come without types)

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from shoal.config.stitch import StitchConfig
from shoal.stages.certainty import Known, certainties
from shoal.stages.constraints import Links, bind, decisions_of_tracklets, evidence_of_pieces, split
from shoal.stages.evidence import log_odds
from shoal.stages.exchange import exchange, looks_of
from shoal.stages.insertion import NO_LIMIT, Price, insert
from shoal.stages.motion import Motion, learn_motion
from shoal.stages.repair import Costs, keep_constraints, may_be
from shoal.stages.survey import Nodes, Parts, survey
from shoal.types import DECISION_KINDS, DECISION_REASONS, Constraints, Decisions, Evidence, Span, Tracks

VERSION = 5

MAX_WEIGHED = 2_000_000  # pairs that a weight function is asked about, over all tracklets
MAX_LOOKED = 4000  # later tracklets considered per tracklet, nearest in time first
JUMP_COST = 8.0  # nats: odds of 1 : 3000 that an animal turns up just anywhere
EDGE_BODIES = 0.5  # this close to the outermost centres seen, in body lengths, is the edge of the view
VIDEO_EDGE = 3  # frames from the video's first or last that still count as them
HELD = 1e4  # nats: that somebody joined or named a tracklet is worth more than any rows, so it is on a path

Joins = tuple[Int64[ndarray, "J"], Int64[ndarray, "J"], Float64[ndarray, "J"]]
"""Source and target position in ``Nodes``, and the cost."""

Weight = Callable[[Int64[ndarray, "J"], Int64[ndarray, "J"]], Float64[ndarray, "J"]]
"""Numbers of earlier and later tracklets -> cost of joining each pair, nats; inf = never."""


def stitch(
    tracklets: Tracks,
    evidence: Evidence | None,
    config: StitchConfig,
    *,
    constraints: Constraints | None = None,
    weight: Weight | None = None,
) -> tuple[Tracks, Decisions]:
    """Join tracklets into tracks.

    Args:
        tracklets: from ``associate``.
        evidence: who looks like whom, added to motion; None = motion alone. The tracks that are cheapest by pairs then
            exchange their parts while that fits what whole tracks look like better (``stages/exchange.py``).
        config: the count of animals and the costs.
        constraints: what edits say, kept in any case; exact if the cheapest paths keep to it, else see
            ``stages/repair.py``. Rows that are there but no animals are in no track.
        weight: the cost of a join in place of the motion model's (DLC's ``weight_func``).

    Returns:
        The same rows with track numbers: animals first, by first frame, then tracklets that fit nowhere,
        from ``n_animals`` (if given) on; and a row for every join, every start and end of an animal
        inside the video, every leftover. ``source`` and ``target`` are tracklet numbers. Margins are those of the
        cheapest paths without constraints; joins that follow from these have none.

    >>> from shoal.types import Poses
    >>> xy = np.zeros((6, 3, 2), np.float32) + np.array([0, 1, 2, 5, 6, 7])[:, None, None]
    >>> poses = Poses(np.array([0, 1, 2, 5, 6, 7]), np.zeros(6), xy, np.ones((6, 3)), np.ones(6), (0, 8))
    >>> tracks, decisions = stitch(Tracks(poses, np.array([0, 0, 0, 1, 1, 1])), None, StitchConfig())
    >>> tracks.track.tolist(), len(decisions)
    ([0, 0, 0, 0, 0, 0], 1)
    """
    links = bind(lambda: (tracklets,), constraints) if constraints is not None and len(constraints) else None
    pieces = split(tracklets, links) if links else tracklets
    number, decisions = solve(lambda: (pieces,), evidence, config, links=links, weight=weight)
    return relabel(pieces, number), decisions


def solve(
    parts: Parts,
    evidence: Evidence | None,
    config: StitchConfig,
    *,
    links: Links | None = None,
    weight: Weight | None = None,
) -> tuple[Int64[ndarray, "T"], Decisions]:
    """As ``stitch``, of tracklets that come in adjoining spans: only one is in memory, and spans do not matter.

    Args:
        parts: gives the spans in order, cut by ``constraints.split`` if there are links; called twice.
        evidence: as in ``stitch``, about tracklets as they were before they were cut.
        config: as in ``stitch``.
        links: constraints, from ``constraints.bind``.
        weight: as in ``stitch``.

    Returns:
        The track of each tracklet (or piece), -1 = none, which ``relabel`` applies to each span. The decisions.
    """
    known = survey(parts)
    evidence = evidence_of_pieces(evidence, links) if links else evidence
    nodes = known.nodes
    if not len(nodes.number):
        return np.full(known.n_tracklets, -1), Decisions.empty(known.span)
    motion = learn_motion(known)
    gain = _gains(nodes, config)
    ends = _end_costs(nodes, motion, known.span, config)
    held, animal, apart = _held(nodes, links)
    gain = gain + HELD * held
    usable = (nodes.n >= config.min_length) | held | (_is_cut(nodes, links) if links else False)
    if usable.sum() < (config.n_animals if config.count == "exact" else 1):
        usable[:] = True
    chosen = np.flatnonzero(usable)
    joins = _joins(_take(nodes, chosen), motion, evidence, config, weight)
    following, *found = _solve(gain[chosen], ends[chosen], joins, config)
    paths = _paths(following, chosen)
    margin = _margins_of_steps(following, chosen, *found)
    price, odds = _price(nodes, motion, weight), _odds(nodes, evidence)

    def total(a: Any, b: Any) -> Float64[ndarray, "J"]:
        return price(a, b) - odds(a, b)

    has_looks = evidence is not None and bool(evidence.weight.any()) and weight is None
    said: dict[tuple[int, int], float] = {}
    if links:
        before, on_path = _steps(paths), {i for path in paths for i in path}
        paths += [[int(i)] for i in np.flatnonzero(held) if int(i) not in on_path]
        order = np.lexsort((joins[1], joins[0]))
        likely = (chosen[joins[0][order]], chosen[joins[1][order]], joins[2][order])
        most = _most(len(gain), config)
        costs = Costs(nodes.first, nodes.last, ends, *likely, total, config.max_gap or NO_LIMIT, most, HELD)
        paths = keep_constraints(paths, animal, apart, costs, improve=not has_looks)
        said = dict.fromkeys(_steps(paths) - before, np.nan)
    if evidence is not None and has_looks:
        model = _model(nodes, motion, build=False)
        margin |= exchange(paths, nodes, ends, evidence, model, config.max_gap, allowed=may_be(animal, apart))
    is_long = np.isin(np.arange(len(gain)), [i for path in paths for i in path])
    margin |= insert(paths, nodes, total, gain, config, (animal, apart))
    paths = _in_order(paths, nodes, gain, config)
    sure: dict[tuple[int, int], float] = {}
    if weight is None:
        rivals = looks_of(nodes, evidence), _model(nodes, motion, build=not has_looks)
        about = Known(nodes, is_long, ends, margin, total, rivals, motion.build_between)
        sure = certainties(paths, about, config.max_gap or NO_LIMIT)
    said |= {(i, j): 1.0 for i, j in _steps(paths) if animal[i] == animal[j] >= 0}
    decisions = _decisions(known.span, nodes, paths, price, odds, ends, (margin, sure), said, config)
    decisions = decisions_of_tracklets(decisions, links) if links else decisions
    return _numbers(known.n_tracklets, nodes, paths, config), decisions


def _held(nodes: Nodes, links: Links | None) -> tuple[Bool[ndarray, "C"], Int64[ndarray, "C"], Bool[ndarray, "G G"]]:
    """Tracklets that somebody joined or named; the animal of each, -1 = any; which animals are two."""
    animal = np.full(len(nodes.number), -1)
    if links is None:
        return np.zeros(len(animal), np.bool_), animal, np.zeros((0, 0), np.bool_)
    position = np.full(int(max(nodes.number.max(), links.piece.max(initial=0))) + 1, -1)
    position[nodes.number] = np.arange(len(animal))
    there = position[links.piece] >= 0
    animal[position[links.piece[there]]] = links.animal[there]
    n = np.bincount(animal[animal >= 0], minlength=len(links.names))
    wanted = np.array([bool(name) for name in links.names], np.bool_) | (n > 1)
    apart = np.zeros((len(wanted), len(wanted)), np.bool_)
    apart[links.apart[:, 0], links.apart[:, 1]] = apart[links.apart[:, 1], links.apart[:, 0]] = True
    return np.r_[wanted, False][animal], animal, apart


def _is_cut(nodes: Nodes, links: Links) -> Bool[ndarray, "C"]:
    """Is it a piece of a tracklet that was cut?"""
    return np.isin(links.tracklet[nodes.number], links.cut_tracklet)


def _steps(paths: list[list[int]]) -> set[tuple[int, int]]:
    return {step for path in paths for step in pairwise(path)}


def _most(n: int, config: StitchConfig) -> int:
    """Paths that there may be."""
    return config.n_animals if config.count != "unknown" and config.n_animals > 0 else n


def _in_order(
    paths: list[list[int]], nodes: Nodes, gain: Float64[ndarray, "C"], config: StitchConfig
) -> list[list[int]]:
    """Paths by first frame; those beyond the count, which only edits can make necessary, come last."""
    most = _most(len(gain), config)
    rank = {id(path): -sum(float(gain[i]) for i in path) for path in paths}
    best = {id(path) for path in sorted(paths, key=lambda path: rank[id(path)])[:most]}
    return sorted(paths, key=lambda path: (id(path) not in best, nodes.first[path[0]], nodes.number[path[0]]))


def relabel(tracklets: Tracks, number: Int64[ndarray, "T"]) -> Tracks:
    """The same rows with the track of each tracklet, from ``solve``, in place of the tracklet's number."""
    known = tracklets.track >= 0
    track = np.full(len(tracklets), -1)
    track[known] = number[tracklets.track[known]]
    return Tracks(tracklets.poses, track)


def _take(nodes: Nodes, rows: Int64[ndarray, "n"]) -> Nodes:
    return Nodes(*(column[rows] for column in nodes))


def _gains(nodes: Nodes, config: StitchConfig) -> Float64[ndarray, "C"]:
    """Reward for explaining each tracklet: its rows times 1 at the video's usual score, 0 at half of it, down to -1.

    The usual score is that of the median row, not tracklet: ghosts are many but short.
    """
    mean = nodes.score / nodes.n
    order = np.argsort(mean)
    rows = np.cumsum(nodes.n[order])
    typical = mean[order][np.searchsorted(rows, rows[-1] / 2)]
    weight = np.clip(2 * mean / typical - 1, -1, 1) if typical > 0 else np.ones(len(mean))
    return config.row_reward * nodes.n * weight


def _end_costs(nodes: Nodes, motion: Motion, span: tuple[int, int], config: StitchConfig) -> Float64[ndarray, "C 2"]:
    """Cost of a track that starts, and one that ends, at each tracklet."""
    reach = EDGE_BODIES * motion.body
    at_edge = ((nodes.xy < motion.low + reach) | (nodes.xy > motion.high - reach)).any(axis=2)
    cost = np.where(at_edge, config.border_cost, config.appear_cost)
    return np.where(_at_video_edge(nodes, span), 0.0, cost)


def _at_video_edge(nodes: Nodes, span: tuple[int, int]) -> Bool[ndarray, "C 2"]:
    """Does the tracklet begin where the video begins, end where it ends?"""
    return np.stack([nodes.first - span[0] < VIDEO_EDGE, span[1] - 1 - nodes.last < VIDEO_EDGE], axis=1)


def _model(nodes: Nodes, motion: Motion, evidence: Evidence | None = None, *, build: bool = True) -> tuple[Any, ...]:
    """The arguments of ``join_cost`` from ``xy`` on."""
    q = nodes.build.shape[1] if build else 0
    return (
        nodes.xy, nodes.velocity, nodes.shape, motion.beta, motion.sigma, motion.shape_sigma, motion.shape_any,
        motion.area, JUMP_COST, nodes.build[:, :q], nodes.build_variance[:, :q], motion.build_between[:q],
        *looks_of(nodes, evidence),
    )  # fmt: skip


def _joins(
    nodes: Nodes, motion: Motion, evidence: Evidence | None, config: StitchConfig, weight: Weight | None = None
) -> Joins:
    """Possible joins: the likeliest, or all that there are by weight."""
    from shoal.stages.kernels.stitch import candidates

    max_gap = config.max_gap or NO_LIMIT
    if weight is None:
        model = _model(nodes, motion, evidence)
        return candidates(nodes.first, nodes.last, max_gap, config.max_joins, MAX_LOOKED, model)
    source, target, cost = _weighed(nodes, max_gap, weight)
    return source, target, cost - _odds(nodes, evidence)(source, target)


def _price(nodes: Nodes, motion: Motion, weight: Weight | None) -> Price:
    """What joins cost without evidence."""
    from shoal.stages.kernels.stitch import join_costs

    model = _model(nodes, motion)

    def price(source: Any, target: Any) -> Float64[ndarray, "J"]:
        a, b = np.asarray(source, np.int64), np.asarray(target, np.int64)
        if weight is not None and len(a):
            return np.asarray(weight(nodes.number[a], nodes.number[b]), np.float64)
        return join_costs(a, b, nodes.first, nodes.last, model)

    return price


def _odds(nodes: Nodes, evidence: Evidence | None) -> Price:
    """What evidence takes off the cost of joins."""

    def odds(source: Any, target: Any) -> Float64[ndarray, "J"]:
        a, b = np.asarray(source, np.int64), np.asarray(target, np.int64)
        return np.zeros(len(a)) if evidence is None else log_odds(evidence, nodes.number[a], nodes.number[b])

    return odds


def _weighed(
    nodes: Nodes, max_gap: int, weight: Weight
) -> tuple[Int64[ndarray, "J"], Int64[ndarray, "J"], Float64[ndarray, "J"]]:
    """All pairs that can follow each other (of very many tracklets the nearest in time) and what they cost."""
    begin = np.searchsorted(nodes.first, nodes.last, side="right")
    latest = nodes.last + 1 + np.minimum(max_gap, np.iinfo(np.int32).max)
    room = max(MAX_WEIGHED // max(len(nodes.number), 1), 1)
    count = np.clip(np.searchsorted(nodes.first, latest, side="right") - begin, 0, room)
    source = np.repeat(np.arange(len(count)), count)
    target = begin[source] + np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
    cost = np.asarray(weight(nodes.number[source], nodes.number[target]) if len(source) else source, np.float64)
    if cost.shape != source.shape:
        raise ValueError(f"weight: expected one cost for each of {len(source)} pairs, got shape {cost.shape}")
    usable = np.isfinite(cost)
    return source[usable], target[usable], cost[usable]


def split_at_gaps(tracklets: Tracks) -> Tracks:
    """Cut tracklets wherever they miss a frame (DLC's ``split_tracklets``); numbered by first frame.

    >>> from shoal.types import Poses
    >>> poses = Poses(np.array([0, 1, 3]), np.zeros(3), np.zeros((3, 1, 2)), np.ones((3, 1)), np.ones(3), (0, 4))
    >>> split_at_gaps(Tracks(poses, np.zeros(3))).track.tolist()
    [0, 0, 1]
    """
    rows = np.flatnonzero(tracklets.track >= 0)
    frame, track = tracklets.poses.frame, tracklets.track.astype(np.int64)
    rows = rows[np.lexsort((frame[rows], track[rows]))]
    is_first = np.r_[True, (np.diff(track[rows]) != 0) | (np.diff(frame[rows]) > 1)][: len(rows)]
    firsts = rows[is_first]
    rank = np.empty(len(firsts), np.int64)
    rank[np.lexsort((track[firsts], frame[firsts]))] = np.arange(len(firsts))
    number = np.full(len(tracklets), -1)
    number[rows] = rank[np.cumsum(is_first) - 1]
    return Tracks(tracklets.poses, number)


def _solve(
    gain: Float64[ndarray, "C"], ends: Float64[ndarray, "C 2"], joins: Joins, config: StitchConfig
) -> tuple[Int64[ndarray, "C"], Float64[ndarray, "C"], Float64[ndarray, "C"]]:
    """Next tracklet on the path of each (-1 = last one, -2 = on no path), margins of that step and of a beginning."""
    from shoal.stages.kernels.stitch import cheapest_paths, path_margins

    limited = config.count != "unknown" and config.n_animals > 0
    most = _most(len(gain), config)
    is_exact = limited and config.count == "exact"
    problem = (gain, ends[:, 0].copy(), ends[:, 1].copy(), *joins)
    following, paid = cheapest_paths(*problem, most, not is_exact)
    ahead, before = path_margins(*problem, following, not is_exact and len(paid) < most, not is_exact)
    return following, ahead, before


def _margins_of_steps(
    following: Int64[ndarray, "C"],
    chosen: Int64[ndarray, "C"],
    ahead: Float64[ndarray, "C"],
    before: Float64[ndarray, "C"],
) -> dict[tuple[int, int], float]:
    """Margins by pair of positions in all nodes; -1 stands for the beginning and the end of a path."""
    to = np.where(following >= 0, chosen[np.maximum(following, 0)], -1)
    steps = [(int(chosen[i]), int(to[i]), float(ahead[i])) for i in np.flatnonzero(np.isfinite(ahead))]
    steps += [(-1, int(chosen[i]), float(before[i])) for i in np.flatnonzero(np.isfinite(before))]
    return {(a, b): value for a, b, value in steps}


def _paths(following: Int64[ndarray, "C"], chosen: Int64[ndarray, "C"]) -> list[list[int]]:
    """Paths as lists of positions in all nodes."""
    is_first = following != -2
    is_first[following[following >= 0]] = False
    paths: list[list[int]] = []
    for begin in np.flatnonzero(is_first):
        path, node = [], int(begin)
        while node >= 0:
            path.append(int(chosen[node]))
            node = int(following[node])
        paths.append(path)
    return paths


def _numbers(n: int, nodes: Nodes, paths: list[list[int]], config: StitchConfig) -> Int64[ndarray, "T"]:
    """Track of each of ``n`` tracklet numbers: animals, then leftovers."""
    number = np.full(n, -1)
    for p, path in enumerate(paths):
        number[nodes.number[path]] = p
    left = nodes.number[number[nodes.number] < 0]
    known = config.n_animals if config.count != "unknown" else 0
    number[left] = max(known, len(paths)) + np.arange(len(left))
    return number


def _decisions(
    span: Span,
    nodes: Nodes,
    paths: list[list[int]],
    price: Price,
    odds: Price,
    ends: Float64[ndarray, "C 2"],
    judged: tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]],
    said: dict[tuple[int, int], float],
    config: StitchConfig,
) -> Decisions:
    """Every join, every start and end that is not the video's, every leftover.

    Args:
        span: frames covered.
        nodes: described tracklets.
        paths: positions in ``nodes``.
        price: of joins without evidence.
        odds: what evidence takes off the cost of a join.
        ends: cost of starting and of ending at each node.
        judged: margins and probabilities by pair of positions, -1 = beginning, end or on no path.
        said: joins that edits ask for (1) or that follow from these (NaN), by pair of positions.
        config: the costs.
    """
    found: list[tuple[str, str, int, int, int, int, float, float, float]] = []
    inside, (margin, sure) = ~_at_video_edge(nodes, span), judged
    first, last, number = nodes.first.tolist(), nodes.last.tolist(), nodes.number.tolist()
    for path in paths:
        steps = zip(
            path, path[1:], price(path[:-1], path[1:]).tolist(), odds(path[:-1], path[1:]).tolist(), strict=False
        )
        for i, j, motion, extra in steps:
            is_dear = motion - extra > ends[i, 1] + ends[j, 0]
            why = "count" if is_dear else "appearance" if extra > max(0.0, -motion) else "motion"
            why = "edit" if (i, j) in said else why
            step = (i, j)
            found.append(("join", why, first[j], number[i], number[j], first[j] - last[i] - 1, motion - extra,
                          margin.get(step, np.nan), said.get(step, sure.get(step, np.nan))))  # fmt: skip
        for side, name, i in ((0, "start", path[0]), (1, "end", path[-1])):
            if inside[i, side]:
                why = "border" if ends[i, side] < config.appear_cost else "count"
                source, target, frame = (number[i], -1, last[i]) if side else (-1, number[i], first[i])
                step = (i, -1) if side else (-1, i)
                found.append((name, why, frame, source, target, 0, float(ends[i, side]),
                              margin.get(step, np.nan), sure.get(step, np.nan)))  # fmt: skip
    on_path = {i for path in paths for i in path}
    left = [i for i in range(len(number)) if i not in on_path]
    found += [
        ("start", "leftover", first[i], -1, number[i], 0, np.nan, np.nan, sure.get((-1, i), np.nan)) for i in left
    ]
    found.sort(key=lambda row: (row[2], row[0], row[3], row[4]))
    if not found:
        return Decisions.empty(span)
    kind, reason, frame, source, target, gap, cost, least, likely = (np.array(c) for c in zip(*found, strict=True))
    kinds = np.array([DECISION_KINDS.index(k) for k in kind])
    reasons = np.array([DECISION_REASONS.index(r) for r in reason])
    return Decisions(kinds, frame, source, target, gap, cost, least, likely, reasons, span)
