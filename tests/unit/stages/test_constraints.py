"""Edits to constraints, and tracklets cut where they must be."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.config.stitch import StitchConfig
from shoal.stages.constraints import (
    bind,
    evidence_of_pieces,
    gather,
    kinds_of_pieces,
    names_of_tracks,
    split,
)
from shoal.stages.stitch import stitch
from shoal.types import DECISION_REASONS, Edit, Evidence, Poses, TrackInfo, Tracks

BODY = np.stack([np.linspace(-30, 30, 5), np.zeros(5)], axis=1)
TWO = StitchConfig(n_animals=2, count="exact")


def tracks_of(track, centres):
    """(F, A) tracklet numbers, -1 = not seen, of animals at (F, A, 2); item = animal."""
    frame, item = np.nonzero(track >= -1)
    xy = centres[frame, item][:, None] + BODY
    poses = Poses(frame, item, xy, np.ones(xy.shape[:2]), np.full(len(frame), 0.8), (0, len(track)))
    return Tracks(poses, track[frame, item])


def crossing(n=40):
    """Two animals that touch in frame 20 and turn back; their tracklets go through each other there."""
    t = np.arange(n)
    off = np.abs(t - 20) * 4.0 + 6
    centres = np.stack([np.stack([200 + 0 * t, 200 + off], 1), np.stack([200 + 0 * t, 200 - off], 1)], 1).astype(float)
    track = np.tile([0, 1], (n, 1))
    track[20:] = track[20:, ::-1]
    return tracks_of(track, centres)


def by_frame(tracks, n_items=2):
    return tracks.track.reshape(-1, n_items)


def solved(tracklets, *edits, config=TWO):
    constraints, why = gather(edits)
    tracks, decisions = stitch(tracklets, None, config, constraints=constraints)
    return tracks, decisions, why


@pytest.mark.parametrize(
    "edit",
    [
        Edit("same", ((2, 0), (38, 0))),  # one animal in two tracklets that overlap
        Edit("different", ((2, 0), (38, 1))),  # two animals in one tracklet
        Edit("move", ((25, 0), (5, 0), (5, 1))),
        Edit("move", ((25, 0), (5, 0))),
    ],
    ids=["same", "different", "move", "move without the row before"],
)
def test_a_swap_inside_tracklets_is_mended_where_the_animals_touch(edit):
    tracklets = crossing()
    assert by_frame(stitch(tracklets, None, TWO)[0])[38].tolist() != [0, 1]
    tracks, decisions, _ = solved(tracklets, edit)
    found = by_frame(tracks)
    assert (found[:19] == found[0]).all() and (found[22:] == found[0]).all()
    assert len(decisions) == 2 and (np.abs(decisions.frame - 20) <= 1).all()
    assert decisions.source.tolist() == [0, 1] and decisions.target.tolist() == [1, 0]  # of the uncut tracklets
    said = decisions.reason == DECISION_REASONS.index("edit")
    assert (decisions.probability[said] == 1).any() or edit.kind == "different"


def test_a_tracklet_is_cut_only_where_somebody_says_so():
    tracklets = crossing()
    links = bind(lambda: (tracklets,), gather([Edit("same", ((2, 0), (15, 0))), Edit("name", ((30, 1),), "ann")])[0])
    assert not len(links.cut_tracklet) and len(links.piece) == 1 and links.names == ("ann",)
    np.testing.assert_array_equal(split(tracklets, links).track, tracklets.track)


def test_of_three_rows_of_two_animals_the_surer_stretch_stays_whole():
    tracklets = crossing()
    edits = [Edit("different", ((2, 0), (38, 1))), Edit("name", ((10, 0),), "ann")]
    links = bind(lambda: (tracklets,), gather(edits)[0])
    assert sorted(zip(links.cut_tracklet.tolist(), links.cut_frame.tolist(), strict=True)) == [(0, 20), (1, 20)]
    tracks, _, _ = solved(tracklets, *edits)
    found = by_frame(tracks)
    assert found[2, 0] == found[10, 0] == found[38, 0]


def test_removed_rows_are_in_no_track_and_the_others_stay():
    tracklets = crossing()
    tracks, _, _ = solved(tracklets, Edit("remove", ((7, 1), (8, 1))))
    gone = tracks.track < 0
    assert list(zip(tracks.poses.frame[gone], tracks.poses.item[gone], strict=True)) == [(7, 1), (8, 1)]


def test_an_animal_that_is_named_is_tracked_even_if_it_is_a_ghost_of_one_frame():
    track = np.full((60, 2), -1)
    track[:, 0], track[30, 1] = 0, 1
    centres = np.stack([np.stack([np.arange(60.0) * 3, np.full(60, 50.0)], 1), np.full((60, 2), 400.0)], 1)
    tracklets = tracks_of(track, centres)
    assert by_frame(stitch(tracklets, None, StitchConfig(n_animals=1, count="at-most"))[0])[30].tolist() == [0, 1]
    tracks, _, _ = solved(tracklets, Edit("name", ((30, 1),), "ann"), config=TWO)
    assert by_frame(tracks)[30].tolist() == [0, 1]
    # more animals at once than there are: the last track is beyond the count, but it is there
    tracks, _, _ = solved(
        tracklets, Edit("name", ((30, 1),), "ann"), Edit("name", ((2, 0),), "bob"),
        config=StitchConfig(n_animals=1, count="exact"),
    )  # fmt: skip
    assert by_frame(tracks)[30].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("edits", "left_out"),
    [
        ([Edit("same", ((0, 0), (5, 1))), Edit("different", ((5, 1), (0, 0)))], {0: "it contradicts a later edit (2)"}),
        ([Edit("different", ((0, 0), (5, 1))), Edit("same", ((0, 0), (5, 1)))], {0: "it contradicts a later edit (2)"}),
        ([Edit("same", ((5, 0), (5, 1)))], {0: "it contradicts itself: an animal has one row in a frame"}),
        ([Edit("name", ((0, 0),), "a"), Edit("name", ((0, 0),), "b")], {0: "it contradicts a later edit (2)"}),
        ([Edit("name", ((3, 0),), "a"), Edit("name", ((3, 1),), "a")], {0: "it contradicts a later edit (2)"}),
        ([Edit("name", ((0, 0),), "a"), Edit("remove", ((0, 0),))], {0: "it contradicts a later edit (2)"}),
        (
            [Edit("same", ((0, 0), (9, 0))), Edit("same", ((0, 0), (5, 0))), Edit("different", ((5, 0), (9, 0)))],
            {0: "it contradicts later edits"},
        ),
        ([Edit("name", ((0, 0),), "a"), Edit("name", ((9, 0),), "a"), Edit("same", ((0, 0), (9, 0)))], {}),
    ],
)
def test_the_later_of_two_edits_that_contradict_each_other_wins(edits, left_out):
    assert gather(edits)[1] == left_out


def test_two_names_are_two_animals_and_one_name_is_one():
    tracklets = crossing()
    rows = {(3, 0): "a", (38, 1): "b", (33, 0): "a"}
    tracks, _, _ = solved(tracklets, *(Edit("name", (row,), name) for row, name in rows.items()))
    found = by_frame(tracks)
    assert found[3, 0] == found[33, 0] != found[38, 1]
    links = bind(lambda: (tracklets,), gather([Edit("name", ((3, 0),), "a"), Edit("name", ((3, 1),), "b")])[0])
    assert names_of_tracks(np.array([4, 2]), links) == {2: "b", 4: "a"}


def test_rows_that_are_not_there_are_passed_over():
    tracklets = crossing()
    links = bind(lambda: (tracklets,), gather([Edit("same", ((3, 9), (900, 0))), Edit("remove", ((1, 7),))])[0])
    assert not len(links.piece) and not len(links.cut_tracklet)


def test_what_is_named_is_an_animal_whatever_it_was_taken_for():
    tracklets = crossing()
    kinds = TrackInfo([0, 1], [1, 0], [0.9, 0.9], [0, 0], [39, 39], [40, 40])
    links = bind(lambda: (tracklets,), gather([Edit("name", ((3, 0),), "a")])[0])
    assert kinds_of_pieces(kinds, links, 0).kind.tolist() == [0, 0]
    links = bind(lambda: (tracklets,), gather([Edit("different", ((2, 0), (38, 1))), Edit("name", ((3, 0),), "a")])[0])
    found = kinds_of_pieces(kinds, links, 0)
    assert found.kind.tolist() == [0, 0, 1, 0]  # the rest of the tracklet is what it was
    assert found.n.tolist() == [20, 20, 20, 20] and found.first.tolist() == [0, 0, 20, 20]


def test_evidence_about_tracklets_that_were_two_animals_is_dropped():
    tracklets = crossing()
    links = bind(lambda: (tracklets,), gather([Edit("different", ((2, 0), (38, 1)))])[0])
    evidence = Evidence(np.eye(3), np.ones(3), 2.0, -1.0)
    found = evidence_of_pieces(evidence, links)
    assert found is not None and found.weight.tolist() == [0, 0, 1]


def test_looks_do_not_overrule_what_somebody_said():
    """Tracks exchange their parts where that fits their looks better, but not against edits."""
    number = np.tile([0, 1], (40, 1))
    number[22:] += 2
    t = np.arange(40.0)
    centres = np.stack([np.stack([100 + 6 * t, 200 + 0 * t], 1), np.stack([340 - 6 * t, 210 + 0 * t], 1)], 1)
    tracklets = tracks_of(number, centres)
    looks = Evidence(np.array([[1, 0], [0, 1], [0, 1], [1, 0]]), np.ones(4), 40.0, -20.0)
    by_looks = by_frame(stitch(tracklets, looks, TWO)[0])
    assert by_looks[0, 0] == by_looks[39, 1]
    for edit in (Edit("same", ((0, 0), (39, 0))), Edit("different", ((0, 0), (39, 1)))):
        constraints, _ = gather([edit])
        found = by_frame(stitch(tracklets, looks, TWO, constraints=constraints)[0])
        assert found[0, 0] == found[39, 0] != found[39, 1]
