"""What the labels say about the shape of an animal: squared distances of all pairs of keypoints.

DeepLabCut's "calibration" (dlc_formats.md 6.3): the distances' mean and covariance, the covariance shrunk by Scott's
factor as in a Gaussian kernel estimate. Distances do not depend on where an animal is or where it heads.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (scipy comes without types)

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Shaped
from numpy import ndarray
from scipy.special import chdtrc, ndtr

WHOLE = 0.9  # share of its coordinates that a labelled animal must have


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """Distances within one animal. D = K (K - 1) / 2 pairs in the order of ``pairs``.

    Attributes:
        pairs: (D, 2) keypoints, first < second.
        mean: (D,) squared distance, px^2.
        covariance: (D, D) of the labelled animals.
        shrink: Scott's factor squared, n^(-2 / (D + 4)): DLC multiplies the covariance by it.
    """

    pairs: ndarray
    mean: Float64[ndarray, "D"]
    covariance: Float64[ndarray, "D D"]
    shrink: float


def learn_shape(xy: Shaped[ndarray, "A K 2"]) -> ShapeModel | None:
    """Learn from labelled animals.

    Args:
        xy: positions in px, NaN = not labelled. Animals with less than 90 % of their coordinates are left out.

    Returns:
        None where there are too few animals (fewer than 3, or not one distance that varies).
    """
    xy = np.asarray(xy, np.float64)
    pairs = np.argwhere(np.triu(np.ones((xy.shape[1],) * 2, bool), 1))
    xy = xy[np.isfinite(xy).mean(axis=(1, 2)) >= WHOLE]
    square = _squares(xy, pairs)
    if len(square) < 3 or not len(pairs) or np.isnan(square).all(axis=0).any():
        return None
    mean = np.nanmean(square, axis=0)
    covariance = np.atleast_2d(np.cov(np.where(np.isnan(square), mean, square), rowvar=False))
    if not np.diag(covariance).any():
        return None
    return ShapeModel(pairs, mean, covariance, float(len(square) ** (-2 / (len(pairs) + 4))))


def _squares(xy: Shaped[ndarray, "A K 2"], pairs: ndarray) -> Float64[ndarray, "A D"]:
    return ((xy[:, pairs[:, 0]] - xy[:, pairs[:, 1]]) ** 2).sum(axis=2)


def shape_distance(model: ShapeModel, xy: Shaped[ndarray, "M K 2"]) -> tuple[ndarray, ndarray]:
    """How unusual the shape of each animal is.

    Returns:
        (M,) Mahalanobis distance over the pairs that it shows (by their own covariance; DLC takes a part of the
        whole inverse), scaled to all pairs, inf without a pair;
        (M,) probability that an animal's shape is at least as unusual (chi^2, as DLC has it), 0 without a pair.
    """
    square = _squares(np.asarray(xy, np.float64), model.pairs)
    seen = np.isfinite(square)
    off = np.where(seen, square - model.mean, 0.0)
    n = seen.sum(axis=1)
    spread = np.zeros(len(off))
    patterns, which = np.unique(seen, axis=0, return_inverse=True)
    for p, shown in enumerate(patterns):
        mine, pairs = np.flatnonzero(which.ravel() == p), np.flatnonzero(shown)
        precision = np.linalg.pinv(model.covariance[np.ix_(pairs, pairs)] * model.shrink, hermitian=True)
        spread[mine] = np.sqrt(np.maximum(((off[mine][:, pairs] @ precision) * off[mine][:, pairs]).sum(axis=1), 0.0))
    distance = np.where(n > 0, spread * len(model.mean) / np.maximum(n, 1), np.inf)
    return distance, np.where(n > 0, chdtrc(np.maximum(n, 1), distance), 0.0)


def limb_plausibility(model: ShapeModel, first: ndarray, second: ndarray, length_px: ndarray) -> Float64[ndarray, "N"]:
    """Probability that a limb of one animal is at least as far from its usual length.

    Two-sided normal tail of the squared length. (DLC divides by the variance where the standard deviation is meant,
    so that every limb is plausible there.)

    Args:
        model: of the labels.
        first: (N,) keypoint.
        second: (N,) the other keypoint.
        length_px: (N,) distance of the two peaks.
    """
    n_keypoints = int(model.pairs.max()) + 1
    at = np.zeros((n_keypoints, n_keypoints), np.int64)
    at[model.pairs[:, 0], model.pairs[:, 1]] = at[model.pairs[:, 1], model.pairs[:, 0]] = np.arange(len(model.pairs))
    pair = at[first, second]
    deviation = np.sqrt(np.maximum(np.diag(model.covariance)[pair], 1e-12))
    return 2 * (1 - ndtr(np.abs(length_px**2 - model.mean[pair]) / deviation))
