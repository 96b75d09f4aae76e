"""Frames per second of the aquarium on one core, encoding included; and what the time goes into.

    python bench/aquarium.py [--scene lab] [--frames 300]

CPU seconds of the whole process (rendering and encoding overlap in two threads), so the figure is per core and does
not depend on how many cores there are.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from shoal.synthetic.dataset import make_truth, make_video
from shoal.synthetic.fish import make_fish
from shoal.synthetic.motion import swim
from shoal.synthetic.posture import pose_bodies
from shoal.synthetic.render import Renderer
from shoal.synthetic.scenes import SCENES
from shoal.synthetic.tank import make_tank


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", default="lab", choices=sorted(SCENES))
    parser.add_argument("--frames", type=int, default=300)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    scene = SCENES[args.scene]
    with tempfile.TemporaryDirectory() as folder:
        make_video(scene, Path(folder) / "warm.mp4", seed=1, n_frames=2)  # compiles
        cpu, wall = time.process_time(), time.perf_counter()
        make_video(scene, Path(folder) / "video.mp4", seed=1, n_frames=args.frames)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        rate = 8 * (Path(folder) / "video.mp4").stat().st_size / (args.frames / scene.fps) / 1e6
    print(f"{scene.name}: {scene.n_fish} fish, {scene.width}x{scene.height}, {args.frames} frames, {rate:.1f} Mbit/s")
    print(f"{args.frames / cpu:.1f} frames/s per core ({1e3 * cpu / args.frames:.1f} ms CPU a frame), "
          f"{args.frames / wall:.1f} frames/s wall")  # fmt: skip

    cpu = time.process_time()
    make_truth(scene, seed=1, n_frames=args.frames)
    print(f"  motion and truth {1e3 * (time.process_time() - cpu) / args.frames:.2f} ms")
    fish, tank = make_fish(scene, 1), make_tank(scene, 1)
    lengths = np.array([f.length for f in fish])
    chunk = next(swim(scene, tank, lengths, seed=1, day=0, n_frames=60))
    bodies, renderer = pose_bodies(chunk, fish), Renderer(scene, tank, fish, seed=1, day=0)
    cpu = time.process_time()
    for row in range(60):
        renderer.planes(chunk, bodies, row, row)
    print(f"  drawing {1e3 * (time.process_time() - cpu) / 60:.1f} ms; the rest is x264")


if __name__ == "__main__":
    main()
