"""Paths that keep to constraints: always, and how often as cheaply as can be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from shoal.stages.kernels.stitch import cheapest_paths
from shoal.stages.repair import Costs, keep_constraints

NEVER = np.iinfo(np.int64).max


def problem(rng, n_lanes=3, n=8):
    """``n`` tracklets of ``n_lanes`` animals with random costs of joins, and the cheapest paths."""
    while True:
        first = np.sort(rng.integers(0, 30, n))
        last = first + rng.integers(0, 8, n)
        price = rng.uniform(0, 10, (n, n))
        source, target = (a.astype(np.int64) for a in np.nonzero(last[:, None] < first[None]))
        cost = price[source, target]
        ends = np.zeros((n, 2))
        reward = np.full(n, 1e4)
        following, _ = cheapest_paths(
            reward, ends[:, 0].copy(), ends[:, 1].copy(), source, target, cost, n_lanes, False
        )
        if (following != -2).all():
            break
    starts = np.setdiff1d(np.arange(n), following[following >= 0])
    paths = []
    for at in starts.tolist():
        path = []
        while at >= 0:
            path.append(at)
            at = int(following[at])
        paths.append(path)
    costs = Costs(
        first, last, ends, source, target, cost, lambda a, b: price[np.asarray(a), np.asarray(b)], NEVER, n_lanes, 1e4
    )
    return paths, costs, price


def total(paths, price, n_lanes):
    return sum(price[a, b] for p in paths for a, b in itertools.pairwise(p)) + 1e4 * max(len(paths) - n_lanes, 0)


def is_kept(paths, animal, apart):
    lane = {x: i for i, p in enumerate(paths) for x in p}
    for a, b in itertools.combinations(np.flatnonzero(animal >= 0).tolist(), 2):
        if animal[a] == animal[b] and lane[a] != lane[b]:
            return False
        if animal[a] != animal[b] and apart[animal[a], animal[b]] and lane[a] == lane[b]:
            return False
    return True


def cheapest(costs, price, animal, apart, n_lanes):
    """Of all ways to put the tracklets on at most ``n_lanes`` paths; inf = there is none."""
    best = np.inf
    for lanes in itertools.product(range(n_lanes), repeat=len(animal)):
        paths = [[x for x in range(len(animal)) if lanes[x] == i] for i in range(n_lanes)]
        fits = all(costs.last[a] < costs.first[b] for p in paths for a, b in itertools.pairwise(p))
        if fits and is_kept([p for p in paths if p], animal, apart):
            best = min(best, total(paths, price, n_lanes))
    return best


def constrained(rng, costs, n_constraints):
    """Some pairs that are one animal and some that are two, not contradictory."""
    n = len(costs.first)
    animal, apart = np.full(n, -1), np.zeros((n, n), np.bool_)
    for _ in range(n_constraints):
        a, b = sorted(rng.choice(n, 2, replace=False).tolist())
        for x in (a, b):
            animal[x] = x if animal[x] < 0 else animal[x]
        g, h = animal[a], animal[b]
        if g == h or apart[g, h]:
            continue
        both = np.flatnonzero((animal == g) | (animal == h))
        order = both[np.argsort(costs.first[both])]
        disjoint = (costs.last[order[:-1]] < costs.first[order[1:]]).all()
        if rng.random() < 0.6 and disjoint:
            animal[animal == h] = g
            apart[g] |= apart[h]
            apart[:, g] |= apart[:, h]
        else:
            apart[g, h] = apart[h, g] = True
    return animal, apart


def outcomes(n_constraints, n_cases, seed):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_cases):
        paths, costs, price = problem(rng, n=7)
        animal, apart = constrained(rng, costs, n_constraints)
        kept = keep_constraints([list(p) for p in paths], animal, apart, costs)
        assert sorted(x for p in kept for x in p) == list(range(7)), "a tracklet is lost or doubled"
        assert all(costs.last[a] < costs.first[b] for p in kept for a, b in itertools.pairwise(p))
        assert is_kept(kept, animal, apart)
        if is_kept(paths, animal, apart):
            assert kept == paths
            continue
        best = cheapest(costs, price, animal, apart, 3)
        if np.isfinite(best):
            found.append((total(kept, price, 3), best))
    return np.array(found)


@pytest.mark.parametrize("n_constraints", [1, 4])
def test_constraints_are_always_kept_and_mostly_as_cheaply_as_can_be(n_constraints):
    found = outcomes(n_constraints, 60, seed=n_constraints)
    assert len(found) > 15
    assert (found[:, 0] >= found[:, 1] - 1e-6).all(), "cheaper than the cheapest"
    assert (found[:, 0] <= found[:, 1] + 1e-6).mean() > 0.75


def test_animals_that_leave_no_room_are_taken_out_to_a_path_of_their_own():
    first, last = np.array([0, 0, 5, 5]), np.array([3, 3, 9, 9])
    costs = Costs(
        first, last, np.zeros((4, 2)), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0),
        lambda a, b: np.ones(len(a)), NEVER, 2, 1e4,
    )  # fmt: skip
    animal, apart = np.array([0, 1, 2, 3]), ~np.eye(4, dtype=bool)
    kept = keep_constraints([[0, 2], [1, 3]], animal, apart, costs)
    assert sorted(map(tuple, kept)) == [(0,), (1,), (2,), (3,)]
