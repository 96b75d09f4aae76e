from __future__ import annotations

import cv2
import numpy as np

from shoal.config.run import load_config
from shoal.io.artifacts import save_table, write_json
from shoal.run.folder import TrackColumn, table_path, write_config
from shoal.run.timeline import _draw, plot_identities, read_doubts
from shoal.stages.swaps import Follows, Switches
from shoal.types import DECISION_KINDS, Decisions, Poses, Tracks

JOIN, START = DECISION_KINDS.index("join"), DECISION_KINDS.index("start")


def one_animal(n=40):
    frame = np.arange(n)
    poses = Poses(frame, np.zeros(n), np.zeros((n, 2, 2)), np.ones((n, 2)), np.ones(n), (0, n))
    return Tracks(poses, np.zeros(n))


def example():
    follows = Follows([0, 0], [0, 1], [0, 20], [14, 39], [15, 20])
    return follows, Switches([20], [14], [0], [0], [1], [False], [True])


def test_a_row_per_animal_in_the_colours_of_its_tracks(tmp_path):
    follows, switches = example()
    doubts = (np.array([20, 30]), np.array([1, 5]), np.array([0.3, 0.3]))
    axis = _draw(follows, switches, (("ann",), ("red", "blue")), one_animal(), 10.0, doubts).axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["ann"]
    spans = [(p.vertices[:, 0].min(), p.vertices[:, 0].max()) for c in axis.collections[:3] for p in c.get_paths()]
    assert np.allclose(spans, [(0, 4), (0, 1.5), (2, 4)])  # there, first track, second track
    crosses = [line.get_xdata().tolist() for line in axis.lines if line.get_marker() == "x"]
    assert crosses == [[2.0]]
    lines = [s for c in axis.collections[3:] for s in c.get_segments()]
    assert len(lines) == 1 and np.isclose(lines[0][1][1] - lines[0][0][1], 0.3 * 0.7)  # the other track is elsewhere
    path = plot_identities(tmp_path / "a.png", follows, switches, (("ann",), ()), truth=one_animal(), fps=10.0)
    assert cv2.imread(str(path)).std() > 5


def test_nobody_followed_still_gives_a_picture(tmp_path):
    none = Follows([], [], [], [], []), Switches([], [], [], [], [], [], [])
    assert plot_identities(tmp_path / "a.png", *none, ((), ()), truth=Tracks.empty((0, 9), 2), fps=10.0).is_file()


def test_doubts_are_decisions_that_are_not_sure_with_the_track_they_are_about(tmp_path):
    tracks, span = one_animal(), (0, 40)
    assert len(read_doubts(tmp_path)[0]) == 0
    write_json(tmp_path / "plan.json", {"n_frames": 40, "chunk_frames": 64})
    write_config(tmp_path, load_config())
    save_table(table_path(tmp_path, "poses", span), tracks.poses)
    save_table(table_path(tmp_path, "tracklets", span), TrackColumn(np.where(np.arange(40) < 20, 0, 1), span))
    save_table(table_path(tmp_path, "tracks", span), TrackColumn(np.full(40, 3), span))
    nan = [np.nan] * 3
    decisions = Decisions(
        [START, JOIN, JOIN], [0, 20, 30], [-1, 0, 0], [0, 1, 1], [0, 0, 0], nan, nan, [0.1, 0.6, 0.999], [0, 0, 0], span
    )
    save_table(tmp_path / "decisions.npz", decisions)
    frame, track, sure = read_doubts(tmp_path)
    assert frame.tolist() == [20] and track.tolist() == [3] and np.allclose(sure, 0.6)
