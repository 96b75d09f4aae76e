"""The DeepLabCut issue's figures, bar by bar.

    scripts/bench dlc --peers         everything; B and C asked of DeepLabCut itself (A trains for real: three hours)
    scripts/bench dlc                 the same with DeepLabCut's stored answers
    scripts/bench dlc --quick         a smaller case of every bar, about a minute
    scripts/bench dlc --only A

A  the guide's script with only its import line changed, on rendered fish and on real ones (zebrafish8_a)
B  DeepLabCut opens, trains, evaluates, stitches and draws what shoal wrote, and the other way round
C  maps of every architecture, and keypoints of trained networks, as DeepLabCut computes them
D  the figures of DeepLabCut's own tests
E  round trips and fuzzed inputs of every format
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from command import ROOT, real_data
from foundation import Bar, _bar, _tests, run_bars

DATASET = """\
import deeplabcut

config_path = "{config}"
deeplabcut.create_multianimaltraining_dataset(config_path)
"""
REST = """\
import deeplabcut

config_path = "{config}"
deeplabcut.train_network(config_path, shuffle=1, trainingsetindex=0,)
deeplabcut.evaluate_network(config_path, plotting=True)
scorername = deeplabcut.analyze_videos(config_path,['{video}'], videotype='{kind}')
print(scorername)
deeplabcut.create_video_with_all_detections(config_path, ['{video}'], videotype='{kind}')
deeplabcut.stitch_tracklets(config_path,['{video}'], videotype='{kind}', shuffle=1, trainingsetindex=0)
deeplabcut.create_labeled_video(
    config_path,
    ['{video}'],
    color_by="individual",
    keypoints_only=False,
    trailpoints=10,
    draw_skeleton=False,
    track_method="ellipse",
)
"""
"""The guide's calls, in its order; between the two, its reader edits pytorch_config.yaml."""
LINES = (
    "Utilizing the following graph:", "Creating training data for: Shuffle: 1", "The training dataset is successfully",
    "images and", "Starting pose model training...", "Number of iterations:", "Evaluation results for", "test mAP",
)  # fmt: skip
FILES = (
    "_full.pickle", "_meta.pickle", "_assemblies.pickle", "_el.pickle", "_el.h5", "_full.mp4", "_labeled.mp4",
)  # fmt: skip
SCORE = re.compile(r"(train|test) [a-z]\w* +[-\d.]+$", re.IGNORECASE)
SMALL = {"train_settings.epochs": 1, "train_settings.batch_size": 2, "train_settings.display_iters": 1,
         "data.train.crop_sampling.width": 64, "data.train.crop_sampling.height": 64}  # fmt: skip
REAL = {"train_settings.display_iters": 50, "data.train.crop_sampling.width": 128,
        "data.train.crop_sampling.height": 128}  # fmt: skip


def bar_a(work: Path, args: argparse.Namespace) -> Bar:
    """The guide's script, run as a user runs it, output piped into a file."""
    figures = {"aquarium": _guide(*_aquarium(work, quick=args.quick), args)}
    if not args.quick:
        figures["zebrafish8_a"] = _guide(*_zebrafish(work), args)
    if args.publish:
        for name, found in figures.items():
            (ROOT / "docs" / "guides" / f"console_{name}.txt").write_text(found["console"])
    for found in figures.values():
        del found["console"]
    holds = all(f["runs"] and not f["lines lacking"] and not f["files lacking"] for f in figures.values())
    return _bar(figures, "every step to the labelled video, the guide's lines and files", holds=holds)


def _aquarium(work: Path, *, quick: bool) -> tuple[Path, Path]:
    from shoal.synthetic.dataset import make_project, make_video
    from shoal.synthetic.scenes import SCENES

    demo = SCENES["demo"]
    scene = replace(
        demo, name="tank", width=192 if quick else 480, height=144 if quick else 360, n_fish=2 if quick else 4,
        margins=(8.0, 8.0, 8.0, 8.0), mirrors=(), shelter=None, megabit_s=1.0,
        skin=replace(demo.skin, body_px=(48.0, 60.0)),
    )  # fmt: skip
    config = make_project(work / "aquarium", scene, seed=0, n_frames=4 if quick else 120, n_videos=2, reflections=False)
    video = work / "videos" / "0001_vid.mp4"
    make_video(scene, video, seed=99, n_frames=14 if quick else 300)
    return config, video


def _zebrafish(work: Path) -> tuple[Path, Path]:
    from real_fish import copy_project

    project = copy_project("zebrafish8_a", work)
    return project / "config.yaml", project / "test_A.avi"


def _guide(config: Path, video: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Both scripts with their import line changed; what was shown is kept beside the video."""
    from shoal.io.dlc.pytorch_config import read_pytorch_config, update_pytorch_config, write_pytorch_config
    from shoal.io.dlc.training_set import find_shuffle

    console = video.parent / "console.txt"
    console.parent.mkdir(exist_ok=True)
    seconds: dict[str, float] = {}
    runs = True
    for name, text in (("dataset", DATASET), ("rest", REST)):
        script = video.parent / f"{name}.py"
        text = text.format(config=config, video=video, kind=video.suffix)
        script.write_text(text.replace("import deeplabcut\n", "import shoal.deeplabcut as deeplabcut\n", 1))
        began = time.perf_counter()
        with console.open("w" if name == "dataset" else "a") as shown:  # to be followed while it works
            done = subprocess.run(
                [sys.executable, script], stdout=shown, stderr=subprocess.STDOUT, check=False,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        seconds[name] = round(time.perf_counter() - began, 1)
        runs &= done.returncode == 0
        if name == "dataset" and runs:
            path = find_shuffle(config).config_path
            content = read_pytorch_config(path)
            changed = SMALL if args.quick else REAL | {"train_settings.epochs": args.epochs}
            update_pytorch_config(content, changed)
            write_pytorch_config(path, content)
    output = neutral(console.read_text(), config.parents[1])
    made = [p.name for p in video.parent.iterdir() if p.name.startswith(f"{video.stem}DLC_")]
    return {
        "console": output, "runs": runs, "seconds": seconds, "last line": output.strip().rpartition("\n")[2],
        "lines lacking": [line for line in LINES if line not in output],
        "files lacking": [end for end in FILES if not any(name.endswith(end) for name in made)],
        "evaluation": [" ".join(line.split()) for line in output.splitlines() if SCORE.match(line)],
    }  # fmt: skip


def neutral(text: str, work: Path) -> str:
    """Paths below ``work`` without it.

    >>> neutral(f"wrote {Path('A').absolute()}/clip.h5", Path("A"))
    'wrote clip.h5'
    """
    return text.replace(f"{work.absolute()}/", "")


def bar_b(work: Path, args: argparse.Namespace) -> Bar:
    """Stored answers of DeepLabCut 3.0.2; with --peers it answers again.

    The figures of evaluation are compared twice. On the same animals (shoal's peaks grouped by DeepLabCut's rules) they
    must be equal. With shoal's own grouping they are stated beside it and cannot be equal where it decides otherwise;
    there shoal must not be behind over many scenes (``dlc_parity.compare_grouping``).
    """
    if args.peers:
        done = subprocess.run(["scripts/peer", "tests/peer", "-q"], cwd=ROOT, capture_output=True, text=True)
        last = (done.stdout.strip().splitlines() or [""])[-1]
        figure: dict[str, Any] = {"peer tests": {"passed": done.returncode == 0, "summary": last}}
    else:
        figure = {"stored": _tests("tests/peer")}
    figure["evaluation"] = {
        net: found.get("evaluate", "not measured") for net, found in _parity(args, "evaluate").items()
    }
    stored = _parity(argparse.Namespace(peers=False), "grouping")
    figure["own grouping over scenes"] = {net: found.get("grouping", "not measured") for net, found in stored.items()}
    holds = all(f["passed"] for f in figure.values() if "passed" in f)
    equal = [isinstance(found, dict) and found["equal_by_dlc_rules"] for found in figure["evaluation"].values()]
    holds &= bool(equal) and all(equal) and all(_holds(found) for found in figure["own grouping over scenes"].values())
    target = (
        "no validation error; evaluation of the same animals equal to .01 px and .1 mAP, own grouping not behind over "
        "8 scenes (its figures are beside DeepLabCut's: equal_with_own_grouping); stitches, filters, draws"
    )
    return _bar(figure, target, holds=holds)


def bar_c(work: Path, args: argparse.Namespace) -> Bar:
    """Maps of all architectures; keypoints and animals of trained networks.

    The animals are the same if shoal's peaks and affinities, grouped by DeepLabCut's rules, give DeepLabCut's animals
    in every frame; where shoal's own grouping differs, the labels must not like it less (``dlc_parity.compare``).
    """
    figure: dict[str, Any] = {
        "maps": _tests(
            "tests/peer/test_dlc_networks.py",
            *_files("tests/unit/models", "test_dlc_networks.py" if args.quick else "test_dlc*.py"),
        ),
        "rules": _tests("tests/peer/test_assembly_rules.py"),
    }
    figure["networks"] = {net: found.get("compare", "not measured") for net, found in _parity(args, "compare").items()}
    holds = figure["maps"]["passed"] and figure["rules"]["passed"] and bool(figure["networks"])
    holds &= all(_holds(found) for found in figure["networks"].values())
    target = "maps <= 1e-4 of their range; keypoints <= .01 px, same animals by DeepLabCut's rules, own mAP not below"
    return _bar(figure, target, holds=holds)


def bar_d(work: Path, args: argparse.Namespace) -> Bar:
    """Oracle tests; the data must be there."""
    real_data("dlc_trimouse_algo")
    pattern = "test_dlc_oracles.py" if args.quick else "test_*.py"
    files = [f for f in _files("tests", pattern) if "mark.data" in (ROOT / f).read_text()]
    figure = {"tests": _tests(*files, "-m", "data")}
    return _bar(figure, "every figure of DeepLabCut's tests", holds=figure["tests"]["passed"])


def bar_e(work: Path, args: argparse.Namespace) -> Bar:
    """Property tests of files."""
    unit = () if args.quick else ("tests/unit/io/dlc",)
    figure = {"tests": _tests(*_files("tests/property", "test_dlc*.py"), *unit)}
    return _bar(
        figure,
        "write -> read gives equal tables; fuzzed input: InputError, no file changed",
        holds=figure["tests"]["passed"],
    )


def _files(folder: str, pattern: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted((ROOT / folder).rglob(pattern))]


def _parity(args: argparse.Namespace, step: str) -> dict[str, Any]:
    """What dlc_parity measured, again with --peers."""
    from dlc_parity import RECIPES, RESULTS

    if args.peers:
        for net in RECIPES:
            subprocess.run([sys.executable, "-m", "bench.dlc_parity", step, net], cwd=ROOT, check=False)
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def _holds(found: Any) -> bool:
    return isinstance(found, dict) and bool(found.get("holds"))


BARS: dict[str, Callable[[Path, argparse.Namespace], Bar]] = {
    "A": bar_a, "B": bar_b, "C": bar_c, "D": bar_d, "E": bar_e,
}  # fmt: skip


def main() -> int:
    """Measure the bars asked for, print JSON, say by the exit code whether all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="ABCDE", help="letters of the bars to measure")
    parser.add_argument("--epochs", type=int, default=60, help="A: of the real training")
    parser.add_argument("--peers", action="store_true", help="B, C: run DeepLabCut instead of trusting stored answers")
    parser.add_argument("--publish", action="store_true", help="A: put the console output into docs/guides")
    parser.add_argument("--work", type=Path, help="keep what is made here")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    return run_bars(BARS, args)


if __name__ == "__main__":
    sys.exit(main())
