"""Compare shoal's measures with TrackEval, faster-coco-eval and DeepLabCut on seeded random cases.

Cases and the peers' figures are stored in tests/golden/metrics_peer.json, and tests/peer/test_metrics.py compares shoal
with them on every run; the peers are not needed for that.

    python bench/metrics_peer.py            run the peers that are installed, rewrite their figures
    python bench/metrics_peer.py --check    run them again and compare with the stored figures

Needs ``pip install trackeval==1.3.0 faster-coco-eval==1.8.0``; DeepLabCut 3.0.2 in an environment of its own
(``deeplabcut.core.metrics`` must import). A peer that is absent keeps its stored figures.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
STORED = ROOT / "tests" / "golden" / "metrics_peer.json"
TRACKING_KINDS = ("random", "ties", "fragments", "swaps", "duplicates", "empty")
POSE_KINDS = ("apart", "crowd", "missing", "doubled", "empty", "unique", "single")
N_UNIQUE = 2


def tracking_cases(n: int, seed: int) -> list[dict[str, Any]]:
    """Per-frame ids and similarities; similarities have few digits so that ties happen and the file is small."""
    rng = np.random.default_rng(seed)
    return [_tracking_case(rng, TRACKING_KINDS[i % len(TRACKING_KINDS)]) for i in range(n)]


def _tracking_case(rng: np.random.Generator, kind: str) -> dict[str, Any]:
    n_frames, n_animals = int(rng.integers(4, 18)), int(rng.integers(1, 6))
    place = np.cumsum(rng.normal(0, 0.6, (n_frames, n_animals)), 0) + rng.uniform(0, 4, n_animals)
    name = np.arange(n_animals)
    frames: dict[str, list] = {"truth": [], "predicted": [], "similarity": []}
    for f in range(n_frames):
        seen = rng.random(n_animals) < 0.9
        if kind == "swaps" and n_animals > 1 and rng.random() < 0.25:
            i, j = rng.permutation(n_animals)[:2]
            name[[i, j]] = name[[j, i]]
        if kind == "fragments":
            new = rng.random(n_animals) < 0.2
            name = np.where(new, name + 10, name)
        ids, where = name[seen].tolist(), place[f, seen] + rng.normal(0, 0.2, seen.sum())
        if kind == "duplicates":
            again = rng.random(len(ids)) < 0.4
            ids, where = ids + [i + 100 for i, a in zip(ids, again, strict=True) if a], np.append(where, where[again])
        labelled = rng.random(n_animals) < 0.95
        if kind == "empty":
            labelled &= rng.random() < 0.7
            ids, where = (ids, where) if rng.random() < 0.7 else ([], where[:0])
        order = np.argsort(ids)
        similarity = np.exp(-((place[f, labelled][:, None] - where[order][None]) ** 2))
        if kind == "random":
            similarity = rng.random(similarity.shape) * (rng.random(similarity.shape) < 0.6)
        frames["truth"].append(np.flatnonzero(labelled).tolist())
        frames["predicted"].append(sorted(ids))
        frames["similarity"].append(np.round(similarity, 1 if kind == "ties" else 3).tolist())
    return {"kind": kind, **frames}


def pose_cases(n: int, seed: int) -> list[dict[str, Any]]:
    """Per-image animals as (x, y, visible) and predictions as (x, y, score), in quarters of a pixel, no equal scores.

    Kinds "apart" and "doubled": all keypoints are labelled and no animal is near another, where DLC's and COCO's
    definitions agree. "unique" has keypoints that exist once per image as well, "single" is a project of one animal.
    """
    rng = np.random.default_rng(seed)
    cases: list[dict[str, Any]] = []
    while len(cases) < n:
        case = _pose_case(rng, POSE_KINDS[len(cases) % len(POSE_KINDS)])
        means = [np.mean([s for x, _, s in animal if x is not None and s >= 0] or [0])
                 for image in case["predicted"] for animal in image]  # fmt: skip
        if len(means) < 2 or np.diff(np.sort(means)).min() > 1e-5:  # equal scores: order is arbitrary in every tool
            cases.append(case)
    return cases


def _pose_case(rng: np.random.Generator, kind: str) -> dict[str, Any]:
    n_keypoints = int(rng.integers(1 if kind == "single" else 3, 7))
    unique: dict[str, list[Any]] = {"unique_truth": [], "unique_predicted": []}
    truth: list[Any] = []
    predicted: list[Any] = []
    for _ in range(int(rng.integers(2, 6))):
        n = 1 if kind == "single" else int(rng.integers(0 if kind == "empty" else 1, 4))
        corner = np.arange(n)[:, None] * 400.0 if kind in ("apart", "doubled") else rng.uniform(0, 40, (n, 2))
        xy = corner[:, None] + rng.uniform(0, 60, (n, n_keypoints, 2))
        visible = rng.random((n, n_keypoints)) > (0.4 if kind == "missing" else 0)
        source = rng.permutation(n)[: rng.integers(0, n + 1)] if kind == "empty" else rng.permutation(n)
        if kind in ("doubled", "apart", "crowd"):
            source = np.append(source, rng.integers(0, n, int(rng.integers(0, 2))))
        found = xy[source] + rng.normal(0, 1, (len(source), n_keypoints, 2)) * rng.uniform(0.5, 9, (len(source), 1, 1))
        score = np.round(rng.random((len(source), n_keypoints)), 3)
        gone = rng.random((len(source), n_keypoints)) < (0.3 if kind == "missing" else 0)
        if kind == "unique":
            place, score2 = rng.uniform(0, 99, (1, N_UNIQUE, 2)), np.round(rng.random((1, N_UNIQUE)), 3)
            unique["unique_truth"].append(_rows(place, (rng.random((1, N_UNIQUE)) < 0.8) * 2.0, score2 > 1, None))
            unique["unique_predicted"].append(
                _rows(place + rng.normal(0, 3, (1, N_UNIQUE, 2)), score2, score2 > 1, None)
            )
        truth.append(_rows(xy, visible * 2.0, np.zeros_like(visible), None))
        predicted.append(_rows(found, score, gone, None if rng.random() < 0.5 else -1.0))  # DLC writes either
    case = {"kind": kind, "n_keypoints": n_keypoints, "truth": truth, "predicted": predicted}
    return case | (unique if kind == "unique" else {})


def _rows(xy: np.ndarray, third: np.ndarray, gone: np.ndarray, padding: float | None) -> list[Any]:
    xy = np.round(xy * 4) / 4
    return [[[padding] * 3 if g else [x, y, s] for (x, y), s, g in zip(*animal, strict=True)]
            for animal in zip(xy.tolist(), third.tolist(), gone.tolist(), strict=True)]  # fmt: skip


def contested() -> dict[str, Any]:
    """Where DLC and COCO differ: two predictions resemble one animal most; the second would do for its neighbour."""

    def square(x: float, third: float) -> list[list[float]]:
        return [[x, 0.0, third], [x + 40, 0.0, third], [x, 40.0, third], [x + 40, 40.0, third]]

    truth, predicted = [square(0.0, 2.0), square(12.0, 2.0)], [square(0.0, 0.9), square(4.0, 0.8)]
    return {"kind": "contested", "n_keypoints": 4, "truth": [truth], "predicted": [predicted]}


def holes() -> dict[str, Any]:
    """Keypoints that DeepLabCut's assembly left out have no place and score 0, which counts when animals are ranked."""
    xy = np.array([[0.0, 0.0], [40.0, 0.0], [0.0, 40.0], [40.0, 40.0]])
    whole = [[x, y, 0.5] for x, y in xy.tolist()]
    part = [[x + 15, y, 0.75] for x, y in xy[:2].tolist()] + [[None, None, 0.0]] * 2
    truth = [[[x, y, 2.0] for x, y in xy.tolist()]]
    return {"kind": "holes", "n_keypoints": 4, "truth": [truth, truth], "predicted": [[whole], [part]]}


def run_trackeval(case: dict[str, Any]) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = importlib.import_module("trackeval.metrics")
    for name in ("float", "int"):  # removed from numpy 2; TrackEval 1.3.0 may still say np.float
        if not hasattr(np, name):
            setattr(np, name, {"float": float, "int": int}[name])
    number = [{t: n for n, t in enumerate(sorted({t for f in case[k] for t in f}))} for k in ("truth", "predicted")]
    ids = [[np.array([number[side][t] for t in f], int) for f in case[k]]
           for side, k in enumerate(("truth", "predicted"))]  # fmt: skip
    data = {
        "num_timesteps": len(ids[0]), "gt_ids": ids[0], "tracker_ids": ids[1],
        "num_gt_ids": len(number[0]), "num_tracker_ids": len(number[1]),
        "num_gt_dets": sum(map(len, ids[0])), "num_tracker_dets": sum(map(len, ids[1])),
        "similarity_scores": [np.array(s, float).reshape(len(a), len(b))
                              for s, a, b in zip(case["similarity"], *ids, strict=True)],
    }  # fmt: skip
    quiet = {"PRINT_CONFIG": False, "THRESHOLD": 0.5}
    hota = metrics.HOTA().eval_sequence(data)
    clear, identity = metrics.CLEAR(quiet).eval_sequence(data), metrics.Identity(quiet).eval_sequence(data)
    found = {k: np.mean(hota[k]) for k in ("HOTA", "DetA", "AssA", "LocA")}
    found |= {k: identity[k] for k in ("IDF1", "IDP", "IDR")} | {k: clear[k] for k in ("MOTA", "MOTP")}
    names = {"recall": "CLR_Re", "precision": "CLR_Pr", "matches": "CLR_TP", "misses": "CLR_FN",
             "false_positives": "CLR_FP", "switches": "IDSW", "fragmentations": "Frag"}  # fmt: skip
    return {k: float(v) for k, v in (found | {ours: clear[theirs] for ours, theirs in names.items()}).items()}


def run_coco(case: dict[str, Any]) -> dict[str, float]:
    """OKS mAP and mAR with DLC's choices: sigma 0.1, area of the keypoints' box, no limit on detections."""
    coco = importlib.import_module("faster_coco_eval")
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    n_keypoints = case["n_keypoints"]
    for f, (animals, predictions) in enumerate(zip(case["truth"], case["predicted"], strict=True), 1):
        for animal in animals:
            seen = np.array([p[:2] for p in animal if p[2] > 0])
            low, size = seen.min(0), np.ptp(seen, 0)
            annotations.append({
                "id": len(annotations) + 1, "image_id": f, "category_id": 1, "iscrowd": 0, "area": float(size.prod()),
                "bbox": [*low.tolist(), *size.tolist()], "num_keypoints": len(seen),
                "keypoints": [v for p in animal for v in p],
            })  # fmt: skip
        for p in predictions:
            score = float(np.mean([s for x, _, s in p if x is not None]))
            far = [[5000.0, 5000.0, 0.0] if x is None else [x, y, s] for x, y, s in p]
            results.append({"image_id": f, "category_id": 1, "score": score, "keypoints": [v for q in far for v in q]})
    data = {"images": [{"id": f + 1, "width": 2000, "height": 2000} for f in range(len(case["truth"]))],
            "categories": [{"id": 1, "name": "animal"}], "annotations": annotations, "info": {}}  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(data)
        run = coco.COCOeval_faster(truth, truth.loadRes(results), "keypoints", kpt_oks_sigmas=[0.1] * n_keypoints)
        run.params.maxDets = [100]
        run.evaluate()
        run.accumulate()
    everything = run.params.areaRngLbl.index("all")
    precision, recall = run.eval["precision"][:, :, 0, everything, 0], run.eval["recall"][:, 0, everything, 0]
    return {"mAP": 100 * float(precision.mean()), "mAR": 100 * float(recall.mean())}


def run_deeplabcut(case: dict[str, Any]) -> dict[str, float | None]:
    metrics = importlib.import_module("deeplabcut.core.metrics")
    names = {"truth": "ground_truth", "predicted": "predictions",
             "unique_truth": "unique_bodypart_gt", "unique_predicted": "unique_bodypart_poses"}  # fmt: skip
    sides: dict[str, dict[str, np.ndarray]] = {}
    for ours, theirs in names.items():
        if ours in case:
            k = N_UNIQUE if ours.startswith("unique") else case["n_keypoints"]
            sides[theirs] = {f"{f:03d}": np.array(i, float).reshape(-1, k, 3) for f, i in enumerate(case[ours])}
    with contextlib.redirect_stdout(io.StringIO()):
        found = metrics.compute_metrics(**sides, pcutoff=0.6, single_animal=case["kind"] == "single")
    values = {"rmse": found["rmse"], "rmse_pcutoff": found["rmse_pcutoff"], "mAP": found["mAP"], "mAR": found["mAR"]}
    return {k: float(v) if np.isfinite(v) else None for k, v in values.items()}


def mot_tud(folder: Path) -> dict[str, dict[str, Any]]:
    """The two MOTChallenge sequences as tracking cases; similarity = intersection over union of boxes."""
    cases: dict[str, dict[str, Any]] = {}
    for name in ("TUD-Campus", "TUD-Stadtmitte"):
        truth, predicted = (np.loadtxt(folder / name / f"{k}.txt", delimiter=",") for k in ("gt", "test"))
        case: dict[str, list] = {"truth": [], "predicted": [], "similarity": []}
        for f in range(1, int(max(truth[:, 0].max(), predicted[:, 0].max())) + 1):
            a, b = truth[truth[:, 0] == f], predicted[predicted[:, 0] == f]
            case["truth"].append(a[:, 1].astype(int).tolist())
            case["predicted"].append(b[:, 1].astype(int).tolist())
            case["similarity"].append(_iou(a[:, 2:6], b[:, 2:6]))
        cases[name] = case
    return cases


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum((a[:, :2] + a[:, 2:])[:, None], b[:, :2] + b[:, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    return shared / (a[:, 2:].prod(-1)[:, None] + b[:, 2:].prod(-1) - shared)


def largest_difference(found: dict[str, Any], stored: dict[str, Any]) -> float:
    """Over the figures of ``stored``; undefined ones (None) must be undefined on both sides."""
    if any((found[k] is None) != (v is None) for k, v in stored.items()):
        return float("inf")
    return max((abs(found[k] - v) for k, v in stored.items() if v is not None), default=0.0)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="compare only, write nothing")
    check = arguments.parse_args().check
    old = json.loads(STORED.read_text()) if STORED.exists() else {"tracking": [], "pose": [], "mot_tud": {}}
    new: dict[str, Any] = {
        "tracking": tracking_cases(48, seed=20), "pose": [*pose_cases(56, seed=21), contested(), holes()], "mot_tud": {}
    }  # fmt: skip
    data = Path(os.environ.get("SHOAL_DATA", ROOT.parent / "shared" / "data")) / "mot_tud"
    boxes = mot_tud(data) if data.is_dir() else {}
    new["mot_tud"] = {name: dict(old["mot_tud"].get(name, {})) for name in (boxes or old["mot_tud"])}
    jobs: list[tuple[str, Callable[..., dict], list[tuple[dict, dict, dict]]]] = [
        ("trackeval", run_trackeval, [*_pairs(new["tracking"], old["tracking"]),
                                      *((boxes[n], new["mot_tud"][n], old["mot_tud"].get(n, {})) for n in boxes)]),
        ("faster-coco-eval", run_coco, [p for p in _pairs(new["pose"], old["pose"]) if _agrees(p[0])]),
        ("deeplabcut", run_deeplabcut, _pairs(new["pose"], old["pose"])),
    ]  # fmt: skip
    failed = False
    for peer, run, cases in jobs:
        try:
            version = importlib.metadata.version(peer)
        except importlib.metadata.PackageNotFoundError:
            print(f"{peer}: not installed, stored figures kept")
            for _, case, stored in cases:
                case.update({peer: stored[peer]} if peer in stored else {})
            continue
        worst = 0.0
        for case, into, stored in cases:
            into[peer] = run(case)
            if peer in stored:
                worst = max(worst, largest_difference(into[peer], stored[peer]))
        print(f"{peer} {version}: {len(cases)} cases, largest difference from stored figures {worst:.1e}")
        failed |= worst > 1e-9
    if check:
        return int(failed)
    STORED.write_text(json.dumps(new, separators=(",", ":"), sort_keys=True) + "\n")
    print(f"{STORED} ({STORED.stat().st_size / 1000:.0f} kB)")
    return 0


def _pairs(new: list[dict], old: list[dict]) -> list[tuple[dict, dict, dict]]:
    """(case, where its figures go, what is stored), stored only if it is the same case."""
    same = [a["truth"] == b["truth"] and a["predicted"] == b["predicted"] for a, b in zip(new, old, strict=False)]
    return [(case, case, old[n] if n < len(old) and same[n] else {}) for n, case in enumerate(new)]


def _agrees(case: dict[str, Any]) -> bool:
    """Cases that COCO can judge: where the definitions agree, and the one that shows how they differ."""
    return case["kind"] in ("apart", "doubled", "contested")


if __name__ == "__main__":
    sys.exit(main())
