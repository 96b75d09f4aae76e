"""Kalman filter of an ARMA model."""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit

DOUBLINGS = 60  # sums 2^60 terms: a root of 1 - 1e-12 needs 2^45


@njit(cache=True, nogil=True, error_model="numpy")
def weights(free, p, q):
    """Weights of a stationary, invertible model from numbers that may be anything.

    Free numbers become partial autocorrelations between -1 and 1, those become weights (Monahan, Biometrika 71, 1984).

    Args:
        free: (p + q,) numbers.
        p: autoregressive weights.
        q: moving-average weights.

    Returns:
        (r,) autoregressive weights, zeros at the end; (r,) moving-average ones, the first is 1; r = max(p, q + 1).
    """
    r = max(p, q + 1)
    out = np.zeros((2, r))
    for part in range(2):
        row, first, n = out[part], part * p, p if part == 0 else q
        for k in range(n):
            partial = free[first + k] / np.sqrt(1 + free[first + k] ** 2)
            before = row[:k].copy()
            for i in range(k):
                row[i] = before[i] - partial * before[k - 1 - i]
            row[k] = partial
    ma = np.zeros(r)
    ma[0] = 1.0
    for i in range(q):
        ma[i + 1] = -out[1, i]
    return out[0], ma


@njit(cache=True, nogil=True, error_model="numpy")
def stationary_spread(ar, ma):
    """(r, r) covariance of the state of ``one_step`` when nothing was seen yet, by summing and doubling."""
    r = len(ar)
    turn, spread = np.zeros((r, r)), np.outer(ma, ma)
    turn[:, 0] = ar
    for i in range(r - 1):
        turn[i, i + 1] = 1.0
    for _ in range(DOUBLINGS):
        spread = spread + turn @ spread @ turn.T
        turn = turn @ turn
        if np.abs(turn).max() < 1e-9:
            break
    return spread


@njit(cache=True, nogil=True, error_model="numpy")
def one_step(series, ar, ma, start):
    """What is expected of each value from those before it, and how likely the series is.

    The state is that of Harvey (Time Series Models, 1981): first the series, then what of it is known of later values.

    Args:
        series: (F,) values without a mean; NaN = missing, the expectation stands in.
        ar: (r,) autoregressive weights, zeros at the end.
        ma: (r,) moving-average weights of this and earlier errors, the first is 1.
        start: (r, r) covariance of the first state in units of the errors' variance.

    Returns:
        (F,) expectations; minus the log likelihood for the best variance of the errors, up to a constant.
    """
    r = len(ar)
    state, spread = np.zeros(r), start.copy()
    expected = np.empty(len(series))
    squares, logs, n = 0.0, 0.0, 0
    after, wide = np.empty(r), np.empty((r, r))
    for frame in range(len(series)):
        expected[frame] = state[0]
        if np.isfinite(series[frame]):
            error, variance = series[frame] - state[0], spread[0, 0]
            squares += error * error / variance
            logs += np.log(variance)
            n += 1
            for i in range(r):
                state[i] += spread[i, 0] / variance * error
            for i in range(r):
                after[i] = spread[i, 0]
            for i in range(r):
                for j in range(r):
                    spread[i, j] -= after[i] * after[j] / variance
        for i in range(r):
            after[i] = ar[i] * state[0] + (state[i + 1] if i + 1 < r else 0.0)
            for j in range(r):
                wide[i, j] = ar[i] * spread[0, j] + (spread[i + 1, j] if i + 1 < r else 0.0)
        for i in range(r):
            state[i] = after[i]
            for j in range(r):
                spread[i, j] = ar[j] * wide[i, 0] + (wide[i, j + 1] if j + 1 < r else 0.0) + ma[i] * ma[j]
    return expected, 0.5 * (n * np.log(squares / max(n, 1)) + logs)
