from dataclasses import replace

import numpy as np

from shoal.synthetic.fish import make_fish
from shoal.synthetic.motion import swim
from shoal.synthetic.posture import pose_bodies
from shoal.synthetic.raster import draw_strip
from shoal.synthetic.render import Renderer, join_planes, to_rgb
from shoal.synthetic.scenes import SCENES
from shoal.synthetic.tank import make_tank

SMALL = replace(
    SCENES["demo"], width=320, height=238, n_fish=2, margins=(8.0, 8.0, 40.0, 8.0),
    skin=replace(SCENES["demo"].skin, body_px=(40, 60)),
)  # fmt: skip


def strip(line, *, mask=None):
    """Draw a flat white strip of half width 4 into a black picture."""
    line = np.array(line, np.float32)
    normal = np.tile(np.array([[0, 1]], np.float32), (len(line), 1))
    skin = np.full((8, 8, 4), 200, np.float32)
    skin[..., 3] = 1
    y, u, v = np.full((40, 60), 16, np.uint8), np.full((20, 30), 128, np.uint8), np.full((20, 30), 128, np.uint8)
    mask = np.full(y.shape, 255, np.uint8) if mask is None else mask
    best = np.full(y.shape, 9.0, np.float32)
    draw_strip(line, normal, 4.0, np.ones(len(line), np.float32), skin, mask, 0.0, y, u, v, np.zeros_like(best), best)
    assert (best > 2).all()  # scratch is left clean
    return y, u


def test_a_strip_covers_its_pixels_whose_centres_lie_inside():
    y, u = strip([(10, 20), (20, 20), (30, 20)])
    assert (y[16:24, 10:30] == 200).all()
    assert y[16:24, 10:30].size == (y == 200).sum()
    assert u[9, 7] == 200


def test_a_strip_leaves_the_frame_without_harm():
    y, _ = strip([(-20, 1), (30, 1), (90, 1)])
    assert (y[0:5] == 200).all()


def test_a_masked_strip_is_not_drawn():
    y, _ = strip([(10, 20), (30, 20)], mask=np.zeros((40, 60), np.uint8))
    assert (y == 16).all()


def test_pictures_do_not_depend_on_what_was_drawn_before():
    fish, tank = make_fish(SMALL, 1), make_tank(SMALL, 1)
    chunk = next(swim(SMALL, tank, np.array([f.length for f in fish]), seed=1, day=0, n_frames=4))
    bodies = pose_bodies(chunk, fish)
    first, second = Renderer(SMALL, tank, fish, seed=1, day=0), Renderer(SMALL, tank, fish, seed=1, day=0)
    for row in range(3):
        first.planes(chunk, bodies, row, row)
    for a, b in zip(first.planes(chunk, bodies, 3, 3), second.planes(chunk, bodies, 3, 3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_planes_join_for_heights_that_four_does_not_divide():
    y, u, v = np.full((6, 8), 100, np.uint8), np.full((3, 4), 128, np.uint8), np.full((3, 4), 128, np.uint8)
    assert join_planes(y, u, v).shape == (9, 8)
    rgb = to_rgb(y, u, v)
    assert rgb.shape == (6, 8, 3)
    assert np.ptp(rgb) <= 1
