"""DeepLabCut's ``analyze_videos`` and shoal's on the same network and video, by turns: wall seconds to ``_el.h5``.

    python bench/analyze_peer.py --project DIR [--size 640x480] [--fish 6] [--frames 60] [--threads 1] [--batches 1,4]

DIR is the project of ``python -m bench.dlc_parity train resnet_50`` after ``compare`` (in the user's cache, shuffle 1:
resnet_50). The same call runs in both environments (``SHOAL_DLC_PYTHON`` is DeepLabCut's): once on a short clip, which
pays for imports, conversion and compilation, then timed. shoal takes the best runtime that passes its gate.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WARM_FRAMES = 12


def work(whose: str, config: str, videos: list[str], dest: str, batch: int, threads: int) -> None:
    """One side, in its own environment: the first video warms up, the second is timed."""
    os.environ.update(DLClight="True", HF_HUB_OFFLINE="1", MPLBACKEND="Agg")
    if whose == "shoal":
        from shoal import deeplabcut
    else:
        import deeplabcut
    import torch

    torch.set_num_threads(threads)
    seconds = 0.0
    for video in videos:  # the first is too short for DeepLabCut to make tracks of
        began = time.perf_counter()
        deeplabcut.analyze_videos(
            config, [video], shuffle=1, destfolder=dest, batch_size=batch, device="cpu",
            auto_track=video == videos[-1],
        )  # fmt: skip
        seconds = time.perf_counter() - began
    written = sorted(path.name for path in Path(dest).glob(f"{Path(videos[1]).stem}*_el.h5"))
    print(json.dumps({"seconds": round(seconds, 2), "written": written}))


def side(whose: str, python: str, config: Path, videos: list[Path], batch: int, threads: int) -> dict[str, Any]:
    """Run ``work`` there."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    environment.pop("PYTHONPATH", None)
    if whose == "shoal":
        environment["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as dest:
        call = f"work({whose!r}, {str(config)!r}, {[str(v) for v in videos]!r}, {dest!r}, {batch}, {threads})"
        code = f"import sys; sys.path.insert(0, {str(ROOT / 'bench')!r}); import analyze_peer; analyze_peer.{call}"
        done = subprocess.run(
            [python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
            env=environment,
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def make_videos(folder: Path, size: tuple[int, int], n_fish: int, n_frames: int) -> list[Path]:
    """A short clip and a video of the scene that the network was trained on, in another size."""
    from dataclasses import replace

    from bench.dlc_parity import SCENE
    from shoal.synthetic.dataset import make_video

    scene = replace(SCENE, width=size[0], height=size[1], n_fish=n_fish)
    videos = [folder / "warm.mp4", folder / "video.mp4"]
    for video, n, seed in zip(videos, (WARM_FRAMES, n_frames), (41, 42), strict=True):
        make_video(scene, video, seed=seed, n_frames=n)
    return videos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--fish", type=int, default=6)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", default="1,4", help="DeepLabCut's; the fastest counts")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    peer = os.environ["SHOAL_DLC_PYTHON"]
    width, _, height = args.size.partition("x")
    config = args.project / "config.yaml"
    with tempfile.TemporaryDirectory() as scratch:
        videos = make_videos(Path(scratch), (int(width), int(height)), args.fish, args.frames)
        found: dict[str, Any] = {"size": args.size, "frames": args.frames, "threads": args.threads}
        found["shoal"] = side("shoal", sys.executable, config, videos, 8, args.threads)
        for batch in map(int, args.batches.split(",")):
            found[f"deeplabcut, batch {batch}"] = side("deeplabcut", peer, config, videos, batch, args.threads)
    slowest = min(row["seconds"] for name, row in found.items() if name.startswith("deeplabcut"))
    found["times_as_fast"] = round(slowest / found["shoal"]["seconds"], 2)
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
