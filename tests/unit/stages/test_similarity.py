"""DLC's similarities as numbers (dlc_formats.md 6.6, 7.2)."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.config.associate import AssociateConfig
from shoal.stages.associate import SIMILARITIES
from shoal.stages.kernels import similarity as kernels
from shoal.stages.kernels.similarity import BOX, ELLIPSE, POSE, SKELETON, boxes, compare, describe

CROSS = np.array([[[-2.0, 0], [2, 0], [0, 1], [0, -1]]])
ONE = np.ones((1, 1))


def alike(kind, expected, seen, length=ONE, slack=0.0):
    a, b = np.asarray(expected, float), np.asarray(seen, float)
    return compare(kind, describe(a)[0], a, describe(b)[0], b, length, slack)


def moved(xy, x, y):
    return xy + np.array([x, y])


def test_an_ellipse_needs_three_points_and_follows_their_spread():
    found, _ = describe(np.concatenate([CROSS, np.where(np.arange(4)[:, None] < 2, CROSS, np.nan)]))
    # covariance diag(8/3, 2/3): axes of two standard deviations to either side
    np.testing.assert_allclose(found[0], [0, 0, 4 * np.sqrt(8 / 3), 4 * np.sqrt(2 / 3), 0], atol=1e-12)
    assert np.isnan(found[1, 2:]).all() and found[1, :2].tolist() == [0, 0]


def test_names_and_numbers_of_similarities_agree():
    assert SIMILARITIES == ("pose", "ellipse", "box", "skeleton")
    for name in SIMILARITIES:
        assert AssociateConfig(similarity=name)
        assert getattr(kernels, name.upper()) == SIMILARITIES.index(name)


@pytest.mark.parametrize("similarity", [POSE, ELLIPSE, BOX, SKELETON])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_everything_is_like_itself_and_less_like_anything_else(similarity, n):
    xy = np.where(np.arange(4)[:, None] < n, CROSS, np.nan)
    assert alike(similarity, xy, xy, 10 * ONE) == pytest.approx(1)
    values = [alike(similarity, xy, moved(xy, step, 0), 10 * ONE)[0, 0] for step in (0, 2, 5, 20, 50)]
    assert np.all(np.diff(values) < 0) and values[-1] < 0


def test_ellipses_at_right_angles_lose_a_fifth():
    long = CROSS * [3, 1]
    assert alike(ELLIPSE, long, long[..., ::-1]) == pytest.approx(0.8)
    shape, _ = describe(long)
    half_turn = shape + np.pi * np.eye(5)[4]
    assert compare(ELLIPSE, half_turn, long, shape, long, ONE, 0.0) == pytest.approx(1)
    apart = alike(ELLIPSE, long, moved(long, 6, 0))
    assert apart == pytest.approx(1 - 6 / (3 * 4 * np.sqrt(8 / 3)))


def test_boxes_overlap_by_intersection_over_union():
    square = np.array([[[0.0, 0], [10, 10]]])
    assert alike(BOX, square, moved(square, 5, 0), 10 * ONE) == pytest.approx(1 / 3)
    assert alike(BOX, square, moved(square, 13, 14), 10 * ONE) == pytest.approx(-0.5)
    corners = boxes.py_func(np.zeros((1, 2)), moved(square, 7, 0), 10.0, 0.0)
    assert corners.tolist() == [[-3, -10, 27, 20]]
    assert boxes.py_func(np.array([[3.0, 4]]), np.full((1, 2, 2), np.nan), 0.0, 2.0).tolist() == [[2, 3, 4, 5]]


def test_the_worst_keypoint_decides_the_skeletons_similarity():
    bent = CROSS.copy()
    bent[0, 1] = [2, 5]
    assert alike(SKELETON, CROSS, bent, 10 * ONE) == pytest.approx(1 - np.hypot(2, 4) / 10)
    assert alike(SKELETON, CROSS, CROSS[:, ::-1], 10 * ONE) == pytest.approx(1)  # as sets
