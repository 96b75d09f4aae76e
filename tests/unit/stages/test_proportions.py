"""Body proportions tell animals apart as far as a video's own tracklets say so."""

from __future__ import annotations

import numpy as np

from shoal.config.stitch import StitchConfig
from shoal.stages.motion import learn_motion
from shoal.stages.stitch import stitch
from shoal.stages.survey import survey
from shoal.types import Poses, Tracks


def tank(lengths, *, spread, gap=None, seed=0, n_frames=200):
    """Animals of given lengths on random walks; ``gap`` = frames in which nobody is seen, after which all are mixed."""
    rng = np.random.default_rng(seed)
    n = len(lengths)
    centre = np.cumsum(rng.normal(0, 2, (n_frames, n, 2)), axis=0) + 150 * np.arange(n)[:, None]
    late = np.arange(n_frames) >= (gap or (n_frames, n_frames))[1]
    centre[late] = centre[late][:, rng.permutation(n)]
    size = np.array(lengths) * np.exp(rng.normal(0, spread, (n_frames, n)))
    xy = centre[:, :, None] + size[..., None, None] * np.array([(-0.5, 0), (0, 0), (0.5, 0)])
    frame, animal = (c.ravel() for c in np.mgrid[:n_frames, :n])
    seen = ~((frame >= gap[0]) & (frame < gap[1])) if gap else np.ones(len(frame), bool)
    frame, animal, late = frame[seen], animal[seen], late[frame[seen]]
    poses = Poses(frame, animal, xy[frame, animal], np.ones((len(frame), 3)), np.full(len(frame), 0.8), (0, n_frames))
    return Tracks(poses, animal + n * late), animal


def described(tracks):
    known = survey(lambda: (tracks,))
    return known.nodes, learn_motion(known)


def test_animals_of_different_size_stand_apart_by_more_than_their_errors():
    lengths = np.geomspace(50, 100, 9)
    nodes, motion = described(tank(lengths, spread=0.03)[0])
    order = np.argsort(nodes.build[:, 0])
    assert order.tolist() in (list(range(9)), list(range(8, -1, -1)))  # the first direction is size
    assert np.sqrt(nodes.build_variance[:, 0]).max() < np.abs(np.diff(np.sort(nodes.build[:, 0]))).min()
    np.testing.assert_allclose(motion.build_between[0], np.var(nodes.build[:, 0], ddof=1), rtol=0.1)


def test_animals_of_one_size_and_different_build_stand_apart():
    tracks, animal = tank(np.full(9, 60.0), spread=0.03)
    xy = tracks.poses.xy.copy()
    xy[:, 1, 0] += np.linspace(-12, 12, 9)[animal]  # where between the ends the middle lies
    changed = Poses(tracks.poses.frame, tracks.poses.item, xy, tracks.poses.confidence, tracks.poses.score, tracks.span)
    nodes, motion = described(Tracks(changed, tracks.track))
    assert motion.build_between[0] > 10 * nodes.build_variance[:, 0].max()


def test_equal_animals_differ_in_nothing():
    nodes, motion = described(tank(np.full(9, 60.0), spread=0.03)[0])
    assert (motion.build_between < 3 * nodes.build_variance.max(axis=0)).all()


def test_without_tracklets_to_learn_from_proportions_say_nothing():
    nodes, motion = described(tank([50, 80], spread=0.03, n_frames=25)[0])
    assert nodes.build.shape == (2, 0)
    assert motion.build_between.shape == (0,)


def test_a_keypoint_alone_has_no_proportions():
    tracks, _ = tank(np.geomspace(50, 100, 9), spread=0.03)
    xy = tracks.poses.xy.copy()
    xy[tracks.track == 3, 1:] = np.nan
    alone = Poses(tracks.poses.frame, tracks.poses.item, xy, tracks.poses.confidence, tracks.poses.score, tracks.span)
    nodes, _ = described(Tracks(alone, tracks.track))
    assert np.isinf(nodes.build_variance[3]).all()
    assert np.isfinite(np.delete(nodes.build_variance, 3, axis=0)).all()


def test_animals_that_all_vanish_and_come_back_elsewhere_are_known_by_their_build():
    lengths = np.geomspace(40, 120, 9)
    tracklets, animal = tank(lengths, spread=0.03, gap=(95, 160), seed=3, n_frames=260)
    tracks, _ = stitch(tracklets, None, StitchConfig(n_animals=9, count="exact"))
    mixed = [len(set(animal[tracks.track == t].tolist())) for t in range(9)]
    assert mixed.count(1) >= 7
    same, _ = tank(np.full(9, 60.0), spread=0.03, gap=(95, 160), seed=3, n_frames=260)
    blind, _ = stitch(same, None, StitchConfig(n_animals=9, count="exact"))
    assert [len(set(animal[blind.track == t].tolist())) for t in range(9)].count(1) < 5
