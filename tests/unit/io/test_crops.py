"""Pictures of single animals cut from frames."""

import numpy as np
import pytest

from shoal.io.crops import BODY_SHARE, crop_mask, crop_points, cut_crops
from shoal.stages.align import lay

BODY = np.array([[40.0, 0], [10, 12], [10, -12], [-40, 0]])


def coordinate_image(height, width):
    """Every pixel says where it is: red x / 2, green y / 2."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(x + 0.5) / 2, (y + 0.5) / 2, np.full(x.shape, 200)], axis=2).round().astype(np.uint8)


def cut(image, pose, size=(40, 80), body=BODY):
    points = lay(pose[None], body, crop_points(body, size))
    return cut_crops(image, points, crop_mask(body, size))[0]


@pytest.mark.parametrize("angle", [0, 1, 2.5, -2])
def test_crops_show_the_animal_where_the_template_says(angle):
    """The coordinate-image test: keypoints' own coordinates are read back from where they must lie in the crop."""
    image = coordinate_image(300, 400)
    cosine, sine = np.cos(angle), np.sin(angle)
    pose = BODY @ np.array([[cosine, sine], [-sine, cosine]]) + [200, 150]
    crop = cut(image, pose)
    scale = BODY_SHARE * 80 / 80
    for k, point in enumerate(BODY):
        x, y = np.floor(point * scale + [40, 20]).astype(int)
        shown = crop[y, x, :2].astype(float) * 2
        np.testing.assert_allclose(shown, pose[k], atol=3)
    assert (crop[:3] == 0).all() and (crop[:, :4] == 0).all(), "what is not of the animal is blank"


@pytest.mark.parametrize("centre", [(3, 150), (397, 150), (200, 3), (200, 296)])
def test_animals_at_the_edges_of_the_picture_are_cut_too(centre):
    crop = cut(coordinate_image(300, 400), BODY + np.array(centre))
    x, y = 40, 20
    np.testing.assert_allclose(crop[y, x, :2].astype(float) * 2, centre, atol=3)


def test_what_lies_outside_the_picture_is_blank_and_not_black():
    crop = cut(np.full((300, 400, 3), 90, np.uint8), BODY + np.array([10, 150]))
    assert set(np.unique(crop).tolist()) <= {0, *range(88, 92)}
    assert (crop[:, :28] == 0).all() and (crop[20, 32:60] > 0).all()


def test_a_black_animal_is_not_taken_for_blank():
    crop = cut(np.zeros((300, 400, 3), np.uint8), BODY + np.array([200, 150]))
    assert crop.max() == 1 and 0.1 < (crop > 0).mean() < 0.9


def test_two_keypoints_are_enough():
    body = np.array([[30.0, 0], [-30, 0]])
    crop = cut(coordinate_image(160, 200), body + np.array([100, 80]), (32, 64), body)
    assert 0.15 < (crop > 0).all(axis=2).mean() < 0.7, "a line has a margin that shows the body"


def test_a_bent_animal_is_straight_in_its_crop():
    """A stripe across the body stays where it is along the body."""
    body = np.stack([np.linspace(40, -40, 9), np.zeros(9)], axis=1)
    arc = 60.0  # px, radius
    turn = body[:, 0] / arc
    pose = np.stack([arc * np.sin(turn), arc * (1 - np.cos(turn))], axis=1) + np.array([150, 150])
    y, x = np.mgrid[:300, :300] + 0.5
    along = arc * np.arctan2(x - 150, arc - (y - 150))
    image = np.repeat(np.where(np.abs(along - 20) < 4, 250, 60)[..., None], 3, axis=2).astype(np.uint8)
    crop = cut(image, pose, body=body)
    bright = np.flatnonzero(crop[20, :, 0] > 150)
    assert abs(bright.mean() + 0.5 - (40 + 20 * BODY_SHARE)) < 1.5
    columns = [np.flatnonzero(row > 150).mean() for row in crop[16:25, :, 0]]
    assert np.ptp(columns) < 2.5, "across the body the stripe is straight"
