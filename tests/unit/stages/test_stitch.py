"""Tracklets to tracks: always an answer, and the cheapest one."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from shoal.config.associate import AssociateConfig
from shoal.config.stitch import StitchConfig
from shoal.stages.associate import associate
from shoal.stages.evidence import evidence_of_names, log_odds
from shoal.stages.stitch import split_at_gaps, stitch
from shoal.types import DECISION_KINDS, DECISION_REASONS, Evidence, Poses, Tracks, select

BODY = np.stack([np.linspace(-30, 30, 5), np.zeros(5)], axis=1)


def tracklets_of(*pieces, span, score=0.8):
    """Pieces of (first frame, (n, 2) centres) -> Tracks, tracklet i = piece i."""
    rows = sorted(
        (first + k, i, xy)
        for i, (first, centres) in enumerate(pieces)
        for k, xy in enumerate(np.asarray(centres, float))
    )
    frame = np.array([r[0] for r in rows])
    item = np.concatenate([np.arange(n) for n in np.bincount(frame, minlength=span[1])])
    xy = np.array([r[2] for r in rows])[:, None] + BODY
    scores = np.broadcast_to(score, len(pieces))[[r[1] for r in rows]]
    poses = Poses(frame, item, xy, np.ones(xy.shape[:2]), scores, span)
    return Tracks(poses, np.array([r[1] for r in rows]))


def glide(start, velocity, n):
    return np.array(start, float) + np.arange(n)[:, None] * np.array(velocity, float)


def of(tracks, tracklets):
    """Track of each tracklet; fails if one is torn."""
    answer = []
    for t in range(tracklets.n_tracks):
        numbers = set(tracks.track[tracklets.track == t].tolist())
        assert len(numbers) == 1
        answer.append(numbers.pop())
    return answer


def named(decisions):
    return [
        (DECISION_KINDS[k], DECISION_REASONS[r], int(s), int(t))
        for k, r, s, t in zip(decisions.kind, decisions.reason, decisions.source, decisions.target, strict=True)
    ]


def two_crossing():
    """Two animals that swim through each other, unseen for five frames."""
    return tracklets_of(
        (0, glide((100, 100), (6, 0), 20)), (0, glide((344, 108), (-6, 0), 20)),
        (25, glide((250, 100), (6, 0), 15)), (25, glide((194, 108), (-6, 0), 15)),
        span=(0, 40),
    )  # fmt: skip


@pytest.mark.parametrize("count", ["exact", "at-most", "unknown"])
def test_motion_carries_animals_through_each_other(count):
    tracklets = two_crossing()
    tracks, decisions = stitch(tracklets, None, StitchConfig(n_animals=2, count=count))
    assert of(tracks, tracklets) == [0, 1, 0, 1]
    assert named(decisions) == [("join", "motion", 0, 2), ("join", "motion", 1, 3)]
    assert decisions.gap.tolist() == [5, 5]
    assert decisions.margin[0] == decisions.margin[1] > 0  # one exchange forbids both


def test_evidence_overrules_motion_and_says_so():
    tracklets = two_crossing()
    evidence = Evidence([[1, 0], [0, 1], [0, 1], [1, 0]], np.ones(4), 18, -9)
    tracks, decisions = stitch(tracklets, evidence, StitchConfig(n_animals=2, count="exact"))
    assert of(tracks, tracklets) == [0, 1, 1, 0]
    assert {n[1] for n in named(decisions)} == {"appearance"}


def test_weak_evidence_adds_to_motion_and_replaces_nothing():
    tracklets = two_crossing()
    _, plain = stitch(tracklets, None, StitchConfig())
    evidence = Evidence([[1, 0], [0, 1], [1, 0], [0, 1]], [1, 1, 1, 0.5], 1, -0.5)
    tracks, decisions = stitch(tracklets, evidence, StitchConfig())
    assert of(tracks, tracklets) == [0, 1, 0, 1]
    np.testing.assert_allclose(plain.cost - decisions.cost, [0.5, 0.25], atol=1e-5)


@pytest.mark.parametrize("n", [0, 2, 9])
def test_evidence_about_other_tracklets_than_there_are_is_ignored(n):
    tracklets = two_crossing()
    weight = np.arange(n) >= 4
    tracks, _ = stitch(tracklets, Evidence(np.ones((n, 1)), weight, 9, 9), StitchConfig())
    assert of(tracks, tracklets) == [0, 1, 0, 1]


def test_exact_count_always_gives_n_tracks_if_there_are_n_tracklets():
    tracklets = tracklets_of(
        *((f, glide((50 + 100 * a, 100), (1, 0), 10)) for a in range(3) for f in (0, 12, 24)), span=(0, 40)
    )
    for n in range(1, 9):
        tracks, _ = stitch(tracklets, None, StitchConfig(n_animals=n, count="exact"))
        animals = tracks.track[tracks.track < n]
        assert len(set(animals.tolist())) == n
        assert len(tracks) == len(tracklets)


def test_exact_count_with_too_few_tracklets_gives_what_there_is():
    tracklets = tracklets_of((0, glide((50, 50), (1, 0), 10)), (0, glide((50, 300), (1, 0), 2)), span=(0, 10))
    tracks, _ = stitch(tracklets, None, StitchConfig(n_animals=5, count="exact"))
    assert sorted(set(tracks.track.tolist())) == [0, 1]


def test_leftovers_keep_numbers_behind_the_animals_and_a_reason():
    tracklets = tracklets_of(
        (0, glide((50, 50), (1, 0), 40)), (0, glide((50, 300), (1, 0), 40)), (10, glide((400, 200), (1, 0), 8)),
        span=(0, 40),
    )  # fmt: skip
    tracks, decisions = stitch(tracklets, None, StitchConfig(n_animals=2, count="exact"))
    assert of(tracks, tracklets) == [0, 1, 2]
    assert ("start", "leftover", -1, 2) in named(decisions)
    few, _ = stitch(tracklets, None, StitchConfig(n_animals=5, count="at-most"))
    # asked for at most five: what is no animal stays behind the five names
    assert all(number < 3 or number >= 5 for number in of(few, tracklets))


def test_unknown_count_finds_the_number_of_animals():
    tracklets = tracklets_of(
        *((f, glide((50 + 90 * a + f, 80 + 90 * (a % 2)), (1, 0), 25)) for a in range(5) for f in (0, 30, 60)),
        span=(0, 85),
    )
    tracks, _ = stitch(tracklets, None, StitchConfig())
    assert tracks.n_tracks == 5
    assert of(tracks, tracklets) == [a for a in range(5) for _ in range(3)]


def test_at_most_takes_no_more_than_pay():
    tracklets = tracklets_of((0, glide((50, 50), (1, 0), 40)), (0, glide((50, 300), (1, 0), 40)), span=(0, 40))
    tracks, _ = stitch(tracklets, None, StitchConfig(n_animals=1, count="at-most"))
    assert sorted(of(tracks, tracklets)) == [0, 1]  # one animal, one leftover
    many, _ = stitch(tracklets, None, StitchConfig(n_animals=9, count="at-most"))
    assert sorted(of(many, tracklets)) == [0, 1]


def test_short_tracklets_fill_gaps_but_start_nothing():
    tracklets = tracklets_of(
        (0, glide((100, 100), (4, 0), 20)), (25, glide((200, 100), (4, 0), 20)),
        (22, glide((188, 100), (4, 0), 1)), (22, glide((600, 600), (0, 0), 1)),
        span=(0, 45),
    )  # fmt: skip
    tracks, _ = stitch(tracklets, None, StitchConfig(min_length=3))
    assert of(tracks, tracklets)[:3] == [0, 0, 0]
    assert of(tracks, tracklets)[3] > 0


def test_a_weight_function_takes_the_place_of_motion():
    tracklets = two_crossing()
    asked = []

    def crossed(source, target):
        asked.extend(zip(source.tolist(), target.tolist(), strict=True))
        return np.where(source + target == 3, -5.0, 5.0)

    tracks, decisions = stitch(tracklets, None, StitchConfig(n_animals=2, count="exact"), weight=crossed)
    assert sorted(set(asked)) == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert of(tracks, tracklets) == [0, 1, 1, 0]
    assert len(decisions) == 2

    def never(source, _):
        return np.full(len(source), np.inf)

    alone, _ = stitch(tracklets, None, StitchConfig(), weight=never)
    assert len(set(of(alone, tracklets))) == 4
    with pytest.raises(ValueError, match="one cost for each of 4 pairs"):
        stitch(tracklets, None, StitchConfig(), weight=lambda a, b: np.zeros(1))


def test_a_weight_function_keeps_max_gap():
    tracklets = tracklets_of((0, glide((100, 100), (1, 0), 20)), (40, glide((140, 100), (1, 0), 20)), span=(0, 60))
    for max_gap, n in ((20, 1), (19, 2)):
        config = StitchConfig(max_gap=max_gap)
        assert stitch(tracklets, None, config, weight=lambda a, b: np.zeros(len(a)))[0].n_tracks == n


def test_tracklets_are_split_where_a_frame_is_missing():
    tracklets = tracklets_of((0, glide((100, 100), (1, 0), 12)), (3, glide((100, 300), (1, 0), 4)), span=(0, 12))
    seen = ~((tracklets.track == 0) & np.isin(tracklets.poses.frame, (2, 8)))
    gappy = select(tracklets, seen)
    pieces = split_at_gaps(gappy)
    assert np.bincount(pieces.track).tolist() == [2, 5, 4, 3]
    assert of(stitch(pieces, None, StitchConfig(min_length=1))[0], pieces) == [0, 0, 1, 0]
    assert split_at_gaps(pieces).track.tolist() == pieces.track.tolist()
    assert len(split_at_gaps(Tracks.empty((0, 9), 5))) == 0


def test_names_of_an_identity_head_are_worth_odds_of_a_hundred():
    tracklets = two_crossing()
    name = np.array([0, 1, 1, 0])[tracklets.track]  # they turned round while nobody saw them
    earlier, later = np.array([0, 0, 1, 1]), np.array([2, 3, 2, 3])
    evidence = evidence_of_names(tracklets, name)
    np.testing.assert_allclose(np.exp(log_odds(evidence, earlier, later)), [0.01, 100, 100, 0.01], rtol=1e-5)
    unsure = name.copy()
    turned = np.arange(len(unsure)) // 2 % 2 > 0
    unsure[turned] = 1 - unsure[turned]
    assert np.abs(log_odds(evidence_of_names(tracklets, unsure), earlier, later)).max() < 0.5
    assert not evidence_of_names(tracklets, np.full(len(tracklets), -1)).weight.any()


def test_max_gap_is_kept():
    tracklets = tracklets_of((0, glide((100, 100), (1, 0), 20)), (40, glide((140, 100), (1, 0), 20)), span=(0, 60))
    assert stitch(tracklets, None, StitchConfig(max_gap=20))[0].n_tracks == 1
    assert stitch(tracklets, None, StitchConfig(max_gap=19))[0].n_tracks == 2


def test_tracks_are_numbered_by_first_frame():
    tracklets = tracklets_of(
        (20, glide((50, 50), (1, 0), 20)),
        (0, glide((50, 300), (1, 0), 40)),
        (5, glide((400, 200), (1, 0), 35)),
        span=(0, 40),
    )
    tracks, _ = stitch(tracklets, None, StitchConfig(n_animals=3, count="exact"))
    assert of(tracks, tracklets) == [2, 0, 1]


def test_an_animal_that_comes_in_at_the_edge_has_a_reason():
    tracklets = tracklets_of(
        (0, glide((50, 300), (10, 0), 40)),
        (20, glide((450, 50), (-2, 0), 20)),
        (0, glide((250, 600), (0, 0), 40)),
        span=(0, 40),
    )
    _, decisions = stitch(tracklets, None, StitchConfig(n_animals=3, count="exact"))
    assert named(decisions) == [("start", "border", -1, 1)]


def test_rows_without_a_tracklet_stay_without_a_track():
    tracklets = two_crossing()
    track = tracklets.track.copy()
    track[3] = -1
    tracks, _ = stitch(Tracks(tracklets.poses, track), None, StitchConfig())
    assert tracks.track[3] == -1
    assert (tracks.track == -1).sum() == 1


@pytest.mark.parametrize("config", [StitchConfig(), StitchConfig(n_animals=4, count="exact")])
def test_nothing_at_all(config):
    tracks, decisions = stitch(Tracks.empty((0, 9), 5), None, config)
    assert len(tracks) == len(decisions) == 0
    assert tracks.span == decisions.span == (0, 9)
    lone = Tracks(Poses.empty((0, 9), 5), np.zeros(0))
    assert stitch(lone, Evidence(np.zeros((0, 2)), [], 1, 0), config)[0].n_tracks == 0


def test_a_thousand_frames_in_twenty_pieces_are_one_track():
    """DLC: cut in 20, its stitcher only warns when the first piece cannot be reached."""
    path = np.cumsum(np.random.default_rng(0).normal(0, 3, (1000, 2)), axis=0)
    tracklets = tracklets_of(*((f, path[f : f + 50]) for f in range(0, 1000, 50)), span=(0, 1000))
    for config in (StitchConfig(n_animals=1, count="exact"), StitchConfig()):
        assert set(of(stitch(tracklets, None, config)[0], tracklets)) == {0}


def best_by_trying(reward, start, end, joins, n_paths):
    """Smallest total cost of exactly ``n_paths`` disjoint paths, by trying every successor of every node."""
    n, best = len(reward), np.inf
    choices = [[-2, -1] + [j for i, j in joins if i == node] for node in range(n)]
    for following in itertools.product(*choices):
        taken = [j for j in following if j >= 0]
        if len(set(taken)) < len(taken) or any(following[j] == -2 for j in taken):
            continue
        firsts = [i for i in range(n) if following[i] != -2 and i not in taken]
        if len(firsts) != n_paths:
            continue
        on = [i for i in range(n) if following[i] != -2]
        total = -sum(reward[i] for i in on) + sum(start[i] for i in firsts)
        total += sum(end[i] for i in on if following[i] == -1)
        total += sum(joins[i, following[i]] for i in on if following[i] >= 0)
        best = min(best, total)
    return best


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("jit", [True, False])
def test_the_paths_are_the_cheapest_there_are(seed, jit):
    from shoal.stages.kernels import stitch as kernels

    rng = np.random.default_rng(seed)
    n = 6
    reward, start, end = rng.uniform(-1, 4, n), rng.uniform(0, 3, n), rng.uniform(0, 3, n)
    joins = {(i, j): rng.uniform(-2, 5) for i in range(n) for j in range(i + 1, n) if rng.random() < 0.6}
    source, target = (np.array([p[k] for p in joins], np.int64) for k in (0, 1))
    cost = np.array(list(joins.values()))
    solve = kernels.cheapest_paths if jit else kernels.cheapest_paths.py_func
    for n_paths in range(1, n + 1):
        following, paid = solve(reward, start, end, source, target, cost, n_paths, False)
        assert len(paid) == n_paths
        assert paid.sum() == pytest.approx(best_by_trying(reward, start, end, joins, n_paths))
        assert (following == -1).sum() == n_paths
    following, paid = solve(reward, start, end, source, target, cost, n, True)
    assert (paid < 0).all()
    bests = [0.0] + [best_by_trying(reward, start, end, joins, k) for k in range(1, n + 1)]
    assert paid.sum() == pytest.approx(min(bests))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("count", ["exact", "at-most", "unknown"])
def test_margins_are_what_forbidding_a_step_costs(seed, count):
    """Against solving again without that step: of every join, beginning and end that was chosen."""
    from shoal.stages.kernels import stitch as kernels

    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    reward, start, end = rng.uniform(-1, 4, n), rng.uniform(0, 3, n), rng.uniform(0, 3, n)
    joins = {(i, j): rng.uniform(-2, 5) for i in range(n) for j in range(i + 1, min(n, i + 8)) if rng.random() < 0.5}
    source, target = (np.array([p[k] for p in joins], np.int64) for k in (0, 1))
    cost = np.array(list(joins.values()))
    most = n if count == "unknown" else int(rng.integers(1, 4))
    is_exact = count == "exact"

    def total(start, end, cost):
        paid = kernels.cheapest_paths(reward, start, end, source, target, cost, most, not is_exact)[1]
        paid = paid if is_exact else paid[paid < 0]
        return paid.sum() if not is_exact or len(paid) == most else np.inf

    following, paid = kernels.cheapest_paths(reward, start, end, source, target, cost, most, not is_exact)
    if is_exact and len(paid) < most:
        return
    problem = (reward, start, end, source, target, cost)
    ahead, before = kernels.path_margins(*problem, following, not is_exact and len(paid) < most, not is_exact)
    least, dear = paid.sum(), 1e6
    firsts = set(np.flatnonzero(following != -2)) - set(following[following >= 0])
    for i in range(n):
        if following[i] == -2:
            assert np.isnan(ahead[i])
            continue
        without = cost + dear * ((source == i) & (target == following[i]))
        ends = end + dear * ((np.arange(n) == i) & (following[i] == -1))
        rise = total(start, ends, without) - least
        assert (ahead[i] == pytest.approx(rise, abs=1e-6)) or (rise > dear / 2 and np.isinf(ahead[i]))
        if i in firsts:
            rise = total(start + dear * (np.arange(n) == i), end, cost) - least
            assert (before[i] == pytest.approx(rise, abs=1e-6)) or (rise > dear / 2 and np.isinf(before[i]))
        else:
            assert np.isnan(before[i])


def test_candidates_without_jit_are_the_same_and_the_shortcut_loses_none():
    from shoal.stages.kernels import stitch as kernels
    from shoal.stages.motion import learn_motion
    from shoal.stages.stitch import _model
    from shoal.stages.survey import survey

    path = np.cumsum(np.random.default_rng(1).normal(0, 3, (400, 4, 2)), axis=0) + np.arange(4)[:, None] * 60
    tracklets = tracklets_of(*((f, path[f : f + 17, a]) for f in range(0, 400, 20) for a in range(4)), span=(0, 400))
    known = survey(lambda: (tracklets,))
    nodes = known.nodes
    model = _model(nodes, learn_motion(known))
    found = kernels.candidates(nodes.first, nodes.last, 10**9, 5, 4000, model)
    slow = kernels.candidates.py_func(nodes.first, nodes.last, 10**9, 5, 4000, model)
    for fast_column, slow_column in zip(found, slow, strict=True):
        np.testing.assert_allclose(fast_column, slow_column)
    n = len(nodes.first)
    source, target = (
        np.array(c)
        for c in zip(*[(i, j) for i in range(n) for j in range(n) if nodes.first[j] > nodes.last[i]], strict=True)
    )
    every = kernels.join_costs(source, target, nodes.first, nodes.last, model)
    for i in range(n):
        np.testing.assert_allclose(np.sort(found[2][found[0] == i]), np.sort(every[source == i])[:5])


def test_ten_thousand_tracklets_in_seconds():
    rng = np.random.default_rng(0)
    n_frames, n_animals, length = 20000, 10, 19
    centre = np.cumsum(rng.normal(0, 3, (n_frames, n_animals, 2)), axis=0) + rng.uniform(0, 900, (n_animals, 2))
    frame, animal = (c.ravel() for c in np.mgrid[:n_frames, :n_animals])
    seen = (frame + animal) % (length + 1) < length
    frame, animal = frame[seen], animal[seen]
    piece = (frame + animal) // (length + 1) * n_animals + animal
    number = np.unique(piece, return_inverse=True)[1]
    xy = (centre[frame, animal][:, None] + BODY).astype(np.float32)
    item = animal
    poses = Poses(frame, item, xy, np.ones(xy.shape[:2]), np.full(len(xy), 0.8), (0, n_frames))
    stitch(two_crossing(), None, StitchConfig())
    begin = time.perf_counter()
    tracks, _ = stitch(Tracks(poses, number), None, StitchConfig(n_animals=n_animals, count="exact"))
    seconds = time.perf_counter() - begin
    print(f"seconds: {round(seconds, 2)}")
    assert number.max() >= 9999
    assert len(set(tracks.track.tolist())) < 200
    assert seconds < 20, "2 s on a free core"


def read_zebrafish(folder: Path):
    import csv

    with (folder / "zebrafish8_a" / "pseudo_tracks.csv").open() as file:
        rows = list(csv.reader(file))
    body = [r for r in rows if r[0].isdigit()]
    columns = [i for i, name in enumerate(rows[3]) if name in ("x", "y")]
    xy = np.array([[float(r[i] or "nan") for i in columns] for r in body]).reshape(len(body), 8, 9, 2)
    frame, fish = np.nonzero(np.isfinite(xy[..., 0]).any(axis=2))
    item = np.concatenate([np.arange(n) for n in np.bincount(frame, minlength=len(xy))])
    return Poses(frame, item, xy[frame, fish], np.ones((len(frame), 9)), np.full(len(frame), 0.9), (0, len(xy))), fish


@pytest.mark.data
def test_eight_zebrafish_are_eight_tracks(shoal_data):
    from scipy.optimize import linear_sum_assignment

    poses, fish = read_zebrafish(shoal_data)
    tracks, _ = stitch(associate(poses, AssociateConfig())[0], None, StitchConfig(n_animals=8, count="exact"))
    animals = tracks.track < 8
    assert len(set(tracks.track[animals].tolist())) == 8
    assert animals.mean() > 0.99
    together = np.zeros((8, 8))
    np.add.at(together, (fish[animals], tracks.track[animals]), 1)
    right = together[linear_sum_assignment(together, maximize=True)].sum()
    idf1 = 2 * right / (len(fish) + animals.sum())
    print(f"idf1: {idf1:.4f}")
    # the labels leave out both fish where two touch, up to 13 frames: motion alone cannot settle all of these
    assert idf1 > 0.9


def test_tracklets_that_are_all_too_short_are_leftovers_also_where_an_exact_count_of_none_is_given():
    """The bound of the candidates was a maximum over no tracklet."""
    tracklets = tracklets_of((0, glide((0, 0), (1, 0), 3)), (5, glide((5, 0), (1, 0), 3)), span=(0, 9))
    tracks, _ = stitch(tracklets, None, StitchConfig(count="exact"))
    assert sorted(of(tracks, tracklets)) == [0, 1]
