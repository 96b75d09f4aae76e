"""What looks at the frames of a video: a network on its device, computed by the runtime that suits both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from shoal.config.run import RunConfig
from shoal.errors import ConfigError, ProjectError
from shoal.io.artifacts import file_digest
from shoal.io.dlc.project import read_project
from shoal.io.video import VideoInfo, read_frames
from shoal.run.folder import ModelCard
from shoal.types import Detections, FrameBatch, Poses

if TYPE_CHECKING:  # torch is imported when a network is loaded
    from shoal.models.checkpoint import LoadedModel

log = logging.getLogger(__name__)

CHECKED_FRAMES = 6
CALIBRATION_IMAGES = 24

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
    suit: Callable[[VideoInfo, str], Engine] | None = None

    def ready_for(self, info: VideoInfo, runtime: str = "") -> Engine:
        """This engine with the runtime chosen for (and checked on) a video.

        Args:
            info: the video.
            runtime: that of the chunks that are there already, e.g. ``openvino-bf16``; it stays where nobody asked for
                another one and it is installed, so that a run goes on alike elsewhere.

        Raises:
            ConfigError: the runtime asked for is not there, or its answers differ too much from the network's own.
        """
        return self.suit(info, runtime) if self.suit else self


def load_engine(model: Path, config: RunConfig) -> Engine:
    """A trained network on the device of ``config.compute``, ready for many videos.

    Args:
        model: ``best.pt``, ``last.pt``, the folder of a model, or DLC's snapshot.
        config: ``predict``, ``sample``, ``stitch.n_animals`` and ``compute`` are used.

    Raises:
        CheckpointError: missing, damaged, or it does not fit.
        ConfigError: a runtime or precision that is not there.
        ResourceError: no such device.
    """
    from shoal.models.checkpoint import load_model
    from shoal.models.device import describe, pick_device
    from shoal.models.runtime.choose import PRECISIONS, lacks, ways

    device = pick_device(config.compute)
    model = Path(model)
    loaded = load_model(model, device=device)
    if config.predict.input_scale:
        loaded.net.input_scale = config.predict.input_scale
    possible = ways(config.predict.runtime, config.predict.precision, device)
    name = loaded.scorer or (model.stem if model.is_dir() else model.resolve().parent.name)
    file = file_digest(model) if model.is_file() else ""
    card = ModelCard(name, loaded.sha, loaded.skeleton, loaded.edges, loaded.individuals, device.type, file=file)
    log.info("network %s on %s", name, describe(device))
    is_free = config.predict.runtime == config.predict.precision == "auto"
    known: dict[tuple[int, int, str], Engine] = {}

    def suit(info: VideoInfo, runtime: str) -> Engine:
        name, _, precision = runtime.partition("-")
        is_kept = is_free and name in PRECISIONS and precision in PRECISIONS[name] and not lacks(name, device)
        order = ((name, precision), *possible) if is_kept else possible
        key = (info.width, info.height, runtime if is_kept else "")
        if key not in known:
            known[key] = _suited(loaded, model, info, config=config, card=card, possible=order)
        return known[key]

    return Engine(card, _unsuited, loaded.config.model.is_dlc, suit=suit)


def _suited(
    model: LoadedModel,
    path: Path,
    info: VideoInfo,
    *,
    config: RunConfig,
    card: ModelCard,
    possible: Sequence[tuple[str, str]],
) -> Engine:
    """The engine for one video, with the runtime chosen and checked."""
    import torch

    from shoal.models.detect import detect
    from shoal.models.device import usable_cores
    from shoal.models.runtime.setup import Setup
    from shoal.models.runtime.suit import suit

    threads = config.compute.threads or usable_cores()

    def frames() -> list[FrameBatch]:
        return [cropped(batch, config.predict.crop) for batch in sample_frames(info, CHECKED_FRAMES)]

    def setup(precision: str) -> Setup:
        return Setup(precision, threads, lambda: _calibration_images(path, model) or [b.images[0] for b in frames()])

    x1, x2, y1, y2 = config.predict.crop or (0, info.width, 0, info.height)
    (runtime, precision), forward = suit(model, possible, config.predict, setup, frames, size=(x2 - x1, y2 - y1))
    card = replace(card, runtime=f"{runtime}-{precision}")
    workers = 1
    if runtime in ("openvino", "onnx"):  # frames side by side, one thread each, instead of threads within a frame
        workers = threads
        torch.set_num_threads(1)
    n_animals, feature_size = config.stitch.n_animals, config.sample.feature_size

    def look(batch: FrameBatch) -> tuple[Detections, Poses, ndarray]:
        part = cropped(batch, config.predict.crop)
        return detect(model, part, config.predict, forward=forward, n_animals=n_animals, feature_size=feature_size)

    return Engine(card, look, model.config.model.is_dlc, workers)


def sample_frames(info: VideoInfo, n: int) -> list[FrameBatch]:
    """Readable frames spread evenly over a video, each a batch of its own."""
    found: list[FrameBatch] = []
    for start in np.unique(np.linspace(0, info.n_frames, n, endpoint=False).astype(int)).tolist():
        batch = next(read_frames(info.path, start=start, stop=min(start + 16, info.n_frames), batch=1), None)
        if batch is not None:
            found.append(batch)
    return found


def _calibration_images(path: Path, model: LoadedModel) -> list[ndarray]:
    """Labelled images of the project that a model lies in, evenly chosen; none where there is no project."""
    from shoal.training.data import read_image

    for folder in path.resolve().parents:
        if (folder / "config.yaml").is_file():
            break
    else:
        return []
    try:
        labels = read_project(folder).labels
        chosen = np.unique(np.linspace(0, len(labels) - 1, CALIBRATION_IMAGES).astype(int)) if labels else []
        return [read_image(labels[int(row)].image) for row in chosen]
    except ProjectError as error:
        log.warning("int8 is calibrated on the video: %s", error.message.splitlines()[0])
        return []


def _unsuited(batch: FrameBatch) -> tuple[Detections, Poses, ndarray]:
    raise RuntimeError("Engine.ready_for comes first")


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
