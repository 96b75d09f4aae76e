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

__all__ = ["kernels", "local_maxima", "read_at", "score_limbs"]  # importing the first sends numba's cache to the user's

N_SAMPLES = 10
"""Points along a limb at which its field is read (as DLC and OpenPose do)."""
MAX_AFFINITY = 6e4
"""Untrained networks give more; the column of Detections is float16."""


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


@njit("f4(f4[:, :], f4[:, :], f4, f4, f4, f4, f4, f4)", cache=True, nogil=True, error_model="numpy")
def _along(field_x, field_y, x, y, to_x, to_y, stride_x, stride_y):
    """Mean component of a field in the direction from (x, y) to (to_x, to_y), frame px, at ten points."""
    height, width = field_x.shape
    sum_x, sum_y = np.float32(0), np.float32(0)
    dx, dy = to_x - x, to_y - y
    for i in range(N_SAMPLES):
        share = np.float32(i) / np.float32(N_SAMPLES - 1)
        column = min(max(np.int64((x + dx * share) / stride_x), 0), width - 1)
        row = min(max(np.int64((y + dy * share) / stride_y), 0), height - 1)
        sum_x += field_x[row, column]
        sum_y += field_y[row, column]
    length = max(np.sqrt(dx * dx + dy * dy), np.float32(1e-6))
    value = (sum_x * dx + sum_y * dy) / (length * np.float32(N_SAMPLES))
    return value if abs(value) < np.inf else np.float32(0)


@njit(
    "Tuple((i8[:, :], f4[:]))(f4[:, :, :, :], f4[:, :], i8[:, :], i8[:, :], f4[:], f4, i8)",
    cache=True, nogil=True, error_model="numpy",
)  # fmt: skip
def score_limbs(fields, xy, first, edges, stride, lowest, most):
    """The ``most`` strongest limb candidates above ``lowest`` of each source peak and edge.

    fields (B, 2E, h, w); xy (P, 2) peaks by image and keypoint; first (B, K + 1) rows where each keypoint's peaks
    begin, and behind the last; edges (E, 2); stride (2,). Gives rows (image, edge, source row, target row) in that
    order, and affinities.
    """
    found, affinity = np.empty((1024, 4), np.int64), np.empty(1024, np.float32)
    value = np.empty(max(len(xy), 1), np.float32)
    n = 0
    for image in range(len(fields)):
        for edge in range(len(edges)):
            begin, end = first[image, edges[edge, 1]], first[image, edges[edge, 1] + 1]
            if n + (end - begin) * (1 + first[image, edges[edge, 0] + 1] - first[image, edges[edge, 0]]) > len(found):
                n_more = 2 * len(found) + (end - begin) * len(xy)
                larger, more = np.empty((n_more, 4), np.int64), np.empty(n_more, np.float32)
                larger[:n], more[:n] = found[:n], affinity[:n]
                found, affinity = larger, more
            field_x, field_y = fields[image, 2 * edge], fields[image, 2 * edge + 1]
            for source in range(first[image, edges[edge, 0]], first[image, edges[edge, 0] + 1]):
                x, y = xy[source, 0], xy[source, 1]
                for target in range(begin, end):
                    to_x, to_y = xy[target, 0], xy[target, 1]
                    strength = _along(field_x, field_y, x, y, to_x, to_y, stride[0], stride[1])
                    value[target] = min(strength, np.float32(MAX_AFFINITY))
                for target in range(begin, end):
                    if not value[target] > lowest:
                        continue
                    n_better = 0
                    for other in range(begin, end):
                        if value[other] > value[target] or (value[other] == value[target] and other < target):
                            n_better += 1
                    if n_better < most:
                        found[n, 0], found[n, 1], found[n, 2], found[n, 3] = image, edge, source, target
                        affinity[n] = value[target]
                        n += 1
    return found[:n], affinity[:n]


@njit("f4[:, :](f4[:, :, :, :], i8[:], f4[:, :], f4[:])", cache=True, nogil=True, error_model="numpy")
def read_at(level, image, xy, stride):
    """Values (P, C) of a map (B, h, w, C) at xy (P, 2), bilinear between cells of ``stride``, the border's beyond."""
    _, height, width, n_channels = level.shape
    out = np.empty((len(xy), n_channels), np.float32)
    for p in range(len(xy)):
        x = min(max(xy[p, 0] / stride[0] - np.float32(0.5), np.float32(0)), np.float32(width - 1))
        y = min(max(xy[p, 1] / stride[1] - np.float32(0.5), np.float32(0)), np.float32(height - 1))
        x0, y0 = np.int64(x), np.int64(y)
        x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
        fx, fy = x - np.float32(x0), y - np.float32(y0)
        plane = level[image[p]]
        for c in range(n_channels):
            top = plane[y0, x0, c] + fx * (plane[y0, x1, c] - plane[y0, x0, c])
            bottom = plane[y1, x0, c] + fx * (plane[y1, x1, c] - plane[y1, x0, c])
            out[p, c] = top + fy * (bottom - top)
    return out
