"""DeepLabCut and shoal look at the same frames with the same network: same keypoints, same animals, same figures?

    python -m bench.dlc_parity train resnet_50      # the network, by shoal, on rendered fish; goes on where it stopped
    python -m bench.dlc_parity compare resnet_50    # exported, then run by both on the frames that were held out
    python -m bench.dlc_parity evaluate resnet_50   # DeepLabCut's evaluate_network against shoal's evaluation

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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from shoal.config.assemble import suit_dlc
from shoal.config.run import RunConfig, load_config
from shoal.io.dlc.config_file import read_config
from shoal.io.dlc.project import read_project
from shoal.io.dlc.pytorch_config import make_pytorch_config, model_section, read_pytorch_config, write_pytorch_config
from shoal.io.dlc.shuffles import Shuffle, find_shuffle
from shoal.io.dlc.training_set import create_training_set
from shoal.models.checkpoint import load_model
from shoal.models.dlc_snapshots import open_snapshot, save_snapshot
from shoal.synthetic.dataset import make_project
from shoal.synthetic.scenes import SCENES
from shoal.training.evaluate import Evaluation, evaluate
from shoal.training.split import split_project
from shoal.types import Poses

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
RECIPES = {
    "resnet_50": ["train.crop_px=128", "train.epochs=50", "train.heat_sigma_px=8"],
    "hrnet_w18": ["train.crop_px=128", "train.epochs=50", "train.heat_sigma_px=6"],
}
SHUFFLES = {"resnet_50": 1, "hrnet_w18": 2}
SHARED = ["dataset.train_fraction=0.75", "train.crops_per_image=2", "train.eval_every=10", "compute.threads=1"]
LIKE_DLC = [
    "predict.precision=float32", "predict.min_confidence=0.01", "predict.max_limbs=100", "assemble.min_score=0",
]  # fmt: skip
"""Animals of two limbs at least (three keypoints) and affinities from 0.05 on are the defaults already."""
SAME_PX = 0.01


def settings(net: str) -> RunConfig:
    return load_config(overrides=[f"model.name={net}", *SHARED, *RECIPES[net]])


def project_folder() -> Path:
    """The rendered project, outside of the clone, by what it depends on; made if it is not there."""
    made = json.dumps([repr(SCENE), N_LABELLED, N_VIDEOS])
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    project = cache / "shoal" / "trained" / hashlib.sha256(made.encode()).hexdigest()[:12]
    if not (project / "config.yaml").is_file():
        made = make_project(project, SCENE, seed=0, n_frames=N_LABELLED, n_videos=N_VIDEOS, reflections=False)
        made.write_text(made.read_text().replace("- 0.95\n", "- 0.75\n"))  # DeepLabCut finds shuffles by this fraction
    return project


def model_name(net: str) -> str:
    return f"{net}-{hashlib.sha256(json.dumps([RECIPES[net], SHARED]).encode()).hexdigest()[:8]}"


def train(net: str) -> dict[str, Any]:
    """The network's folder and its scores; goes on where an earlier call was stopped."""
    from shoal.run.models import train as train_model

    return train_model(project_folder(), name=model_name(net), config=settings(net))


def export(net: str) -> Shuffle:
    """The trained network as a shuffle of its project, which is DeepLabCut's way of having one."""
    root = project_folder()
    model, config, project = (
        load_model(root / "shoal" / "models" / model_name(net)),
        read_config(root),
        read_project(root),
    )
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


def peer(shuffle_number: int, dest: Path, *images: Path) -> None:
    """The part of DeepLabCut."""
    python = (
        os.environ.get("SHOAL_DLC_PYTHON")
        or subprocess.run(
            [ROOT / "scripts" / "peer", "--python"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    script = Path(__file__).with_name("dlc_parity_peer.py")
    words = [python, script, project_folder() / "config.yaml", str(shuffle_number), dest, *images]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"DeepLabCut failed: {done.stderr[-500:]}")


def look(shuffle: Shuffle, net: str) -> Evaluation:
    """The part of shoal: the snapshot on the frames that were held out."""
    root = project_folder()
    project = read_project(root)
    model = open_snapshot(shuffle.snapshots[-1].path)
    config = load_config(overrides=[*LIKE_DLC, f"assemble.max_animals={SCENE.n_fish}"])
    config = config.model_copy(update={"assemble": suit_dlc(config.assemble)})
    return evaluate(model, project, split_project(project, settings(net))[1], config)


def compare(net: str) -> dict[str, Any]:
    """Keypoints and animals of the held-out frames, by both."""
    shuffle = export(net)
    seen = look(shuffle, net)
    labels = read_project(project_folder()).labels
    images = [labels[int(row)].image for row in seen.rows]
    file = project_folder() / "parity" / f"{net}-{open_snapshot(shuffle.snapshots[-1].path).sha[:12]}.npz"
    if not file.is_file():  # DeepLabCut's part does not change
        with tempfile.TemporaryDirectory() as folder:
            peer(shuffle.index, Path(folder), *images)
            file.parent.mkdir(exist_ok=True)
            shutil.copy(Path(folder) / "found.npz", file)
    found = np.load(file)
    at = {Path(name).parent.name + "/" + Path(name).name: i for i, name in enumerate(found["names"].tolist())}
    theirs = found["poses"][[at[f"{image.parent.name}/{image.name}"] for image in images]]
    bias = 0.5 if net.startswith("hrnet") else 0.0  # DeepLabCut's half pixel at stride 1 (dlc_formats.md 10)
    return peaks_per_keypoint(seen) | match(theirs, seen.predicted, bias) | {
        "frames": len(images), "half_pixel_px": bias, "scores": seen.figures,
    }  # fmt: skip


def peaks_per_keypoint(seen: Evaluation) -> dict[str, float]:
    """Peaks per labelled keypoint, at DeepLabCut's lowest confidence and at the one that animals are made from."""
    n = int(np.isfinite(seen.truth.xy[..., 0]).sum())
    sure = int((seen.detections.confidence >= 0.1).sum())
    return {"peaks_per_keypoint": len(seen.detections) / n, "peaks_per_keypoint_above_0.1": sure / n}


def match(theirs: ndarray, mine: Poses, bias: float) -> dict[str, Any]:
    """Animals matched one to one by the keypoints that they share, and how far those are apart.

    Args:
        theirs: (F, N, K, 3), -1 or NaN where there is nothing.
        mine: frame = 0 ... F - 1.
        bias: of DeepLabCut's positions, px.
    """
    from scipy.optimize import linear_sum_assignment

    counts = {"animals": 0, "keypoints": 0, "keypoints_only_dlc": 0, "keypoints_only_shoal": 0}
    worst, left, elsewhere = [0.0], [], []
    for frame, poses in enumerate(theirs):
        xy = np.where((poses[..., 2:] < 0) | ~np.isfinite(poses[..., :2]), np.nan, poses[..., :2] + bias)
        xy = xy[np.isfinite(xy[..., 0]).any(1)]
        own = mine.xy[mine.frame == frame]
        apart = np.linalg.norm(xy[:, None] - own[None], axis=-1)  # (theirs, mine, K)
        rows, columns = linear_sum_assignment(-(apart < 1).sum(-1))
        same = [(i, j) for i, j in zip(rows, columns, strict=True) if (apart[i, j] < 1).any()]
        if not len(same) == len(xy) == len(own):
            left.append({"frame": frame, "dlc": len(xy), "shoal": len(own), "matched": len(same)})
        for i, j in same:
            a, b = np.isfinite(xy[i, :, 0]), np.isfinite(own[j, :, 0])
            is_other = a & b & (apart[i, j] >= 1)  # another peak: another decision of the grouping
            worst += apart[i, j][a & b & ~is_other].tolist()
            elsewhere += [{"frame": frame, "keypoint": int(k)} for k in np.flatnonzero(is_other)]
            counts["animals"] += 1
            counts["keypoints"] += int((a & b & ~is_other).sum())
            counts["keypoints_only_dlc"] += int((a & ~b).sum())
            counts["keypoints_only_shoal"] += int((b & ~a).sum())
    return counts | {
        "largest_difference_px": max(worst), "frames_with_unmatched_animals": left,
        "keypoints_of_other_peaks": elsewhere, "positions_hold": max(worst) <= SAME_PX,
        "animals_hold": not left, "grouping_holds": not elsewhere,
    }  # fmt: skip


def compare_figures(net: str) -> dict[str, Any]:
    """DeepLabCut's figures of the snapshot, which prunes the limbs first, and shoal's with the limbs it left."""
    shuffle = export(net)
    with tempfile.TemporaryDirectory() as folder:
        peer(shuffle.index, Path(folder))
        rows = list(csv.DictReader((Path(folder) / "results.csv").open()))
    theirs = {name: float(rows[-1][f"test {name}"]) for name in ("rmse", "rmse_pcutoff", "mAP", "mAR")}
    kept = read_pytorch_config(shuffle.config_path)["model"]["heads"]["bodypart"]["predictor"]["edges_to_keep"]
    ours = look(shuffle, net).figures
    mine = {name: round(float(ours[name]), 2) for name in theirs}
    difference = {name: round(abs(mine[name] - theirs[name]), 3) for name in theirs}
    holds = difference["rmse"] <= 0.01 and difference["mAP"] <= 0.1
    return {"dlc": theirs, "shoal": mine, "difference": difference, "limbs_kept": len(kept), "holds": holds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("step", choices=["train", "compare", "evaluate"])
    parser.add_argument("net", choices=list(RECIPES))
    args = parser.parse_args()
    found = {"train": train, "compare": compare, "evaluate": compare_figures}[args.step](args.net)
    print(json.dumps(found, indent=1, default=str))
    if args.step != "train":
        stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        stored.setdefault(args.net, {})[args.step] = found
        RESULTS.write_text(json.dumps(stored, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
