"""Bar B of the tracking issue, association: frames per second and core, growth with animals and frames, compilation."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from shoal.config.associate import AssociateConfig
from shoal.stages.associate import SIMILARITIES, associate
from shoal.types import Poses

ANIMALS, FRAMES = (5, 10, 20, 50), (1000, 4000, 16000)
COLD = """
import os, sys, time
os.environ["NUMBA_CACHE_DIR"] = sys.argv[1]
sys.path.insert(0, sys.argv[2])
from tracking_speed import associate, swimmers, AssociateConfig
poses, began = swimmers(3, 5), time.process_time()
associate(poses, AssociateConfig())
print(time.process_time() - began)
"""


def swimmers(n: int, n_frames: int, *, n_keypoints: int = 9, seed: int = 0) -> Poses:
    """Animals of 60 px that swim through each other at one density, 8 % of keypoints and 3 % of animals not seen."""
    rng = np.random.default_rng(seed)
    side = 120 * np.sqrt(n)
    at, velocity = rng.uniform(0, side, (n, 2)), rng.normal(0, 3, (n, 2))
    centre, heading = np.empty((n_frames, n, 2)), np.empty((n_frames, n))
    for f in range(n_frames):
        velocity = 0.97 * (velocity + rng.normal(0, 0.8, (n, 2)))
        at = at + velocity
        velocity = np.where(at < 0, np.abs(velocity), np.where(at > side, -np.abs(velocity), velocity))
        centre[f], heading[f] = at, np.arctan2(velocity[:, 1], velocity[:, 0])
    body = np.stack([np.linspace(-30, 30, n_keypoints), 6 * np.sin(np.arange(n_keypoints))], axis=1)
    cos, sin = np.cos(heading), np.sin(heading)
    turn = np.stack([cos, sin, -sin, cos], axis=-1).reshape(n_frames, n, 2, 2)
    xy = centre[:, :, None] + body @ turn + rng.normal(0, 1.2, (n_frames, n, n_keypoints, 2))
    xy[rng.random(xy.shape[:3]) < 0.08] = np.nan
    frame, animal = np.nonzero(rng.random((n_frames, n)) < 0.97)
    item = np.arange(len(frame)) - np.searchsorted(frame, frame)
    score = np.clip(rng.normal(0.75, 0.1, len(frame)), 0.05, 1)
    chosen = xy[frame, animal]
    return Poses(frame, item, chosen, np.isfinite(chosen[..., 0]), score, (0, n_frames))


def association_speed(*, quick: bool) -> dict[str, Any]:
    """Frames per second by number of animals, by number of frames and by similarity; seconds of compilation."""
    n_frames = FRAMES[0] if quick else FRAMES[1]
    associate(swimmers(3, 5), AssociateConfig())  # compiles
    lengths = FRAMES[:1] if quick else FRAMES
    return {
        "frames/s by animals": {n: frames_per_s(swimmers(n, n_frames)) for n in ANIMALS},
        "frames/s by frames (10 animals)": {length: frames_per_s(swimmers(10, length)) for length in lengths},
        "frames/s by similarity (10 animals)": {
            name: frames_per_s(swimmers(10, n_frames), name) for name in SIMILARITIES
        },
        "cold compile, CPU seconds": cold_compile(),
    }


def frames_per_s(poses: Poses, similarity: Any = "pose") -> int:
    """Best of three."""
    best = np.inf
    for _ in range(3):
        began = time.perf_counter()
        associate(poses, AssociateConfig(similarity=similarity))
        best = min(best, time.perf_counter() - began)
    return round(poses.span[1] / best)


def cold_compile() -> float:
    """CPU seconds of the first association of a machine, all four similarities, nothing in numba's cache."""
    with tempfile.TemporaryDirectory() as folder:
        here = str(sys.modules[__name__].__file__).rpartition("/")[0]
        found = subprocess.run([sys.executable, "-c", COLD, folder, here], capture_output=True, text=True, check=True)
    return round(float(found.stdout), 1)
