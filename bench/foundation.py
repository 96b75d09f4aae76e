"""The foundation's figures, bar by bar.

    scripts/bench foundation                 everything, as the docs quote it (about 80 minutes on 2 cores)
    scripts/bench foundation --quick         a smaller case of every bar, at most a minute
    scripts/bench foundation --only A --seeds 0

A  the demo: rendered fish, other fish on other sand in the test video
B  real fish (zebrafish8_a) and one mouse (dlc_openfield); needs SHOAL_DATA
C  a network that knows nothing, and after one epoch, at 1296x972 with 10 animals; odd videos pass through every command
D  tables equal byte for byte; training killed and gone on with
E  metrics against TrackEval and faster-coco-eval, and the figures of mot_tud
F  times of tests and help; scripts/check
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from command import ROOT, real_data, shoal

if TYPE_CHECKING:
    from shoal.config.run import RunConfig
    from shoal.types import Project

Bar = dict[str, Any]
THREADS = len(os.sched_getaffinity(0))


def bar_a(work: Path, args: argparse.Namespace) -> Bar:
    """The demo, seeds 0-2; seed 0 twice must give the same table."""
    if args.quick:
        found, seconds = shoal("demo", "--dest", work / "demo", "--quick")
        figure = _demo_figures(found) | {"minutes": seconds / 60}
        made = all(Path(f).is_file() for f in found["files"])
        return _bar(figure, "quick: the whole chain, every file there", holds=made)
    runs = []
    for seed in args.seeds:
        found, seconds = shoal("demo", "--dest", work / f"demo-{seed}", "--seed", seed)
        runs.append(_demo_figures(found) | {"seed": seed, "minutes": seconds / 60})
        _say(runs[-1])
    figure: dict[str, Any] = {"runs": runs}
    holds = all(
        r["minutes"] <= 8 and r["train_seconds"] <= 180 and r["mAP"] >= 75 and r["rmse"] <= 4
        and r["recall"] >= 0.9 and r["IDF1"] >= 0.9 for r in runs
    )  # fmt: skip
    if args.repeat:
        again, _ = shoal("demo", "--dest", work / "again", "--seed", args.seeds[0])
        timings = {"minutes", "train_seconds", "frames_per_s", "seed"}
        first = {k: v for k, v in runs[0].items() if k not in timings}
        figure["same table twice"] = {k: v for k, v in _demo_figures(again).items() if k not in timings} == first
        holds &= figure["same table twice"]
    target = (
        "<= 8 min, training <= 3 min, mAP >= 75, RMSE <= 4 px, recall >= .90, IDF1 >= .90, each seed; "
        "same seed, same table"
    )
    return _bar(figure, target, holds=holds)


def bar_b(work: Path, args: argparse.Namespace) -> Bar:
    """Eight real fish, with all labelled frames and with those before 250 only; one real mouse."""
    from real_fish import run, run_mouse

    if args.quick:
        real_data("zebrafish8_a")
        found, seconds = shoal("check", real_data("zebrafish8_a"))
        figure = {"seconds": seconds, "folders": len(found["folders"])}
        return _bar(figure, "quick: the project is read", holds=figure["folders"] == 1)
    whole = run(work / "whole")
    _say(whole)
    early = run(work / "early", before=250)
    _say(early)
    mouse = run_mouse(work / "mouse")
    _say(mouse)
    holds = (
        whole["minutes"] <= 15 and whole["mean_px"] <= 2.0 and whole["median_px"] <= 1.3 and whole["recall"] >= 0.95
        and whole["mAP"] >= 85 and whole["IDF1"] >= 0.9 and abs(whole["mAP"] - early["mAP"]) <= 5 and mouse["rmse"] <= 5
    )  # fmt: skip
    target = (
        "<= 15 min, mean <= 2.0 px, median <= 1.3 px, recall >= .95, mAP >= 85, IDF1 >= .90; trained before frame 250 "
        "and measured after: mAP within 5; mouse: test RMSE <= 5 px"
    )
    return _bar({"all labels": whole, "labels before 250": early, "mouse": mouse}, target, holds=holds)


def bar_c(work: Path, args: argparse.Namespace) -> Bar:
    """Evaluation of a network that knows nothing, and of one after an epoch; then the tests of odd videos."""
    figure: dict[str, Any] = {}
    for epochs in (0,) if args.quick else (0, 1):  # each in a process of its own, for its memory
        if epochs:
            _python(_calls(f"train_one_epoch({str(work)!r})"))
        found = json.loads(_python(_calls(f"evaluate_untrained({str(work)!r})")).stdout)
        figure["one epoch" if epochs else "untrained"] = found
    holds = all(found["gb_above_model"] < 2 and found["s_per_frame"] < 3 for found in figure.values())
    if not args.quick:
        figure["tests"] = _tests("tests/unit/models", "tests/property", "tests/integration/test_commands.py")
        holds &= figure["tests"]["passed"]
    target = "< 2 GB above the model, < 3 s a frame, never raises; property and odd-video tests"
    return _bar(figure, target, holds=holds)


def _lab_project(work: Path) -> Project:
    """Six labelled 1296x972 frames of ten animals."""
    from shoal.io.dlc.project import read_project
    from shoal.synthetic.dataset import make_project
    from shoal.synthetic.scenes import SCENES

    if not (work / "lab" / "config.yaml").is_file():
        make_project(work / "lab", SCENES["lab"], seed=0, n_frames=6, n_videos=1, reflections=False)
    return read_project(work / "lab")


def _everything() -> RunConfig:
    """Settings that keep every peak and every animal, up to the caps, with all 36 limbs at full scale."""
    from shoal.config.run import load_config

    kept = ["predict.min_confidence=0", "assemble.min_confidence=0", "assemble.min_score=0"]
    return load_config(overrides=["model.edges=all", "model.input_scale=1.0", *kept])


def train_one_epoch(work: str) -> None:
    """A network after two steps."""
    from shoal.training.pose import train

    project = _lab_project(Path(work))
    config = _everything()
    few = config.train.model_copy(update={"epochs": 1, "crops_per_image": 2.0, "crop_px": 256, "batch_size": 6})
    rows = np.arange(len(project.labels))
    train(project, Path(work) / "one-epoch", config.model_copy(update={"train": few}), split=(rows, rows[:0]))


def evaluate_untrained(work: str) -> None:
    """Print memory and time of evaluating a network that knows nothing, or next to nothing."""
    import torch

    from shoal.models.checkpoint import LoadedModel, ModelInfo, build_model, load_model
    from shoal.models.limbs import choose_edges
    from shoal.training.evaluate import evaluate

    project, config, trained = _lab_project(Path(work)), _everything(), Path(work) / "one-epoch"
    if trained.is_dir():
        model = load_model(trained)
    else:
        edges = choose_edges(project.skeleton, list(project.labels), "all")
        info = ModelInfo(project.skeleton, edges, project.individuals, False, 100.0, config)
        torch.manual_seed(0)
        net = build_model(info, pretrained=False).eval()
        model = LoadedModel(net, info, "", torch.device("cpu"), 0)
    evaluate(model, project, np.arange(1), config)  # kernels compiled, pools warm
    before = _resident_gb()
    start = time.perf_counter()
    found = evaluate(model, project, np.arange(len(project.labels)), config)
    seconds = (time.perf_counter() - start) / len(project.labels)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({
        "gb_above_model": round(peak - min(before, peak), 2), "gb_peak": round(peak, 2),
        "s_per_frame": round(seconds, 2),
        "peaks_per_frame": len(found.detections) / len(project.labels), "mAP": found.figures["mAP"],
    }))  # fmt: skip


def _calls(call: str) -> str:
    return f"import sys; sys.path.insert(0, 'bench'); import foundation; foundation.{call}"


def bar_d(work: Path, args: argparse.Namespace) -> Bar:
    """A trained network on a rendered video in nine ways; the tests that kill trainings and analyses."""
    model, video = _small_model(work, quick=args.quick)
    ways = [(16, 1), (4096, 8)] if args.quick else [(c, b) for c in (64, 128, 4096) for b in (1, 3, 8)]
    found = _python(_calls(f"analyze_ways({str(work)!r}, {str(model)!r}, {str(video)!r}, {ways!r})")).stdout
    tables = [Path(run) for run in json.loads(found)]
    equal = [_same_tables(tables[0], other) for other in tables[1:]]
    figure: dict[str, Any] = {"ways": len(ways), "equal": all(equal)}
    holds = all(equal)
    if not args.quick:
        figure["tests"] = _tests("tests/integration")
        holds &= figure["tests"]["passed"]
    return _bar(figure, "byte-equal tables; killed trainings and analyses end alike", holds=holds)


def analyze_ways(work: str, model: str, video: str, ways: list[tuple[int, int]]) -> None:
    """Analyze and export a video once per (chunk, batch); print the run folders."""
    from shoal.config.run import load_config
    from shoal.run.engine import load_engine
    from shoal.run.steps import analyze, export

    runs: list[str] = []
    for chunk, batch in ways:
        settings = [f"predict.chunk_frames={chunk}", f"predict.batch_size={batch}", "stitch.n_animals=6"]
        config = load_config(overrides=[*settings, "stitch.count=exact"])
        run_dir = analyze(
            Path(video), load_engine(Path(model), config), config=config, dest=Path(work) / f"c{chunk}b{batch}"
        )
        export(run_dir, csv=True)
        runs.append(str(run_dir))
    print(json.dumps(runs))


def bar_e(work: Path, args: argparse.Namespace) -> Bar:
    """Stored answers of the peers; with --peers they answer again."""
    figure: dict[str, Any] = {"tests": _tests("tests/peer/test_metrics.py")}
    holds = figure["tests"]["passed"]
    if args.peers:
        figure["peers"] = subprocess.run([sys.executable, "bench/metrics_peer.py", "--check"], cwd=ROOT).returncode == 0
        holds &= figure["peers"]
    return _bar(figure, "equal to TrackEval and faster-coco-eval to 1e-9; mot_tud's figures", holds=holds)


def bar_f(work: Path, args: argparse.Namespace) -> Bar:
    """Times of help and tests; the checks."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        _python("import sys; sys.argv = ['shoal', '--help']; from shoal.cli.app import main; main()")
        times.append(time.perf_counter() - start)
    figure: dict[str, Any] = {"help_s": round(statistics.median(times), 2)}
    holds = figure["help_s"] < 0.5
    if not args.quick:
        start = time.perf_counter()
        tested = subprocess.run(["scripts/test"], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
        figure |= {"tests_pass": tested, "test_minutes": round((time.perf_counter() - start) / 60, 2)}
        figure["check"] = subprocess.run(["scripts/check"], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
        holds &= tested and figure["test_minutes"] <= 4 and figure["check"]
    return _bar(figure, "--help < 0.5 s, scripts/test <= 4 min, scripts/check clean", holds=holds)


BARS: dict[str, Callable[[Path, argparse.Namespace], Bar]] = {
    "A": bar_a, "B": bar_b, "C": bar_c, "D": bar_d, "E": bar_e, "F": bar_f,
}  # fmt: skip


def main() -> int:
    """Measure the bars asked for, print JSON, say by the exit code whether all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="ABCDEF", help="letters of the bars to measure")
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--no-repeat", dest="repeat", action="store_false", help="A: do not run the first seed twice")
    parser.add_argument(
        "--peers", action="store_true", help="E: run the peers instead of trusting their stored answers"
    )
    parser.add_argument("--work", type=Path, help="keep what is made here")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    return run_bars(BARS, args)


def run_bars(bars: dict[str, Callable[[Path, argparse.Namespace], Bar]], args: argparse.Namespace) -> int:
    """Measure the bars of ``args.only``, each in a folder of its own; print JSON; 1 if one does not hold."""
    results: dict[str, Bar] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.only:
            work = (args.work or Path(scratch)) / name
            work.mkdir(parents=True, exist_ok=True)
            start = time.perf_counter()
            bar = bars[name](work, args)
            results[name] = bar | {"seconds": round(time.perf_counter() - start, 1), "threads": THREADS}
            _say({name: results[name]})
            if args.json:
                args.json.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))
    return int(not all(bar["holds"] for bar in results.values()))


def _bar(figure: dict[str, Any], target: str, *, holds: bool) -> Bar:
    return {"figure": figure, "target": target, "holds": bool(holds)}


def _demo_figures(found: dict[str, Any]) -> dict[str, Any]:
    steps = {row["step"]: row for row in found["steps"]}
    return {
        "mAP": found["pose"]["mAP"], "rmse": found["pose"]["rmse"], "recall": found["pose"]["recall"],
        "HOTA": found["tracking"]["HOTA"], "IDF1": found["tracking"]["IDF1"],
        "switches": found["tracking"]["switches"],
        "train_seconds": steps["train"]["seconds"],
        "frames_per_s": {k: round(r["frames"] / r["seconds"], 1) for k, r in steps.items() if r["frames"]},
    }  # fmt: skip


def _small_model(work: Path, *, quick: bool) -> tuple[Path, Path]:
    from shoal.synthetic.dataset import make_project, make_video
    from shoal.synthetic.scenes import SCENES

    demo = work.parent / "A" / "demo"
    if quick and (demo / "test.mp4").is_file():  # bar A has just made both
        return demo / "project" / "shoal" / "models" / "pose", demo / "test.mp4"
    project, video = work / "project", work / "test.mp4"
    make_project(project, SCENES["demo"], seed=3, n_frames=10 if quick else 20, n_videos=1, reflections=False)
    make_video(SCENES["demo"], video, seed=99, n_frames=40 if quick else 300)
    crops = 2 if quick else 40
    trained, _ = shoal("train", project, "--set", "train.epochs=2", "--set", f"train.crops_per_image={crops}")
    return Path(trained["model"]), video


def _same_tables(one: Path, other: Path) -> bool:
    """Tracks, decisions and exported csv byte for byte; chunked tables after joining their chunks."""

    def joined(run: Path, kind: str) -> dict[str, Any]:
        parts = [np.load(f) for f in sorted((run / kind).glob("*.npz"))]
        return {c: np.concatenate([p[c] for p in parts]) for c in parts[0].files if parts[0][c].ndim and c != "span"}

    for kind in ("detections", "poses", "tracklets", "tracks"):
        a, b = joined(one, kind), joined(other, kind)
        if a.keys() != b.keys() or any(a[c].tobytes() != b[c].tobytes() for c in a):
            return False
    exports = [f.relative_to(one) for f in (one / "export").rglob("*.csv")]
    return bool(exports) and all(filecmp.cmp(one / f, other / f, shallow=False) for f in exports)


def _tests(*paths: str) -> dict[str, Any]:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "pytest", *paths], cwd=ROOT, capture_output=True, text=True)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    return {"passed": done.returncode == 0, "summary": last, "seconds": round(time.perf_counter() - start, 1)}


def _python(code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, env=environment)


def _resident_gb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**30


def _say(what: Any) -> None:
    print(json.dumps(what), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
