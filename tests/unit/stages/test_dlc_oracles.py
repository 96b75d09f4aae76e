"""The figures that DeepLabCut's own tests assert on its three mice (dlc_formats.md 7.2), through shoal's stages.

Every figure has a twin on own-made data in the test file of its stage; those run without the real data.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from shoal.config.assemble import AssembleConfig
from shoal.config.associate import AssociateConfig
from shoal.stages import metrics
from shoal.stages.associate import associate
from shoal.stages.graph import choose_limbs
from shoal.stages.shape import learn_shape, limb_plausibility, shape_distance
from shoal.types import Detections, Poses

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
    """The ten evaluated images: truth, detections, all 66 limbs, which images are trained on."""
    data = load(mice / "trimouse_eval.pickle")
    edges = np.array(data.pop("metadata")["PAFgraph"])
    images = sorted(data.values(), key=lambda image: image["index"])
    truth = np.full((len(images), 3, 12, 2), np.nan)
    for f, image in enumerate(images):
        truth[f] = image["groundtruth"][2].to_numpy(float).reshape(3, 12, 2)  # by mouse, keypoint, axis
    f, a = np.nonzero(np.isfinite(truth).all(axis=3).any(axis=2))
    item = np.concatenate([np.arange(n) for n in np.bincount(f, minlength=len(images))])
    poses = Poses(f, item, truth[f, a], np.isfinite(truth[f, a, :, 0]), np.ones(len(f)), (0, len(images)))
    seen = detections_of([image["prediction"] for image in images], edges.tolist())
    return poses, seen, edges, load(mice / "trimouse_meta.pickle")["data"]["trainIndices"]


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
    truth, seen, edges, trained = judged
    choice = choose_limbs(truth, seen, edges, AssembleConfig(max_animals=3, min_affinity=0.05), n_graphs=5)
    print(choice.limbs.tolist(), choice.scores.tolist(), trained)
    assert len(choice.candidates) == 5 and len(choice.candidates[-1]) == 66
    assert len(choice.limbs) == 11
    assert set(choice.limbs.tolist()) == {14, 15, 16, 11, 22, 31, 61, 7, 59, 62, 64}


def test_similarity_of_keypoints_is_dlcs(animals):
    mouse, other = animals.xy[:1].astype(float), animals.xy[1:2].astype(float)
    assert metrics.oks(mouse, mouse) == pytest.approx(1)
    assert metrics.oks(mouse, other, sigma=0.01) == pytest.approx(0, abs=1e-6)
    half = np.where(np.arange(12)[:, None] % 2, mouse, np.nan)
    assert metrics.oks(mouse, half) == pytest.approx(0.5)
    assert metrics.oks(mouse, np.full_like(mouse, np.nan)) == 0
    assert np.isnan(metrics.oks(np.full_like(mouse, np.nan), mouse))


def test_assemblies_judged_against_themselves_are_perfect(animals):
    scores = metrics.score_poses(animals, animals)
    assert scores.mAP == scores.mAR == 100
