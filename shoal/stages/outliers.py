"""Frames whose animals look unlike the others: candidates for labelling."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from shoal.types import Poses


def find_outliers(poses: Poses, *, percentiles: tuple[float, float] = (5.0, 95.0)) -> Int64[ndarray, "n"]:
    """Frames with an animal whose bounding box is unusually small or large (DLC's find_outliers_in_raw_data).

    Args:
        poses: animals of a video.
        percentiles: of the areas of all animals; what lies beyond them is unusual.

    Returns:
        (n,) frame numbers, ascending.

    >>> find_outliers(Poses.empty((0, 5), 3)).tolist()
    []
    """
    low, high = np.where(np.isnan(poses.xy), np.inf, poses.xy), np.where(np.isnan(poses.xy), -np.inf, poses.xy)
    side = (high.max(axis=1, initial=-np.inf) - low.min(axis=1, initial=np.inf)).astype(np.float64)
    seen = np.isfinite(side).all(axis=1)
    if not seen.any():
        return np.zeros(0, np.int64)
    area = np.prod(np.where(seen[:, None], side, 0.0), axis=1)
    least, most = np.percentile(area[seen], percentiles, method="nearest")
    return np.unique(poses.frame[seen & ((area < least) | (area > most))])
