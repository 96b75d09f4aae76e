"""Kalman filter and smoother of single keypoints, and bodies whose distances are kept within limits.

State of a keypoint, the same for x and y, which share covariances: position, velocity, and the error of the network
that stays from frame to frame (AR(1)). Smoothing is Bierman's (1973): it needs no inverse of a covariance.
"""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def smooth_points(y, variance, begin, acceleration, lasting, memory, first_speed):
    """Smoothed positions of one keypoint, many pieces of track one after the other.

    Args:
        y: (N, 2) positions, NaN = missing.
        variance: (N,) of the error that does not last.
        begin: (P + 1,) first row of each piece, and N.
        acceleration: variance of the velocity's change per frame.
        lasting: variance of the error that lasts.
        memory: its correlation from frame to frame.
        first_speed: standard deviation of a piece's first velocity.

    Returns:
        (N, 2) positions (NaN in pieces without any), (N,) standard deviations per axis; of each position that was
        seen (NaN elsewhere) its squared distance from what the frames before made expected, and the variance of that.
    """
    n = len(y)
    out, sd = np.empty((n, 2)), np.empty(n)
    surprise, expected = np.empty(n), np.empty(n)
    surprise[:], expected[:] = np.nan, np.nan
    longest = 0
    for piece in range(len(begin) - 1):
        longest = max(longest, begin[piece + 1] - begin[piece])
    x, p = np.empty((longest, 3, 2)), np.empty((longest, 3, 3))
    gain, scale, error = np.empty((longest, 3)), np.empty(longest), np.empty((longest, 2))
    a, b, m = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    left, right = np.empty((3, 2)), np.empty((3, 2))
    noise = lasting * (1 - memory * memory)
    for piece in range(len(begin) - 1):
        low, high = begin[piece], begin[piece + 1]
        first = low
        while first < high and not np.isfinite(y[first, 0]):
            first += 1
        if first == high:
            out[low:high], sd[low:high] = np.nan, np.nan
            continue
        for i in range(3):
            for j in range(3):
                a[i, j] = 0.0
            for c in range(2):
                left[i, c] = 0.0
        far = first_speed * (first - low + 1)
        a[0, 0], a[1, 1], a[2, 2] = 1e4 * (lasting + variance[first]) + far * far, first_speed * first_speed, lasting
        for c in range(2):
            left[0, c] = y[first, c]
        for t in range(high - low):  # forward: x, p before the frame is seen
            for i in range(3):
                for c in range(2):
                    x[t, i, c] = left[i, c]
                for j in range(3):
                    p[t, i, j] = a[i, j]
            row = low + t
            scale[t] = 0.0
            if np.isfinite(y[row, 0]):
                s = a[0, 0] + 2 * a[0, 2] + a[2, 2] + variance[row]
                scale[t] = s
                square = 0.0
                for c in range(2):
                    error[t, c] = y[row, c] - left[0, c] - left[2, c]
                    square += error[t, c] * error[t, c]
                if row > first:
                    surprise[row], expected[row] = square, s
                for i in range(3):
                    gain[t, i] = (a[i, 0] + a[i, 2]) / s
                for i in range(3):
                    for c in range(2):
                        left[i, c] += gain[t, i] * error[t, c]
                for i in range(3):
                    for j in range(3):
                        b[i, j] = a[i, j] - gain[t, i] * (a[0, j] + a[2, j])
                for i in range(3):
                    for j in range(3):
                        a[i, j] = 0.5 * (b[i, j] + b[j, i])
            for c in range(2):
                left[0, c] += left[1, c]
                left[2, c] *= memory
            a[0, 0] += 2 * a[0, 1] + a[1, 1] + acceleration / 3
            a[0, 1] += a[1, 1] + acceleration / 2
            a[1, 1] += acceleration
            a[0, 2] = memory * (a[0, 2] + a[1, 2])
            a[1, 2] *= memory
            a[2, 2] = memory * memory * a[2, 2] + noise
            a[1, 0], a[2, 0], a[2, 1] = a[0, 1], a[0, 2], a[1, 2]
        for i in range(3):
            for j in range(3):
                a[i, j] = 0.0
            for c in range(2):
                left[i, c] = 0.0
        for t in range(high - low - 1, -1, -1):  # backward: adjoint a, left
            row = low + t
            if scale[t] > 0:
                for i in range(3):  # m = I - gain H
                    for j in range(3):
                        m[i, j] = (1.0 if i == j else 0.0) - (gain[t, i] if j != 1 else 0.0)
                for i in range(3):
                    for j in range(3):
                        b[i, j] = 0.0
                        for k in range(3):
                            b[i, j] += a[i, k] * m[k, j]
                for i in range(3):
                    for j in range(3):
                        a[i, j] = 1.0 / scale[t] if i != 1 and j != 1 else 0.0
                        for k in range(3):
                            a[i, j] += m[k, i] * b[k, j]
                    for c in range(2):
                        right[i, c] = -error[t, c] / scale[t] if i != 1 else 0.0
                        for k in range(3):
                            right[i, c] += m[k, i] * left[k, c]
                for i in range(3):
                    for c in range(2):
                        left[i, c] = right[i, c]
            shrink = 0.0
            for i in range(3):
                for j in range(3):
                    shrink += p[t, 0, i] * a[i, j] * p[t, j, 0]
            sd[row] = np.sqrt(max(p[t, 0, 0] - shrink, 0.0))
            for c in range(2):
                out[row, c] = x[t, 0, c]
                for i in range(3):
                    out[row, c] -= p[t, 0, i] * left[i, c]
            # through the step before: transpose of the transition
            for c in range(2):
                left[1, c] += left[0, c]
                left[2, c] *= memory
            for j in range(3):
                a[1, j] += a[0, j]
                a[2, j] *= memory
            for i in range(3):
                a[i, 1] += a[i, 0]
                a[i, 2] *= memory
    return out, sd, surprise, expected


@njit(cache=True, nogil=True, error_model="numpy")
def keep_distances(xy, sd, rows, shortest, longest, rounds):
    """Move uncertain keypoints so that distances within a body stay within limits, in place.

    Each pair out of its limits is moved apart or together, the less certain of the two more (Jakobsen 2001: constraints
    projected one after the other, a few rounds).

    Args:
        xy: (N, K, 2) positions, NaN = missing.
        sd: (N, K) standard deviations.
        rows: rows to look at.
        shortest: (K, K) limits.
        longest: (K, K) limits.
        rounds: how often all pairs are gone through.
    """
    k = xy.shape[1]
    for row in rows:
        for _ in range(rounds):
            for a in range(k):
                for b in range(a):
                    dx, dy = xy[row, b, 0] - xy[row, a, 0], xy[row, b, 1] - xy[row, a, 1]
                    d = np.sqrt(dx * dx + dy * dy)
                    if not np.isfinite(d) or d < 1e-9:
                        continue
                    wanted = min(max(d, shortest[a, b]), longest[a, b])
                    if wanted == d:
                        continue
                    wa, wb = sd[row, a] * sd[row, a], sd[row, b] * sd[row, b]
                    part = (d - wanted) / d / max(wa + wb, 1e-12)
                    for c, step in ((0, dx), (1, dy)):
                        xy[row, a, c] += wa * part * step
                        xy[row, b, c] -= wb * part * step
