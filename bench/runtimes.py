"""How fast a network is in each runtime, and how far its keypoints move from float32: one table.

    python bench/runtimes.py MODEL VIDEO [--frames 24] [--threads 1] [--json FILE]

Frames are spread over the video; int8 is calibrated on others of it. Times are of the network up to its maps, one frame
at a time, the runtimes by turns, the median over frames; converting and the first frame are left out.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shoal.config.predict import PredictConfig
from shoal.errors import ConfigError
from shoal.io.video import probe
from shoal.models.checkpoint import load_model
from shoal.models.detect import detect
from shoal.models.device import describe
from shoal.models.runtime.choose import REFERENCE, Way, build, ways
from shoal.models.runtime.parity import compare
from shoal.models.runtime.setup import Setup
from shoal.run.engine import sample_frames
from shoal.run.models import find_model
from shoal.types import concatenate

WAYS: tuple[Way, ...] = (
    REFERENCE,
    ("eager", "bf16"),
    ("compiled", "bf16"),
    ("onnx", "float32"),
    ("openvino", "float32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)


def measure(model_path: Path, video: Path, *, n_frames: int, threads: int) -> dict[str, Any]:
    """Milliseconds and parity of every runtime that is there."""
    torch.set_num_threads(threads)
    model, info = load_model(find_model(model_path)), probe(video)
    frames, others = sample_frames(info, n_frames), sample_frames(info, 3 * n_frames)[1::3]
    config = PredictConfig()
    forwards = {}
    for way in WAYS:
        try:
            ways(*way, model.device)
            forwards[way] = build(model, way, Setup(way[1], threads, lambda: [b.images[0] for b in others]))
            detect(model, frames[0], config, forward=forwards[way], feature_size=0)
        except ConfigError as error:
            forwards.pop(way, None)
            print(f"{' '.join(way)}: {error.message.splitlines()[0]}")
    times: dict[Way, list[float]] = {way: [] for way in forwards}
    seen: dict[Way, list[Any]] = {way: [] for way in forwards}
    with torch.inference_mode():
        for number, batch in enumerate(frames):
            pixels = torch.from_numpy(np.array(batch.images))
            for way, forward in forwards.items():
                began = time.perf_counter()
                forward(pixels)
                times[way].append(time.perf_counter() - began)
                numbered = replace(batch, frame=np.array([number]))
                seen[way].append(detect(model, numbered, config, forward=forward, feature_size=0)[0])
    reference = concatenate(seen[REFERENCE])
    slowest = float(np.median(times[REFERENCE]))
    rows = {}
    for way in forwards:
        each = float(np.median(times[way]))
        parity = compare(reference, concatenate(seen[way]))
        rows[" ".join(way)] = {
            "ms": round(1e3 * each, 1), "times_as_fast": round(slowest / each, 2),
            **{k: round(v, 4) for k, v in asdict(parity).items()}, "refused": parity.problem(way[1]),
        }  # fmt: skip
    size = [round(n * model.net.input_scale) for n in (info.width, info.height)]
    name = model.config.model.backbone if model.config.model.name == "light" else model.config.model.name
    return {
        "machine": describe(model.device),
        "threads": threads,
        "network": name,
        "frames": n_frames,
        "px": size,
        "ways": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = measure(args.model, args.video, n_frames=args.frames, threads=args.threads)
    print(f"{found['network']}, {found['px'][0]}x{found['px'][1]} px, {found['machine']}, {found['threads']} threads")
    for name, row in found["ways"].items():
        words = (
            f"{row['median_px']:.3f} / {row['p99_px']:.3f} px, lost {row['missing']:.2%}, peaks x {row['peaks']:.3f}"
        )
        print(f"{name:<18} {row['ms']:>8.1f} ms  {row['times_as_fast']:>5.2f}x  {words}  {row['refused']}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
