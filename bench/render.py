"""Frames per second of drawing tracks on video: decode, draw, encode, as ``shoal render`` does it.

    python bench/render.py [--frames 600] [--animals 10] [--presets veryfast ultrafast] [--json FILE]

The video is synthetic: moving texture of a camera's noise level, 1296 x 972, H.264 at 7.5 Mbit/s like the lab's. Per
preset one run of the whole stream, and each part alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from shoal.config.render import RenderConfig
from shoal.io.canvas import copy_picture, picture_canvas
from shoal.io.overlay import Draw, track_drawer
from shoal.io.video import VideoInfo, VideoWriter, decode, probe
from shoal.run.render import draw_video
from shoal.types import Poses, Skeleton, Tracks

WIDTH, HEIGHT = 1296, 972
KEYPOINTS = ("nose", "lefteye", "righteye", "spine1", "spine2", "spine3", "backfin", "leftfin", "rightfin")
EDGES = [[0, 1], [0, 2], [0, 3], [3, 4], [4, 5], [5, 6], [3, 7], [3, 8]]
TARGETS = {"veryfast": 45.0, "ultrafast": 90.0}


def make_video(path: Path, n_frames: int) -> VideoInfo:
    """Drifting texture with sensor noise."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.normal(110, 90, (HEIGHT + 64, WIDTH + 64, 3)), (0, 0), 3)
    noise = rng.normal(0, 2.5, (8, HEIGHT, WIDTH, 1))
    with VideoWriter(path, fps=30, preset="veryfast", bit_rate=7_500_000) as writer:
        for frame in range(n_frames):
            dx, dy = int(32 + 30 * np.sin(frame / 200)), int(32 + 30 * np.cos(frame / 170))
            picture = ground[dy : dy + HEIGHT, dx : dx + WIDTH] + noise[rng.integers(8)]
            writer.write(np.clip(picture, 0, 255).astype(np.uint8))
    return probe(path)


def make_tracks(n_frames: int, n_animals: int) -> Tracks:
    """Animals of 100 px on smooth paths."""
    t, a = np.arange(n_frames)[:, None], np.arange(n_animals)
    angle = t / 40 + a * 2.4
    centre = np.stack(
        [WIDTH * (0.5 + 0.38 * np.cos(angle / 3 + a)), HEIGHT * (0.5 + 0.38 * np.sin(angle / 4 + 2 * a))], -1
    )
    along = np.stack([np.cos(angle), np.sin(angle)], -1)
    across = along[..., ::-1] * [-1, 1]
    offsets = np.array([[50, 0], [42, -8], [42, 8], [25, 0], [0, 0], [-25, 0], [-50, 0], [15, -18], [15, 18]])
    xy = centre[:, :, None] + offsets[:, :1] * along[:, :, None] + offsets[:, 1:] * across[:, :, None]
    frame, number = np.repeat(np.arange(n_frames), n_animals), np.tile(a, n_frames)
    m = len(frame)
    poses = Poses(frame, number, xy.reshape(m, 9, 2), np.ones((m, 9)), np.ones(m), (0, n_frames))
    return Tracks(poses, number)


def rate(n: int, work: Callable[[], object]) -> float:
    """Frames per second of ``work``, which takes ``n`` frames."""
    began = time.perf_counter()
    work()
    return n / (time.perf_counter() - began)


def parts(info: VideoInfo, draw: Draw, config: RenderConfig, folder: Path) -> dict[str, float]:
    """Decoding alone, drawing alone, encoding alone."""
    n = min(info.n_frames, 200)
    kept: list[av.VideoFrame] = []
    size, reformatter = (info.width, info.height), VideoReformatter()

    def read() -> None:
        with contextlib.closing(decode(info, stop=n)) as frames:
            kept.extend(frame for number, frame in frames if number % 10 == 0)

    def lay() -> None:
        for number in range(n):
            picture = copy_picture(kept[number // 10], size, info.rotation, reformatter)
            draw(picture_canvas(picture, size), number)

    def encode() -> None:
        with VideoWriter(folder / "part.mp4", fps=30, preset=config.preset, crf=config.crf) as writer:
            for number in range(n):
                writer.write_picture(copy_picture(kept[number // 10], size, info.rotation, reformatter), number)

    return {"decode": rate(n, read), "draw": rate(n, lay), "encode": rate(n, encode)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--animals", type=int, default=10)
    parser.add_argument("--presets", nargs="+", default=list(TARGETS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        info = make_video(folder / "video.mp4", options.frames)
        tracks = make_tracks(options.frames, options.animals)
        skeleton = Skeleton(KEYPOINTS, EDGES)
        names = tuple(f"individual{i + 1}" for i in range(options.animals))
        for preset in options.presets:
            config = RenderConfig(preset=preset)
            size = (info.width, info.height)
            draw = track_drawer(tracks, config, skeleton=skeleton, edges=skeleton.edges, names=names, size=size)
            target, span = folder / f"{preset}.mp4", range(info.n_frames)
            draw_video(info, target, draw, config, frames=range(2))  # loads what is compiled
            spent = time.process_time()
            found = {"all": rate(info.n_frames, lambda: draw_video(info, target, draw, config, frames=span))}  # noqa: B023
            cpu_ms = 1e3 * (time.process_time() - spent) / info.n_frames
            found |= parts(info, draw, config, folder)
            rows.append(
                {"preset": preset, "load": os.getloadavg()[0], "cpu_ms": cpu_ms, "mb": target.stat().st_size / 1e6}
                | found
            )
            shown = "  ".join(f"{part} {value:.0f}" for part, value in found.items())
            print(
                f"{preset:<10} frames/s: {shown}  (target {TARGETS.get(preset, 0):.0f}; "
                f"{cpu_ms:.1f} CPU ms a frame; load {rows[-1]['load']:.1f})"
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
