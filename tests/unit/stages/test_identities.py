"""Tracklets grouped into animals by their looks."""

import numpy as np
import pytest

from shoal.stages.evidence import LIMIT, log_odds
from shoal.stages.identities import evidence_of_crops, put_together


def scene(seed=0, n_animals=4, n_stretches=6, n_crops=20, noise=1.0, size=60):
    """Animals that are seen in stretches one after the other: descriptions, tracklets, their ends, whose they are."""
    rng = np.random.default_rng(seed)
    looks = rng.standard_normal((n_animals, size))
    animal = np.tile(np.arange(n_animals), n_stretches)
    first = np.repeat(np.arange(n_stretches) * 100, n_animals)
    tracklet = np.repeat(np.arange(len(animal)), n_crops)
    what = looks[animal[tracklet]] + noise * rng.standard_normal((len(tracklet), size))
    return what.astype(np.float32), tracklet, first, first + 90, animal


def odds_of(evidence, n):
    i, j = np.triu_indices(n, 1)
    return log_odds(evidence, i, j), i, j


@pytest.mark.parametrize("n_animals", [4, 0])
def test_tracklets_of_one_animal_are_found_again(n_animals):
    what, tracklet, first, last, animal = scene()
    evidence = evidence_of_crops(what, tracklet, first, last, n_animals)
    assert evidence is not None and evidence.vector.shape == (24, 4)
    odds, i, j = odds_of(evidence, 24)
    same = animal[i] == animal[j]
    assert odds[same].min() > LIMIT / 2 and odds[~same].max() < -LIMIT / 2


def test_animals_at_the_same_time_are_never_one():
    looks = np.ones((4, 3)) + 0.01 * np.random.default_rng(0).standard_normal((4, 3))
    looks -= 0.5
    group = put_together(looks, np.full(4, 30), np.array([0, 0, 50, 50]), np.array([40, 40, 90, 90]), 0)
    assert group[0] != group[1] and group[2] != group[3] and set(group[:2]) == set(group[2:])


def test_fewer_groups_than_animals_where_some_are_never_seen():
    """Two tracklets of one fish in a tank of three were said to be two fish: nothing had been put together."""
    what, tracklet, first, last, animal = scene(n_animals=2, n_stretches=3)
    evidence = evidence_of_crops(what, tracklet, first, last, 3)
    assert evidence is not None
    odds, i, j = odds_of(evidence, 6)
    assert (odds[animal[i] == animal[j]] > 0).all() and evidence.vector.shape[1] == 2


def test_short_tracklets_say_less_and_those_without_crops_nothing():
    what, tracklet, first, last, _ = scene(noise=2.5)
    few = np.flatnonzero((tracklet != 20) | (np.arange(len(tracklet)) % 20 < 2))
    few = few[tracklet[few] != 21]
    evidence = evidence_of_crops(what[few], tracklet[few], first, last, 4)
    assert evidence is not None and evidence.weight[21] == 0
    assert evidence.weight[20] < np.delete(evidence.weight, [20, 21]).mean()


def test_nothing_to_compare_is_no_evidence():
    what, tracklet, first, last, _ = scene()
    assert evidence_of_crops(what, tracklet, first, last, 1) is None
    assert evidence_of_crops(what[:0], tracklet[:0], first[:0], last[:0], 4) is None
    alone = tracklet == 3
    assert evidence_of_crops(what[alone], tracklet[alone], first, last, 4) is None


def test_looks_that_say_nothing_are_hardly_believed():
    rng = np.random.default_rng(3)
    what, tracklet, first, last, animal = scene(n_stretches=10)
    what = rng.standard_normal(what.shape).astype(np.float32)
    evidence = evidence_of_crops(what, tracklet, first, last, 4)
    if evidence is not None:
        odds, i, j = odds_of(evidence, 40)
        later = first[i] != first[j]
        wrong = (odds > 3) & (animal[i] != animal[j]) & later
        assert wrong.sum() < 0.2 * later.sum()
