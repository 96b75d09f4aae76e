from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.synthetic.dataset import make_truth
from shoal.synthetic.scenes import SCENES


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(sorted(SCENES)), seed=st.integers(0, 10_000), n_fish=st.integers(1, 12), day=st.integers(0, 5)
)
def test_truth_is_whole_repeatable_and_inside_the_frame(name, seed, n_fish, day):
    scene = replace(SCENES[name], n_fish=n_fish)
    truth = make_truth(scene, seed=seed, n_frames=40, day=day)
    again = make_truth(scene, seed=seed, n_frames=40, day=day)
    np.testing.assert_array_equal(truth.full_xy, again.full_xy)
    np.testing.assert_array_equal(truth.tracks.poses.xy, again.tracks.poses.xy)

    poses = truth.tracks.poses
    assert poses.xy.shape == (40 * n_fish, 9, 2)
    assert np.isfinite(truth.full_xy).all()
    seen = np.isfinite(poses.xy).all(-1)
    np.testing.assert_array_equal(poses.xy[seen], truth.full_xy[seen])  # seen where it is, or not at all
    assert not (seen & truth.covered).any()
    assert not seen[truth.hidden].any()
    size = np.array([scene.width, scene.height])
    assert ((poses.xy[seen] >= 0) & (poses.xy[seen] < size)).all()
    inside = ((truth.full_xy >= 0) & (truth.full_xy < size)).all(-1)
    if scene.shelter is None:
        np.testing.assert_array_equal(seen, inside & ~truth.covered)

    reflected = truth.reflections.poses.xy
    shown = np.isfinite(reflected).all(-1)
    assert ((reflected[shown] >= 0) & (reflected[shown] < size)).all()
    assert shown.any(1).all()
    assert len(np.unique(truth.reflections.poses.frame * 1000 + truth.reflections.track)) == len(reflected)
    assert (truth.crossings.a < truth.crossings.b).all()
    assert (truth.crossings.first < truth.crossings.stop).all()


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), n_fish=st.sampled_from([1, 25, 50]))
def test_fish_are_never_lost_or_torn(seed, n_fish):
    scene = replace(SCENES["zebra"], n_fish=n_fish)
    truth = make_truth(scene, seed=seed, n_frames=30)
    xy = truth.full_xy.reshape(30, n_fish, 9, 2)
    lengths = np.linalg.norm(np.diff(xy[:, :, [0, 3, 4, 5, 6]], axis=2), axis=-1).sum(-1)
    assert (np.abs(lengths / truth.lengths - 1) < 0.05).all()
    step = np.linalg.norm(np.diff(xy.mean(2), axis=0), axis=-1)
    assert step.max() < 2.0 * truth.lengths.max()
