"""Loops over the cells of maps in main memory (numba): what torch needs many passes for. Other devices keep to torch.

Signatures are written out: maps of any layout are one type, so there is one thing to compile.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false
# (numba infers the types of kernels itself)
from __future__ import annotations

import numpy as np
from numba import njit

from shoal.stages import kernels

__all__ = ["kernels", "local_maxima"]  # importing the former sends numba's cache to the user's


@njit("i8[:, :](f4[:, :, :, :], i8, f4)", cache=True, nogil=True, error_model="numpy")
def local_maxima(heat, radius, lowest):
    """Cells above all others of their window and not below ``lowest`` > 0; of equal ones the first in reading order.

    heat (B, K, h, w); what is not finite counts as 0. Gives rows (image, keypoint, y, x) in that order.
    """
    n_images, n_keypoints, height, width = heat.shape
    found = np.empty((1024, 4), np.int64)
    n = 0
    for image in range(n_images):
        for keypoint in range(n_keypoints):
            plane = heat[image, keypoint]
            for y in range(height):
                for x in range(width):
                    value = plane[y, x]
                    if not (lowest <= value < np.inf):
                        continue
                    is_peak = True
                    for yy in range(max(y - radius, 0), min(y + radius + 1, height)):
                        for xx in range(max(x - radius, 0), min(x + radius + 1, width)):
                            other = plane[yy, xx]
                            is_before = yy < y or (yy == y and xx < x)
                            if other < np.inf and (other > value or (is_before and other == value)):
                                is_peak = False
                                break
                        if not is_peak:
                            break
                    if is_peak:
                        if n == len(found):
                            larger = np.empty((2 * n, 4), np.int64)
                            larger[:n] = found
                            found = larger
                        found[n, 0], found[n, 1], found[n, 2], found[n, 3] = image, keypoint, y, x
                        n += 1
    return found[:n]
