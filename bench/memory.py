"""How much memory an analysis takes, by length of the video.

    python bench/memory.py --frames 4000 100000

A stand-in for the network, a short looping video, ten animals of nine keypoints, chunks of ``--chunk`` frames. Every
stage runs in a process of its own; the figure is that process's peak of resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from command import ROOT

STAGES = ("analyze", "associate", "stitch", "export h5", "export csv")
"""``analyze`` does everything to tracks; ``associate`` and ``stitch`` do these and what follows again."""


def measure(
    frames: int, work: Path, *, chunk: int = 1024, stages: Sequence[str] = STAGES
) -> dict[str, dict[str, float]]:
    """Peak memory (MB) and seconds of each stage."""
    from stub import make_video

    folder = work / f"memory-{frames}"
    folder.mkdir(parents=True, exist_ok=True)
    video = folder / "loop.mp4"
    if not video.is_file():
        make_video(video, frames)
    found: dict[str, dict[str, float]] = {}
    for stage in stages:
        command = [sys.executable, __file__, "--stage", stage, "--work", str(folder), "--chunk", str(chunk)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=_environment())
        found[stage] = json.loads(done.stdout)
    return found


def compare(short: dict[str, dict[str, float]], long: dict[str, dict[str, float]]) -> dict[str, float]:
    """How many times as much memory each stage takes of the long video; ``whole`` compares the largest stages."""
    ratios = {stage: round(long[stage]["peak_mb"] / short[stage]["peak_mb"], 3) for stage in short}
    whole = max(s["peak_mb"] for s in long.values()) / max(s["peak_mb"] for s in short.values())
    return ratios | {"whole": round(whole, 3)}


def _stage(stage: str, folder: Path, chunk: int) -> dict[str, float]:
    from stub import make_engine, settings

    from shoal.run.steps import analyze, export, track

    began, run_dir = time.perf_counter(), folder / "loop.shoal"
    config = settings(
        f"predict.chunk_frames={chunk}", "stitch.n_animals=10", "stitch.count=exact", "compute.decode_workers=1"
    )
    if stage == "analyze":
        analyze(folder / "loop.mp4", make_engine(), config=config)
    elif stage == "associate":
        changed = config.associate.model_copy(update={"max_age": config.associate.max_age + 1})
        track(run_dir, config.model_copy(update={"associate": changed}))
        track(run_dir, config)
    elif stage == "stitch":
        changed = config.stitch.model_copy(update={"max_joins": config.stitch.max_joins + 1})
        track(run_dir, config.model_copy(update={"stitch": changed}))
    else:
        export(run_dir, csv=stage == "export csv")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak_mb": round(peak, 1), "seconds": round(time.perf_counter() - began, 1)}


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[4000, 100_000])
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--work", type=Path, help="keep videos and runs here")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        print(json.dumps(_stage(args.stage, args.work, args.chunk)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        runs = {frames: measure(frames, args.work or Path(temporary), chunk=args.chunk) for frames in args.frames}
    result: dict[str, Any] = {"chunk": args.chunk, "MB": runs}
    if len(runs) > 1:
        result["ratio"] = compare(runs[min(runs)], runs[max(runs)])
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
