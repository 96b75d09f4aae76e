from dataclasses import replace

import numpy as np
import pytest

from shoal.synthetic.fish import make_fish, outline, rgb_to_yuv
from shoal.synthetic.scenes import SCENES

DEMO = SCENES["demo"]


def test_fish_depend_on_scene_and_seed_only():
    first, again, other = make_fish(DEMO, 1), make_fish(DEMO, 1), make_fish(DEMO, 2)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a.skin, b.skin)
        assert a.length != c.length


def test_another_number_of_fish_keeps_the_first_ones():
    few, many = make_fish(replace(DEMO, n_fish=2), 1), make_fish(DEMO, 1)
    np.testing.assert_array_equal(few[1].skin, many[1].skin)


def test_fish_grow_by_the_day():
    young, old = make_fish(DEMO, 1), make_fish(DEMO, 1, day=30)
    growth = np.array([b.length / a.length for a, b in zip(young, old, strict=True)])
    assert ((growth > 1.02) & (growth < 1.12)).all()


def test_individuals_differ_less_than_fish_and_floor():
    skins = [
        f.skin[: min(f.skin.shape[0], 100), 10:20, 0]
        for f in make_fish(replace(DEMO, skin=replace(DEMO.skin, body_px=(100, 100))), 1)
    ]
    spread = np.std([s.mean() for s in skins])
    assert 0.5 < spread < 25


@pytest.mark.parametrize("species", ["cichlid", "zebrafish"])
def test_outline_is_closed_and_positive(species):
    width = outline(species, np.linspace(-0.03, 1.14, 50))
    assert width.min() >= 0
    assert width[0] == pytest.approx(0, abs=1e-3) and width[-1] == pytest.approx(0, abs=1e-3)
    assert 0.05 < width.max() < 0.12


def test_white_and_black_keep_video_range():
    yuv = rgb_to_yuv(np.array([[255.0, 255, 255], [0, 0, 0]]))
    np.testing.assert_allclose(yuv[:, 0], [235, 16], atol=0.6)
    np.testing.assert_allclose(yuv[:, 1:], 128, atol=0.6)
