"""A stand-in for a network and videos of any length for it: for measurements in which the network must not matter.

Ten fish of nine keypoints swim closed courses of ``PERIOD`` frames through each other; keypoints and whole animals are
missed now and then, the same in every round. What is "seen" depends on the frame's number only, never on its pixels.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from shoal.config.run import RunConfig, load_config
from shoal.io.video import VideoWriter
from shoal.run.engine import Detect, Engine
from shoal.run.folder import ModelCard
from shoal.types import Detections, FrameBatch, Poses, Skeleton

PERIOD = 250
ANIMALS, KEYPOINTS = 10, 9
SIZE = (64, 48)
EDGES = np.array([(k, k + 1) for k in range(KEYPOINTS - 1)] + [(0, 4), (4, 8), (2, 6)])
FEATURES = 64


def make_video(path: Path, n_frames: int) -> Path:
    """A small clip repeated by its packets: 100,000 frames in seconds.

    Raises:
        ValueError: not a whole number of rounds.
    """
    if n_frames % PERIOD:
        raise ValueError(f"expected a multiple of {PERIOD} frames, got {n_frames}")
    clip = path.with_name(f"clip-{path.name}")
    rng = np.random.default_rng(0)
    with VideoWriter(clip, fps=25, preset="ultrafast") as writer:
        ground = rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
        for frame in range(PERIOD):
            writer.write(np.roll(ground, frame, axis=1))
    with av.open(str(path), "w", format="mp4") as target:
        stream = None
        for turn in range(n_frames // PERIOD):
            with av.open(str(clip)) as source:
                given = source.streams.video[0]
                stream = stream or target.add_stream_from_template(given)
                shift = turn * round(PERIOD / 25 / given.time_base)
                for packet in source.demux(given):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    target.mux(packet)
    clip.unlink()
    return path


def make_engine() -> Engine:
    """The stand-in."""
    skeleton = Skeleton(tuple(f"keypoint{k}" for k in range(KEYPOINTS)), EDGES)
    card = ModelCard("stub", "0" * 64, skeleton, EDGES, tuple(f"fish{a + 1}" for a in range(ANIMALS)))
    return Engine(card, _detector())


def settings(*overrides: str) -> RunConfig:
    """Settings that suit the stand-in."""
    return load_config(overrides=["predict.batch_size=64", f"sample.feature_size={FEATURES}", *overrides])


def _detector() -> Detect:
    peaks, limbs = zip(*LOOKS, strict=True)
    space = np.random.default_rng(1).normal(size=(KEYPOINTS, FEATURES)).astype(np.float16)

    def detect(batch: FrameBatch) -> tuple[Detections, Poses, np.ndarray]:
        phase = (batch.frame % PERIOD).tolist()
        peak, limb = (np.concatenate([table[p] for p in phase]) for table in (peaks, limbs))
        frames, limb_frames = (
            np.repeat(batch.frame, [len(table[p]) for p in phase]) for table in (peaks, limbs)
        )  # fmt: skip
        span = (int(batch.frame[0]), int(batch.frame[-1]) + 1)
        detections = Detections(
            frames, peak[:, 0], peak[:, 1], peak[:, 2:4], peak[:, 4], limb_frames, limb[:, 0], limb[:, 1], limb[:, 2],
            limb[:, 3], np.zeros((len(peak), 0)), span,
        )  # fmt: skip
        return detections, Poses.empty(span, 0), space[peak[:, 1].astype(int)]

    return detect


def _look(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """(number, keypoint, x, y, confidence) of the peaks, (edge, source, target, affinity) of the limbs."""
    rng = np.random.default_rng(frame)
    xy = _positions(frame) + rng.normal(0, 0.4, (ANIMALS, KEYPOINTS, 2))
    seen = (rng.random((ANIMALS, KEYPOINTS)) > 0.03) & (rng.random((ANIMALS, 1)) > 0.01)
    keypoint, animal = np.nonzero(seen.T)
    order = np.lexsort((rng.random(len(keypoint)), keypoint))
    keypoint, animal = keypoint[order], animal[order]
    place = xy[animal, keypoint]
    number = np.arange(len(keypoint))
    peaks = np.column_stack([number, keypoint, place, rng.uniform(0.7, 1.0, len(keypoint))])
    limbs: list[tuple[float, ...]] = []
    for edge, (a, b) in enumerate(EDGES.tolist()):
        for source in number[keypoint == a]:
            for target in number[keypoint == b]:
                apart = float(np.hypot(*(place[source] - place[target])))
                if apart < 45:
                    own = animal[source] == animal[target]
                    limbs.append((edge, source, target, (0.9 if own else 0.35) * rng.uniform(0.9, 1.0)))
    return peaks, np.array(limbs).reshape(-1, 4)


def _positions(frame: int) -> np.ndarray:
    """(animals, keypoints, 2): bodies bent along closed courses."""
    a = np.arange(ANIMALS)[:, None]
    t = 2 * np.pi * (frame - 0.35 * np.arange(KEYPOINTS)) / PERIOD  # every keypoint follows the one before it
    x = 320 + (120 + 17 * a) * np.cos((1 + a % 3) * t + 2.1 * a)
    y = 240 + (60 + 15 * a) * np.sin((2 - a % 2) * t + 1.3 * a)
    return np.stack([x, y], axis=-1)


LOOKS = [_look(frame) for frame in range(PERIOD)]
"""Made at import, so that processes which are forked share it."""
