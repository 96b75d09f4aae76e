from __future__ import annotations

import numpy as np
import pytest

from shoal.stages.mirrors import Mirror, depth_of, find_mirrors, has_partner, row_pairs
from shoal.types import Tracks


@pytest.mark.parametrize(("angle", "offset"), [(0.0, 420.0), (np.pi / 2, 330.0), (0.5, 500.0), (np.pi, 25.0)])
def test_a_wall_is_found_wherever_it_stands(glass, angle, offset):
    fish = glass.swimmers()
    tracks = glass.as_tracks(fish, glass.near_wall(glass.mirrored(fish, angle, offset), fish, reach=300))
    (wall,) = find_mirrors(lambda: [tracks], glass.SWAP)
    normal = np.array([np.cos(angle), np.sin(angle)])
    assert wall.normal @ normal > 0.9999 and abs(wall.offset - offset) < 3 and abs(wall.depth - 0.85) < 0.05
    assert not wall.is_swapped and wall.matched > 0.9
    image = tracks.track >= 5
    matched = has_partner(wall, tracks.poses, glass.SWAP)
    assert matched[image].mean() > 0.95 and not matched[~image & (depth_of(wall, tracks.poses.xy) < -wall.across)].any()


def test_a_network_that_names_sides_as_it_sees_them_is_understood(glass):
    fish = glass.swimmers()
    image = glass.near_wall(glass.mirrored(fish, 0.0, 420), fish)[:, :, glass.SWAP]
    (wall,) = find_mirrors(lambda: [glass.as_tracks(fish, image)], glass.SWAP)
    assert wall.is_swapped and wall.matched > 0.9


def test_the_higher_a_fish_swims_the_further_out_its_wall_seems(glass):
    fish = glass.swimmers(n=6)
    offset = np.linspace(415, 435, 6)[None, :, None]
    normal = np.array([1.0, 0.0])
    image = fish + (2 * (offset - fish @ normal))[..., None] * normal
    tracks = glass.as_tracks(fish, glass.near_wall(image, fish))
    (wall,) = find_mirrors(lambda: [tracks], glass.SWAP)
    assert has_partner(wall, tracks.poses, glass.SWAP)[tracks.track >= 6].mean() > 0.9


def test_animals_with_two_keypoints_have_reflections_too(glass):
    fish = glass.swimmers(n_frames=500)[:, :, [0, 4]]
    (wall,) = find_mirrors(
        lambda: [glass.as_tracks(fish, glass.near_wall(glass.mirrored(fish, 0.0, 420), fish))], np.arange(2)
    )
    assert abs(wall.offset - 420) < 3


def test_fish_without_glass_have_no_wall(glass):
    assert find_mirrors(lambda: [glass.as_tracks(glass.swimmers(n=8))], glass.SWAP) == ()
    assert find_mirrors(lambda: [Tracks.empty((0, 10), 5)], glass.SWAP) == ()


def test_two_fish_that_rest_face_to_face_are_no_wall(glass):
    fish = glass.swimmers()
    still = np.broadcast_to(glass.BODY + np.array([520.0, 150]), (300, 1, 5, 2))
    tracks = glass.as_tracks(fish, still, np.broadcast_to(glass.mirrored(still, 0.0, 560.0), (300, 1, 5, 2)), noise=0.5)
    assert find_mirrors(lambda: [tracks], glass.SWAP) == ()


def test_pairs_of_rows_are_those_of_one_frame():
    frame = np.array([0, 0, 3, 4, 4])
    pairs = {pair for a, b in row_pairs(frame, np.arange(5)) for pair in zip(a.tolist(), b.tolist(), strict=True)}
    assert pairs == {(0, 1), (1, 0), (3, 4), (4, 3)}
    later = {pair for a, b in row_pairs(frame, np.array([2]), 1) for pair in zip(a.tolist(), b.tolist(), strict=True)}
    assert later == {(2, 3), (2, 4)}


def test_depth_is_measured_from_the_wall():
    wall = Mirror(np.array([1.0, 0.0]), 100.0, 1.0, False, 1, 1, 1, 1, 0, 30)
    xy = np.array([[[90.0, 0], [95, 0]], [[110, 0], [np.nan, np.nan]], [[np.nan] * 2] * 2])
    assert np.array_equal(depth_of(wall, xy), [-7.5, 10, np.nan], equal_nan=True)
