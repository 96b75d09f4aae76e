"""What looks at the frames of a video: a network on its device, computed by the runtime that suits both."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from shoal.config.run import RunConfig
from shoal.errors import ConfigError
from shoal.io.video import VideoInfo
from shoal.run.folder import ModelCard
from shoal.types import Detections, FrameBatch, Poses

log = logging.getLogger(__name__)

Detect = Callable[[FrameBatch], tuple[Detections, Poses, ndarray]]
"""Detections, unique keypoints and (P, D) features of the peaks of a batch."""


@dataclass(frozen=True, eq=False)
class Engine:
    """What looks at frames: a network on its device, and what its output means.

    Attributes:
        card: of the network.
        detect: looks at a batch; may be called by ``workers`` threads at once.
        is_dlc: whether the network has DLC's shape.
        workers: batches that are looked at side by side; results do not depend on it.
        suit: makes it ready for one video; None = it is ready for any.
    """

    card: ModelCard
    detect: Detect
    is_dlc: bool = False
    workers: int = 1
    suit: Callable[[VideoInfo], Engine] | None = None

    def ready_for(self, info: VideoInfo) -> Engine:
        """This engine with the runtime chosen for (and checked on) a video.

        Raises:
            ConfigError: the runtime asked for is not there, or its answers differ too much from the network's own.
        """
        return self.suit(info) if self.suit else self


def load_engine(model: Path, config: RunConfig) -> Engine:
    """A trained network on the device of ``config.compute``, ready for many videos.

    Args:
        model: ``best.pt``, ``last.pt``, the folder of a model, or DLC's snapshot.
        config: ``predict``, ``sample``, ``stitch.n_animals`` and ``compute`` are used.

    Raises:
        CheckpointError: missing, damaged, or it does not fit.
        ResourceError: no such device.
    """
    from shoal.models.checkpoint import load_model
    from shoal.models.detect import detect
    from shoal.models.device import describe, pick_device

    device = pick_device(config.compute)
    loaded = load_model(Path(model), device=device)
    name = loaded.scorer or (model.stem if model.is_dir() else model.resolve().parent.name)
    card = ModelCard(name, loaded.sha, loaded.skeleton, loaded.edges, loaded.individuals, device.type)
    log.info("network %s on %s", name, describe(device, config.predict.precision))
    n_animals, feature_size = config.stitch.n_animals, config.sample.feature_size

    def look(batch: FrameBatch) -> tuple[Detections, Poses, ndarray]:
        part = cropped(batch, config.predict.crop)
        return detect(loaded, part, config.predict, n_animals=n_animals, feature_size=feature_size)

    return Engine(card, look, loaded.config.model.is_dlc)


def cropped(batch: FrameBatch, crop: tuple[int, int, int, int] | None) -> FrameBatch:
    """The part of frames that is looked at; positions still come out in the whole frame.

    Raises:
        ConfigError: the part leaves the frame.
    """
    if crop is None:
        return batch
    x1, x2, y1, y2 = crop
    height, width = batch.images.shape[1:3]
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ConfigError(f"expected a crop x1, x2, y1, y2 within {width} x {height} px, got {list(crop)}")
    return FrameBatch(batch.frame, np.ascontiguousarray(batch.images[:, y1:y2, x1:x2]), np.array([x1, y1], np.float64))
