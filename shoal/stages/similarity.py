"""How alike an expected animal and one that is seen are: the choices of ``AssociateConfig.similarity``.

Each takes (expected, seen, length) and gives (T, N): 1 = the same, 0 = a whole ``length`` px apart, negative =
further. ``ellipse``, ``box`` and ``skeleton`` are DeepLabCut's measures (dlc_formats.md 6.6), with an answer for
animals of one or two keypoints, too: DLC's list of ellipses is shorter than its list of animals there, and the
wrong animal is written.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (numba comes without types)

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

SIDE = 0.25  # shortest side of a box, in lengths: a thin animal along an axis has a box without area


@dataclass
class Shapes:
    """N animals of one frame.

    Attributes:
        ellipse: (N, 5) centre x, y, width, height, angle; the last three NaN with fewer than 3 keypoints.
        xy: (N, K, 2) keypoints, NaN = missing.
        slack: px added to every side of a box (DLC's ``boundingboxslack``).
    """

    ellipse: Float64[ndarray, "N 5"]
    xy: Float64[ndarray, "N K 2"]
    slack: float = 0.0


def pose(expected: Shapes, seen: Shapes, length: Float64[ndarray, "T N"]) -> Float64[ndarray, "T N"]:
    """1 - mean distance of the shared keypoints / length (of the centres if none is shared)."""
    from shoal.stages.kernels.associate import mean_distance

    return 1 - mean_distance(expected.ellipse, expected.xy, seen.ellipse, seen.xy) / length


def ellipse(expected: Shapes, seen: Shapes, length: Float64[ndarray, "T N"]) -> Float64[ndarray, "T N"]:
    """1 - centre distance / longest of the four axes, where positive times 0.8 + 0.2 |cos of the angle between|.

    The length stands for the axes where it is longer, that is after frames in which the animal was not seen, and
    where an animal has no ellipse.
    """
    a, b = expected.ellipse[:, None], seen.ellipse[None]
    axis = np.fmax(np.fmax(a[..., 2], a[..., 3]), np.fmax(b[..., 2], b[..., 3]))
    value = 1 - _centre_distance(expected, seen) / np.fmax(axis, length)
    angle = np.abs(np.cos(a[..., 4] - b[..., 4]))  # the same for angles half a turn apart: nothing to wrap
    return np.where((value > 0) & np.isfinite(angle), value * (0.8 + 0.2 * angle), value)


def box(expected: Shapes, seen: Shapes, length: Float64[ndarray, "T N"]) -> Float64[ndarray, "T N"]:
    """Intersection over union of the boxes around the keypoints; apart, minus the distance between them / length."""
    shortest = SIDE * float(length.min(initial=np.inf)) if length.size else 0.0
    low_a, high_a = boxes(expected, shortest)
    low_b, high_b = boxes(seen, shortest)
    low, high = np.maximum(low_a[:, None], low_b), np.minimum(high_a[:, None], high_b)
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    area_a, area_b = np.prod(high_a - low_a, axis=1), np.prod(high_b - low_b, axis=1)
    apart = np.hypot(*np.moveaxis(np.maximum(low - high, 0), 2, 0))
    union = area_a[:, None] + area_b - shared
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return np.where(shared > 0, overlap, -apart / length)


def boxes(shapes: Shapes, shortest: float = 0.0) -> tuple[Float64[ndarray, "N 2"], Float64[ndarray, "N 2"]]:
    """Low and high corner of each animal's box with ``slack``; sides at least ``shortest``.

    >>> low, high = boxes(Shapes(np.zeros((1, 5)), np.zeros((1, 1, 2)), slack=10.0))
    >>> low.tolist(), high.tolist()
    ([[-10.0, -10.0]], [[10.0, 10.0]])
    """
    low = np.where(np.isnan(shapes.xy), np.inf, shapes.xy).min(axis=1, initial=np.inf)
    high = np.where(np.isnan(shapes.xy), -np.inf, shapes.xy).max(axis=1, initial=-np.inf)
    known = np.isfinite(low)
    low, high = np.where(known, low, shapes.ellipse[:, :2]), np.where(known, high, shapes.ellipse[:, :2])
    pad = np.maximum(shapes.slack, (shortest - (high - low)) / 2)
    return low - pad, high + pad


def skeleton(expected: Shapes, seen: Shapes, length: Float64[ndarray, "T N"]) -> Float64[ndarray, "T N"]:
    """1 - directed Hausdorff distance / length: how far the worst keypoint seen is from any expected one."""
    apart = np.hypot(*np.moveaxis(expected.xy[:, None, :, None] - seen.xy[None, :, None], -1, 0))  # (T, N, K, K)
    nearest = np.where(np.isnan(apart), np.inf, apart).min(axis=2, initial=np.inf)
    worst = np.where(np.isinf(nearest), -np.inf, nearest).max(axis=2, initial=-np.inf)
    return 1 - np.where(np.isfinite(worst), worst, _centre_distance(expected, seen)) / length


def _centre_distance(expected: Shapes, seen: Shapes) -> Float64[ndarray, "T N"]:
    x = expected.ellipse[:, None, 0] - seen.ellipse[:, 0]
    return np.hypot(x, expected.ellipse[:, None, 1] - seen.ellipse[:, 1])
