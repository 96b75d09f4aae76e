"""Probabilities of names."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.stages.naming import Calibration, calibrate, log_odds_of_names, name_probabilities

MEANS = Calibration(0.8, 0.1, 0.0, 0.2, 10.0)


def at_once(n):
    return np.arange(n), np.full(n, 50)


def by_counting(odds, known):
    """Exact probabilities: all ways to give each track another name or none."""
    n_tracks, n = odds.shape
    weight = np.hstack([np.exp(odds) * known / n / (1 - known), np.ones((n_tracks, 1))])
    total = np.zeros((n_tracks, n + 1))
    for way in itertools.product(range(n + 1), repeat=n_tracks):
        named = [name for name in way if name < n]
        if len(set(named)) == len(named):
            share = np.prod([weight[t, name] for t, name in enumerate(way)])
            for t, name in enumerate(way):
                total[t, name] += share
    return total / total.sum(axis=1, keepdims=True)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_probabilities_are_close_to_counting_all_ways(n_tracks, n, seed):
    odds = np.random.default_rng(seed).normal(0, 2, (n_tracks, n))
    found = name_probabilities(odds, at_once(n_tracks), 0.8)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.abs(found - by_counting(odds, 0.8)).max() < 0.15  # messages are an approximation


def test_alone_probabilities_are_exact():
    odds = np.random.default_rng(0).normal(0, 2, (5, 3))
    want = np.vstack([by_counting(row[None], 0.7) for row in odds])
    np.testing.assert_allclose(name_probabilities(odds, None, 0.7), want)
    np.testing.assert_allclose(name_probabilities(odds, (np.arange(5) * 10, np.arange(5) * 10 + 9), 0.7), want)


def test_two_tracks_at_once_do_not_share_a_name():
    odds = np.array([[8.0, 0.0], [5.0, 1.0]])
    assert name_probabilities(odds, None, 0.9).argmax(axis=1).tolist() == [0, 0]
    assert name_probabilities(odds, at_once(2), 0.9).argmax(axis=1).tolist() == [0, 1]
    after = np.array([0, 10]), np.array([9, 12])
    assert name_probabilities(odds, after, 0.9).argmax(axis=1).tolist() == [0, 0], "one after the other"


def test_huge_odds_do_not_lose_the_answer_nobody():
    """Sums of e**50 lost the 1 that stands for "none of them", and NaN came out."""
    odds = np.array([[60.0, 60, -60], [60, 59, -60], [-60, -60, -60]])
    found = name_probabilities(odds, at_once(3), 0.9)
    assert np.isfinite(found).all() and found[2].argmax() == 3


def test_no_tracks_and_no_crops():
    assert name_probabilities(np.zeros((0, 3)), at_once(0), 0.9).shape == (0, 4)
    assert not log_odds_of_names(np.ones((1, 2)), np.array([0]), MEANS).any()


def test_likeness_is_judged_by_how_many_crops_there_are():
    alike = np.array([[0.5]])
    few, many = (log_odds_of_names(alike, np.array([n]), MEANS)[0, 0] for n in (10, 10_000))
    assert few > many, "that much is usual for few crops of the same animal"
    beyond = log_odds_of_names(np.array([[0.8, 0.95, 0.0, -0.6]]), np.array([10_000]), MEANS)[0]
    np.testing.assert_allclose(beyond[0], beyond[1], rtol=0.01)
    np.testing.assert_allclose(beyond[2], beyond[3])


def test_calibration_needs_animals_that_look_like_themselves():
    none = np.zeros(0), np.zeros(0, np.int64)
    assert calibrate(np.array([0.1, 0.2]), np.array([0.3, 0.4]), none, days=2) is None
    assert calibrate(np.zeros(0), np.ones(3), none, days=1) is None
    one = calibrate(np.array([0.8, 0.9]), np.array([0.0, 0.1]), (np.array([0.6]), np.array([25])), days=1)
    two = calibrate(np.array([0.8, 0.9]), np.array([0.0, 0.1]), (np.array([0.6]), np.array([25])), days=2)
    assert one is not None and two is not None and two.noise > 0
    assert one.same < two.same == pytest.approx(0.85)
