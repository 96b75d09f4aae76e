"""The figures that DeepLabCut's own tests assert on its three mice (dlc_formats.md 7.2), through shoal's stages.

Every figure has a twin on own-made data in the test file of its stage; those run without the real data.
"""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from shoal.config.assemble import AssembleConfig
from shoal.config.associate import AssociateConfig
from shoal.config.stitch import StitchConfig
from shoal.stages import metrics
from shoal.stages.assemble import assemble
from shoal.stages.associate import associate
from shoal.stages.evidence import evidence_of_names, log_odds
from shoal.stages.graph import choose_limbs, with_limbs
from shoal.stages.outliers import find_outliers
from shoal.stages.shape import learn_shape, limb_plausibility, shape_distance
from shoal.stages.stitch import split_at_gaps, stitch
from shoal.types import Detections, Poses, Tracks, select

pytestmark = pytest.mark.data


def load(path):
    return pickle.loads(path.read_bytes())


@pytest.fixture(scope="module")
def mice(shoal_data):
    return shoal_data / "dlc_trimouse_algo"


@pytest.fixture(scope="module")
def animals(mice):
    """DLC's assemblies of 50 frames."""
    data = load(mice / "trimouse_assemblies.pickle")
    rows = [(f, i, a) for f in sorted(data) for i, a in enumerate(data[f])]
    values = np.array([a for _, _, a in rows])
    return Poses(
        [r[0] for r in rows], [r[1] for r in rows], values[..., :2], values[..., 2], np.ones(len(rows)), (0, 50)
    )


def detections_of(frames, n_edges):
    """DLC's raw detections, frame by frame: {coordinates, confidence, costs} -> Detections."""
    peaks, limbs = [], []
    for f, frame in enumerate(frames):
        first = np.cumsum([0] + [len(c) for c in frame["coordinates"][0]])
        for k, (xy, score) in enumerate(zip(frame["coordinates"][0], frame["confidence"], strict=True)):
            peaks += [(f, first[k] + i, k, *xy[i], score[i, 0]) for i in range(len(xy))]
        for e, (a, b) in enumerate(n_edges):
            if e in frame["costs"]:
                m1 = frame["costs"][e]["m1"]
                limbs += [(f, e, first[a] + i, first[b] + j, m1[i, j]) for i, j in np.ndindex(m1.shape)]
    p, m = np.array(peaks), np.array(sorted(limbs))
    return Detections(
        p[:, 0], p[:, 1], p[:, 2], p[:, 3:5], p[:, 5], m[:, 0], m[:, 1], m[:, 2], m[:, 3], m[:, 4],
        np.zeros((len(p), 0)), (0, len(frames)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged(mice):
    """The evaluated images that were trained on: truth, detections, all 66 limbs."""
    data = load(mice / "trimouse_eval.pickle")
    edges = np.array(data.pop("metadata")["PAFgraph"])
    trained = load(mice / "trimouse_meta.pickle")["data"]["trainIndices"]
    images = sorted((i for i in data.values() if i["index"] in trained), key=lambda image: image["index"])
    truth = np.full((len(images), 3, 12, 2), np.nan)
    for f, image in enumerate(images):
        truth[f] = image["groundtruth"][2].to_numpy(float).reshape(3, 12, 2)  # by mouse, keypoint, axis
    f, a = np.nonzero(np.isfinite(truth).all(axis=3).any(axis=2))
    item = np.concatenate([np.arange(n) for n in np.bincount(f, minlength=len(images))])
    poses = Poses(f, item, truth[f, a], np.isfinite(truth[f, a, :, 0]), np.ones(len(f)), (0, len(images)))
    seen = detections_of([image["prediction"] for image in images], edges.tolist())
    return poses, seen, edges


@pytest.mark.parametrize(("similarity", "least"), [("ellipse", 0.6), ("box", 0.1), ("skeleton", 0.4), ("pose", 0.4)])
def test_three_mice_are_three_tracklets_of_the_reference_lengths(mice, animals, similarity, least):
    tracks, decisions = associate(animals, AssociateConfig(similarity=similarity, min_similarity=least, max_age=1))
    reference = load(mice / "trimouse_tracklets.pickle")
    lengths = sorted(len(t) for name, t in reference.items() if name != "header")
    assert sorted(np.bincount(tracks.track).tolist()) == lengths == [50, 50, 50]
    assert len(decisions) == 0
    theirs = {tuple(t[f][0, :2]) for f in range(50) for n, t in reference.items() if n == 0}
    ours = tracks.track[[i for i in range(150) if tuple(animals.xy[i, 0].tolist()) in theirs]]
    assert len(set(ours.tolist())) <= 1


def test_calibration_knows_a_mouse(mice, animals):
    import pandas as pd

    table = pd.read_hdf(mice / "trimouse_calib.h5").to_numpy().reshape(500, -1, 12, 2)
    shape = learn_shape(table.reshape(-1, 12, 2))
    distance, probability = shape_distance(shape, animals.xy[:1].astype(float))
    assert distance[0] == pytest.approx(19.541, abs=1e-3)
    assert probability[0] == pytest.approx(1, abs=1e-3)
    apart = np.linalg.norm(animals.xy[0, 0] - animals.xy[0, 1])
    # DLC's own figure divides by the shrunk variance, not by a standard deviation
    from scipy.stats import norm

    dlc = 2 * norm.sf(abs(apart**2 - shape.mean[0]) / (shape.covariance[0, 0] * shape.shrink))
    assert dlc == pytest.approx(0.993, abs=1e-3)
    ours = limb_plausibility(shape, np.array([0]), np.array([1]), np.array([apart]))
    assert 0.01 < ours[0] < dlc


def test_the_best_graph_of_three_mice(judged):
    truth, seen, edges = judged
    config = AssembleConfig(max_animals=3, min_affinity=0.05)
    choice = choose_limbs(truth, seen, edges, config, n_graphs=5)
    assert len(choice.candidates) == 5 and len(choice.candidates[-1]) == 66
    assert len(choice.candidates[0]) == 11
    # DLC's tree and ours are equally good: 23 of 66 limbs always tell two mice apart, and any tree of them will do
    dlc = np.array([14, 15, 16, 11, 22, 31, 61, 7, 59, 62, 64])
    assert choice.separability[dlc].min() >= 1
    assert choice.separability[choice.candidates[0]].min() >= 1
    print(f"limbs: {len(choice.limbs)}, mAP: {np.round(choice.scores, 1).tolist()}")
    theirs, _ = assemble(with_limbs(seen, dlc), edges[dlc], config, n_keypoints=12)
    assert choice.scores.max() >= metrics.score_poses(truth, theirs).mAP - 1e-6


def test_similarity_of_keypoints_is_dlcs(animals):
    mouse, other = animals.xy[:1].astype(float), animals.xy[1:2].astype(float)
    assert metrics.oks(mouse, mouse) == pytest.approx(1)
    assert metrics.oks(mouse, other, sigma=0.01) == pytest.approx(0, abs=1e-6)
    half = np.where(np.arange(12)[:, None] % 2, mouse, np.nan)
    assert metrics.oks(mouse, half) == pytest.approx(0.5)
    assert metrics.oks(mouse, np.full_like(mouse, np.nan)) == 0
    assert np.isnan(metrics.oks(np.full_like(mouse, np.nan), mouse))


def test_swapped_ears_are_right_again_by_their_mirror(animals):
    """DLC's ``symmetric_kpts`` takes the better of both ways round; here that is a figure of its own, ``swapped``."""
    mirror = np.arange(12)
    mirror[[1, 2]] = 2, 1
    mouse = animals.xy[:1].astype(float)
    other_way = mouse[:, mirror]
    assert metrics.oks(mouse, other_way, sigma=0.01) < 1 - 1e-3
    assert metrics.oks(mouse, other_way[:, mirror], sigma=0.01) == pytest.approx(1)
    one, turned = (replace(select(animals, np.array([0])), xy=xy) for xy in (mouse, other_way))
    scores = metrics.score_poses(one, turned, mirror=mirror)
    assert scores.swapped == 1
    assert scores.keypoint_swapped[[1, 2]].tolist() == [1, 1]


def test_assemblies_judged_against_themselves_are_perfect(animals):
    scores = metrics.score_poses(animals, animals)
    assert scores.mAP == scores.mAR == 100


def centre_weight(tracklets):
    """DLC's weight, the distance from the last centre of one to the first of the other, 10 px for a nat."""
    rows = [np.flatnonzero(tracklets.track == t) for t in range(tracklets.n_tracks)]
    centre = metrics.centres(tracklets.poses.xy)
    first, last = (centre[[r[k] for r in rows]] for k in (0, -1))
    asked = []

    def weight(source, target):
        asked.append(len(source))
        return np.linalg.norm(last[source] - first[target], axis=1) / 10 - 5

    return weight, asked


def test_whole_mice_need_no_join(animals):
    tracklets, _ = associate(animals, AssociateConfig())
    weight, asked = centre_weight(tracklets)
    tracks, decisions = stitch(tracklets, None, StitchConfig(n_animals=3, count="exact"), weight=weight)
    assert not asked, "9 edges: 3 tracklets, each with a start, itself and an end, and no join"
    assert np.bincount(tracks.track).tolist() == [50, 50, 50] and len(decisions) == 0


def test_halves_of_mice_have_nine_joins_and_find_each_other(animals):
    whole, _ = associate(animals, AssociateConfig())
    halves = split_at_gaps(Tracks(animals, whole.track + 3 * (animals.frame >= 25)))
    weight, asked = centre_weight(halves)
    config = StitchConfig(n_animals=3, count="exact")
    tracks, _ = stitch(halves, None, config, weight=weight)
    assert asked[0] == 9, "27 edges: 3 for each of 6 tracklets, and 9 joins"
    np.testing.assert_array_equal(tracks.track, whole.track)
    evidence = evidence_of_names(halves, whole.track)
    own = whole.track[[int(np.flatnonzero(halves.track == t)[0]) for t in range(6)]]
    a, b = np.nonzero((own[:, None] == own) & ~np.eye(6, dtype=bool))
    np.testing.assert_allclose(np.exp(-log_odds(evidence, a, b)), 1 / 100, rtol=1e-5)
    np.testing.assert_array_equal(stitch(halves, evidence, config)[0].track, whole.track)


def test_a_thousand_frames_in_twenty_pieces_are_one_track(shoal_data):
    data = load(shoal_data / "dlc_trimouse_algo_long" / "trimouse_tracklets.pickle")
    xy = np.array([data[0][f"frame{f:04d}"] for f in range(1000)])
    poses = Poses(np.arange(1000), np.zeros(1000), xy[..., :2], xy[..., 2], np.ones(1000), (0, 1000))
    pieces = Tracks(poses, np.arange(1000) // 50)
    assert split_at_gaps(pieces).n_tracks == 20
    for config in (StitchConfig(max_gap=1), StitchConfig(n_animals=1, count="exact")):
        assert set(stitch(pieces, None, config)[0].track.tolist()) == {0}


def test_thirteen_frames_have_mice_of_unusual_size(animals):
    assert len(find_outliers(animals)) == 13
