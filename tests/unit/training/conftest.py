"""Settings as a pytorch_config.yaml gives them, and images whose pixels say where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from shoal.config.run import RunConfig, load_config
from shoal.io.dlc.config_file import read_config
from shoal.io.dlc.project import write_config
from shoal.io.dlc.pytorch_config import make_pytorch_config, update_pytorch_config
from shoal.io.dlc.pytorch_settings import to_run_config
from shoal.training.data import TrainImage
from shoal.types import Skeleton

STILL = {
    "data.train.affine": None, "data.train.gaussian_noise": None, "data.train.motion_blur": False,
}  # fmt: skip
"""For DLC's file: nothing changes a crop."""


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., RunConfig]:
    """Dotted keys of a new pytorch_config.yaml -> shoal's settings: what the file says, all of it understood."""
    skeleton = Skeleton(("nose", "left", "right"), [[0, 1], [0, 2]])
    write_config(
        tmp_path / "config.yaml", task="p", scorer="me", date="Nov22", skeleton=skeleton, individuals=("a", "b"),
        videos={Path("/v.mp4"): (64, 48)}, identity=False,
    )  # fmt: skip
    base = load_config(overrides=["compute.device=cpu", "train.precision=float32"])

    def make(updates: dict | None = None, net_type: str = "resnet_50") -> RunConfig:
        content = make_pytorch_config(read_config(tmp_path), net_type)
        update_pytorch_config(content, STILL | (updates or {}))
        found, missing = to_run_config(content, base)
        assert missing == []
        return found

    return make


@pytest.fixture
def coordinates(tmp_path: Path) -> Callable[..., TrainImage]:
    """An image with red = x and green = y (up to 255), and the given (A, K, 2) labels."""

    def make(xy: object, width: int = 240, height: int = 200, blue: int = 9) -> TrainImage:
        y, x = np.mgrid[:height, :width]
        file = tmp_path / f"{width}x{height}-{blue}.npy"
        np.save(file, np.stack([x, y, np.full_like(x, blue)], -1).astype(np.uint8))
        animals = np.array(xy, np.float32)
        return TrainImage(file, animals, np.zeros((0, 2), np.float32), np.arange(len(animals)))

    return make


@pytest.fixture
def read_at() -> Callable[[torch.Tensor, torch.Tensor], np.ndarray]:
    """Bilinear reading of a (C, h, w) crop at (N, 2) px, corners at integers -> (N, C)."""

    def read(crop: torch.Tensor, xy: torch.Tensor) -> np.ndarray:
        size = torch.tensor([crop.shape[2], crop.shape[1]])
        grid = (xy / size * 2 - 1)[None, :, None]
        return torch.nn.functional.grid_sample(crop[None], grid, align_corners=False)[0, :, :, 0].T.numpy()

    return read
