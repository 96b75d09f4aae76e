"""Bar F of tracking: reflections in glass walls and double detections, found and kept from animals' names.

    python bench/tracking_reflections.py                     seeds 10-19 of scenes lab and demo, as the docs quote it
    python bench/tracking_reflections.py --seeds 0,1,2,3,4   the seeds that were tuned on
    python bench/tracking_reflections.py --fitted            the same, of a network that has not learned reflections
    python bench/tracking_reflections.py --quick             one short video
    python bench/tracking_reflections.py --real              scenes and real videos without walls: nothing may be marked
                                                             (needs SHOAL_DATA)

Detections are those of the fitted noise model (shoal/synthetic/noise.json) with reflections that the network has
learned as animals, as one does that is trained on labelled reflections: keypoints in the glass are found as those of
free fish are, and so are their limbs. --fitted takes the table as it is, from a network trained without reflections: it
takes few for animals, and sees those in part.
A row is a fish's or a reflection's if most of its keypoints lie where those of that fish or reflection truly are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from command import real_data
from numpy import ndarray

from shoal.config.assemble import AssembleConfig
from shoal.config.associate import AssociateConfig
from shoal.config.classify import ClassifyConfig
from shoal.config.stitch import StitchConfig
from shoal.io.dlc.results import read_tracks
from shoal.stages.assemble import assemble
from shoal.stages.associate import associate
from shoal.stages.classify import ANIMAL, DUPLICATE, REFLECTION, survey_kinds, tracklets_of
from shoal.stages.metrics import score_tracks
from shoal.stages.metrics_similarity import similar_pairs
from shoal.stages.stitch import stitch
from shoal.synthetic.dataset import make_truth
from shoal.synthetic.noise import load_noise, noisy_detections
from shoal.synthetic.scenes import SCENES, SKELETON
from shoal.synthetic.truth import Truth, ignore_regions, visible_tracks
from shoal.types import Poses, Tracks, body_length

OWNED = 0.35  # share of a row's keypoints' similarity that makes it somebody's
N_FRAMES, QUICK_FRAMES = 1800, 400
SWAP = np.asarray(SKELETON.mirror)


def make_tracklets(scene: str, seed: int, n_frames: int, *, learned: bool = True) -> tuple[Truth, Tracks]:
    """Truth and tracklets of one video."""
    truth, poses = make_poses(scene, seed, n_frames, learned=learned)
    return truth, associate(poses, AssociateConfig())[0]


def make_poses(scene: str, seed: int, n_frames: int, *, learned: bool = True) -> tuple[Truth, Poses]:
    """Truth and animals of one video; ``learned``: the network takes reflections for animals."""
    truth = make_truth(SCENES[scene], seed=seed, n_frames=n_frames)
    table = load_noise()
    if learned:
        found = tuple(1 - miss for miss in table.miss_clear)
        table = replace(table, reflection=found, affinity_reflection=tuple(1 + error for error in table.affinity_right))
    detections = noisy_detections(truth, edges=SKELETON.edges, seed=seed, table=table)
    return truth, assemble(detections, SKELETON.edges, AssembleConfig(), n_keypoints=SKELETON.n_keypoints)[0]


def owners(truth: Truth, poses: Poses) -> tuple[ndarray, ndarray]:
    """(0 fish, 1 reflection, -1 nobody) and who, per row."""
    fish, glass = truth.tracks.poses, truth.reflections.poses
    frame = np.r_[fish.frame, glass.frame]
    number = np.r_[truth.tracks.track, len(truth.names) + truth.reflections.track]
    order = np.lexsort((number, frame))
    xy = np.concatenate([truth.full_xy, glass.xy])[order]
    span, n = truth.span, len(frame)
    true = Tracks(Poses(frame[order], np.zeros(n), xy, np.ones((n, xy.shape[1])), np.ones(n), span), number[order])
    i, j, similarity = similar_pairs(true, Tracks(poses, np.zeros(len(poses))), body_length(truth.full_xy))
    agreed = similarity * np.isfinite(xy[i, :, 0]).sum(axis=1)  # keypoints
    best, who = np.zeros(len(poses)), np.full(len(poses), -1)
    rank = np.argsort(agreed, kind="stable")
    best[j[rank]], who[j[rank]] = agreed[rank], number[order][i[rank]]
    owned = best > OWNED * np.isfinite(poses.xy[..., 0]).sum(axis=1)
    return np.where(owned, (who >= len(truth.names)).astype(int), -1), np.where(owned, who, -1)


def doubles(poses: Poses, who: ndarray) -> ndarray:
    """Rows of somebody who has a larger row in the same frame."""
    size = np.isfinite(poses.xy[..., 0]).sum(axis=1) + poses.score
    order = np.lexsort((-size, who, poses.frame))
    key = poses.frame[order] * 10_000 + who[order]
    again = np.r_[False, key[1:] == key[:-1]] & (who[order] >= 0)
    out = np.zeros(len(poses), bool)
    out[order[again]] = True
    return out


def measure(scene: str, seed: int, n_frames: int, *, learned: bool = True) -> dict[str, Any]:
    """Figures of one video: rows marked and rows that are reflections (duplicates), and what got an animal's name."""
    truth, tracklets = make_tracklets(scene, seed, n_frames, learned=learned)
    began = time.perf_counter()
    info, mirrors = survey_kinds(lambda: (tracklets,), SWAP, ClassifyConfig())
    seconds = time.perf_counter() - began
    is_, who = owners(truth, tracklets.poses)
    known = tracklets.track >= 0
    kind = np.where(known, info.kind[np.maximum(tracklets.track, 0)], -1)
    marked, true = kind == REFLECTION, known & (is_ == 1)
    double = known & doubles(tracklets.poses, who)
    found: dict[str, Any] = {
        "scene": scene, "seed": seed, "rows": len(tracklets), "mirrors": len(mirrors), "seconds": round(seconds, 2),
        "marked": int(marked.sum()), "reflections": int(true.sum()), "right": int((marked & true).sum()),
        "fish_marked": int((marked & (is_ == 0)).sum()), "duplicates": int(double.sum()),
        "duplicates_marked": int((kind == DUPLICATE).sum()),
        "duplicates_right": int((double & (kind == DUPLICATE)).sum()),
    }  # fmt: skip
    count = StitchConfig(n_animals=len(truth.names), count="exact")
    ways = {"keep": None, "mark": (ANIMAL,)}
    for name, kinds in ways.items():
        used = tracklets if kinds is None else tracklets_of(tracklets, info, kinds)
        tracks = stitch(used, None, count)[0]
        named = (tracks.track >= 0) & (tracks.track < len(truth.names))
        own = Tracks(tracks.poses, np.where(named, tracks.track, -1))
        scores = score_tracks(visible_tracks(truth), own, ignore=ignore_regions(truth), fps=truth.fps)
        found[name] = {
            "named": int(named.sum()), "named_reflections": int((named & (is_ == 1)).sum()),
            "IDF1": round(scores["IDF1"], 4), "HOTA": round(scores["HOTA"], 4), "switches": scores["switches"],
        }  # fmt: skip
    return found


def bar_f(work: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Precision and recall by fish-frames over the seeds, and the share of named fish-frames that are reflections."""
    n_frames = QUICK_FRAMES if args.quick else N_FRAMES
    seeds = getattr(args, "seeds", None) or range(10, 20)
    cases = [("demo", 10)] if args.quick else [(scene, seed) for scene in ("lab", "demo") for seed in seeds]
    runs = []
    for scene, seed in cases:
        runs.append(measure(scene, seed, n_frames, learned=not getattr(args, "fitted", False)))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    figure: dict[str, Any] = {"seeds": sorted({seed for _, seed in cases}), "frames": n_frames, "runs": runs}
    for scene in {scene for scene, _ in cases}:
        figure[scene] = summarize([run for run in runs if run["scene"] == scene])
    figure["all"] = summarize(runs)
    each = [figure[scene] for scene in {scene for scene, _ in cases}]
    holds = all(f["precision"] >= 0.95 and f["recall"] >= 0.95 and f["named_reflections"] <= 0.01 for f in each)
    target = (
        "precision and recall >= .95 by fish-frames, <= 1 % of named fish-frames are reflections (mark), each scene"
    )
    return {"figure": figure, "target": target, "holds": bool(holds)}


def summarize(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Sums over videos."""
    total = {name: sum(run[name] for run in runs) for name, value in runs[0].items() if isinstance(value, int)}
    out = {
        "precision": total["right"] / max(total["marked"], 1), "recall": total["right"] / max(total["reflections"], 1),
        "worst_precision": min(run["right"] / max(run["marked"], 1) for run in runs),
        "worst_recall": min(run["right"] / max(run["reflections"], 1) for run in runs),
        "duplicate_precision": total["duplicates_right"] / max(total["duplicates_marked"], 1),
        "duplicate_recall": total["duplicates_right"] / max(total["duplicates"], 1),
    }  # fmt: skip
    for way in ("keep", "mark"):
        named = sum(run[way]["named"] for run in runs)
        share = sum(run[way]["named_reflections"] for run in runs) / max(named, 1)
        out["named_reflections" if way == "mark" else f"named_reflections ({way})"] = share
        out[f"IDF1 ({way})"] = float(np.mean([run[way]["IDF1"] for run in runs]))
        out[f"switches ({way})"] = float(np.sum([run[way]["switches"] for run in runs]))
    return {name: round(value, 5) for name, value in out.items()}


def without_walls(n_frames: int) -> dict[str, Any]:
    """Rows marked where nothing is mirrored: other scenes, eight real fish, real flies."""
    found: dict[str, Any] = {}
    for scene in ("zebra", "shelter"):
        for seed in (10, 11):
            found[f"scene {scene}, seed {seed}"] = _marked(make_tracklets(scene, seed, n_frames)[1], SWAP)
    fish = read_tracks(real_data("zebrafish8_a") / "pseudo_tracks.h5")[0]
    found["zebrafish8_a"] = _marked(fish, SWAP)
    for name in ("flies_courtship_clip/clip.slp", "flies_courtship_clip/clip.predictions_2node.slp",
                 "flies_courtship_120s/predictions.slp", "flies_pair_fragments/predictions.slp"):  # fmt: skip
        folder, file = name.split("/")
        tracks = read_slp(real_data(folder) / file)
        found[name] = _marked(tracks, np.arange(tracks.poses.n_keypoints))
    return found


def _marked(tracks: Tracks, swap: ndarray) -> dict[str, int]:
    info, mirrors = survey_kinds(lambda: (tracks,), swap, ClassifyConfig())
    rows = np.bincount(info.kind, info.n, minlength=3).astype(int)
    return {
        "rows": len(tracks), "mirrors": len(mirrors), "reflections": int(rows[REFLECTION]),
        "duplicates": int(rows[DUPLICATE]),
    }  # fmt: skip


def read_slp(path: Path) -> Tracks:
    """Instances of a SLEAP file (HDF5), those of no track in tracks of their own after the others."""
    import tables

    with tables.open_file(str(path)) as file:
        frames, instances = file.root.frames[:], file.root.instances[:]
        predicted = len(file.root.pred_points) > 0
        points = (file.root.pred_points if predicted else file.root.points)[:]
    k = int((instances["point_id_end"] - instances["point_id_start"]).max())
    frame = np.repeat(frames["frame_idx"], (frames["instance_id_end"] - frames["instance_id_start"]).astype(int))
    xy = np.stack([points["x"], points["y"]], axis=1).reshape(-1, k, 2)
    visible = points["visible"].reshape(-1, k).astype(bool)
    xy = np.where(visible[..., None], xy, np.nan)
    confidence = points["score"].reshape(-1, k) if predicted else visible.astype(float)
    order = np.argsort(frame, kind="stable")
    frame = frame[order].astype(np.int64)
    item = np.arange(len(frame)) - np.searchsorted(frame, frame)
    track = instances["track"][order].astype(int)
    poses = Poses(
        frame, item, xy[order], np.clip(confidence[order], 0, 1), np.ones(len(frame)), (0, int(frame[-1]) + 1)
    )
    return Tracks(poses, track)


def main() -> int:
    """Measure, print JSON, say by the exit code whether the bar holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fitted", action="store_true", help="a network that has not learned reflections")
    parser.add_argument("--real", action="store_true", help="videos without walls instead")
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=None)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = without_walls(N_FRAMES) if args.real else bar_f(Path(), args)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found if args.real else found["figure"]["all"] | {"holds": found["holds"]}, indent=1))
    return int(not found.get("holds", True))


if __name__ == "__main__":
    sys.exit(main())
