"""What must hold for assembly, association and stitching of anything."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.config.assemble import AssembleConfig
from shoal.config.associate import AssociateConfig
from shoal.config.sample import SampleConfig
from shoal.config.stitch import StitchConfig
from shoal.stages import proportions, survey
from shoal.stages.assemble import assemble
from shoal.stages.associate import associate, cuts, follow, start, step
from shoal.stages.sampling import worth_keeping
from shoal.stages.stitch import relabel, solve, stitch
from shoal.types import Decisions, Detections, Evidence, Poses, Tracks, concatenate, select

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=30, deadline=None)
WIDTH = 400.0


def some_detections(rng: np.random.Generator) -> tuple[Detections, np.ndarray, int]:
    """A few frames of random peaks on a grid of quarter pixels, with random limbs between them."""
    k = int(rng.integers(1, 6))
    pairs = [(a, b) for a in range(k) for b in range(a + 1, k)]
    edges = np.array([p for p in pairs if rng.random() < 0.7], np.int64).reshape(-1, 2)
    peaks, limbs = [], []
    for frame in range(int(rng.integers(1, 5))):
        keypoint = rng.integers(0, k, int(rng.integers(0, 15)))
        peaks += [(frame, n, p, *(rng.integers(0, 1600, 2) / 4), rng.uniform(0.05, 1)) for n, p in enumerate(keypoint)]
        for e, (a, b) in enumerate(edges):
            ends = [(s, t) for s in np.flatnonzero(keypoint == a) for t in np.flatnonzero(keypoint == b)]
            limbs += [(frame, e, s, t, rng.uniform(0.05, 1)) for s, t in ends if rng.random() < 0.8]
    p, m = np.array(peaks).reshape(-1, 6), np.array(limbs).reshape(-1, 5)
    n_frames = int(p[:, 0].max(initial=0)) + 1
    table = Detections(
        p[:, 0], p[:, 1], p[:, 2], p[:, 3:5], p[:, 5], m[:, 0], m[:, 1], m[:, 2], m[:, 3], m[:, 4],
        np.zeros((len(p), 0)), (0, n_frames),
    )  # fmt: skip
    return table, edges, k


def some_poses(rng: np.random.Generator) -> Poses:
    """Animals that wander, touch, vanish, lose keypoints and jump, and some that are nowhere at all."""
    n_frames, n, k = int(rng.integers(1, 25)), int(rng.integers(0, 6)), int(rng.integers(1, 6))
    centre = np.cumsum(rng.normal(0, rng.choice([2, 15]), (n_frames, n, 2)), 0) + rng.uniform(0, 200, (n, 2))
    xy = centre[:, :, None] + rng.uniform(-20, 20, (1, n, k, 2)) + rng.normal(0, 1, (n_frames, n, k, 2))
    xy[rng.random((n_frames, n, k)) < 0.15] = np.nan
    frame, animal = np.nonzero(rng.random((n_frames, n)) < 0.85)
    frame_of, order = frame, np.arange(len(frame))
    for f in np.unique(frame_of):  # items in no order of animals
        rows = np.flatnonzero(frame_of == f)
        order[rows] = rng.permutation(rows)
    frame, animal = frame[order], animal[order]
    counts = np.bincount(frame, minlength=n_frames)
    item = np.concatenate([np.arange(c) for c in counts])
    chosen = np.round(xy[frame, animal] * 64) / 64  # shifts by whole pixels stay exact in float32
    score = rng.uniform(0.2, 1, len(frame))
    return Poses(frame, item, chosen, np.isfinite(chosen[..., 0]), score, (0, n_frames))


def config_of(rng: np.random.Generator) -> StitchConfig:
    return StitchConfig(
        n_animals=int(rng.integers(0, 7)), count=str(rng.choice(["exact", "at-most", "unknown"])),
        max_gap=int(rng.choice([0, 5])), min_length=int(rng.integers(1, 5)), max_joins=int(rng.choice([1, 20])),
    )  # fmt: skip


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Do two numberings group the rows alike?"""
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist())) and all((x < 0) == (y < 0) for x, y in pairs)


def moved(poses: Poses, xy: np.ndarray) -> Poses:
    return replace(poses, xy=xy)


def shuffled(poses: Poses, rng: np.random.Generator) -> tuple[Poses, np.ndarray]:
    """The rows of each frame in another order, and which row is where."""
    order = np.lexsort((rng.random(len(poses)), poses.frame))
    columns = {name: getattr(poses, name)[order] for name in ("frame", "xy", "confidence", "score")}
    return Poses(item=poses.item, span=poses.span, **columns), order


@quick
@given(seeds)
def test_assembly_uses_each_peak_once_and_only_its_own(seed):
    detections, edges, k = some_detections(np.random.default_rng(seed))
    poses, rows = assemble(detections, edges, AssembleConfig(min_keypoints=2, min_score=0), n_keypoints=k)
    used = rows[rows >= 0]
    assert len(np.unique(used)) == len(used)
    at = np.nonzero(rows >= 0)
    np.testing.assert_array_equal(detections.keypoint[rows[at]], at[1])
    np.testing.assert_array_equal(detections.frame[rows[at]], poses.frame[at[0]])
    np.testing.assert_array_equal(detections.xy[rows[at]], poses.xy[at])
    np.testing.assert_array_equal(detections.confidence[rows[at]].astype(np.float32), poses.confidence[at])
    assert np.isnan(poses.xy[rows < 0]).all()
    assert ((poses.score >= 0) & (poses.score <= 1)).all()
    for f in np.unique(poses.frame):
        mine = poses.frame == f
        assert poses.item[mine].tolist() == list(range(mine.sum()))
        assert (np.diff(poses.score[mine]) <= 0).all()


@quick
@given(seeds)
def test_assembly_moves_and_mirrors_with_the_picture(seed):
    detections, edges, k = some_detections(np.random.default_rng(seed))
    config = AssembleConfig(min_keypoints=2)
    _, rows = assemble(detections, edges, config, n_keypoints=k)
    # whole pixels: float32 keeps such positions exactly, so nothing may change
    shifted = replace(detections, xy=detections.xy + np.float32([64, 32]))
    np.testing.assert_array_equal(assemble(shifted, edges, config, n_keypoints=k)[1], rows)
    flipped = replace(detections, xy=detections.xy * np.float32([-1, 1]) + np.float32([WIDTH, 0]))
    assert {tuple(r) for r in assemble(flipped, edges, config, n_keypoints=k)[1].tolist()} == {
        tuple(r) for r in rows.tolist()
    }


@quick
@given(seeds)
def test_assembly_does_not_depend_on_the_order_of_peaks_or_on_chunks(seed):
    rng = np.random.default_rng(seed)
    detections, edges, k = some_detections(rng)
    config = AssembleConfig(min_keypoints=2)
    poses, _ = assemble(detections, edges, config, n_keypoints=k)
    order = np.lexsort((rng.random(len(detections)), detections.frame))
    number = np.zeros(len(detections), np.int64)
    number[order] = detections.number  # new number of each old row
    first = np.searchsorted(detections.frame, detections.limb_frame)
    source, target = number[first + detections.source], number[first + detections.target]
    limbs = np.lexsort((target, source, detections.edge, detections.limb_frame))
    mixed = Detections(
        detections.frame, detections.number, detections.keypoint[order], detections.xy[order],
        detections.confidence[order], detections.limb_frame[limbs], detections.edge[limbs], source[limbs],
        target[limbs], detections.affinity[limbs], detections.identity[order], detections.span,
    )  # fmt: skip
    other, _ = assemble(mixed, edges, config, n_keypoints=k)
    np.testing.assert_array_equal(other.xy, poses.xy)
    stop = detections.span[1]
    whole = []
    for f in range(stop):
        mine, limb = detections.frame == f, detections.limb_frame == f
        columns = {
            n: getattr(detections, n)[mine] for n in ("frame", "number", "keypoint", "xy", "confidence", "identity")
        }
        columns |= {n: getattr(detections, n)[limb] for n in ("limb_frame", "edge", "source", "target", "affinity")}
        whole.append(assemble(Detections(**columns, span=(f, f + 1)), edges, config, n_keypoints=k)[0])
    joined = concatenate(whole)
    np.testing.assert_array_equal(joined.xy, poses.xy)
    np.testing.assert_array_equal(joined.score, poses.score)


@pytest.mark.parametrize("similarity", ["pose", "ellipse"])
@quick
@given(seed=seeds)
def test_association_gives_each_row_one_tracklet(similarity, seed):
    poses = some_poses(np.random.default_rng(seed))
    tracks, decisions = associate(poses, AssociateConfig(similarity=similarity))
    assert tracks.poses is poses
    seen = np.isfinite(poses.xy[..., 0]).any(axis=1)
    np.testing.assert_array_equal(tracks.track >= 0, seen)
    rows = np.stack([poses.frame[seen], tracks.track[seen]], axis=1)
    assert len(np.unique(rows, axis=0)) == len(rows), "a tracklet has two rows in one frame"
    firsts = [poses.frame[tracks.track == t].min() for t in range(tracks.n_tracks)]
    assert firsts == sorted(firsts)
    assert set(tracks.track[seen].tolist()) == set(range(tracks.n_tracks))
    assert decisions.span == poses.span
    assert ((decisions.source >= 0) & (decisions.source < max(tracks.n_tracks, 1))).all()
    assert (decisions.source != decisions.target).all()


@quick
@given(seeds)
def test_association_does_not_depend_on_order_place_or_chunks(seed):
    rng = np.random.default_rng(seed)
    poses = some_poses(rng)
    plain = associate(poses, AssociateConfig())[0].track
    other, order = shuffled(poses, rng)
    assert same_partition(associate(other, AssociateConfig())[0].track, plain[order])
    assert same_partition(
        associate(moved(poses, poses.xy + np.float32([512, -256])), AssociateConfig())[0].track, plain
    )
    mirrored = moved(poses, poses.xy * np.float32([-1, 1]))
    assert same_partition(associate(mirrored, AssociateConfig())[0].track, plain)
    state, numbers = start(AssociateConfig(), poses.n_keypoints), []
    for frame in range(poses.span[1]):
        state, ids = step(state, select(poses, np.flatnonzero(poses.frame == frame)))
        numbers += ids.tolist()
    assert numbers == plain.tolist()


def cut_into_spans(table: Poses | Tracks, rng: np.random.Generator) -> list:
    """The table in adjoining spans of any length, some without a row."""
    start, stop = table.span
    at = np.unique(np.r_[start, rng.integers(start, stop + 1, int(rng.integers(0, 6))), stop])
    frame = table.frame if isinstance(table, Poses) else table.poses.frame
    parts = []
    for a, b in pairwise(at.tolist()):
        part = select(table, np.flatnonzero((frame >= a) & (frame < b)))
        if isinstance(part, Poses):
            parts.append(replace(part, span=(a, b)))
        else:
            parts.append(Tracks(replace(part.poses, span=(a, b)), part.track))
    return parts


def bytes_of(table: Decisions | Poses) -> list[bytes]:
    return [getattr(table, f.name).tobytes() for f in fields(table) if f.name != "span"]


@quick
@given(seeds)
def test_association_of_spans_is_that_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    poses = some_poses(rng)
    tracklets, refused = associate(poses, AssociateConfig())
    state, found = start(AssociateConfig(), poses.n_keypoints), []
    for part in cut_into_spans(poses, rng):
        state, track = follow(state, part)
        found += track.tolist()
    assert found == tracklets.track.tolist()
    assert bytes_of(cuts(state, poses.span)) == bytes_of(refused)


def long_swimmers(rng: np.random.Generator) -> Tracks:
    """Tracklets long enough to learn motion and sizes from, some with gaps, some very short."""
    n_frames, n = int(rng.choice([60, 300])), int(rng.integers(1, 12))
    centre = np.cumsum(rng.normal(0, 2, (n_frames, n, 2)), axis=0) + 80 * np.arange(n)[:, None]
    length = rng.uniform(30, 60, n) * np.exp(rng.normal(0, 0.05, (n_frames, n)))
    xy = centre[:, :, None] + length[..., None, None] * np.array([(-0.5, 0.1), (0, 0), (0.5, 0)])
    xy[rng.random(xy.shape[:3]) < 0.1] = np.nan
    frame, animal = np.nonzero(rng.random((n_frames, n)) < rng.choice([1.0, 0.95]))
    piece = frame // int(rng.choice([37, 150, 300])) * n + animal
    number = np.unique(piece, return_inverse=True)[1]
    number[rng.random(len(number)) < 0.01] = -1
    item = np.concatenate([np.arange(c) for c in np.bincount(frame, minlength=n_frames)])
    score = rng.uniform(0, 1, len(frame))
    poses = Poses(frame, item, xy[frame, animal], np.ones((len(frame), 3)), score, (0, n_frames))
    return Tracks(poses, number)


@pytest.mark.parametrize("make", [long_swimmers, lambda rng: associate(some_poses(rng), AssociateConfig())[0]])
@settings(max_examples=12, deadline=None)
@given(seed=seeds)
def test_stitching_of_spans_is_that_of_the_whole(make, seed):
    rng = np.random.default_rng(seed)
    tracklets, config = make(rng), config_of(rng)
    parts = cut_into_spans(tracklets, rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proportions, "MAX_BLOCKS", int(rng.choice([3, 205])))
        patch.setattr(survey, "N_SAMPLES", int(rng.choice([30, 3000])))
        patch.setattr(survey, "BLOCK", 7)
        number, decisions = solve(lambda: parts, None, config)
        patch.setattr(survey, "BLOCK", 4096)
        whole, expected = stitch(tracklets, None, config)
        assert [c.tobytes() for c in survey.survey(lambda: parts).nodes] == [
            c.tobytes() for c in survey.survey(lambda: (tracklets,)).nodes
        ]
    assert [n for part in parts for n in relabel(part, number).track.tolist()] == whole.track.tolist()
    assert bytes_of(decisions) == bytes_of(expected)


@quick
@given(seeds)
def test_tracks_do_not_depend_on_the_order_of_animals_in_a_frame(seed):
    """What was learned of shapes did: pairs of rows were compared in the order of tracklet numbers."""
    rng = np.random.default_rng(seed)
    poses = some_poses(rng)
    other, order = shuffled(poses, rng)
    config = config_of(rng)
    tracks = [stitch(associate(table, AssociateConfig())[0], None, config)[0].track for table in (poses, other)]
    assert same_partition(tracks[1], tracks[0][order])


def check_tracks(tracks: Tracks, tracklets: Tracks, config: StitchConfig) -> None:
    np.testing.assert_array_equal(tracks.poses.item, tracklets.poses.item)
    np.testing.assert_array_equal(tracks.track >= 0, tracklets.track >= 0)
    rows = np.stack([tracks.poses.frame, tracks.track], axis=1)[tracks.track >= 0]
    assert len(np.unique(rows, axis=0)) == len(rows), "a track has two rows in one frame"
    for t in range(tracklets.n_tracks):
        assert len(set(tracks.track[tracklets.track == t].tolist())) == 1, "a tracklet is torn"
    if config.count == "exact" and config.n_animals:
        names = set(tracks.track[(tracks.track >= 0) & (tracks.track < config.n_animals)].tolist())
        assert len(names) == min(config.n_animals, tracklets.n_tracks)
        assert names == set(range(len(names)))


@quick
@given(seeds)
def test_stitching_always_answers_and_loses_nothing(seed):
    rng = np.random.default_rng(seed)
    tracklets, _ = associate(some_poses(rng), AssociateConfig())
    config = config_of(rng)
    tracks, decisions = stitch(tracklets, None, config)
    check_tracks(tracks, tracklets, config)
    assert decisions.span == tracklets.span
    n = max(tracklets.n_tracks + int(rng.integers(-2, 3)), 0)
    evidence = Evidence(rng.normal(size=(n, 3)), rng.random(n), rng.normal(0, 5), rng.normal(0, 3))
    check_tracks(stitch(tracklets, evidence, config)[0], tracklets, config)


@quick
@given(seeds)
def test_stitching_does_not_depend_on_place_mirror_or_names_of_tracklets(seed):
    rng = np.random.default_rng(seed)
    tracklets, _ = associate(some_poses(rng), AssociateConfig())
    config = config_of(rng)
    plain = stitch(tracklets, None, config)[0].track
    poses = tracklets.poses
    for xy in (poses.xy + np.float32([512, -256]), poses.xy * np.float32([-1, 1])):
        assert same_partition(stitch(Tracks(moved(poses, xy), tracklets.track), None, config)[0].track, plain)
    again = stitch(tracklets, None, config)[0].track
    np.testing.assert_array_equal(again, plain)


@quick
@given(seeds)
def test_sampling_does_not_depend_on_order_or_place(seed):
    rng = np.random.default_rng(seed)
    poses = some_poses(rng)
    plain = worth_keeping(poses, SampleConfig(every=3))
    other, order = shuffled(poses, rng)
    np.testing.assert_array_equal(worth_keeping(other, SampleConfig(every=3)), plain[order])
    np.testing.assert_array_equal(
        worth_keeping(moved(poses, poses.xy * np.float32([-1, 1])), SampleConfig(every=3)), plain
    )
