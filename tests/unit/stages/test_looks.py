"""Looks of crops without a network."""

import numpy as np
import pytest

from shoal.stages.looks import describe, group_means, learn_looks, likeness, shrink


def crops_of(rng, pattern, n, *, light=0.0, noise=12.0):
    """Crops of one animal: its pattern under other light, with noise, and a border that is not of it."""
    gain = 1 + light * rng.standard_normal((n, 1, 1, 1))
    image = np.clip(pattern * gain + noise * rng.standard_normal((n, 40, 80, 3)), 1, 255).astype(np.uint8)
    image[:, :4] = image[:, -4:] = 0
    return image


def pattern(rng):
    coarse = rng.uniform(60, 180, (5, 10, 3))
    return np.kron(coarse, np.ones((8, 8, 1)))


def test_small_crops_are_mean_colours_and_keep_what_is_not_of_the_animal():
    image = np.zeros((1, 40, 80, 3), np.uint8)
    image[0, :2, :2] = 100
    image[0, 0, 2] = image[0, 0, 3] = image[0, 1, 2] = 50
    image[0, 38, 78] = 200  # one of four: most of that part is not of the animal
    small = shrink(image)
    assert small.shape == (1, 20, 40, 3)
    assert small[0, 0, 0].tolist() == [100] * 3 and small[0, 0, 1].tolist() == [50] * 3
    assert not small[0, 19, 39].any()
    with pytest.raises(ValueError, match="multiples of 20 x 40"):
        shrink(image[:, :39])


def test_light_changes_only_the_mean_colour():
    rng = np.random.default_rng(0)
    image = shrink(crops_of(rng, pattern(rng), 1, noise=0))
    darker = np.where(image > 0, np.maximum(image // 2, 1), 0).astype(np.uint8)
    a, b = describe(image)[0], describe(darker)[0]
    np.testing.assert_allclose(a[:-3], b[:-3], atol=0.05)
    assert (a[-3:] > b[-3:] * 1.8).all()


def test_an_empty_crop_has_a_description():
    assert np.isfinite(describe(np.zeros((2, 20, 40, 3), np.uint8))).all()


def test_animals_are_known_again_in_other_light_and_strangers_are_like_nobody():
    rng = np.random.default_rng(1)
    patterns = [pattern(rng) for _ in range(6)]
    train = [crops_of(rng, p, 40, light=0.1) for p in patterns[:4]]
    what, animal = describe(shrink(np.concatenate(train))), np.repeat(np.arange(4), 40)
    transform = learn_looks(what, animal)
    known = group_means(what, animal, 4) @ transform
    usual = known.mean(axis=0)
    asked = np.stack([describe(shrink(crops_of(rng, 0.8 * p, 30, light=0.1))).mean(axis=0) for p in patterns])
    alike = likeness(asked @ transform - usual, known - usual)
    assert alike[:4].argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert alike[:4].max(axis=1).min() > alike[4:].max() + 0.2


def test_group_means_of_groups_without_rows_are_zero():
    values = np.array([[1.0], [3.0], [5.0]])
    assert group_means(values, np.array([2, 0, 2]), 4).ravel().tolist() == [3.0, 0.0, 3.0, 0.0]
    assert group_means(values[:0], np.zeros(0, np.int64), 2).tolist() == [[0.0], [0.0]]
