"""Median distances between keypoints."""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def block_medians(xy, begin, size, pairs, least):
    """Median log distance of pairs of keypoints over blocks of rows.

    Args:
        xy: (m, K, 2) keypoints, NaN = missing.
        begin: (B,) first row of each block.
        size: (B,) its rows.
        pairs: (P, 2) keypoints.
        least: rows that a distance must be seen on, else it is NaN.

    Returns:
        (B, P) natural logarithms.
    """
    out = np.full((len(begin), len(pairs)), np.nan)
    longest = 1
    for b in range(len(size)):
        longest = max(longest, size[b])
    values = np.empty(longest)
    for b in range(len(begin)):
        for p in range(len(pairs)):
            n = 0
            for row in range(begin[b], begin[b] + size[b]):
                x = xy[row, pairs[p, 0], 0] - xy[row, pairs[p, 1], 0]
                y = xy[row, pairs[p, 0], 1] - xy[row, pairs[p, 1], 1]
                distance = np.hypot(x, y)
                if distance > 0:  # False for NaN
                    values[n] = distance
                    n += 1
            if n >= least:
                out[b, p] = np.log(np.median(values[:n]))
    return out
