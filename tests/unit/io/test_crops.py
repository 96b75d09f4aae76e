"""Pictures of single animals cut from frames."""

import numpy as np
import pytest

from shoal.io.crops import BODY_SHARE, cut_crops
from shoal.stages.align import place

BODY = np.array([[40.0, 0], [10, 12], [10, -12], [-40, 0]])


def coordinate_image(height, width):
    """Every pixel says where it is: red x / 2, green y / 2."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(x + 0.5) / 2, (y + 0.5) / 2, np.full(x.shape, 200)], axis=2).round().astype(np.uint8)


def cut(image, pose, size=(40, 80)):
    placed = place(pose[None], BODY)
    return cut_crops(image, pose[None].astype(np.float32), placed.angle, placed.centre, BODY, size)[0]


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
    pose = (body + np.array([100, 80]))[None]
    placed = place(pose, body)
    crop = cut_crops(coordinate_image(160, 200), pose.astype(np.float32), placed.angle, placed.centre, body, (32, 64))[
        0
    ]
    assert 0.15 < (crop > 0).all(axis=2).mean() < 0.7, "a line has a margin that shows the body"
