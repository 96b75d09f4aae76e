"""DeepLabCut and shoal look at the same frames with the same network: same keypoints, same animals, same figures?

    python -m bench.dlc_parity train resnet_50      # the network, by shoal, on rendered fish; goes on where it stopped
    python -m bench.dlc_parity compare resnet_50    # exported, then run by both: fresh frames, and those held out
    python -m bench.dlc_parity evaluate resnet_50   # DeepLabCut's evaluate_network against shoal's evaluation
    python -m bench.dlc_parity grouping resnet_50   # whose animals are better, on 480 frames of 8 more scenes

hrnet_w18 likewise. DeepLabCut's Python is that of scripts/peer. Results go to bench/results/dlc-parity.json.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from bench.dlc_assembly import group_like_dlc
from shoal.config.assemble import suit_dlc
from shoal.config.predict import PredictConfig
from shoal.config.run import RunConfig, load_config
from shoal.io.dlc.config_file import read_config
from shoal.io.dlc.project import read_project
from shoal.io.dlc.pytorch_config import (
    kept_limbs,
    make_pytorch_config,
    model_section,
    read_pytorch_config,
    set_kept_limbs,
    write_pytorch_config,
)
from shoal.io.dlc.shuffles import Shuffle, find_shuffle
from shoal.io.dlc.training_set import create_training_set
from shoal.models.checkpoint import load_model
from shoal.models.dlc_snapshots import open_snapshot, save_snapshot
from shoal.stages.assemble import assemble
from shoal.stages.metrics import PoseScores, figures, score_poses
from shoal.stages.metrics_similarity import oks
from shoal.synthetic.dataset import make_project
from shoal.synthetic.scenes import SCENES
from shoal.training.evaluate import Evaluation, evaluate, project_pcutoff
from shoal.training.split import split_project
from shoal.types import Poses, Skeleton

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "dlc-parity.json"
SCENE = replace(
    SCENES["zebra"],
    name="parity",
    width=320,
    height=256,
    n_fish=3,
    margins=(8.0, 8.0, 8.0, 8.0),
    megabit_s=1.5,
    look=replace(SCENES["zebra"].look, uneven=0.03),
)
"""Small enough that two networks learn it from nothing on two cores; HRNet pads nothing at sides like these."""
N_LABELLED, N_VIDEOS = 240, 2
FRESH_SEED, N_FRESH = 1, 60
"""Other fish on another floor, looked at by nobody before: no setting was chosen on them."""
MORE_SEEDS = range(2, 10)
"""60 frames hold three or four that the two group differently, which says little about which of them is better."""
RECIPES = {
    "resnet_50": ["train.crop_px=128", "train.epochs=50", "train.heat_sigma_px=8"],
    "hrnet_w18": ["train.crop_px=128", "train.epochs=50", "train.heat_sigma_px=6"],
}
SHUFFLES = {"resnet_50": 1, "hrnet_w18": 2}
SHARED = ["dataset.train_fraction=0.75", "train.crops_per_image=2", "train.eval_every=10", "compute.threads=1"]
LIKE_DLC = [
    "predict.precision=float32", "predict.min_confidence=0.01", "predict.max_limbs=100", "predict.min_affinity=0",
    "assemble.min_score=0",
]  # fmt: skip
"""Animals of two limbs at least (three keypoints) and affinities from 0.05 on are the defaults already."""
SAME_PX = 0.01
HALF_PIXEL_PX = {"hrnet_w18": 0.5}
"""What DeepLabCut's positions lack at stride 1 (dlc_formats.md 10)."""


def settings(net: str) -> RunConfig:
    return load_config(overrides=[f"model.name={net}", *SHARED, *RECIPES[net]])


def project_folder(seed: int = 0) -> Path:
    """A rendered project, outside of the clone, by what it depends on; made if it is not there. Seed 0 trains."""
    n_frames = N_FRESH if seed else N_LABELLED
    made = json.dumps([repr(SCENE), n_frames, N_VIDEOS, *([seed] if seed else [])])
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    project = cache / "shoal" / "trained" / hashlib.sha256(made.encode()).hexdigest()[:12]
    if not (project / "config.yaml").is_file():
        made = make_project(project, SCENE, seed=seed, n_frames=n_frames, n_videos=N_VIDEOS, reflections=False)
        made.write_text(made.read_text().replace("- 0.95\n", "- 0.75\n"))  # DeepLabCut finds shuffles by this fraction
    return project


def model_name(net: str) -> str:
    return f"{net}-{hashlib.sha256(json.dumps([RECIPES[net], SHARED]).encode()).hexdigest()[:8]}"


def train(net: str) -> dict[str, Any]:
    """The network's folder and its scores; goes on where an earlier call was stopped."""
    from shoal.run.models import train as train_model

    return train_model(project_folder(), name=model_name(net), config=settings(net))


def export(net: str, root: Path) -> Shuffle:
    """The trained network as a shuffle of a project, which is DeepLabCut's way of having one."""
    model = load_model(project_folder() / "shoal" / "models" / model_name(net))
    config, project = read_config(root), read_project(root)
    train_rows, test_rows = ([project.labels[i].row for i in part] for part in split_project(project, settings(net)))
    number = SHUFFLES[net]
    create_training_set(
        root, net_type=net, shuffles=[number], train_rows=train_rows, test_rows=test_rows, overwrite=True
    )
    shuffle = find_shuffle(root, number)
    content = make_pytorch_config(config, net, path=shuffle.config_path)
    content["model"] = model_section(
        net, len(config.individuals), len(config.keypoints), 0, model.edges.tolist(), identity=False
    )
    write_pytorch_config(shuffle.config_path, content)
    for old in shuffle.train_folder.glob("snapshot-*.pt"):
        old.unlink()
    scores = {f"metrics/test.{name}": model.scores[name] for name in ("rmse", "mAP", "mAR")} if model.scores else {}
    path = shuffle.train_folder / f"snapshot-{model.epoch:03d}.pt"
    save_snapshot(path, model.net, epoch=model.epoch, metrics=scores, losses={})
    return find_shuffle(root, number)


def peer(root: Path, shuffle_number: int, dest: Path, *images: Path) -> None:
    """The part of DeepLabCut."""
    python = (
        os.environ.get("SHOAL_DLC_PYTHON")
        or subprocess.run(
            [ROOT / "scripts" / "peer", "--python"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    script = Path(__file__).with_name("dlc_parity_peer.py")
    words = [python, script, root / "config.yaml", str(shuffle_number), dest, *images]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"DeepLabCut failed: {done.stderr[-500:]}")


def look(shuffle: Shuffle, net: str, root: Path, rows: Sequence[int] | ndarray) -> Evaluation:
    """The part of shoal: the snapshot on labelled frames, with the affinity of every pair of peaks."""
    model = open_snapshot(shuffle.snapshots[-1].path)
    config = load_config(overrides=[*LIKE_DLC, f"assemble.max_animals={SCENE.n_fish}"])
    config = config.model_copy(update={"assemble": suit_dlc(config.assemble)})
    seen = evaluate(model, read_project(root), rows, config)
    weak = seen.detections.affinity <= PredictConfig().min_affinity  # shoal keeps none of these, DeepLabCut's rules do
    columns = {
        name: getattr(seen.detections, name)[~weak] for name in ("limb_frame", "edge", "source", "target", "affinity")
    }
    own, _ = assemble(
        replace(seen.detections, **columns), model.edges, config.assemble, n_keypoints=seen.truth.n_keypoints
    )
    return replace(seen, predicted=own, scores=score(seen.truth, own, root, model.skeleton))


def score(truth: Poses, predicted: Poses, root: Path, skeleton: Skeleton) -> PoseScores:
    return score_poses(truth, predicted, mirror=skeleton.mirror, pcutoff=project_pcutoff(root))


def ask_dlc(shuffle: Shuffle, net: str, root: Path, images: Sequence[Path]) -> Poses:
    """DeepLabCut's animals; kept beside the project, as they change with nothing but the weights."""
    file = root / "parity" / f"{net}-{open_snapshot(shuffle.snapshots[-1].path).sha[:12]}.npz"
    if not file.is_file():
        with tempfile.TemporaryDirectory() as folder:
            peer(root, shuffle.index, Path(folder), *images)
            file.parent.mkdir(exist_ok=True)
            shutil.copy(Path(folder) / "found.npz", file)
    found = np.load(file)
    at = {Path(name).parent.name + "/" + Path(name).name: i for i, name in enumerate(found["names"].tolist())}
    poses = found["poses"][[at[f"{image.parent.name}/{image.name}"] for image in images]]
    confidence = np.nan_to_num(poses[..., 2], nan=-1.0)
    bias = HALF_PIXEL_PX.get(net, 0.0)
    xy = np.where((confidence < 0)[..., None], np.nan, poses[..., :2] + bias)
    frame, item = np.nonzero(np.isfinite(xy[..., 0]).any(-1))
    shown = np.where(np.isfinite(xy[..., 0]), confidence, 0.0)[frame, item]
    return Poses(frame, item, xy[frame, item], shown, shown.mean(1), (0, len(images)))


def compare(net: str) -> dict[str, Any]:
    """Keypoints and animals by both: on frames that nobody has seen, and on those held out of the training.

    Everywhere the same positions and, by DeepLabCut's rules, the same animals. Whose grouping is better is asked of the
    fresh frames, as shoal's thresholds for these networks were chosen on the others (shoal/config/assemble.py).
    """
    trained, fresh = project_folder(), project_folder(FRESH_SEED)
    held_out = split_project(read_project(trained), settings(net))[1]
    parts = {
        "fresh": compare_on(net, fresh, np.arange(len(read_project(fresh).labels))),
        "held_out": compare_on(net, trained, held_out),
    }
    holds = all(part["positions_hold"] and part["same_animals_by_dlc_rules"] for part in parts.values())
    return {"holds": holds and parts["fresh"]["shoal_as_good"]} | parts


def compare_on(net: str, root: Path, rows: Sequence[int] | ndarray) -> dict[str, Any]:
    """DeepLabCut's animals against shoal's, and against shoal's peaks grouped by DeepLabCut's rules."""
    shuffle = export(net, root)
    model = open_snapshot(shuffle.snapshots[-1].path)
    seen = look(shuffle, net, root, rows)
    labels = read_project(root).labels
    images = [labels[int(row)].image for row in seen.rows]
    theirs = ask_dlc(shuffle, net, root, images)
    ruled = group_like_dlc(seen.detections, model.edges, n_keypoints=seen.truth.n_keypoints, max_animals=SCENE.n_fish)
    own, by_rules = match(theirs, seen.predicted), match(theirs, ruled)
    scores = {
        name: {k: round(v, 2) for k, v in figures(score(seen.truth, poses, root, model.skeleton)).items()}
        for name, poses in (("dlc", theirs), ("shoal", seen.predicted))
    }
    return {
        "frames": len(images),
        "positions_hold": own["positions_hold"] and by_rules["positions_hold"],
        "same_animals_by_dlc_rules": by_rules["same_animals"],
        "shoal_as_good": scores["shoal"]["mAP"] >= scores["dlc"]["mAP"],  # to the two digits that DeepLabCut gives
        "half_pixel_px": HALF_PIXEL_PX.get(net, 0.0), **peaks_per_keypoint(seen),
        "dlc_rules": by_rules, "shoal": own, "scores": scores,
        "per_animal": compare_animals(seen.truth, theirs, seen.predicted),
        "frames_that_differ": judge(own["frames_that_differ"], images, seen.truth, theirs, seen.predicted),
    }  # fmt: skip


def peaks_per_keypoint(seen: Evaluation) -> dict[str, float]:
    """Peaks per labelled keypoint, at DeepLabCut's lowest confidence and at the one that animals are made from."""
    n = int(np.isfinite(seen.truth.xy[..., 0]).sum())
    sure = int((seen.detections.confidence >= 0.1).sum())
    return {"peaks_per_keypoint": len(seen.detections) / n, "peaks_per_keypoint_above_0.1": sure / n}


def match(theirs: Poses, mine: Poses) -> dict[str, Any]:
    """Animals matched one to one by the keypoints that they share, and how far those are apart.

    Keypoints further apart than a pixel are other peaks: another decision of the grouping.
    """
    counts = {"animals": 0, "keypoints": 0, "keypoints_only_dlc": 0, "keypoints_only_here": 0, "other_peaks": 0}
    worst, unmatched, differ = 0.0, 0, list[int]()
    for frame in range(*theirs.span):
        xy, own = theirs.xy[theirs.frame == frame], mine.xy[mine.frame == frame]
        apart = np.linalg.norm(xy[:, None] - own[None], axis=-1)  # (theirs, mine, K)
        rows, columns = linear_sum_assignment(-(apart < 1).sum(-1))
        same = (apart[rows, columns] < 1).any(-1)
        rows, columns = rows[same], columns[same]
        a, b, apart = np.isfinite(xy[rows, :, 0]), np.isfinite(own[columns, :, 0]), apart[rows, columns]
        near = apart < 1
        worst = max(worst, apart[near].max(initial=0.0))
        here = [len(rows), near.sum(), (a & ~b).sum(), (b & ~a).sum(), (a & b & ~near).sum()]
        counts = {name: n + int(more) for (name, n), more in zip(counts.items(), here, strict=True)}
        left = len(xy) + len(own) - 2 * len(rows)
        unmatched += left
        if left or sum(here[2:]):
            differ.append(frame)
    return counts | {
        "animals_unmatched": unmatched, "largest_difference_px": float(worst), "frames_that_differ": differ,
        "positions_hold": bool(worst <= SAME_PX), "same_animals": not differ,
    }  # fmt: skip


def compare_animals(truth: Poses, theirs: Poses, mine: Poses) -> dict[str, float]:
    """Of how many labelled animals the two have the same error, each predicted animal given to one labelled one.

    ``rmse_dlc``, ``rmse_here``: over the animals that both found. The usual rmse is over those that each found itself,
    so that a hidden animal that only one of them finds worsens its mean.
    """
    (theirs_px, n_theirs), (mine_px, n_mine) = (_errors(truth, poses) for poses in (theirs, mine))
    errors = theirs_px, mine_px
    both = np.isfinite(theirs_px) & np.isfinite(mine_px)
    with np.errstate(invalid="ignore"):
        same = (np.abs(errors[0] - errors[1]) <= SAME_PX) | (np.isnan(errors[0]) & np.isnan(errors[1]))
    return {
        "labelled": len(truth), "same_error": int(same.sum()), "nearer_dlc": int((errors[0] < errors[1])[~same].sum()),
        "nearer_here": int((errors[1] < errors[0])[~same].sum()),
        "only_dlc_finds": int((np.isnan(mine_px) & ~np.isnan(theirs_px)).sum()),
        "only_shoal_finds": int((np.isnan(theirs_px) & ~np.isnan(mine_px)).sum()),
        "rmse_dlc": round(float(np.average(theirs_px[both], weights=n_theirs[both])), 3),
        "rmse_here": round(float(np.average(mine_px[both], weights=n_mine[both])), 3),
    }  # fmt: skip


def _errors(truth: Poses, poses: Poses) -> tuple[ndarray, ndarray]:
    """Mean distance of each labelled animal's keypoints from those found for it (NaN = none), and their number."""
    out, count = np.full(len(truth), np.nan), np.zeros(len(truth), np.int64)
    for frame in range(*truth.span):
        rows, found = np.flatnonzero(truth.frame == frame), poses.xy[poses.frame == frame]
        similarity = np.nan_to_num(oks(truth.xy[rows], found))
        for row, column in zip(*linear_sum_assignment(-similarity), strict=True):
            apart = np.linalg.norm(truth.xy[rows[row]] - found[column], axis=-1)
            count[rows[row]] = np.isfinite(apart).sum()
            out[rows[row]] = np.nanmean(apart) if count[rows[row]] else np.nan
    return out, count


def judge(
    frames: Sequence[int], images: Sequence[Path], truth: Poses, theirs: Poses, mine: Poses
) -> list[dict[str, Any]]:
    """Which of the two the labels agree with: mean over the labelled animals of the OKS, 0 for one not found."""
    found: list[dict[str, Any]] = []
    for frame in frames:
        labelled = truth.xy[truth.frame == frame]
        judged: dict[str, Any] = {
            "image": f"{images[frame].parent.name}/{images[frame].name}",
            "labelled": len(labelled),
        }
        for name, poses in (("dlc", theirs), ("shoal", mine)):
            seen = poses.xy[poses.frame == frame]
            similarity = np.nan_to_num(oks(labelled, seen))
            total = similarity[linear_sum_assignment(-similarity)].sum()
            judged[name] = {"animals": len(seen), "oks": round(float(total) / max(len(labelled), 1), 4)}
        found.append(judged)
    return found


def compare_figures(net: str) -> dict[str, Any]:
    """DeepLabCut's figures of the snapshot, which chooses limbs first, and shoal's with the same limbs.

    ``by_dlc_rules``: the figures of shoal's peaks and affinities grouped by DeepLabCut's rules, which are to be equal:
    the same animals judged alike; at stride 1 half a pixel left and above, as DeepLabCut has them. ``shoal``: those of
    its own grouping. DeepLabCut's answer is kept beside the project.
    """
    root = project_folder()
    shuffle = export(net, root)
    network = open_snapshot(shuffle.snapshots[-1].path)
    answer = root / "parity" / f"{net}-{network.sha[:12]}-evaluation.json"
    if not answer.is_file():
        with tempfile.TemporaryDirectory() as folder:
            peer(root, shuffle.index, Path(folder))
            row = list(csv.DictReader((Path(folder) / "results.csv").open()))[-1]
        theirs = {name: float(row[f"test {name}"]) for name in ("rmse", "rmse_pcutoff", "mAP", "mAR")}
        answer.parent.mkdir(exist_ok=True)
        answer.write_text(
            json.dumps({"figures": theirs, "limbs": kept_limbs(read_pytorch_config(shuffle.config_path))})
        )
    stored = json.loads(answer.read_text())
    content = read_pytorch_config(shuffle.config_path)
    set_kept_limbs(shuffle.folder, content, stored["limbs"])
    seen = look(shuffle, net, root, split_project(read_project(root), settings(net))[1])
    model = open_snapshot(shuffle.snapshots[-1].path)
    ruled = group_like_dlc(seen.detections, model.edges, n_keypoints=seen.truth.n_keypoints, max_animals=SCENE.n_fish)
    half = HALF_PIXEL_PX.get(net, 0.0)
    ruled = replace(ruled, xy=ruled.xy - np.float32(half))
    found: dict[str, Any] = {"dlc": stored["figures"], "limbs_kept": len(stored["limbs"]), "half_pixel_px": half}
    for name, scores in (("shoal", seen.scores), ("by_dlc_rules", score(seen.truth, ruled, root, model.skeleton))):
        found[name] = {key: round(float(figures(scores)[key]), 2) for key in stored["figures"]}
        found[f"{name}_off_by"] = {key: round(abs(v - stored["figures"][key]), 3) for key, v in found[name].items()}
    equal = {
        name: found[f"{name}_off_by"]["rmse"] <= 0.01 and found[f"{name}_off_by"]["mAP"] <= 0.1
        for name in ("by_dlc_rules", "shoal")
    }
    return found | {"equal_by_dlc_rules": equal["by_dlc_rules"], "equal_with_own_grouping": equal["shoal"]}


def compare_grouping(net: str) -> dict[str, Any]:
    """Animals made by shoal and by DeepLabCut's rules of the same peaks and affinities, on more scenes.

    ``compare`` shows that the rules, as written in ``bench/dlc_assembly.py``, give DeepLabCut's animals.
    """
    shuffle = find_shuffle(project_folder(), SHUFFLES[net])
    edges = open_snapshot(shuffle.snapshots[-1].path).edges
    scenes: list[dict[str, float]] = []
    for seed in MORE_SEEDS:
        root = project_folder(seed)
        seen = look(shuffle, net, root, np.arange(len(read_project(root).labels)))
        k = seen.truth.n_keypoints
        ruled = group_like_dlc(seen.detections, edges, n_keypoints=k, max_animals=SCENE.n_fish)
        scene = {"frames_that_differ": float(len(match(ruled, seen.predicted)["frames_that_differ"]))}
        for name, poses in (("dlc_rules", ruled), ("shoal", seen.predicted)):
            scores = score_poses(seen.truth, poses)
            scene |= {f"{name} mAP": scores.mAP, f"{name} rmse": scores.rmse}
        scenes.append(scene)
    mean = {name: round(float(np.mean([scene[name] for scene in scenes])), 2) for name in scenes[0]}
    ahead = sum(scene["shoal mAP"] >= scene["dlc_rules mAP"] for scene in scenes)
    return {
        "scenes": len(scenes), "frames": N_FRESH * len(scenes), "mean": mean, "scenes_where_shoal_is_as_good": ahead,
        "each": [{name: round(value, 2) for name, value in scene.items()} for scene in scenes],
        "holds": mean["shoal mAP"] >= mean["dlc_rules mAP"] and mean["shoal rmse"] <= mean["dlc_rules rmse"],
    }  # fmt: skip


STEPS = {"train": train, "compare": compare, "evaluate": compare_figures, "grouping": compare_grouping}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("step", choices=list(STEPS))
    parser.add_argument("net", choices=list(RECIPES))
    args = parser.parse_args()
    found = STEPS[args.step](args.net)
    print(json.dumps(found, indent=1, default=str))
    if args.step != "train":
        stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        stored.setdefault(args.net, {})[args.step] = found
        RESULTS.write_text(json.dumps(stored, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
