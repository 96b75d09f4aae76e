import numpy as np

from shoal.synthetic.dataset import make_truth
from shoal.synthetic.scenes import SCENES
from shoal.synthetic.truth import ignore_regions, runs, visible_tracks


def test_runs_join_neighbouring_frames_per_pair():
    touches = np.zeros((6, 3, 3), bool)
    for frame, a, b in ((1, 0, 2), (2, 0, 2), (4, 0, 2), (2, 0, 1), (5, 1, 2)):
        touches[frame, a, b] = touches[frame, b, a] = True
    rows = runs(touches, first_frame=10)
    found = list(zip(rows.first, rows.stop, rows.a, rows.b, strict=True))
    assert found == [(11, 13, 0, 2), (12, 13, 0, 1), (14, 15, 0, 2), (15, 16, 1, 2)]


def test_no_touch_is_an_empty_table():
    assert len(runs(np.zeros((5, 2, 2), bool))) == 0


def test_visible_rows_and_ignore_regions_share_the_fish():
    truth = make_truth(SCENES["shelter"], seed=1, n_frames=600)
    assert truth.hidden.any()
    visible, ignored = visible_tracks(truth), ignore_regions(truth)
    assert len(visible) + len(ignored) == len(truth.tracks)
    assert truth.hidden.sum() <= len(ignored)
    assert np.isfinite(ignored.xy).all()
