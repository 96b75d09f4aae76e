"""A stand-in for a network: animals are a red head and a green tail, found by thresholds.

Run as a program it analyzes a video, so that tests can kill it: blobs.py VIDEO DEST CHUNK DELAY
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

from shoal.config.run import load_config
from shoal.io.video import VideoWriter
from shoal.run.engine import Engine
from shoal.run.folder import ModelCard
from shoal.run.steps import analyze
from shoal.types import Detections, FrameBatch, Poses, Skeleton

WIDTH, HEIGHT = 160, 96
SKELETON = Skeleton(("head", "tail"), [[0, 1]], unique=("lamp",))


def positions(n_frames: int, n_animals: int, seed: int = 0) -> np.ndarray:
    """(F, A, 2 keypoints, 2): animals on circles, heads 14 px before tails."""
    t, a = np.arange(n_frames)[:, None], np.arange(n_animals)
    angle = 0.05 * t + 2 * np.pi * a / max(n_animals, 1) + seed
    centre = np.stack([80 + 56 * np.cos(angle), 48 + 32 * np.sin(angle)], -1)
    ahead = np.stack([-np.sin(angle), np.cos(angle)], -1)
    return np.stack([centre + 7 * ahead, centre - 7 * ahead], 2)


def make_video(path: Path, n_frames: int, n_animals: int = 3) -> Path:
    """Animals on grey; a white lamp in the corner that blinks every 50 frames."""
    where = positions(n_frames, n_animals)
    with VideoWriter(path, fps=25, preset="ultrafast", crf=8) as writer:
        for frame in range(n_frames):
            image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            for head, tail in where[frame]:
                cv2.circle(image, (int(head[0]), int(head[1])), 4, (230, 40, 40), -1)
                cv2.circle(image, (int(tail[0]), int(tail[1])), 4, (40, 210, 40), -1)
            if frame // 50 % 2 == 0:
                image[2:10, 2:10] = 255
            writer.write(image)
    return path


def detect(batch: FrameBatch) -> tuple[Detections, Poses, np.ndarray]:
    """One peak per red or green blob, limbs between all heads and tails nearer than 40 px."""
    peaks, limbs, lamps = [], [], []
    for frame, image in zip(batch.frame.tolist(), batch.images.astype(np.int16), strict=True):
        number, ends = 0, ([], [])
        masks = (image[..., 0] - image[..., 1] > 60, image[..., 1] - image[..., 0] > 60)
        for keypoint, mask in enumerate(masks):
            n, _, area, centre = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
            for i in range(1, n):
                if area[i, cv2.CC_STAT_AREA] > 6:
                    peaks.append((frame, number, keypoint, *(centre[i] + 0.5), 0.9))
                    ends[keypoint].append((number, centre[i]))
                    number += 1
        for source, a in ends[0]:
            for target, b in ends[1]:
                distance = float(np.hypot(*(a - b)))
                if distance < 40:
                    limbs.append((frame, 0, source, target, np.exp(-abs(distance - 14) / 10)))
        if image[2:10, 2:10].mean() > 200:
            lamps.append(frame)
    span = (int(batch.frame[0]), int(batch.frame[-1]) + 1)
    p, limb = np.array(peaks).reshape(-1, 6), np.array(limbs).reshape(-1, 5)
    detections = Detections(
        p[:, 0], p[:, 1], p[:, 2], p[:, 3:5], p[:, 5], limb[:, 0], limb[:, 1], limb[:, 2], limb[:, 3], limb[:, 4],
        np.zeros((len(p), 0)), span,
    )  # fmt: skip
    xy = np.full((len(lamps), 1, 2), 6.0)
    unique = Poses(lamps, np.zeros(len(lamps)), xy, np.ones((len(lamps), 1)), np.ones(len(lamps)), span)
    features = np.outer(p[:, 3] + p[:, 4], np.arange(1, 9)).astype(np.float16)
    return detections, unique, features


def engine(delay: float = 0.0) -> Engine:
    """The stand-in, slowed down by ``delay`` seconds per frame."""

    def slow(batch: FrameBatch) -> tuple[Detections, Poses, np.ndarray]:
        time.sleep(delay * len(batch.frame))
        return detect(batch)

    card = ModelCard("blobs", "0" * 64, SKELETON, SKELETON.edges, ("a", "b", "c"))
    return Engine(card, slow)


def config(*overrides: str):
    """Settings that suit two keypoints."""
    return load_config(
        overrides=["assemble.min_keypoints=2", "sample.feature_size=8", "compute.decode_workers=1", *overrides]
    )


if __name__ == "__main__":
    video, dest, chunk, delay = sys.argv[1:]
    settings = config(f"predict.chunk_frames={chunk}")
    analyze(Path(video), engine(float(delay)), config=settings, dest=Path(dest))
