"""Pictures of single animals, cut from frames: turned, straightened, their surroundings blanked."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray

BODY_SHARE = 0.8  # of a crop's width that the template fills
MARGIN, THIN_MARGIN = 0.05, 0.15  # of its length, around the keypoints; where they lie on a line
THIN = 0.1  # a template that is narrower than this share of its length lies on a line
CELL = 8  # px between the points of a crop whose places are known exactly; between them they are interpolated


def crop_points(template: Float64[ndarray, "K 2"], size: tuple[int, int]) -> Float64[ndarray, "P 2"]:
    """Points of a crop's grid in the coordinates of the template (``align.lay`` finds them in the frame)."""
    scale, half = _scale(template, size), np.array([size[1], size[0]]) / 2
    y, x = np.meshgrid(*(np.arange(n) * CELL + CELL / 2 for n in _cells(size)), indexing="ij")
    return (np.stack([x.ravel(), y.ravel()], axis=1) - half) / scale


def crop_mask(template: Float64[ndarray, "K 2"], size: tuple[int, int]) -> UInt8[ndarray, "h w 1"]:
    """1 inside the hull of the template and a margin, else 0: what of a crop is the animal."""
    scale = _scale(template, size)
    extent = np.ptp(template, axis=0)
    length = float(extent.max())
    margin = scale * length * (THIN_MARGIN if extent.min() < THIN * length else MARGIN)
    inside = np.zeros(size, np.uint8)
    hull = cv2.convexHull((template * scale + np.array([size[1], size[0]]) / 2 - 0.5).round().astype(np.int32))
    cv2.fillConvexPoly(inside, hull, 1)
    cv2.polylines(inside, [hull], True, 1, max(1, round(2 * margin)))
    return inside[..., None]


def cut_crops(
    image: UInt8[ndarray, "H W 3"], points: Float64[ndarray, "M P 2"], mask: UInt8[ndarray, "h w 1"]
) -> UInt8[ndarray, "M h w 3"]:
    """Cut animals out of one frame.

    Args:
        image: the frame.
        points: where each animal's crop grid lies in it, px.
        mask: from ``crop_mask``: the rest is 0, as is what lies outside the frame.
    """
    height, width = mask.shape[:2]
    cells = _cells((height, width))
    out = np.empty((len(points), height, width, 3), np.uint8)
    last = np.array([image.shape[1], image.shape[0]], np.float32)
    for row, grid in enumerate(points.astype(np.float32)):
        place = cv2.resize(grid.reshape(*cells, 2), (cells[1] * CELL, cells[0] * CELL), interpolation=cv2.INTER_LINEAR)
        place = place[:height, :width]
        inside = ((place >= 0) & (place <= last)).all(axis=2, keepdims=True)
        # cv2 puts a pixel's centre at its integer, here it is at .5
        x, y = place[..., 0] - 0.5, place[..., 1] - 0.5
        crop = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        out[row] = np.maximum(crop, 1) * (mask * inside)
    return out


def _scale(template: Float64[ndarray, "K 2"], size: tuple[int, int]) -> float:
    """Crop px per px of the template."""
    return BODY_SHARE * size[1] / float(np.ptp(template, axis=0).max())


def _cells(size: tuple[int, int]) -> tuple[int, int]:
    return -(-size[0] // CELL), -(-size[1] // CELL)
