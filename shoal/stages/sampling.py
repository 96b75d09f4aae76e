"""Which animal rows' appearance is worth storing."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (numba and scipy come without types)

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from shoal.config.sample import SampleConfig
from shoal.types import Poses

VERSION = 1
PROJECTION_SEED = 20_251
"""Of the fixed random projection that shortens a network's features at the peaks."""


def space_name(sha: str, size: int) -> str:
    """Name of a feature space, by the network's weights, the projection and its size: others must not be compared."""
    return f"{sha[:16]}-p{PROJECTION_SEED}-{size}"


def worth_keeping(poses_of_frame: Poses, config: SampleConfig) -> Bool[ndarray, "M"]:
    """Choose rows to store, without history: every ``every``-th frame, and animals that cross.

    Args:
        poses_of_frame: the animals of one frame (or of several: frames do not influence each other).
        config: rate, quality, what near means.

    Returns:
        (M,) True where the row is worth storing.

    >>> worth_keeping(Poses.empty((0, 1), 3), SampleConfig()).shape
    (0,)
    """
    poses = poses_of_frame
    seen = np.isfinite(poses.xy[..., 0]) & np.isfinite(poses.xy[..., 1])
    n_seen = seen.sum(axis=1)
    total = np.where(seen, poses.confidence, 0.0).sum(axis=1)
    good = total >= config.min_confidence * np.maximum(n_seen, 1)
    return (n_seen > 0) & good & ((poses.frame % config.every == 0) | _is_near(poses, config.near))


def _is_near(poses: Poses, near: float) -> Bool[ndarray, "M"]:
    """Is another animal's centre within ``near`` body lengths (of the larger of the two)?"""
    xy = poses.xy.astype(np.float64)
    seen = np.isfinite(xy[..., 0]) & np.isfinite(xy[..., 1])
    n_seen = np.maximum(seen.sum(axis=1), 1)[:, None]
    centre = np.where(seen[..., None], xy, 0.0).sum(axis=1) / n_seen
    centre[seen.sum(axis=1) == 0] = np.nan
    length = _extent(xy, seen)
    is_near = np.zeros(len(poses), np.bool_)
    # rows of a frame adjoin, so comparing with the next row, the one after, ... meets every pair
    for shift in range(1, len(poses)):
        same = poses.frame[shift:] == poses.frame[:-shift]
        if not same.any():
            break
        distance = np.linalg.norm(centre[shift:] - centre[:-shift], axis=1)
        close = same & (distance <= near * np.maximum(length[shift:], length[:-shift]))
        is_near[shift:] |= close
        is_near[:-shift] |= close
    return is_near


def _extent(xy: Float64[ndarray, "M K 2"], seen: Bool[ndarray, "M K"]) -> Float64[ndarray, "M"]:
    """Diagonal of the box around each animal's keypoints, px."""
    low = np.where(seen[..., None], xy, np.inf).min(axis=1, initial=np.inf)
    high = np.where(seen[..., None], xy, -np.inf).max(axis=1, initial=-np.inf)
    size = np.where(np.isfinite(low), high - low, 0.0)
    return np.hypot(size[:, 0], size[:, 1])
