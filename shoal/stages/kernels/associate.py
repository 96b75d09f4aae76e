"""Geometry of association: shapes of animals, their distances, and how clear an assignment is."""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit


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
                distance = np.hypot(xy[a, k, 0] - xy[a, m, 0], xy[a, k, 1] - xy[a, m, 1])
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
def mean_distance(predicted, predicted_xy, observed, observed_xy):
    """Mean distance of the shared keypoints (of the centres if none is shared).

    Args:
        predicted: (T, 5) ellipses.
        predicted_xy: (T, K, 2) keypoints, NaN = never seen.
        observed: (N, 5) ellipses.
        observed_xy: (N, K, 2) keypoints, NaN = missing.

    Returns:
        (T, N) px.
    """
    mean = np.empty((len(predicted), len(observed)))
    for i in range(len(predicted)):
        for j in range(len(observed)):
            total, n = 0.0, 0
            for k in range(predicted_xy.shape[1]):
                distance = np.hypot(
                    predicted_xy[i, k, 0] - observed_xy[j, k, 0], predicted_xy[i, k, 1] - observed_xy[j, k, 1]
                )
                if np.isfinite(distance):
                    total += distance
                    n += 1
            if n == 0:
                total = np.hypot(predicted[i, 0] - observed[j, 0], predicted[i, 1] - observed[j, 1])
                n = 1
            mean[i, j] = total / n
    return mean


@njit(cache=True, nogil=True, error_model="numpy")
def margins(similarity, column):
    """How much total similarity each pair would lose in the best exchange with one other.

    Args:
        similarity: (T, N), floored: the value of leaving a pair unmatched is the floor.
        column: (T,) assigned column of each row, -1 = none.

    Returns:
        (T,) margin, inf for rows without a column and where there is no alternative;
        (T,) row that competes for the same column (-1 = none, the alternative is a free column).
    """
    n_rows, n_columns = similarity.shape
    margin = np.empty(n_rows)
    rival = np.empty(n_rows, np.int64)
    is_free = np.empty(n_columns, np.bool_)
    margin[:], rival[:], is_free[:] = np.inf, -1, True
    for i in range(n_rows):
        if column[i] >= 0:
            is_free[column[i]] = False
    for i in range(n_rows):
        a = column[i]
        if a < 0:
            continue
        for m in range(n_rows):
            if m == i:
                continue
            b = column[m]
            loss = similarity[i, a] - similarity[m, a]
            if b >= 0:
                loss += similarity[m, b] - similarity[i, b]
            if loss < margin[i]:
                margin[i], rival[i] = loss, m
        for b in range(n_columns):
            if is_free[b] and similarity[i, a] - similarity[i, b] < margin[i]:
                margin[i], rival[i] = similarity[i, a] - similarity[i, b], -1
    return margin, rival
