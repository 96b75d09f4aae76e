"""DLC's similarities as numbers (dlc_formats.md 6.6, 7.2)."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.stages.kernels.associate import describe
from shoal.stages.similarity import Shapes, box, boxes, ellipse, pose, skeleton

CROSS = np.array([[[-2.0, 0], [2, 0], [0, 1], [0, -1]]])
ONE = np.ones((1, 1))


def shapes(xy, slack=0.0):
    return Shapes(describe(np.asarray(xy, float))[0], np.asarray(xy, float), slack)


def moved(xy, x, y):
    return xy + np.array([x, y])


def test_an_ellipse_needs_three_points_and_follows_their_spread():
    found, _ = describe(np.concatenate([CROSS, np.where(np.arange(4)[:, None] < 2, CROSS, np.nan)]))
    # covariance diag(8/3, 2/3): axes of two standard deviations to either side
    np.testing.assert_allclose(found[0], [0, 0, 4 * np.sqrt(8 / 3), 4 * np.sqrt(2 / 3), 0], atol=1e-12)
    assert np.isnan(found[1, 2:]).all() and found[1, :2].tolist() == [0, 0]


@pytest.mark.parametrize("similarity", [pose, ellipse, box, skeleton])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_everything_is_like_itself_and_less_like_anything_else(similarity, n):
    xy = np.where(np.arange(4)[:, None] < n, CROSS, np.nan)
    assert similarity(shapes(xy), shapes(xy), 10 * ONE) == pytest.approx(1)
    values = [similarity(shapes(xy), shapes(moved(xy, step, 0)), 10 * ONE)[0, 0] for step in (0, 2, 5, 20, 50)]
    assert np.all(np.diff(values) < 0) and values[-1] < 0


def test_ellipses_at_right_angles_lose_a_fifth():
    long = CROSS * [3, 1]
    assert ellipse(shapes(long), shapes(long[..., ::-1]), ONE) == pytest.approx(0.8)
    half_turn = Shapes(shapes(long).ellipse + np.pi * np.eye(5)[4], long)
    assert ellipse(shapes(long), half_turn, ONE) == pytest.approx(1)
    apart = ellipse(shapes(long), shapes(moved(long, 6, 0)), ONE)
    assert apart == pytest.approx(1 - 6 / (3 * 4 * np.sqrt(8 / 3)))


def test_boxes_overlap_by_intersection_over_union():
    square = np.array([[[0.0, 0], [10, 10]]])
    assert box(shapes(square), shapes(moved(square, 5, 0)), 10 * ONE) == pytest.approx(1 / 3)
    assert box(shapes(square), shapes(moved(square, 13, 14)), 10 * ONE) == pytest.approx(-0.5)
    low, high = boxes(shapes(moved(square, 7, 0), slack=10))
    assert (low.tolist(), high.tolist()) == ([[-3.0, -10.0]], [[27.0, 20.0]])


def test_the_worst_keypoint_decides_the_skeletons_similarity():
    bent = CROSS.copy()
    bent[0, 1] = [2, 5]
    assert skeleton(shapes(CROSS), shapes(bent), 10 * ONE) == pytest.approx(1 - np.hypot(2, 4) / 10)
    assert skeleton(shapes(CROSS), shapes(CROSS[:, ::-1]), 10 * ONE) == pytest.approx(1)  # as sets
