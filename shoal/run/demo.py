"""The whole way on rendered fish: project -> network -> tracks of a new video, compared with the exact truth."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from shoal.config.run import RunConfig
from shoal.errors import InputError
from shoal.io.artifacts import read_json, write_json
from shoal.io.video import probe
from shoal.run.batch import render_run
from shoal.run.evaluation import evaluate, evaluate_tracks
from shoal.run.models import train
from shoal.run.steps import analyze, export
from shoal.types import OnProgress, no_progress

log = logging.getLogger(__name__)

T = TypeVar("T")

LABELLED_FRAMES, QUICK_LABELLED_FRAMES = 120, 20
PROJECT_VIDEOS = 2
TEST_FRAMES, QUICK_TEST_FRAMES = 600, 60
TEST_SEED = 999  # of the test video, after 1000 * seed; the project's videos have 0 and 1: other fish, other sand


def demo_settings(*, quick: bool = False) -> list[str]:
    """Settings that differ from the defaults, as ``--set`` would give them: sized for minutes on two cores."""
    if quick:
        return ["reid.use=true", "train.epochs=4", "train.crops_per_image=2", "train.eval_every=4"]
    return [
        "reid.use=true",
        "train.epochs=40",
        "train.crops_per_image=1.25",
        "train.eval_every=10",
        "dataset.train_fraction=0.9",
    ]


def demo(
    dest: Path, *, seed: int = 0, config: RunConfig, quick: bool = False, on_progress: OnProgress = no_progress
) -> dict[str, Any]:
    """Make a project and a test video, train, evaluate, analyze, export, render, plot, measure.

    The test video shows other fish than the project's, on other sand, in other light.

    Args:
        dest: folder for everything; what is complete there already is not made again.
        seed: of fish, tank and motion.
        config: settings; the number of animals is set here.
        quick: a case too small to be any good, to see every step in a minute.
        on_progress: called by every step.

    Returns:
        Figures, frames per second of each step, files.
    """
    from shoal.synthetic.dataset import make_project, make_video
    from shoal.synthetic.scenes import SCENES

    scene, dest = SCENES["demo"], Path(dest)
    counted = config.stitch.model_copy(update={"n_animals": scene.n_fish, "count": "exact"})
    config = config.model_copy(update={"stitch": counted})
    n_labelled, n_test = (QUICK_LABELLED_FRAMES, QUICK_TEST_FRAMES) if quick else (LABELLED_FRAMES, TEST_FRAMES)
    _claim(dest, {"seed": seed, "labelled_frames": n_labelled, "videos": PROJECT_VIDEOS, "test_frames": n_test})
    clock = _Stopwatch()
    project, video = dest / "project", dest / "test.mp4"
    if not (project / "config.yaml").is_file():
        log.info("rendering %d labelled frames of %d fish", n_labelled, scene.n_fish)
        clock.run(
            "render project", n_labelled,
            lambda: make_project(
                project, scene, seed=seed, n_frames=n_labelled, n_videos=PROJECT_VIDEOS, reflections=False,
                on_progress=on_progress,
            ),
        )  # fmt: skip
    if not video.is_file():
        log.info("rendering a test video of %d frames", n_test)
        clock.run(
            "render test video", n_test,
            lambda: make_video(
                scene, video, seed=1000 * seed + TEST_SEED, n_frames=n_test, on_progress=on_progress
            ),
        )  # fmt: skip
    trained = clock.run("train", None, lambda: train(project, config=config, on_progress=on_progress))
    judged = clock.run("evaluate", None, lambda: evaluate(project, plot=True, on_progress=on_progress))
    run_dir = clock.run(
        "analyze", probe(video).n_frames,
        lambda: analyze(video, Path(trained["model"]), config=config, on_progress=on_progress),
    )  # fmt: skip
    exported = clock.run("export", probe(video).n_frames, lambda: export(run_dir, csv=True))
    pictures = clock.run(
        "render", probe(video).n_frames,
        lambda: render_run(run_dir, None, (), plots=True, on_progress=on_progress),
    )  # fmt: skip
    found = evaluate_tracks(run_dir, video.with_suffix(".truth.npz"))
    result = {
        "seed": seed, "pose": found["pose"], "tracking": found["tracking"], "steps": clock.rows,
        "held_out": judged["test"], "text": found["text"], "run": str(run_dir), "model": trained["model"],
        "seconds": round(sum(row["seconds"] for row in clock.rows), 1),
        "files": [*trained["files"], *judged["files"], *map(str, exported), *map(str, pictures)],
    }  # fmt: skip
    write_json(dest / "results.json", result)
    return result | {"files": [*result["files"], str(dest / "results.json")]}


def format_demo(found: Mapping[str, Any]) -> str:
    """One table of results."""
    pose, tracking = found["pose"], found["tracking"]
    rows = [
        ("test error (RMSE)", f"{pose['rmse']:.2f} px"),
        ("mAP", f"{pose['mAP']:.1f}"),
        ("mAR", f"{pose['mAR']:.1f}"),
        ("animals found", f"{100 * pose['recall']:.1f} %"),
        ("HOTA", f"{tracking['HOTA']:.3f}"),
        ("IDF1", f"{tracking['IDF1']:.3f}"),
        ("identity switches", f"{tracking['switches']:.0f}"),
    ]
    for row in found["steps"]:
        speed = f", {row['frames'] / row['seconds']:.1f} frames/s" if row["frames"] and row["seconds"] else ""
        rows.append((row["step"], f"{row['seconds']:.1f} s{speed}"))
    rows.append(("all", f"{found['seconds']:.1f} s"))
    return "\n".join([*(f"{name:<20}{value:>24}" for name, value in rows), "", found["text"], ""])


def _claim(dest: Path, made: dict[str, int]) -> None:
    """One folder, one case: what lies there already is used again.

    Raises:
        InputError: the folder holds the demo of another seed or size.
    """
    about = dest / "demo.json"
    if about.is_file() and read_json(about) != made:
        raise InputError(f"expected the demo of seed {made['seed']}, got another one\nwhere: {dest}", hint="--dest DIR")
    write_json(about, made)


class _Stopwatch:
    """Seconds and frames of each step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def run(self, step: str, frames: int | None, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = work()
        self.rows.append({"step": step, "frames": frames, "seconds": round(time.perf_counter() - began, 2)})
        return result
