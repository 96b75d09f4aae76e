"""Settings that follow from the labels: zeros in the config become numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shoal.config.assemble import suit_dlc
from shoal.config.run import RunConfig
from shoal.errors import ProjectError
from shoal.io.dlc.images import image_size
from shoal.models.pose import shrunk_size
from shoal.types import LabeledFrame, body_length

WANTED_LENGTH_PX = 64.0
"""Body length at the network's scale; more costs time, less loses detail."""
MIN_CROPS = 12000
"""Crops that even the smallest project is trained on: zebrafish8_a's median error is 1.32 px after 8,000, 1.24 px after
12,000 (scripts/bench foundation --only B)."""
CROP_LENGTHS = 3.0
"""Side of a crop in body lengths: on the aquarium as good per crop as 4, at 0.6 of the time (bench/recipe.py)."""
CROP_STEP, CROP_MIN, CROP_MAX = 32, 128, 448


def resolve(config: RunConfig, labels: Sequence[LabeledFrame]) -> RunConfig:
    """The config with every automatic value filled in; what run.yaml shows.

    Args:
        config: as the user gave it.
        labels: frames that are trained on.

    Raises:
        ProjectError: whole images are asked for and one of them cannot be read.
    """
    length = label_length(labels)
    model, train = config.model, config.train
    is_dlc = model.is_dlc
    scale = model.input_scale or (1.0 if is_dlc or not np.isfinite(length) else _scale(length))
    stride = 4 if is_dlc else model.stride
    changed = {
        **_crop_sides(config, labels, scale, length),
        "learning_rate": train.learning_rate or (5e-4 if is_dlc else 2e-3),
        "heat_sigma_px": train.heat_sigma_px or (0.0 if is_dlc else 1.25 * stride),
        "limb_width_px": train.limb_width_px or 1.0 * stride,
        "crops_per_image": train.crops_per_image or max(1.0, MIN_CROPS / (train.epochs * max(len(labels), 1))),
    }
    return config.model_copy(
        update={
            "model": model.model_copy(update={"input_scale": scale}),
            "train": train.model_copy(update=changed),
            "assemble": suit_dlc(config.assemble) if is_dlc else config.assemble,
        }
    )


def label_length(labels: Sequence[LabeledFrame]) -> float:
    """Median body length of labelled animals, px; NaN if there are none."""
    return body_length(np.concatenate([label.xy for label in labels])) if labels else float("nan")


def _scale(length: float) -> float:
    """Steps of an eighth, so that a few labels more do not change the network's scale."""
    return float(np.clip(np.ceil(8 * WANTED_LENGTH_PX / length) / 8, 0.125, 1.0))


def _crop_sides(config: RunConfig, labels: Sequence[LabeledFrame], scale: float, length: float) -> dict[str, int]:
    train = config.train
    if train.crop_px:
        return {"crop_px": train.crop_px}
    if train.crop_method == "whole":
        height, width = np.max([shrunk_size(_size(label.image)[::-1], scale) for label in labels], axis=0).tolist()
        return {"crop_px": width, "crop_height_px": height}
    return {"crop_px": 448 if config.model.is_dlc else _crop(length * scale)}


def _size(image: Path) -> tuple[int, int]:
    try:
        return image_size(image)
    except ValueError as error:
        raise ProjectError(f"expected an image, got {error}\nwhere: {image}") from error


def _crop(length: float) -> int:
    """A multiple of ``CROP_STEP`` that holds some animals."""
    if not np.isfinite(length):
        return 256
    return int(np.clip(CROP_STEP * round(CROP_LENGTHS * length / CROP_STEP), CROP_MIN, CROP_MAX))
