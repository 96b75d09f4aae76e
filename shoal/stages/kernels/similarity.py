"""How alike an expected animal and one that is seen are: the choices of ``AssociateConfig.similarity``.

``pose``, ``ellipse``, ``box`` and ``skeleton`` take the same arrays and give (T, N): 1 = the same, 0 = a whole
``length`` px apart, negative = further. The last three are DeepLabCut's measures (dlc_formats.md 6.6), with an answer
for animals of one or two keypoints, too: DLC's list of ellipses is shorter than its list of animals there, and the
wrong animal is written. Their arguments:

    a:      (T, 5) ellipses of the expected animals: centre x, y, width, height, angle; the last three NaN = unknown
    a_xy:   (T, K, 2) their keypoints, NaN = unknown
    b:      (N, 5) ellipses of the animals seen
    b_xy:   (N, K, 2) their keypoints, NaN = missing
    length: (T, N) px
    slack:  px added to every side of a box (DLC's ``boundingboxslack``)
"""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit

from shoal.stages.kernels import inner

SIDE = 0.25  # shortest side of a box, in lengths: a thin animal along an axis has a box without area
POSE, ELLIPSE, BOX, SKELETON = range(4)  # in the order of shoal.stages.associate.SIMILARITIES


@inner
def apart(x, y):
    """Length of a vector: ``np.hypot`` without its guard against overflow, which pixels do not need."""
    return np.sqrt(x * x + y * y)


@njit(cache=True, nogil=True, error_model="numpy")
def describe(xy):
    """Ellipse and size of each animal.

    The ellipse is the one whose second moments are the keypoints' (2 standard deviations): DLC's
    convention, width = 4 sqrt(larger eigenvalue of the covariance).

    Args:
        xy: (M, K, 2) keypoints, NaN = missing.

    Returns:
        (M, 5) centre x, y, width, height, angle (0 to pi), the last three NaN with fewer than 3 points;
        (M,) largest distance of two keypoints, NaN with fewer than 2.
    """
    n_animals, n_keypoints = xy.shape[:2]
    ellipse = np.empty((n_animals, 5))
    size = np.empty(n_animals)
    ellipse[:], size[:] = np.nan, np.nan
    for a in range(n_animals):
        n = 0
        x = y = 0.0
        for k in range(n_keypoints):
            if np.isfinite(xy[a, k, 0]) and np.isfinite(xy[a, k, 1]):
                n += 1
                x += xy[a, k, 0]
                y += xy[a, k, 1]
        if n == 0:
            continue
        x /= n
        y /= n
        ellipse[a, 0], ellipse[a, 1] = x, y
        if n < 2:
            continue
        xx = yy = both = widest = 0.0
        for k in range(n_keypoints):
            if not (np.isfinite(xy[a, k, 0]) and np.isfinite(xy[a, k, 1])):
                continue
            dx, dy = xy[a, k, 0] - x, xy[a, k, 1] - y
            xx += dx * dx
            yy += dy * dy
            both += dx * dy
            for m in range(k):
                distance = apart(xy[a, k, 0] - xy[a, m, 0], xy[a, k, 1] - xy[a, m, 1])
                if distance > widest:  # False for NaN
                    widest = distance
        if widest > 0:
            size[a] = widest
        if n < 3:
            continue
        xx, yy, both = xx / (n - 1), yy / (n - 1), both / (n - 1)
        middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, both)
        ellipse[a, 2] = 4 * np.sqrt(max(middle + spread, 0.0))
        ellipse[a, 3] = 4 * np.sqrt(max(middle - spread, 0.0))
        ellipse[a, 4] = (0.5 * np.arctan2(2 * both, xx - yy)) % np.pi
    return ellipse, size


@njit(cache=True, nogil=True, error_model="numpy")
def compare(kind, a, a_xy, b, b_xy, length, slack):
    """The similarity that ``kind`` names: ``POSE``, ``ELLIPSE``, ``BOX`` or ``SKELETON``."""
    if kind == ELLIPSE:
        return ellipse(a, a_xy, b, b_xy, length, slack)
    if kind == BOX:
        return box(a, a_xy, b, b_xy, length, slack)
    if kind == SKELETON:
        return skeleton(a, a_xy, b, b_xy, length, slack)
    return pose(a, a_xy, b, b_xy, length, slack)


@inner
def pose(a, a_xy, b, b_xy, length, slack):
    """1 - mean distance of the shared keypoints / length (of the centres if none is shared)."""
    value = np.empty((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            total, n = 0.0, 0
            for k in range(a_xy.shape[1]):
                distance = apart(a_xy[i, k, 0] - b_xy[j, k, 0], a_xy[i, k, 1] - b_xy[j, k, 1])
                if np.isfinite(distance):
                    total += distance
                    n += 1
            if n == 0:
                total, n = apart(a[i, 0] - b[j, 0], a[i, 1] - b[j, 1]), 1
            value[i, j] = 1 - total / n / length[i, j]
    return value


@inner
def ellipse(a, a_xy, b, b_xy, length, slack):
    """1 - centre distance / longest of the four axes, where positive times 0.8 + 0.2 |cos of the angle between|.

    The length stands for the axes where it is longer, that is after frames in which the animal was not seen, and
    where an animal has no ellipse.
    """
    value = np.empty((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            longest = length[i, j]
            for axis in (a[i, 2], a[i, 3], b[j, 2], b[j, 3]):
                if axis > longest:  # False for NaN
                    longest = axis
            value[i, j] = 1 - apart(a[i, 0] - b[j, 0], a[i, 1] - b[j, 1]) / longest
            turn = np.abs(np.cos(a[i, 4] - b[j, 4]))  # the same for angles half a turn apart: nothing to wrap
            if value[i, j] > 0 and np.isfinite(turn):
                value[i, j] *= 0.8 + 0.2 * turn
    return value


@inner
def box(a, a_xy, b, b_xy, length, slack):
    """Intersection over union of the boxes around the keypoints; apart, minus the distance between them / length."""
    value = np.empty((len(a), len(b)))
    shortest = np.inf
    for i in range(len(a)):
        for j in range(len(b)):
            shortest = min(shortest, length[i, j])
    if not np.isfinite(shortest):
        return value
    one, other = boxes(a, a_xy, slack, SIDE * shortest), boxes(b, b_xy, slack, SIDE * shortest)
    for i in range(len(a)):
        for j in range(len(b)):
            wide = min(one[i, 2], other[j, 2]) - max(one[i, 0], other[j, 0])
            high = min(one[i, 3], other[j, 3]) - max(one[i, 1], other[j, 1])
            if wide > 0 and high > 0:
                area = (one[i, 2] - one[i, 0]) * (one[i, 3] - one[i, 1])
                area += (other[j, 2] - other[j, 0]) * (other[j, 3] - other[j, 1])
                value[i, j] = wide * high / (area - wide * high)
            else:
                value[i, j] = -apart(max(-wide, 0.0), max(-high, 0.0)) / length[i, j]
    return value


@inner
def boxes(centre, xy, slack, shortest):
    """Box around each animal with ``slack``, sides at least ``shortest``; around the centre without a keypoint.

    Args:
        centre: (N, >= 2).
        xy: (N, K, 2) keypoints, NaN = missing.
        slack: px.
        shortest: px.

    Returns:
        (N, 4) low x, low y, high x, high y.
    """
    corner = np.empty((len(xy), 4))
    for i in range(len(xy)):
        for c in range(2):
            low, high = np.inf, -np.inf
            for k in range(xy.shape[1]):
                if np.isfinite(xy[i, k, c]):
                    low, high = min(low, xy[i, k, c]), max(high, xy[i, k, c])
            if low > high:
                low = high = centre[i, c]
            pad = max(slack, (shortest - (high - low)) / 2)
            corner[i, c], corner[i, 2 + c] = low - pad, high + pad
    return corner


@inner
def skeleton(a, a_xy, b, b_xy, length, slack):
    """1 - directed Hausdorff distance / length: how far the worst keypoint seen is from any expected one."""
    value = np.empty((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            worst = -1.0
            for k in range(b_xy.shape[1]):
                nearest = np.inf
                for m in range(a_xy.shape[1]):
                    distance = apart(a_xy[i, m, 0] - b_xy[j, k, 0], a_xy[i, m, 1] - b_xy[j, k, 1])
                    if distance < nearest:  # False for NaN
                        nearest = distance
                if np.isfinite(nearest) and nearest > worst:
                    worst = nearest
            if worst < 0:
                worst = apart(a[i, 0] - b[j, 0], a[i, 1] - b[j, 1])
            value[i, j] = 1 - worst / length[i, j]
    return value
