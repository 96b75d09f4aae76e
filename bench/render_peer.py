"""Labelled videos by DeepLabCut and by shoal, from the same files, by turns in one run.

    python bench/render_peer.py [--rounds 3] [--frames 300] [--only lab] [--keep DIR] [--json FILE]

The functions are ``create_labeled_video`` and ``create_video_with_all_detections`` of ``deeplabcut`` (its Python is
that of scripts/peer) and of ``shoal.deeplabcut``, with the same keywords, each in a process that has imported
everything and drawn once before it is timed. ``wall`` and ``cpu`` are medians of the rounds, seconds; ``db`` is the
likeness to the original of what is not drawn on (PSNR of brightness over the 80 % of 16 x 16 blocks that changed
least). DeepLabCut calls ``ffmpeg`` with fastmode=False and keypoints_only; without one on the PATH these are left out.
With keypoints_only it writes all frames whatever Frames2plot says, so that row does not compare equal work.

The files are shoal's export of an analysis by shoal: of the scene `lab` (1296 x 972, 10 fish), where a network is
stood in for by the truth with a trained network's errors (``shoal.synthetic.noise``), and of zebrafish8_a
(1160 x 938, 8 fish), where it is by the data set's own tracks. What is drawn, and how many points, does not depend on
who found them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from command import ROOT
from real_fish import copy_project

from shoal.config.run import load_config
from shoal.io.dlc.config_file import write_config
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.project import read_project
from shoal.io.dlc.results import read_tracks
from shoal.io.dlc.training_set import create_training_set
from shoal.io.video import decode, probe, read_images
from shoal.run.dlc_files import write_dlc_files
from shoal.run.dlc_videos import base_of, find_network
from shoal.run.engine import Engine
from shoal.run.folder import ModelCard
from shoal.run.steps import analyze
from shoal.synthetic.dataset import make_video
from shoal.synthetic.noise import noisy_detections
from shoal.synthetic.scenes import SCENES, SKELETON
from shoal.types import Detections, FrameBatch, Poses, Skeleton

PEAKS = ("frame", "number", "keypoint", "xy", "confidence", "identity")
LIMBS = ("limb_frame", "edge", "source", "target", "affinity")
LABELLED = "create_labeled_video"
DETECTIONS = "create_video_with_all_detections"
GUIDE = {"color_by": "individual", "keypoints_only": False, "trailpoints": 10, "draw_skeleton": False}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "tracks, DeepLabCut's defaults (fastmode)": (LABELLED, {}),
    "tracks, the guide's call: a colour per animal, 10 trail points": (LABELLED, GUIDE),
    "tracks, skeleton": (LABELLED, {"color_by": "individual", "draw_skeleton": True}),
    "tracks, fastmode=False, 40 frames": (LABELLED, {"fastmode": False, "Frames2plot": list(range(40))}),
    "tracks, keypoints_only, 40 frames": (LABELLED, {"keypoints_only": True, "Frames2plot": list(range(40))}),
    "all detections, DeepLabCut's defaults": (DETECTIONS, {}),
}
"""What is timed: function and keywords, the same for both."""


@dataclass(frozen=True)
class Case:
    """A video analyzed in a project: config.yaml, the video, and what result files are called."""

    config: Path
    video: Path
    base: Path


def make_lab(work: Path, n_frames: int) -> Case:
    """The scene `lab`, seen by the truth with a network's errors."""
    video = work / "lab" / "clip.mp4"
    video.parent.mkdir(parents=True)
    truth = make_video(SCENES["lab"], video, seed=3, n_frames=n_frames)
    project = work / "lab" / "project"
    images = project / "labeled-data" / "clip"
    images.mkdir(parents=True)
    wanted = list(range(0, n_frames, max(1, n_frames // 10)))
    names = [f"img{frame:04d}.png" for frame in wanted]
    for number, image in read_images(probe(video)):
        if number in wanted:
            cv2.imwrite(str(images / f"img{number:04d}.png"), image[..., ::-1])
    xy = truth.full_xy.reshape(n_frames, -1, SKELETON.n_keypoints, 2)[wanted]
    individuals = tuple(truth.names)
    write_labels(images, scorer="bench", skeleton=SKELETON, individuals=individuals, images=names, xy=xy)
    write_config(
        project / "config.yaml", task="lab", scorer="bench", date="Nov22", skeleton=SKELETON, individuals=individuals,
        videos={video: truth.size}, identity=False,
    )  # fmt: skip
    seen = noisy_detections(truth, edges=SKELETON.edges, seed=0)
    return _analyzed(project, video, seen, SKELETON, individuals)


def make_zebrafish(work: Path, n_frames: int) -> Case:
    """zebrafish8_a, seen by its own tracks."""
    project = copy_project("zebrafish8_a", work)
    tracks, names = read_tracks(project / "pseudo_tracks.h5")
    skeleton = read_project(project).skeleton
    return _analyzed(project, project / "test_A.avi", _seen(tracks.poses, skeleton), skeleton, tuple(names))


CASES = {"lab": make_lab, "zebrafish8_a": make_zebrafish}


def _seen(poses: Poses, skeleton: Skeleton) -> Detections:
    """Every keypoint of every animal as a peak, and its limbs."""
    row, keypoint = np.nonzero(np.isfinite(poses.xy).all(-1))
    frame = poses.frame[row]
    number = np.arange(len(row)) - np.searchsorted(frame, frame)
    at = np.full(poses.confidence.shape, -1)
    at[row, keypoint] = number
    ends = at[:, skeleton.edges]  # (M, E, 2)
    animal, edge = np.nonzero((ends >= 0).all(-1))
    source, target = ends[animal, edge].T
    order = np.lexsort((target, source, edge, poses.frame[animal]))
    limb = [column[order] for column in (poses.frame[animal], edge, source, target)]
    return Detections(
        frame, number, keypoint, poses.xy[row, keypoint], np.full(len(row), 0.9), *limb, np.full(len(animal), 0.9),
        np.zeros((len(row), 0)), poses.span,
    )  # fmt: skip


def _analyzed(project: Path, video: Path, seen: Detections, skeleton: Skeleton, individuals: tuple[str, ...]) -> Case:
    """A shuffle with a snapshot that nobody opens, and DeepLabCut's files of an analysis by what was ``seen``."""
    (shuffle,) = create_training_set(project)
    (shuffle.train_folder / "snapshot-200.pt").write_bytes(b"not opened")
    network = find_network(project / "config.yaml")

    def detect(batch: FrameBatch) -> tuple[Detections, Poses, np.ndarray]:
        span = int(batch.frame[0]), int(batch.frame[-1]) + 1
        peaks, limbs = (slice(*np.searchsorted(column, span)) for column in (seen.frame, seen.limb_frame))
        columns = {
            name: getattr(seen, name)[peaks] for name in ("frame", "number", "keypoint", "xy", "confidence", "identity")
        }
        columns |= {name: getattr(seen, name)[limbs] for name in ("limb_frame", "edge", "source", "target", "affinity")}
        return (
            Detections(**columns, span=span),
            Poses.empty(span, 0),
            np.zeros((peaks.stop - peaks.start, 8), np.float16),
        )

    engine = Engine(ModelCard(network.scorer, "0" * 64, skeleton, skeleton.edges, individuals), detect)
    config = load_config(
        overrides=[f"stitch.n_animals={len(individuals)}", "stitch.count=exact", "sample.feature_size=8"]
    )
    run_dir = analyze(video, engine, config=config, dest=video.parent)
    base = base_of(video, network)
    write_dlc_files(run_dir, base=base.name, scorer=network.scorer, dest=video.parent)
    return Case(project / "config.yaml", video, base)


class Worker:
    """A process that draws when told to (bench/render_worker.py); a context."""

    def __init__(self, python: str | Path, module: str) -> None:
        words = [str(python), str(Path(__file__).with_name("render_worker.py")), module]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} if module.startswith("shoal") else dict(os.environ)
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        self.about = self._answer()

    def call(self, function: str, *arguments: Any, **keywords: Any) -> dict[str, float]:
        """Wall and CPU seconds of one call."""
        assert self.process.stdin is not None
        print(json.dumps([function, arguments, keywords]), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()


def drawn_file(case: Case, function: str) -> Path | None:
    """The one video of a call, which is moved away: both skip what is there already."""
    pattern = "*_full.mp4" if function == DETECTIONS else "*_labeled.mp4"
    return next(iter(case.video.parent.glob(pattern)), None)


def likeness(drawn: Path, original: Path, n_frames: int = 20) -> float:
    """PSNR of brightness, dB, of the 80 % of 16 x 16 blocks that changed least."""
    kept: list[float] = []
    pairs = zip(decode(probe(drawn), stop=n_frames), decode(probe(original), stop=n_frames), strict=False)
    for (number, one), (other_number, other) in pairs:
        assert number == other_number
        high, wide = other.height // 16, other.width // 16
        part = slice(16 * high), slice(16 * wide)
        apart = one.to_ndarray(format="gray")[part].astype(np.float32) - other.to_ndarray(format="gray")[part]
        blocks = np.sort((apart**2).reshape(high, 16, wide, 16).mean(axis=(1, 3)).ravel())
        kept.append(float(blocks[: int(0.8 * len(blocks))].mean()))
    return float(10 * np.log10(255**2 / np.mean(kept)))


def compare(case: Case, workers: dict[str, Worker], rounds: int, keep: Path | None) -> list[dict[str, Any]]:
    """One row per call: medians of wall and CPU seconds, sizes and ratios."""
    rows: list[dict[str, Any]] = []
    for name, (function, keywords) in CALLS.items():
        if "40 frames" in name and shutil.which("ffmpeg") is None:
            continue
        taken: dict[str, list[dict[str, float]]] = {who: [] for who in workers}
        facts: dict[str, dict[str, float]] = {}
        for _ in range(rounds):
            for who, worker in workers.items():
                taken[who].append(worker.call(function, str(case.config), [str(case.video)], **keywords))
                made = drawn_file(case, function)
                if made is None:
                    raise RuntimeError(f"{who} made no video: {name}")
                facts[who] = {"frames": probe(made).n_frames, "mb": round(made.stat().st_size / 1e6, 2)}
                if "40 frames" not in name:
                    facts[who]["db"] = round(likeness(made, case.video), 1)
                if keep is not None:
                    made.replace(keep / f"{case.video.stem}-{len(rows)}-{who}.mp4")
                else:
                    made.unlink()
        row: dict[str, Any] = {"call": name, "function": function, "keywords": keywords}
        for who, values in taken.items():
            row[who] = {key: round(median(v[key] for v in values), 3) for key in ("wall", "cpu")} | facts[who]
        row["ratio_wall"], row["ratio_cpu"] = (round(row["dlc"][k] / row["shoal"][k], 2) for k in ("wall", "cpu"))
        rows.append(row | {"load": round(os.getloadavg()[0], 1)})
        print(json.dumps({key: value for key, value in row.items() if key != "keywords"}), flush=True)
    return rows


def processor() -> str:
    """Its name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Make the files, let both draw, print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=300, help="of the rendered scene")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--keep", type=Path, help="keep the drawn videos here")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    python = subprocess.run([ROOT / "scripts" / "peer", "--python"], capture_output=True, text=True, check=True)
    found: dict[str, Any] = {
        "command": " ".join(["python", "bench/render_peer.py", *sys.argv[1:]]),
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "threads": "each as it comes: nobody's number of threads is set",
        "load_before": round(os.getloadavg()[0], 1),
        "rounds": options.rounds,
        "shoal's encoder": "x264 ultrafast, crf 23 (dlc_look); DeepLabCut's is MPEG-4 (codec mp4v), its default",
    }
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        cases = {scene: CASES[scene](work, options.frames) for scene in options.only}
        with Worker(python.stdout.strip(), "deeplabcut") as dlc, Worker(sys.executable, "shoal.deeplabcut") as own:
            workers = {"dlc": dlc, "shoal": own}
            found |= {who: worker.about for who, worker in workers.items()}
            for scene, case in cases.items():
                for function in (LABELLED, DETECTIONS):  # once for nothing: first calls compile and read ahead
                    for worker in workers.values():
                        worker.call(function, str(case.config), [str(case.video)])
                        made = drawn_file(case, function)
                        if made is not None:
                            made.unlink()
                found[scene] = compare(case, workers, options.rounds, options.keep)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
