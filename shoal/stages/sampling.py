"""Which animal rows' appearance is worth storing."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (numba and scipy come without types)

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from shoal.config.reid import ReidConfig
from shoal.config.sample import SampleConfig
from shoal.stages.align import place
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


def worth_a_crop(poses: Poses, template: Float64[ndarray, "K 2"], config: ReidConfig) -> Bool[ndarray, "M"]:
    """Rows that show an animal well: half its keypoints, hardly bent, nobody near; frames do not influence each other.

    Args:
        poses: all animals of some frames.
        template: the usual body, px (``align.template_of``).
        config: what bent and near mean.
    """
    xy = poses.xy.astype(np.float64)
    length = float(np.ptp(template, axis=0).max())
    n_seen = np.isfinite(xy).all(axis=2).sum(axis=1)
    good = n_seen >= max(2, (len(template) + 1) // 2)
    good &= place(xy, template).misfit < config.max_misfit * length
    return good & (_distance(poses) > config.clear * length)


def _distance(poses: Poses) -> Float64[ndarray, "M"]:
    """Of each animal's keypoints to the nearest one of another animal, px."""
    xy = poses.xy.astype(np.float64)
    nearest = np.full(len(poses), np.inf)
    for shift in range(1, len(poses)):  # rows of a frame adjoin, as in ``_is_near``
        same = np.flatnonzero(poses.frame[shift:] == poses.frame[:-shift])
        if not len(same):
            break
        for k in range(xy.shape[1]):
            apart = np.linalg.norm(xy[same + shift, k, None] - xy[same], axis=2)
            least = np.fmin.reduce(apart, axis=1, initial=np.inf)
            nearest[same + shift] = np.fmin(nearest[same + shift], least)
            nearest[same] = np.fmin(nearest[same], least)
    return nearest


def thin_out(track: Int64[ndarray, "M"], most: int) -> Bool[ndarray, "M"]:
    """At most so many rows: the same limit for every tracklet, and evenly spread over its rows.

    >>> thin_out(np.array([0, 0, 0, 0, 0, 1]), 4).tolist()
    [True, False, True, False, True, True]
    """
    _, own, n = np.unique(track, return_inverse=True, return_counts=True)
    low, high = 1, int(n.max(initial=1))  # the largest limit that keeps to ``most``
    while low < high:
        limit = (low + high + 1) // 2
        low, high = (limit, high) if np.minimum(n, limit).sum() <= most else (low, limit - 1)
    order = np.argsort(own, kind="stable")
    place_in = np.empty(len(track), np.int64)
    place_in[order] = np.arange(len(track)) - np.repeat(np.cumsum(n) - n, n)
    kept = np.minimum(n, low)[own]
    # row r of n is kept where r * (kept - 1) / (n - 1) passes a whole number: first and last always are
    step = np.maximum(n[own] - 1, 1)
    slot = place_in * np.maximum(kept - 1, 0) // step
    before = (place_in - 1) * np.maximum(kept - 1, 0) // step
    return (place_in == 0) | ((slot != before) & (kept > 1))


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
