from __future__ import annotations

import numpy as np

from shoal.stages.metrics import score_tracks
from shoal.stages.swaps import animal_figures, follow_animals, switch_figures
from shoal.types import Poses, Regions, Tracks, select

NONE = Regions.empty()


def two_animals(n=60, meet=30):
    """Two animals of length 20 on parallel lines, 100 px apart but for the frames around ``meet``."""
    frame = np.repeat(np.arange(n), 2)
    apart = np.where(np.abs(np.arange(n) - meet) < 3, 4.0, 100.0)
    y = np.stack([np.zeros(n), apart], 1).ravel()
    x = 3.0 * frame
    xy = np.stack([np.stack([x, y], -1), np.stack([x + 20, y], -1)], 1)
    poses = Poses(frame, np.tile([0, 1], n), xy, np.ones((2 * n, 2)), np.ones(2 * n), (0, n))
    return Tracks(poses, np.tile([0, 1], n))


def test_right_tracks_have_no_switches():
    truth = two_animals()
    follows, switches = follow_animals(truth, truth, ignore=NONE)
    assert len(switches) == 0 and follows.track.tolist() == [0, 1] and follows.n.tolist() == [60, 60]
    figures = switch_figures(truth, switches, fps=10)
    assert figures["swaps"] == 0 and np.isnan(figures["first_swap_s"])


def test_an_exchange_at_a_crossing():
    truth = two_animals()
    late = truth.poses.frame >= 31
    predicted = Tracks(truth.poses, np.where(late, 1 - truth.track, truth.track))
    _, switches = follow_animals(truth, predicted, ignore=NONE)
    assert switches.frame.tolist() == [31, 31] and switches.lost.tolist() == [30, 30]
    assert switches.is_crossing.all() and switches.is_swap.all()
    assert sorted(zip(switches.animal, switches.before, switches.after, strict=True)) == [(0, 0, 1), (1, 1, 0)]
    figures = switch_figures(truth, switches, fps=10)
    assert (figures["switches_at_crossings"], figures["switches_elsewhere"], figures["swaps"]) == (2, 0, 2)
    assert figures["first_swap_s"] == 3.1
    assert np.isclose(figures["switches_at_crossings_per_animal_hour"], 2 / (120 / 10 / 3600))


def test_a_new_track_elsewhere_is_a_switch_but_no_swap():
    truth = two_animals()
    track = np.where((truth.track == 0) & (truth.poses.frame >= 15), 2, truth.track)
    predicted = select(Tracks(truth.poses, track), ~((truth.track == 0) & np.isin(truth.poses.frame, [12, 13, 14])))
    follows, switches = follow_animals(truth, predicted, ignore=NONE)
    assert switches.frame.tolist() == [15] and switches.lost.tolist() == [11]
    assert not switches.is_crossing.any() and not switches.is_swap.any()
    first, second = animal_figures(truth, follows, switches, fps=10)
    assert (first["tracks"], first["switches"], first["swaps"]) == (2, 1, 0) and first["found"] == 57 / 60
    assert first["longest_s"] == 4.5 and np.isnan(first["first_swap_s"])
    assert (second["tracks"], second["switches"], second["longest_s"]) == (1, 0, 6.0)


def test_as_many_switches_as_clear_counts():
    rng = np.random.default_rng(4)
    truth = two_animals(300, 150)
    track = rng.integers(0, 3, len(truth))
    track[1::2] = (track[::2] + 1) % 3  # never two rows of a track in a frame
    seen = rng.random(len(truth)) < 0.8
    predicted = select(Tracks(truth.poses, track), seen)
    _, switches = follow_animals(truth, predicted, ignore=NONE)
    assert len(switches) == score_tracks(truth, predicted, ignore=NONE)["switches"] > 50
    assert (np.diff(switches.frame) >= 0).all() and (switches.lost < switches.frame).all()


def test_nothing_followed():
    truth = two_animals()
    follows, switches = follow_animals(truth, Tracks.empty((0, 60), 2), ignore=NONE)
    assert len(switches) == 0 and len(follows.animal) == 0
    rows = animal_figures(truth, follows, switches, fps=10)
    assert [row["found"] for row in rows] == [0, 0] and [row["longest_s"] for row in rows] == [0, 0]
    empty = Tracks.empty((0, 0), 2)
    follows, switches = follow_animals(empty, empty, ignore=NONE, length=1.0)
    assert animal_figures(empty, follows, switches, fps=10) == []
    assert np.isnan(switch_figures(empty, switches, fps=10)["switches_elsewhere_per_animal_hour"])
