"""Body length tells animals apart as far as a video's own tracklets say so."""

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


def test_sizes_and_their_spread_are_measured():
    lengths = np.geomspace(50, 100, 9)
    nodes, motion = described(tank(lengths, spread=0.03)[0])
    np.testing.assert_allclose(nodes.size, np.log(lengths) + 0.03, atol=0.02)
    assert (nodes.size_variance < 0.01**2).all()
    np.testing.assert_allclose(motion.size_between, np.var(np.log(lengths), ddof=1), rtol=0.05)


def test_equal_animals_differ_in_nothing():
    _, motion = described(tank(np.full(9, 60.0), spread=0.03)[0])
    assert motion.size_between < 0.01**2


def test_without_tracklets_to_learn_from_size_says_nothing():
    nodes, motion = described(tank([50, 80], spread=0.03, n_frames=25)[0])
    assert np.isinf(nodes.size_variance).all()
    assert motion.size_between == 0


def test_a_keypoint_alone_has_no_size():
    tracks, _ = tank(np.geomspace(50, 100, 9), spread=0.03)
    xy = tracks.poses.xy.copy()
    xy[tracks.track == 3, 1:] = np.nan
    alone = Poses(tracks.poses.frame, tracks.poses.item, xy, tracks.poses.confidence, tracks.poses.score, tracks.span)
    nodes, _ = described(Tracks(alone, tracks.track))
    assert np.isinf(nodes.size_variance[3])
    assert np.isfinite(np.delete(nodes.size_variance, 3)).all()


def test_animals_that_all_vanish_and_come_back_elsewhere_are_known_by_size():
    lengths = np.geomspace(40, 120, 9)
    tracklets, animal = tank(lengths, spread=0.03, gap=(95, 160), seed=3, n_frames=260)
    tracks, _ = stitch(tracklets, None, StitchConfig(n_animals=9, count="exact"))
    mixed = [len(set(animal[tracks.track == t].tolist())) for t in range(9)]
    assert mixed.count(1) >= 7
    same, _ = tank(np.full(9, 60.0), spread=0.03, gap=(95, 160), seed=3, n_frames=260)
    blind, _ = stitch(same, None, StitchConfig(n_animals=9, count="exact"))
    assert [len(set(animal[blind.track == t].tolist())) for t in range(9)].count(1) < 5
