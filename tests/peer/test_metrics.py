"""shoal's measures against the figures of TrackEval, faster-coco-eval and DeepLabCut (bench/metrics_peer.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.stages.metrics import compare_frames, figures, score_poses, tracking_scores
from shoal.types import Poses

STORED = json.loads((Path(__file__).parents[1] / "golden" / "metrics_peer.json").read_text())

pytestmark = pytest.mark.peer


def poses_of(case: dict[str, Any], side: str) -> Poses:
    n_keypoints = 2 if side.startswith("unique") else case["n_keypoints"]
    frame = np.repeat(np.arange(len(case[side])), [len(image) for image in case[side]])
    rows = np.array([animal for image in case[side] for animal in image], float).reshape(-1, n_keypoints, 3)
    xy = np.where((rows[..., 2:] <= 0) & side.endswith("truth"), np.nan, rows[..., :2])
    confidence = np.nan_to_num(rows[..., 2], nan=-1.0)  # DeepLabCut pads with either
    return Poses(frame, np.zeros(len(frame)), xy, confidence, np.zeros(len(frame)), (0, len(case[side])))


def pose_figures(case: dict[str, Any]) -> dict[str, float]:
    unique = (poses_of(case, "unique_truth"), poses_of(case, "unique_predicted")) if "unique_truth" in case else None
    truth, predicted = poses_of(case, "truth"), poses_of(case, "predicted")
    return figures(score_poses(truth, predicted, pcutoff=0.6, unique=unique, is_single=case["kind"] == "single"))


def assert_equal(found: dict[str, float], stored: dict[str, float | None], *, within: float) -> None:
    for name, want in stored.items():
        assert found[name] == pytest.approx(np.nan if want is None else want, abs=within, rel=0, nan_ok=True), name


def test_stored_cases_cover_every_kind_and_every_peer() -> None:
    assert {case["kind"] for case in STORED["tracking"]} == {
        "random", "ties", "fragments", "swaps", "duplicates", "empty"
    }  # fmt: skip
    assert all("trackeval" in case for case in STORED["tracking"])
    assert {case["kind"] for case in STORED["pose"] if "deeplabcut" in case} == {
        "apart", "crowd", "missing", "doubled", "empty", "unique", "single", "contested", "holes"
    }  # fmt: skip
    assert sum("faster-coco-eval" in case for case in STORED["pose"]) >= 15


@pytest.mark.parametrize("number", range(len(STORED["tracking"])))
def test_tracking_equals_trackeval(number: int) -> None:
    case = STORED["tracking"][number]
    found = tracking_scores(compare_frames(case["truth"], case["predicted"], case["similarity"]))
    assert_equal(found, case["trackeval"], within=1e-9)


@pytest.mark.parametrize("number", range(len(STORED["pose"])))
def test_poses_equal_deeplabcut(number: int) -> None:
    case = STORED["pose"][number]
    assert_equal(pose_figures(case), case["deeplabcut"], within=1e-9)


@pytest.mark.parametrize("kind", ["apart", "doubled"])
def test_poses_equal_coco_where_the_definitions_agree(kind: str) -> None:
    cases = [case for case in STORED["pose"] if case["kind"] == kind]
    for case in cases:
        assert_equal(pose_figures(case), case["faster-coco-eval"], within=1e-9)


def test_a_contested_animal_is_where_coco_and_deeplabcut_differ() -> None:
    case = next(case for case in STORED["pose"] if case["kind"] == "contested")
    found = pose_figures(case)
    assert found["recall"] == 0.5  # the second prediction is not passed on to the neighbour
    assert case["faster-coco-eval"]["mAP"] > found["mAP"] + 10


@pytest.mark.data
@pytest.mark.parametrize(("name", "idf1", "mota"), [("TUD-Campus", 0.5577, 0.5265), ("TUD-Stadtmitte", 0.6446, 0.5640)])
def test_motchallenge_boxes_have_their_known_figures(shoal_data: Path, name: str, idf1: float, mota: float) -> None:
    truth, predicted = (np.loadtxt(shoal_data / "mot_tud" / name / f"{k}.txt", delimiter=",") for k in ("gt", "test"))
    last = int(max(truth[:, 0].max(), predicted[:, 0].max()))
    frames = [(truth[truth[:, 0] == f], predicted[predicted[:, 0] == f]) for f in range(1, last + 1)]
    found = tracking_scores(
        compare_frames([a[:, 1] for a, _ in frames], [b[:, 1] for _, b in frames], [overlap(a, b) for a, b in frames])
    )
    assert (round(found["IDF1"], 4), round(found["MOTA"], 4), found["switches"]) == (idf1, mota, 7)
    assert_equal(found, STORED["mot_tud"][name]["trackeval"], within=1e-9)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of (x, y, width, height) in columns 2-5."""
    low = np.maximum(a[:, None, 2:4], b[:, 2:4])
    high = np.minimum((a[:, 2:4] + a[:, 4:6])[:, None], b[:, 2:4] + b[:, 4:6])
    shared = np.clip(high - low, 0, None).prod(-1)
    return shared / (a[:, 4:6].prod(-1)[:, None] + b[:, 4:6].prod(-1) - shared)
