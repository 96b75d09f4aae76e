from __future__ import annotations

import numpy as np
import pytest

from shoal.config.render import RenderConfig
from shoal.io.canvas import image_canvas
from shoal.io.overlay import color_of, detection_drawer, draw_clock, draw_labels, track_drawer, unique_drawer
from shoal.types import Detections, Poses, Skeleton, Tracks

SKELETON = Skeleton(("a", "b"), [[0, 1]], unique=("lamp",))
SIZE = (160, 120)


def picture() -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), 60, np.uint8)


def two_tracks(confidence: float = 1.0) -> Tracks:
    """Track 0 moves right along y = 40, track 1 along y = 90; one more row belongs to no track."""
    frame = np.repeat(np.arange(10), 3)
    x = 20 + 8.0 * frame
    y = np.tile([40.0, 90.0, 115.0], 10)
    xy = np.stack([np.stack([x, y], -1), np.stack([x + 12, y], -1)], 1)
    poses = Poses(frame, np.tile([0, 1, 2], 10), xy, np.full((30, 2), confidence), np.ones(30), (0, 10))
    return Tracks(poses, np.tile([0, 1, -1], 10))


def drawn(config: RenderConfig, frame: int, tracks: Tracks | None = None) -> np.ndarray:
    image = picture()
    names = ("first",)
    draw = track_drawer(
        two_tracks() if tracks is None else tracks,
        config,
        skeleton=SKELETON,
        edges=SKELETON.edges,
        names=names,
        size=SIZE,
    )
    draw(image_canvas(image), frame)
    return image


def test_dots_have_their_individuals_colour_at_their_place():
    image = drawn(RenderConfig(trail=0, labels=False, skeleton=False), 3)
    assert tuple(image[39, 43]) == color_of(0) and tuple(image[39, 55]) == color_of(0)
    assert tuple(image[89, 43]) == color_of(1)
    assert (image[104:] == 60).all(), "a row without a track is not drawn"
    assert (image[39, 48:50] == 60).all(), "no limb was asked for"


def test_limbs_trails_and_names_add_to_the_picture():
    bare = drawn(RenderConfig(trail=0, labels=False, skeleton=False), 8)
    limbs = drawn(RenderConfig(trail=0, labels=False), 8)
    trails = drawn(RenderConfig(trail=5, labels=False), 8)
    names = drawn(RenderConfig(trail=5), 8)
    assert (limbs[39, 88:92] != bare[39, 88:92]).any()
    assert (trails[38:42, 52:80] != 60).any() and (trails[38:42, :46] == 60).all(), "five frames of trail, no more"
    assert (names[20:38] != trails[20:38]).any()


def test_colour_by_keypoint():
    image = drawn(RenderConfig(trail=0, labels=False, skeleton=False, color_by="keypoint"), 0)
    assert tuple(image[39, 19]) == color_of(0) and tuple(image[39, 31]) == color_of(1)


def test_weak_and_missing_keypoints_are_not_drawn():
    assert (drawn(RenderConfig(), 3, two_tracks(confidence=0.1)) == 60).all()
    tracks = two_tracks()
    xy = np.array(tracks.poses.xy)
    xy[:, 0] = np.nan
    poses = Poses(tracks.poses.frame, tracks.poses.item, xy, tracks.poses.confidence, tracks.poses.score, (0, 10))
    image = drawn(RenderConfig(trail=0, labels=False), 3, Tracks(poses, tracks.track))
    assert (image[39, 43] == 60).all() and tuple(image[39, 55]) == color_of(0)


def test_frames_without_animals_stay_as_they_are():
    assert (drawn(RenderConfig(), 3, Tracks.empty((0, 10), 2)) == 60).all()


@pytest.mark.parametrize("xy", [(-500.0, 40.0), (1e7, -1e7), (159.9, 119.9)])
def test_positions_outside_do_no_harm(xy):
    poses = Poses([0], [0], np.array([[xy, (80, 60)]]), np.ones((1, 2)), [1], (0, 1))
    assert (drawn(RenderConfig(), 0, Tracks(poses, [0])) != 60).any()


def test_detections_unique_keypoints_labels_and_clock():
    none = np.zeros(0)
    detections = Detections(
        [2, 2], [0, 1], [0, 1], [[40, 40], [80, 40]], [0.9, 0.1], none, none, none, none, none, np.zeros((2, 0)), (0, 5)
    )
    image = picture()
    detection_drawer(detections, RenderConfig(labels=False), skeleton=SKELETON, size=SIZE)(image_canvas(image), 2)
    assert tuple(image[39, 39]) == color_of(0) and (image[39, 79] == 60).all()
    lamp = Poses([2], [0], [[[120, 30]]], [[1.0]], [1.0], (0, 5))
    unique_drawer(lamp, RenderConfig(labels=False), skeleton=SKELETON, size=SIZE)(image_canvas(image), 2)
    assert (image[26:35, 112:129] == 255).any()
    before = image.copy()
    draw_clock(image_canvas(image), 2, 2 / 30)
    assert (image[:30, :120] != before[:30, :120]).any()
    truth, found = np.array([[[30.0, 80], [np.nan, np.nan]]]), np.zeros((0, 2, 2))
    draw_labels(image, truth, found, RenderConfig())
    assert np.abs(image[79, 29].astype(int) - color_of(0)).max() < 5


def test_colours_of_many_individuals_differ():
    assert len({color_of(i) for i in range(50)}) == 50
