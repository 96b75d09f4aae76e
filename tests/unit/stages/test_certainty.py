"""How sure decisions are, judged without truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import nbinom

from shoal.config.stitch import StitchConfig
from shoal.stages import certainty
from shoal.stages.certainty import FEATURES, bridge, expect_swaps, probability
from shoal.stages.certainty_table import SPREAD, SWAPS_PER_WRONG_JOIN, TABLE
from shoal.stages.stitch import stitch
from shoal.types import DECISION_KINDS, Decisions, Poses, Tracks, select

JOIN = DECISION_KINDS.index("join")
BODY = np.stack([np.linspace(-30, 30, 5), np.zeros(5)], axis=1)


def lanes(apart, gap=10, n=4, length=40):
    """Pieces of two animals that swim side by side, this far apart, unseen between pieces; tracklet 2 k + animal."""
    frame, track, xy = [], [], []
    for k in range(n):
        for t in range(length):
            for animal in (0, 1):
                now = k * (length + gap) + t
                frame.append(now)
                track.append(2 * k + animal)
                xy.append((100 + 5 * now, 200 + apart * animal))
    points = np.array(xy, float)[:, None] + BODY + np.random.default_rng(0).normal(0, 1.5, (len(frame), 5, 2))
    item = np.tile([0, 1], len(frame) // 2)
    ones = np.ones((len(frame), 5))
    poses = Poses(np.array(frame), item, points, ones, np.ones(len(frame)), (0, n * (length + gap)))
    return Tracks(poses, np.array(track))


def joins_of(decisions):
    return decisions.probability[decisions.kind == JOIN]


def rows(kind, source, target, sure):
    n = len(source)
    none = np.zeros(n)
    kinds = np.full(n, DECISION_KINDS.index(kind))
    return Decisions(kinds, np.arange(n), source, target, none, none, none, sure, none, (0, n))


def test_every_kind_has_a_curve_for_every_figure_and_they_are_finite():
    assert set(TABLE) == set(FEATURES)
    for kind, names in FEATURES.items():
        offset, curves = TABLE[kind]
        assert tuple(curves) == names and np.isfinite(offset)
        for knots, values in curves.values():
            assert len(knots) == len(values) and np.isfinite([*knots, *values]).all() and (np.diff(knots) > 0).all()


def test_animals_far_apart_are_surer_than_those_side_by_side():
    config = StitchConfig(n_animals=2, count="exact")
    _, near = stitch(lanes(12), None, config)
    _, far = stitch(lanes(400), None, config)
    assert len(joins_of(near)) == len(joins_of(far)) == 6
    assert ((joins_of(near) > 0) & (joins_of(far) < 1)).all()
    assert joins_of(far).min() > joins_of(near).max()


def test_a_join_without_another_animal_has_no_rival():
    tracklets = lanes(50)
    alone = Tracks(select(tracklets.poses, tracklets.track % 2 == 0), tracklets.track[tracklets.track % 2 == 0] // 2)
    _, decisions = stitch(alone, None, StitchConfig())
    assert (joins_of(decisions) > 0.9).all()


def test_leftovers_and_starts_have_a_probability():
    tracklets = lanes(300)
    ghost = Poses(np.array([60, 61]), np.full(2, 2), np.array([[900, 900], [900, 901.0]])[:, None] + BODY,
                  np.ones((2, 5)), np.full(2, 0.05), tracklets.span)  # fmt: skip
    order = np.argsort(np.r_[tracklets.poses.frame, ghost.frame], kind="stable")
    poses = Poses(*(np.concatenate([getattr(tracklets.poses, name), getattr(ghost, name)])[order]
                    for name in ("frame", "item", "xy", "confidence", "score")), tracklets.span)  # fmt: skip
    both = Tracks(poses, np.r_[tracklets.track, 8, 8][order])
    _, decisions = stitch(both, None, StitchConfig(n_animals=2, count="exact"))
    kinds = certainty.kinds_of(decisions)
    assert kinds.count("leftover") == 1 and np.isfinite(decisions.probability).all()


def test_a_weight_of_ones_own_has_no_probability():
    _, decisions = stitch(lanes(300), None, StitchConfig(), weight=lambda a, b: np.abs(b - a - 2.0))
    assert len(decisions) and np.isnan(decisions.probability).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_animals_does_not_matter(seed):
    tracklets, rng = lanes(12), np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(tracklets)), tracklets.poses.frame))
    poses = replace(select(tracklets.poses, order), item=tracklets.poses.item)
    number = rng.permutation(tracklets.n_tracks)
    config = StitchConfig(n_animals=2, count="exact")
    _, one = stitch(tracklets, None, config)
    _, two = stitch(Tracks(poses, number[tracklets.track[order]]), None, config)
    np.testing.assert_allclose(np.sort(one.probability), np.sort(two.probability), rtol=1e-5)


def test_what_no_rival_can_undo_is_as_sure_as_can_be():
    for kind in ("join", "adjoin"):
        value = np.zeros((2, len(certainty.JOIN)))
        value[:, certainty.JOIN.index("rivals")] = -10.0, certainty.SURE
        doubtful, sure = probability(kind, value)
        assert doubtful < sure


def test_build_before_and_after_is_held_against_a_join():
    tracklets = lanes(300)
    seen = {}

    def keep(paths, known, max_gap):
        seen["known"], seen["paths"] = known, paths
        return plain(paths, known, max_gap)

    plain, certainty.describe = certainty.describe, keep
    try:
        stitch(tracklets, None, StitchConfig(n_animals=2, count="exact"))
    finally:
        certainty.describe = plain
    known, path = seen["known"], np.array(seen["paths"][0])
    n = len(known.nodes.n)
    value, variance = np.zeros((n, 1)), np.full((n, 1), 0.1)
    value[path[2:]] = 5.0
    other = known._replace(nodes=known.nodes._replace(build=value, build_variance=variance), between=np.array([4.0]))
    doubt = certainty._build_doubt(path, other)
    assert doubt.argmax() == 1 and doubt[1] > 3 and doubt[[0, 2]].max() < doubt[1]
    assert (certainty._build_doubt(path, other._replace(between=np.zeros(1))) == 0).all()


def test_a_cut_takes_the_probability_of_the_join_that_bridges_it():
    cuts, joins = rows("cut", [0, 1], [2, 3], [np.nan, np.nan]), rows("join", [0, 5], [2, 3], [0.25, 0.5])
    found = bridge(cuts, joins).probability
    assert found[0] == 0.25 and np.isnan(found[1])


def test_swaps_expected_count_what_is_wrong_by_its_probability():
    sure = np.full(40, 0.75)
    mean, low, high = expect_swaps(rows("join", np.arange(40), np.arange(40) + 1, sure))
    assert mean == pytest.approx(10 * SWAPS_PER_WRONG_JOIN)
    size = 1 / SPREAD**2
    inside = nbinom.cdf(high, size, size / (size + mean)) - nbinom.cdf(low - 1, size, size / (size + mean))
    assert low < mean < high and 0.9 <= inside < 0.99
    assert expect_swaps(rows("join", [0], [1], [1.0])) == (0.0, 0.0, 0.0)
    assert expect_swaps(rows("join", [0], [1], [np.nan])) is None
    assert expect_swaps(rows("start", [0], [1], [0.1])) == (0.0, 0.0, 0.0)
