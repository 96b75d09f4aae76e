"""Frames -> detections: network, decoding and features in one call."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float16
from numpy import ndarray
from torch import Tensor

from shoal.config.predict import PredictConfig
from shoal.models.checkpoint import LoadedModel
from shoal.models.decode import Limbs, Peaks, decode
from shoal.models.features import peak_features
from shoal.models.runtime.eager import eager
from shoal.models.runtime.setup import Forward, Setup
from shoal.types import Detections, FrameBatch, Poses, Span


@dataclass(frozen=True, eq=False)
class _Found:
    peaks: Peaks
    limbs: Limbs
    unique: Tensor
    features: Tensor


@torch.inference_mode()
def detect(
    model: LoadedModel,
    batch: FrameBatch,
    config: PredictConfig,
    *,
    forward: Forward | None = None,
    n_animals: int = 0,
    feature_size: int = 64,
) -> tuple[Detections, Poses, Float16[ndarray, "P D"]]:
    """Everything the network sees in a batch of frames.

    On the CPU frames go through the network one by one: it is as fast, and results are byte-equal for any batch
    size. On other devices the batch goes through at once, in halves if memory does not suffice.

    Args:
        model: the network.
        batch: frames with increasing numbers.
        config: caps and thresholds.
        forward: the runtime that computes the maps; None = torch itself in ``config.precision``.
        n_animals: sets the cap on peaks; 0 = the number of labelled individuals.
        feature_size: D; 0 = no features.

    Returns:
        (detections, unique keypoints as one item per frame with K = U, features (P, D) of the peaks in their order).
        The span covers the batch.
    """
    forward = forward or eager(model, Setup(config.precision))
    n_frames = len(batch.frame)
    span = (int(batch.frame[0]), int(batch.frame[-1]) + 1) if n_frames else (0, 0)
    n_animals = n_animals or len(model.individuals)
    parts: list[dict[str, ndarray]] = []
    size = 1 if model.device.type == "cpu" else max(n_frames, 1)
    start = 0
    while start < n_frames:
        try:
            found = _look(model, forward, batch.images[start : start + size], config, n_animals, feature_size)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size = (size + 1) // 2
            torch.cuda.empty_cache()
            continue
        parts.append(_columns(found, batch.frame[start : start + size]))
        start += size
    if not parts:
        unique = Poses.empty(span, len(model.skeleton.unique))
        return Detections.empty(span, model.info.n_named), unique, np.zeros((0, feature_size), np.float16)
    return _tables({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, batch, span)


def _look(
    model: LoadedModel, forward: Forward, images: ndarray, config: PredictConfig, n_animals: int, feature_size: int
) -> _Found:
    images = np.ascontiguousarray(images)  # held here for as long as the tensor shares its memory
    pixels = _shared(images).to(model.device)
    maps = forward(pixels)
    edges = torch.from_numpy(np.array(model.edges)).to(model.device)
    peaks, limbs, unique = decode(maps, edges, config=config, n_animals=n_animals)
    features = peak_features(maps, peaks.image, peaks.xy, size=feature_size) if feature_size else pixels.new_zeros(0, 0)
    return _Found(peaks, limbs, unique, features)


def _shared(images: ndarray) -> Tensor:
    """Contiguous pixels as a tensor on their memory, valid as long as they are; ``from_numpy`` minds read-only ones."""
    memory = (ctypes.c_uint8 * images.nbytes).from_address(images.ctypes.data)
    return torch.frombuffer(memory, dtype=torch.uint8).view(images.shape)


def _columns(found: _Found, frame: ndarray) -> dict[str, ndarray]:
    """What was found in frames ``frame``, off the device."""
    peaks, limbs = found.peaks, found.limbs
    columns = {
        "number": peaks.number, "keypoint": peaks.keypoint, "xy": peaks.xy, "confidence": peaks.confidence,
        "edge": limbs.edge, "source": limbs.source, "target": limbs.target, "affinity": limbs.affinity,
        "identity": peaks.identity, "unique": found.unique, "features": found.features,
    }  # fmt: skip
    of_frame = {"frame": frame[_numpy(peaks.image)], "limb_frame": frame[_numpy(limbs.image)], "looked_at": frame}
    return of_frame | {name: _numpy(column) for name, column in columns.items()}


def _tables(columns: dict[str, ndarray], batch: FrameBatch, span: Span) -> tuple[Detections, Poses, ndarray]:
    """The columns of a batch as tables over its span (frame numbers in it may have gaps)."""
    unique, features, frame = (columns.pop(name) for name in ("unique", "features", "looked_at"))
    xy = batch.to_frame_xy(columns.pop("xy"))
    detections = Detections(**columns, xy=xy, span=span)  # type: ignore[arg-type]
    rows = len(unique) if unique.shape[1] else 0
    confidence = unique[:rows, :, 2]
    score = confidence.mean(1) if rows else np.zeros(0)
    place = batch.to_frame_xy(unique[:rows, :, :2])
    return detections, Poses(frame[:rows], np.zeros(rows), place, confidence, score, span), features.astype(np.float16)


def _numpy(tensor: Tensor) -> ndarray:
    return tensor.cpu().numpy()
