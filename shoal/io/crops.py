"""Pictures of single animals, cut from frames: turned, moved, their surroundings blanked."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy import ndarray

BODY_SHARE = 0.8  # of a crop's width that the template fills
MARGIN, THIN_MARGIN = 0.05, 0.15  # of its length, around the keypoints; where they lie on a line
THIN = 0.1  # a template that is narrower than this share of its length lies on a line


def cut_crops(
    image: UInt8[ndarray, "H W 3"],
    xy: Float32[ndarray, "M K 2"],
    angle: Float64[ndarray, "M"],
    centre: Float64[ndarray, "M 2"],
    template: Float64[ndarray, "K 2"],
    size: tuple[int, int],
) -> UInt8[ndarray, "M h w 3"]:
    """Cut animals out of one frame.

    Args:
        image: the frame.
        xy: their keypoints, frame px, NaN = missing; what lies outside their convex hull (and a margin) is 0.
        angle: how the template is turned, ``align.place``.
        centre: where its origin lies.
        template: the usual body, px; its extent along x is ``BODY_SHARE`` of the crop's width.
        size: height and width of the crops.
    """
    height, width = size
    extent = np.ptp(template, axis=0)
    length = float(extent.max())
    scale = BODY_SHARE * width / length
    margin = scale * length * (THIN_MARGIN if extent.min() < THIN * length else MARGIN)
    out = np.zeros((len(xy), height, width, 3), np.uint8)
    # cv2 puts a pixel's centre at its integer, here it is at .5
    half = np.array([width / 2, height / 2]) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for row in range(len(xy)):
        cosine, sine = np.cos(angle[row]), np.sin(angle[row])
        turn = np.array([[cosine, -sine], [sine, cosine]])
        back = np.empty((2, 3))
        back[:, :2] = turn / scale
        back[:, 2] = centre[row] - 0.5 - back[:, :2] @ half
        crop = cv2.warpAffine(image, back, (width, height), flags=flags)
        points = (xy[row] - centre[row]) @ turn * scale + half
        hull = cv2.convexHull(points[np.isfinite(points[:, 0])].round().astype(np.int32))
        inside = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(inside, hull, 1)
        cv2.polylines(inside, [hull], True, 1, max(1, round(2 * margin)))
        corners = back[:, :2] @ np.array([[0, 0, width, width], [0, height, 0, height]]) + back[:, 2:]
        if corners.min() < 0 or (corners.max(axis=1) > (image.shape[1] - 1, image.shape[0] - 1)).any():
            inside *= cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), back, (width, height), flags=flags) == 255
        out[row] = np.maximum(crop, 1) * inside[..., None]
    return out
