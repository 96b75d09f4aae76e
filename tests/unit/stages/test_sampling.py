"""Which rows are worth storing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shoal.config.reid import ReidConfig
from shoal.config.sample import SampleConfig
from shoal.stages.sampling import space_name, thin_out, worth_a_crop, worth_keeping
from shoal.types import Poses, select

BODY = np.array([(-10.0, 0.0), (0.0, 0.0), (10.0, 0.0)])


def poses_of(frame, centres, confidence=0.9):
    xy = np.asarray(centres, float)[:, None] + BODY
    n = len(xy)
    return Poses(frame, np.arange(n), xy, np.full((n, 3), confidence), np.ones(n), (0, 100))


def test_every_tenth_frame_and_crossings():
    apart, near = [(0, 0), (100, 0)], [(0, 0), (15, 0)]
    config = SampleConfig(every=10, near=1.0)
    assert worth_keeping(poses_of([20, 20], apart), config).tolist() == [True, True]
    assert worth_keeping(poses_of([21, 21], apart), config).tolist() == [False, False]
    assert worth_keeping(poses_of([21, 21], near), config).tolist() == [True, True]
    assert worth_keeping(poses_of([21, 21, 21], [*near, (300, 0)]), config).tolist() == [True, True, False]
    assert not worth_keeping(poses_of([21, 21], near), SampleConfig(near=0.5)).any()


def test_poor_animals_are_not_stored():
    assert not worth_keeping(poses_of([20], [(0, 0)], confidence=0.2), SampleConfig(min_confidence=0.3)).any()
    hidden = Poses([20], [0], np.full((1, 3, 2), np.nan), np.zeros((1, 3)), [0], (20, 21))
    assert not worth_keeping(hidden, SampleConfig()).any()


def test_missing_keypoints_do_not_count_as_doubt():
    poses = poses_of([20], [(0, 0)])
    xy, confidence = poses.xy.copy(), poses.confidence.copy()
    xy[0, 0], confidence[0, 0] = np.nan, 0
    assert worth_keeping(Poses(poses.frame, poses.item, xy, confidence, poses.score, poses.span), SampleConfig()).all()


def test_frames_do_not_influence_each_other():
    rng = np.random.default_rng(0)
    poses = poses_of(np.repeat(np.arange(30), 4), rng.uniform(0, 80, (120, 2)))
    at_once = worth_keeping(poses, SampleConfig(every=7))
    one_by_one = [worth_keeping(select(poses, poses.frame == f), SampleConfig(every=7)) for f in range(30)]
    np.testing.assert_array_equal(at_once, np.concatenate(one_by_one))
    assert 0 < at_once.mean() < 1


def test_no_animal_at_all():
    assert worth_keeping(Poses.empty((0, 1), 3), SampleConfig()).shape == (0,)


def test_feature_spaces_are_named_by_network_projection_and_size(monkeypatch):
    name = space_name("a" * 64, 64)
    assert name != space_name("b" * 64, 64)
    assert name != space_name("a" * 64, 32)
    monkeypatch.setattr("shoal.stages.sampling.PROJECTION_SEED", 1)
    assert name != space_name("a" * 64, 64)


def test_crops_are_of_animals_that_are_seen_well():
    body = np.array([[30.0, 0], [10, 4], [-10, -4], [-30, 0]])
    bent = body + np.stack([np.zeros(4), body[:, 0] ** 2 / 30], axis=1)
    half, quarter = body.copy(), body.copy()
    half[:2] = np.nan
    quarter[:3] = np.nan
    xy = np.stack([body, bent + 200, half + 400, quarter + 600, body, body + np.array([0, 4])])
    poses = Poses([0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 0, 1], xy, np.ones((6, 4)), np.ones(6), (0, 2))
    good = worth_a_crop(poses, body, ReidConfig())
    assert good.tolist() == [True, False, True, False, False, False]


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 70))
def test_thinning_keeps_to_its_limit_and_leaves_no_tracklet_out(track, most):
    track = np.array(track, np.int64)
    kept = thin_out(track, most)
    numbers, n = np.unique(track, return_counts=True)
    assert kept.sum() <= max(most, len(numbers)), "one of each at least"
    left = np.array([kept[track == t].sum() for t in numbers])
    assert (left >= 1).all() if len(left) else True
    assert len(set(left[n > left].tolist())) <= 1, "the same limit for all that are thinned"
    if len(track) <= most:
        assert kept.all()
