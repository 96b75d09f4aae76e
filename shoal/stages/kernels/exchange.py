"""The best exchange of parts between two tracks."""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit

from shoal.stages.kernels.stitch import join_cost

TAIL, MOVE, SWAP, ALL = range(4)  # columns of losses: ends exchanged, a piece moved, two exchanged; all of them weighed
SOFT = 2.0  # nats by which an exchange must lose to count e times less
MOST = 20.0  # nats gained that count, at most: else the sum of all grows without bounds


@njit(cache=True, nogil=True, error_model="numpy")
def sums(path, looks):
    """(m + 1, D + 3) sums over the first 0 to m tracklets: weighted vectors, weights, the two squares."""
    look, weight = looks[0], looks[1]
    n = look.shape[1]
    out = np.zeros((len(path) + 1, n + 3))
    for at in range(len(path)):
        node = path[at]
        out[at + 1] = out[at]
        norm = 0.0
        for d in range(n):
            out[at + 1, d] += weight[node] * look[node, d]
            norm += look[node, d] ** 2
        out[at + 1, n] += weight[node]
        out[at + 1, n + 1] += weight[node] ** 2 * norm
        out[at + 1, n + 2] += weight[node] ** 2
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def likeness(total, odds):
    """What one track's tracklets say about being one animal, nats: mean over pairs times their number less one.

    Args:
        total: (D + 3,) a row of ``sums``, or a difference of such.
        odds: slope and offset.
    """
    n = len(total) - 3
    norm = 0.0
    for d in range(n):
        norm += total[d] * total[d]
    weight, lengths, squares = total[n], total[n + 1], total[n + 2]
    return (odds[0] * (norm - lengths) + odds[1] * (weight * weight - squares)) / max(weight, 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def step_cost(i, j, first, last, ends, max_gap, model):
    """Cost of one step of a path: -1 = its beginning or end; inf = impossible."""
    if i < 0 and j < 0:
        return 0.0
    if i < 0:
        return ends[j, 0]
    if j < 0:
        return ends[i, 1]
    gap = first[j] - last[i] - 1
    if gap < 0 or gap > max_gap:
        return np.inf
    return join_cost(i, j, gap, *model)


@njit(cache=True, nogil=True, error_model="numpy")
def node_at(path, at):
    """The node there, -1 before the first and after the last."""
    return path[at] if 0 <= at < len(path) else -1


@njit(cache=True, nogil=True, error_model="numpy")
def with_piece(path, i, i2, other, k, k2, first, last, ends, max_gap, model):
    """Steps at the two seams of ``path`` once its piece i to i2 is replaced by the other's k to k2."""
    before, after = node_at(path, i - 1), node_at(path, i2)
    if k2 == k:
        return step_cost(before, after, first, last, ends, max_gap, model)
    cost = step_cost(before, other[k], first, last, ends, max_gap, model)
    return cost + step_cost(other[k2 - 1], after, first, last, ends, max_gap, model)


@njit(cache=True, nogil=True, error_model="numpy")
def note(loss, at, kind, gain):
    """Take an exchange that undoes a step into that step's losses."""
    loss[at, kind] = min(loss[at, kind], -gain)
    loss[at, ALL] += np.exp(min(gain, MOST) / SOFT)


@njit(cache=True, nogil=True, error_model="numpy")
def best_exchange(a, b, first, last, ends, max_gap, reach, looks, model):
    """The exchange of parts of two tracks that gains most, and how dear it is to undo each step of theirs.

    Args:
        a: (m,) nodes of one track, in order of time.
        b: (n,) of the other.
        first: (C,) first frames of all nodes.
        last: (C,) last frames.
        ends: (C, 2) cost of starting and ending there.
        max_gap: longest gap in frames.
        reach: tracklets of either track that a piece taken from its middle may have.
        looks: (C, D) vectors, (C,) weights, (2,) odds of appearance.
        model: the arguments of ``join_cost`` from ``xy`` on.

    Returns:
        nats gained (<= 0: none gains); the pieces a[i:i2] and b[k:k2] to exchange as i, k, i2, k2; (m + 1, 4) and
        (n + 1, 4) of each step of ``a`` and of ``b`` the least loss by an exchange that undoes it, of each kind (inf =
        there is none), and the sum of exp(-loss / SOFT) over all of them.
    """
    m, n, odds = len(a), len(b), looks[2]
    of_a, of_b = sums(a, looks), sums(b, looks)
    base = likeness(of_a[m], odds) + likeness(of_b[n], odds)
    dear_a, dear_b = np.full((m + 1, 4), np.inf), np.full((n + 1, 4), np.inf)
    dear_a[:, ALL] = dear_b[:, ALL] = 0.0
    best, place = -np.inf, (0, 0, 0, 0)
    lowest = 0
    for i in range(m + 1):
        while lowest < n and i > 0 and first[b[lowest]] <= last[a[i - 1]]:
            lowest += 1
        for k in range(lowest, n + 1):
            if k > 0 and i < m and last[b[k - 1]] >= first[a[i]]:
                break
            for piece in range((reach + 2) ** 2):
                i2, k2 = i + piece // (reach + 2), k + piece % (reach + 2)
                to_ends = i2 > i + reach or k2 > k + reach  # one case stands for exchanging all that follows
                if to_ends:
                    if i2 <= i + reach or k2 <= k + reach:
                        continue
                    i2, k2 = m, n
                elif i2 > m or k2 > n or (i2 == m and k2 == n):
                    continue
                left_a, left_b = m - (i2 - i) + k2 - k, n - (k2 - k) + i2 - i
                if (i2 == i and k2 == k) or (i + k == 0 and to_ends) or left_a == 0 or left_b == 0:
                    continue
                if (k2 > 0 and i2 < m and last[b[k2 - 1]] >= first[a[i2]]) or (
                    i2 > 0 and k2 < n and last[a[i2 - 1]] >= first[b[k2]]
                ):
                    continue
                cost = with_piece(a, i, i2, a, i, i2, first, last, ends, max_gap, model)
                cost += with_piece(b, k, k2, b, k, k2, first, last, ends, max_gap, model)
                cost -= with_piece(a, i, i2, b, k, k2, first, last, ends, max_gap, model)
                cost -= with_piece(b, k, k2, a, i, i2, first, last, ends, max_gap, model)
                moved = of_b[k2] - of_b[k] - of_a[i2] + of_a[i]
                gain = cost + likeness(of_a[m] + moved, odds) + likeness(of_b[n] - moved, odds) - base
                if not np.isfinite(gain):
                    continue
                if gain > best:
                    best, place = gain, (i, k, i2, k2)
                kind = TAIL if to_ends else MOVE if i2 == i or k2 == k else SWAP
                at_front = i + k == 0  # what begins a track begins the other one then
                if not at_front or i2 == i:
                    note(dear_a, i, kind, gain)
                if not at_front or k2 == k:
                    note(dear_b, k, kind, gain)
                if not to_ends and i2 > i:
                    note(dear_a, i2, kind, gain)
                if not to_ends and k2 > k:
                    note(dear_b, k2, kind, gain)
    return best, place, dear_a, dear_b
