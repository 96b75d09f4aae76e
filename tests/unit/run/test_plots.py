from __future__ import annotations

import json

import cv2
import numpy as np

from shoal.run.plots import _timeline, _trajectories, plot_training
from shoal.types import Poses, Tracks


def test_training_curves(tmp_path):
    assert plot_training(tmp_path) is None
    lines = [{"epoch": i + 1, "loss": 5 / (i + 1)} | ({"mAP": 10.0 * i} if i % 2 else {}) for i in range(6)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    path = plot_training(tmp_path)
    assert path is not None
    image = cv2.imread(str(path))
    assert image.shape[1] == 840 and image.std() > 5


def test_timeline_has_one_bar_per_stretch_and_row_per_track():
    frame = np.r_[0:10, 20:30, 5:30]
    track = np.r_[np.zeros(20), np.ones(25)].astype(int)
    order = np.argsort(frame, kind="stable")
    m = len(frame)
    poses = Poses(frame[order], np.zeros(m), np.ones((m, 2, 2)), np.ones((m, 2)), np.ones(m), (0, 30))
    axis = _timeline(Tracks(poses, track[order]), ("a",), fps=10).axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["a", "individual2"]
    bars = [[(p.vertices[:, 0].min(), p.vertices[:, 0].max()) for p in c.get_paths()] for c in axis.collections]
    assert np.allclose(bars[0], [(0, 1), (2, 3)]) and np.allclose(bars[1], [(0.5, 3)])


def test_nothing_tracked_still_gives_pictures():
    empty = Tracks.empty((0, 30), 2)
    assert _timeline(empty, ("a",), fps=10).axes and _trajectories(empty, ("a",), (64, 48)).axes
