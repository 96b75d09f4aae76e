from dataclasses import replace

import numpy as np

from shoal.synthetic.grid import PAD
from shoal.synthetic.scenes import SCENES
from shoal.synthetic.tank import Light, make_tank, noise_bank, paint

SMALL = replace(
    SCENES["demo"],
    width=320,
    height=240,
    margins=(8.0, 8.0, 40.0, 8.0),
    skin=replace(SCENES["demo"].skin, body_px=(40, 60)),
)


def test_the_shelter_hides_and_the_glass_reflects_only_at_mirror_walls():
    tank = make_tank(SMALL, 1)
    drop = paint(SMALL, tank, 1)
    x, y = (int(v) for v in tank.shelter.centre)
    assert drop.y.shape == (240 + 2 * PAD, 320 + 2 * PAD)
    assert drop.open[y, x] == 0
    assert drop.open[230, 160] == 255 or drop.open[10, 160] == 255
    assert drop.glass[120, 300] > 100
    assert drop.glass[:, :279].max() == 0


def test_another_seed_has_another_floor_and_another_day_other_light():
    a, b = (paint(SMALL, make_tank(SMALL, s), s).y.astype(int) for s in (1, 2))
    assert np.abs(a - b).mean() > 3
    first, second = (Light(SMALL, 1, day).at(0)[0] for day in (0, 1))
    assert np.abs(first - second).mean() > 0.01


def test_light_moves_slowly():
    light = Light(SMALL, 1, 0)
    g0, g1, g9 = (light.at(f)[0] for f in (0, 1, 90))
    assert 0 < np.abs(g1 - g0).mean() < np.abs(g9 - g0).mean()
    assert 0.5 < g0.min() < g0.max() < 1.8


def test_noise_has_the_asked_strength():
    bank = noise_bank(SMALL, 1, 0)
    assert abs(bank.astype(float).std() - SMALL.look.noise) < 0.1
