"""The usual body laid over poses."""

import numpy as np
import pytest

from shoal.stages.align import lay, place, template_of

BODY = np.array([[40.0, 0], [25, 8], [25, -8], [0, 1], [-20, 0], [-38, -1]])


def turned(angle, shift, body=BODY):
    cosine, sine = np.cos(angle), np.sin(angle)
    return body @ np.array([[cosine, sine], [-sine, cosine]]) + shift


def test_a_template_is_the_body_with_its_first_keypoint_to_the_right():
    rng = np.random.default_rng(0)
    poses = np.stack([turned(a, s) for a, s in zip(rng.uniform(-4, 4, 50), rng.uniform(0, 900, (50, 2)), strict=True)])
    template = template_of(poses + rng.normal(0, 0.5, poses.shape))
    assert template is not None
    np.testing.assert_allclose(np.linalg.norm(template[0] - template[-1]), 78, atol=1)
    assert template[0, 0] > 35 and template[-1, 0] < -35 and abs(template[0, 1]) < 3
    np.testing.assert_allclose(template.min(axis=0), -template.max(axis=0))
    assert template[1, 1] > 0 > template[2, 1], "a rotation, no reflection"


@pytest.mark.parametrize("angle", [-3, -1.5, 0, 0.4, 3.1])
def test_placing_finds_angle_and_centre_without_missing_keypoints(angle):
    pose = turned(angle, [300, 200])
    pose[[1, 4]] = np.nan
    placed = place(pose[None], BODY)
    np.testing.assert_allclose(placed.angle[0], angle, atol=1e-9)
    np.testing.assert_allclose(placed.centre[0], [300, 200], atol=1e-9)
    np.testing.assert_allclose(placed.misfit, 0, atol=1e-9)


def test_a_bent_body_fits_badly():
    pose = BODY + np.stack([np.zeros(6), BODY[:, 0] ** 2 / 40], axis=1)
    assert place(pose[None], BODY).misfit[0] > 5


def test_less_than_two_keypoints_have_no_place():
    pose = np.full((2, 6, 2), np.nan)
    pose[1, 2] = 5
    assert np.isnan(place(pose, BODY).angle).all() and np.isnan(place(pose, BODY).misfit).all()
    assert template_of(pose) is None
    assert template_of(np.zeros((0, 6, 2))) is None
    assert template_of(np.ones((4, 6, 2))) is None, "all keypoints on one spot"
    assert len(place(np.zeros((0, 6, 2)), BODY).angle) == 0


def test_the_template_laid_over_a_rigid_pose_is_moved_as_a_whole():
    pose = turned(0.7, [300, 200])
    pose[3] = np.nan
    points = np.array([[0.0, 0], [45, 10], [-30, -5]])
    np.testing.assert_allclose(lay(pose[None], BODY, points)[0], turned(0.7, [300, 200], points), atol=1e-9)


def test_a_bent_pose_takes_the_template_with_it():
    pose = BODY.copy()
    pose[4:] += [0, 15]  # the tail swings
    laid = lay(pose[None], BODY, BODY)[0]
    assert np.linalg.norm(laid - pose, axis=1).max() < 6
    assert laid[5, 1] > 8 and abs(laid[0, 1]) < 4
