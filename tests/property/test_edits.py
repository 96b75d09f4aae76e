"""What must hold of edits: they mean the same animals whatever tracks are made of the rows, and there is an answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.config.associate import AssociateConfig
from shoal.config.stitch import StitchConfig
from shoal.stages.associate import associate
from shoal.stages.constraints import bind, gather, split
from shoal.stages.stitch import relabel, solve, stitch
from shoal.types import Constraints, Edit, Poses, Tracks

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


def trackers(rng: np.random.Generator) -> list[AssociateConfig]:
    """Settings that make other tracklets of the same rows."""
    return [
        AssociateConfig(),
        AssociateConfig(similarity="ellipse", max_age=0),
        AssociateConfig(min_similarity=float(rng.uniform(0, 1)), min_margin=float(rng.uniform(0, 0.5))),
    ]


def some_edits(poses: Poses, rng: np.random.Generator, n: int) -> list[Edit]:
    """Edits about rows that have a keypoint, contradictory ones among them."""
    seen = np.flatnonzero(np.isfinite(poses.xy[..., 0]).any(axis=1))
    if not len(seen):
        return []
    edits = []
    for _ in range(n):
        picked = [(int(poses.frame[r]), int(poses.item[r])) for r in rng.choice(seen, 3)]
        kind = str(rng.choice(["same", "same", "different", "different", "name", "name", "move", "remove"]))
        count = {"same": 2, "different": 2, "name": 1, "move": int(rng.integers(2, 4)), "remove": 1}[kind]
        edits.append(Edit(kind, tuple(picked[:count]), str(rng.choice(["ann", "bob", "cid"])) * (kind == "name")))
    return edits


def tracks_of_rows(tracks: Tracks, constraints: Constraints) -> np.ndarray:
    key = tracks.poses.frame * 1000 + tracks.poses.item
    return tracks.track[np.searchsorted(key, constraints.frame * 1000 + constraints.item)]


def check_constraints(tracks: Tracks, constraints: Constraints) -> None:
    track = tracks_of_rows(tracks, constraints)
    assert (track[constraints.animal < 0] == -1).all(), "a row that is no animal is in a track"
    of_animal = {}
    for g in np.unique(constraints.animal[constraints.animal >= 0]).tolist():
        mine = set(track[constraints.animal == g].tolist())
        assert len(mine) == 1 and mine != {-1}, "rows of one animal are on several tracks"
        of_animal[g] = mine.pop()
    assert all(of_animal[a] != of_animal[b] for a, b in constraints.apart.tolist()), "two animals share a track"
    rows = np.stack([tracks.poses.frame, tracks.track], axis=1)[tracks.track >= 0]
    assert len(np.unique(rows, axis=0)) == len(rows), "a track has two rows in one frame"


@few
@given(seed=seeds)
def test_the_same_edits_give_the_same_animals_under_any_settings(made, seed):
    rng = np.random.default_rng(seed)
    poses = made.some_poses(rng)
    constraints, _ = gather(some_edits(poses, rng, int(rng.integers(1, 9))))
    answers = []
    for tracker in trackers(rng):
        tracklets, _ = associate(poses, tracker)
        tracks, _ = stitch(tracklets, None, made.config_of(rng), constraints=constraints)
        check_constraints(tracks, constraints)
        left = (tracklets.track >= 0) & (tracks.track < 0)
        assert left.sum() == (constraints.animal < 0).sum(), "a row is lost"
        answers.append(tracks_of_rows(tracks, constraints))
    for answer in answers[1:]:
        pairs = {(g, t) for g, t in zip(constraints.animal.tolist(), answer.tolist(), strict=True)}
        assert len(pairs) == len(np.unique(constraints.animal))


@few
@given(seed=seeds)
def test_edits_keep_even_long_videos_in_one_piece(made, seed):
    rng = np.random.default_rng(seed)
    tracklets = made.long_swimmers(rng)
    inside = tracklets.track >= 0
    if not inside.any():
        return
    poses = tracklets.poses
    seen = np.isfinite(poses.xy[..., 0]).any(axis=1) & inside
    only = Poses(*(getattr(poses, n)[seen] for n in ("frame", "item", "xy", "confidence", "score")), poses.span)
    constraints, why = gather(some_edits(only, rng, 12))
    assert len(why) < 12
    config = made.config_of(rng)
    tracks, decisions = stitch(tracklets, None, config, constraints=constraints)
    check_constraints(tracks, constraints)
    assert (decisions.source < tracklets.n_tracks).all() and (decisions.target < tracklets.n_tracks).all()
    parts = made.cut_into_spans(tracklets, rng)
    links = bind(lambda: parts, constraints)
    number, other = solve(lambda: [split(part, links) for part in parts], None, config, links=links)
    found = [t for part in parts for t in relabel(split(part, links), number).track.tolist()]
    assert found == tracks.track.tolist()
    assert made.bytes_of(other) == made.bytes_of(decisions)


@few
@given(seed=seeds)
def test_edits_do_not_depend_on_the_order_of_animals_in_a_frame(made, seed):
    rng = np.random.default_rng(seed)
    poses = made.some_poses(rng)
    edits = some_edits(poses, rng, 4)
    other, order = made.shuffled(poses, rng)
    item_of = {(int(f), int(poses.item[o])): int(i) for f, i, o in zip(other.frame, other.item, order, strict=True)}
    moved = [Edit(e.kind, tuple((f, item_of[f, i]) for f, i in e.rows), e.value) for e in edits]
    config = made.config_of(rng)
    one = stitch(associate(poses, AssociateConfig())[0], None, config, constraints=gather(edits)[0])[0]
    two = stitch(associate(other, AssociateConfig())[0], None, config, constraints=gather(moved)[0])[0]
    check_constraints(two, gather(moved)[0])
    assert made.same_partition(two.track, one.track[order])


@few
@given(seed=seeds)
def test_what_is_gathered_is_free_of_contradictions_and_later_edits_win(made, seed):
    rng = np.random.default_rng(seed)
    poses = made.some_poses(rng)
    edits = some_edits(poses, rng, 10)
    found, why = gather(edits)
    rows = np.stack([found.frame, found.item], axis=1)
    assert len(np.unique(rows, axis=0)) == len(rows)
    for g in range(len(found.names)):
        mine = found.frame[found.animal == g]
        assert len(mine) and len(np.unique(mine)) == len(mine)
    assert (found.apart[:, 0] != found.apart[:, 1]).all()
    named = [name for name in found.names if name]
    assert len(set(named)) == len(named)
    if edits:
        alone = gather(edits[-1:])[1]
        assert (len(edits) - 1 in why) == bool(alone), "the last edit is left out though it says nothing impossible"
    taken = [edit for i, edit in enumerate(edits) if i not in why]
    again, nothing = gather(taken)
    assert not nothing and again.animal.tolist() == found.animal.tolist()


@pytest.mark.parametrize("count", ["exact", "at-most", "unknown"])
def test_edits_about_videos_without_animals_change_nothing(count):
    none = Tracks(Poses.empty((0, 50), 3), np.zeros(0))
    constraints, _ = gather([Edit("same", ((3, 0), (9, 1))), Edit("name", ((5, 0),), "ann")])
    config = StitchConfig(n_animals=2, count=count)
    tracks, decisions = stitch(none, None, config, constraints=constraints)
    assert tracks.n_tracks == 0 and len(decisions) == 0 and decisions.span == (0, 50)
