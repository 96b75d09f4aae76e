"""The runtime that suits a network and a video: chosen, and checked on the video's own frames at its first use."""

from __future__ import annotations

import importlib.metadata
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shoal.config.predict import PredictConfig
from shoal.errors import ConfigError
from shoal.models.checkpoint import LoadedModel
from shoal.models.detect import detect
from shoal.models.device import cpu_name
from shoal.models.runtime.choose import NEEDS, REFERENCE, Way, build
from shoal.models.runtime.parity import LEAST, Parity, compare, load_parity, save_parity
from shoal.models.runtime.setup import Forward, Setup, cached
from shoal.types import Detections, FrameBatch, concatenate

log = logging.getLogger(__name__)

VERSION = 2


def suit(
    model: LoadedModel,
    possible: Sequence[Way],
    config: PredictConfig,
    setup: Callable[[str], Setup],
    frames: Callable[[], Sequence[FrameBatch]],
    *,
    size: tuple[int, int],
) -> tuple[Way, Forward]:
    """The first of ``possible`` whose answers are the network's own.

    Args:
        model: the network.
        possible: ways to try, the best first.
        config: caps and thresholds.
        setup: precision -> how a runtime is built.
        frames: real frames, each a batch of one, as they will be looked at; read only if there are no figures yet.
        size: their (width, height).

    Returns:
        (runtime and precision, what computes the maps).

    Raises:
        ConfigError: none passes; the message has the figures.
    """
    problems: list[str] = []
    reference: list[Detections] = []
    sample: Sequence[FrameBatch] = ()
    for way in possible:
        forward = build(model, way, setup(way[1]))
        if way == REFERENCE:
            return way, forward
        file = _file(model, way, size)
        parity = load_parity(file)
        if parity is None:
            sample = sample or frames()
            if not reference:
                reference += _look(model, build(model, REFERENCE, setup("float32")), config, sample, "eager float32")
            try:
                other = _look(model, forward, config, sample, " ".join(way))
            except ConfigError as error:
                problems.append(f"{' '.join(way)}: {error.message.splitlines()[0]}")
                log.warning("not used: %s", problems[-1])
                continue
            parity = compare(concatenate(reference), concatenate(other))
            save_parity(file, parity)
        problem = parity.problem(way[1])
        if not problem:
            _say(way, parity)
            return way, forward
        problems.append(f"{' '.join(way)}: {problem}")
        log.warning("not used: %s", problems[-1])
    raise ConfigError(
        f"expected the network's own answers, got other ones: {'; '.join(problems)}\nwhere: predict.runtime",
        hint="--set predict.runtime=eager predict.precision=float32 is the reference; int8 suits well-trained networks",
    )


def _look(
    model: LoadedModel, forward: Forward, config: PredictConfig, frames: Sequence[FrameBatch], name: str
) -> list[Detections]:
    found: list[Detections] = []
    began = time.perf_counter()
    for number, batch in enumerate(frames):
        numbered = replace(batch, frame=np.array([number]))
        found.append(detect(model, numbered, config, forward=forward, feature_size=0)[0])
        if number == 0:  # which pays for compiling
            first, began = time.perf_counter() - began, time.perf_counter()
    if len(frames) > 1:
        each = (time.perf_counter() - began) / (len(frames) - 1)
        log.info("%s: %.0f ms a frame (the first %.1f s)", name, 1e3 * each, first)
    return found


def _say(way: Way, parity: Parity) -> None:
    name = " ".join(way)
    if parity.n < LEAST:
        log.warning("%s: %d confident keypoints in the frames looked at are too few to check it", name, parity.n)
        return
    log.info(
        "%s: %.3f px (median) and %.3f px (99 %%) from the network in float32, %.1f %% of %d keypoints lost",
        name, parity.median_px, parity.p99_px, 100 * parity.missing, parity.n,
    )  # fmt: skip


def _file(model: LoadedModel, way: Way, size: tuple[int, int]) -> Path:
    """Where the figures of a checkpoint in a runtime at a frame size are kept."""
    packages = [p for p in NEEDS.get(way[0], ()) if p in ("openvino", "onnxruntime")]
    versions = [importlib.metadata.version(p) for p in ("torch", *packages)]
    about = [str(VERSION), *versions, cpu_name(), f"{model.net.input_scale:.6g}"]
    return cached(model, "-".join(way), (size[1], size[0]), about, ending=".json")
