import numpy as np

from shoal.stages.pick import doubts, jumps, misfits, pick_diverse, pick_uniform


def test_diverse_frames_come_from_all_groups_and_never_twice():
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(4), [200, 5, 5, 5])
    pictures = (100.0 * np.eye(4, 20)[kinds] + rng.normal(0, 1, (215, 20))).astype(np.float32)
    chosen = pick_diverse(np.arange(1000, 1215), pictures, 4, np.random.default_rng(1))
    assert sorted(kinds[chosen - 1000]) == [0, 1, 2, 3]
    same = pick_diverse(np.arange(9), np.zeros((9, 3), np.float32), 5, np.random.default_rng(1))
    assert len(np.unique(same)) == 5


def test_the_same_seed_picks_the_same_frames():
    frames = np.arange(50)
    a, b = (pick_uniform(frames, 7, np.random.default_rng(3)) for _ in range(2))
    assert (a == b).all() and len(a) == 7 and (np.diff(a) > 0).all()


def test_gaps_are_no_jumps_and_no_misfits():
    angle = np.arange(200.0) / 15
    xy = 40 * np.stack([np.cos(angle), np.sin(angle)], -1)[:, None]
    xy += np.random.default_rng(0).normal(0, 0.3, (200, 1, 2))
    xy[10:20] = np.nan
    assert not jumps(xy, 5).any() and not misfits(xy, 20).any()
    xy[30] += 50
    assert np.flatnonzero(jumps(xy, 20)).tolist() == [30, 31]
    assert 30 in np.flatnonzero(misfits(xy, 20)) and misfits(xy, 20).sum() < 5


def test_missing_points_are_no_doubts():
    assert doubts(np.array([[0.9, np.nan], [0.9, 0.001]]), 0.01).tolist() == [False, True]
