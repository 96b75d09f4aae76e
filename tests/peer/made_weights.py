"""Weights and pictures that two programs can make without exchanging files: numbers from each tensor's name.

Numpy only: DeepLabCut's Python imports this file too.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np

NETS = (
    "resnet_50", "resnet_101", "dlcrnet_stride16_ms5", "dlcrnet_stride32_ms5", "hrnet_w18", "hrnet_w32", "hrnet_w48",
)  # fmt: skip
KEYPOINTS, UNIQUE, INDIVIDUALS = ("nose", "left", "right", "tail"), ("corner", "food"), ("a", "b", "c")
HEIGHT, WIDTH = 96, 160
N_SAMPLES = 40
TOLERANCE = 1e-4  # of a map's range
MAPS = {
    "bodypart.heatmap": "heat",
    "bodypart.locref": "locref",
    "bodypart.paf": "limbs",
    "unique_bodypart.heatmap": "unique",
    "unique_bodypart.locref": "unique_locref",
    "identity.heatmap": "identity",
}
"""Of DeepLabCut's heads -> of ``PoseMaps``."""


def made_weight(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A tensor of a state dict: scaled as usual, with norm statistics far from their start."""
    random = np.random.default_rng([seed, crc32(name.encode())])
    if name.endswith("num_batches_tracked"):
        return np.array(7, np.int64)
    low, high = -0.2, 0.2
    if name.endswith("running_var"):
        low, high = 0.5, 1.5
    elif len(shape) == 1 and name.endswith("weight"):
        low, high = 0.2, 0.8
    elif len(shape) > 1:
        high = (6 / (max(shape[:2]) * np.prod(shape[2:]))) ** 0.5
        low = -high
    return (random.random(shape, np.float32) * np.float32(high - low) + np.float32(low)).astype(np.float32)


def made_images() -> np.ndarray:
    """(2, H, W, 3) uint8: blobs on a slope, so that maps are no noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    random = np.random.default_rng(5)
    images = np.stack([x, y, x + y], -1)[None].repeat(2, 0) * 0.6
    for image in images:
        for _ in range(12):
            centre, tone = random.uniform([0, 0], [WIDTH, HEIGHT]), random.uniform(-120, 120, 3)
            near = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * random.uniform(3, 12) ** 2))
            image += near[..., None] * tone
    return images.clip(0, 255).astype(np.uint8)


def normalised(images: np.ndarray) -> np.ndarray:
    """(B, 3, H, W) float32 as DLC's networks take it."""
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    return ((images.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2).copy()


def samples(values: np.ndarray) -> np.ndarray:
    """Some values of a map, spread over it."""
    flat = values.ravel()
    return flat[np.linspace(0, flat.size - 1, N_SAMPLES).astype(int)]
