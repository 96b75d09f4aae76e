from dataclasses import replace

import numpy as np
import pytest

from shoal.synthetic.fish import make_fish
from shoal.synthetic.motion import Swim
from shoal.synthetic.posture import behind_glass, covered, in_frame, mirror_points, pose_bodies, touching
from shoal.synthetic.scenes import SCENES
from shoal.synthetic.tank import make_tank

SCENE = replace(SCENES["demo"], n_fish=2, shelter=None)
FISH = make_fish(SCENE, 1)
TANK = make_tank(SCENE, 1)


def still(xy, heading=(0.0, 0.0), height=(0.2, 0.8), bend=0.0):
    """Two fish at rest: one frame."""
    zero = np.zeros((1, 2), np.float32)
    return Swim(
        xy=np.array([xy], np.float32), heading=np.array([heading], np.float32), bend=zero + bend, phase=zero, beat=zero,
        roll=zero,
        height=np.array([height], np.float32), fins=np.full((1, 2, 2), 1.0, np.float32), speed=zero,
    )  # fmt: skip


def test_a_straight_fish_is_as_long_as_its_length_and_left_is_left():
    xy = pose_bodies(still([(300, 300), (600, 500)]), FISH).xy[0]
    for fish, points in zip(FISH, xy, strict=True):
        nose, lefteye, righteye, spine1, *_, backfin, leftfin, rightfin = points
        assert np.linalg.norm(nose - backfin) == pytest.approx(fish.length, rel=0.01)
        assert nose[0] > spine1[0] > backfin[0]  # heads right
        assert lefteye[1] < nose[1] < righteye[1]  # y down: a fish that heads right has its left side up
        assert leftfin[1] < lefteye[1] < righteye[1] < rightfin[1]


def test_bending_keeps_the_midline_length():
    line = pose_bodies(still([(300, 300), (600, 500)], bend=1.2), FISH).line[0]
    straight = pose_bodies(still([(300, 300), (600, 500)]), FISH).line[0]
    for bent, flat in zip(line, straight, strict=True):
        length = np.linalg.norm(np.diff(bent, axis=0), axis=1).sum()
        assert length == pytest.approx(np.linalg.norm(np.diff(flat, axis=0), axis=1).sum(), rel=0.01)


def test_only_the_lower_of_two_crossing_fish_is_covered():
    swim = still([(400, 300), (400, 300)], heading=(0.0, np.pi / 2))
    bodies = pose_bodies(swim, FISH)
    _, below = covered(bodies, swim, FISH, TANK)
    assert below[0, 0].any()
    assert not below[0, 1].any()
    assert touching(bodies, FISH)[0].tolist() == [[False, True], [True, False]]


def test_distant_fish_neither_cover_nor_touch():
    swim = still([(300, 300), (600, 500)])
    bodies = pose_bodies(swim, FISH)
    assert not covered(bodies, swim, FISH, TANK)[1].any()
    assert not touching(bodies, FISH).any()


def test_shelter_covers_what_lies_under_it():
    tank = make_tank(SCENES["shelter"], 3)
    swim = still([tank.shelter.centre, (tank.shelter.centre[0] + 600, tank.shelter.centre[1])])
    sheltered, _ = covered(pose_bodies(swim, FISH), swim, FISH, tank)
    assert sheltered[0, 0].all()
    assert not sheltered[0, 1].any()


def test_mirror_swaps_sides_and_lies_behind_the_glass():
    wall = TANK.mirrors[0][1]
    xy = np.array([[wall - 10.0, 50.0], [wall - 40.0, 60.0]], np.float32)
    image = mirror_points(TANK, 0, xy)
    assert (image[:, 0] > wall).all()
    np.testing.assert_array_equal(image[:, 1], xy[:, 1])
    assert image[1, 0] > image[0, 0]  # farther from the glass, farther behind it
    assert behind_glass(TANK, 0, image).all()
    assert not behind_glass(TANK, 0, xy).any()


def test_in_frame_takes_the_first_and_not_the_last_corner():
    assert in_frame(SCENE, np.array([[0.0, 0.0], [959.9, 719.9], [960.0, 10.0], [-0.1, 5.0]])).tolist() == [
        True,
        True,
        False,
        False,
    ]
