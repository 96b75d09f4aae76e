"""What labels say about the shape of an animal."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from shoal.stages.shape import learn_shape, limb_plausibility, shape_distance


def fish(rng, n):
    return np.stack([np.linspace(0, 40, 4), np.zeros(4)], axis=1) + rng.normal(0, 1, (n, 4, 2))


@pytest.fixture(scope="module")
def model():
    return learn_shape(fish(np.random.default_rng(0), 300))


def test_distance_is_mahalanobis_over_squared_distances(model):
    rng = np.random.default_rng(0)
    labels = fish(rng, 300)
    one = fish(rng, 1)
    i, j = model.pairs.T
    kde = gaussian_kde((((labels[:, i] - labels[:, j]) ** 2).sum(-1)).T)
    off = ((one[0, i] - one[0, j]) ** 2).sum(-1) - model.mean
    distance, probability = shape_distance(model, one)
    np.testing.assert_allclose(distance, np.sqrt(off @ kde.inv_cov @ off), rtol=1e-6)
    assert 0 < probability[0] <= 1


def test_place_and_heading_do_not_matter_but_size_does(model):
    one = fish(np.random.default_rng(5), 1)
    turned = one[..., ::-1] * [-1, 1] + [300, 20]
    distances, _ = shape_distance(model, np.concatenate([one, turned, 2 * one]))
    assert distances[1] == pytest.approx(distances[0])
    assert distances[2] > 5 * distances[0]


def test_missing_keypoints_are_made_up_for(model):
    usual = np.stack([np.linspace(0, 40, 4), np.zeros(4)], axis=1)[None] * 1.05
    partly = usual.copy()
    partly[0, 3] = np.nan
    nothing = np.full_like(usual, np.nan)
    distance, probability = shape_distance(model, np.concatenate([usual, partly, nothing]))
    assert 0.3 < distance[1] / distance[0] < 3
    assert (distance[2], probability[2]) == (np.inf, 0)


def test_limbs_of_unusual_length_are_implausible(model):
    length = np.array([13.3, 16.0, 60.0])
    found = limb_plausibility(model, np.array([0, 1, 0]), np.array([1, 0, 1]), length)
    assert found[0] > 0.8 > found[1] > 1e-3 > found[2]


def test_too_little_to_learn_from_is_no_model():
    labels = fish(np.random.default_rng(0), 10)
    assert learn_shape(labels[:2]) is None
    assert learn_shape(labels[:, :1]) is None
    assert learn_shape(np.where(np.arange(4)[:, None] == 0, np.nan, labels)) is None
    assert learn_shape(np.repeat(labels[:1], 5, axis=0)) is None
