"""The best one-to-one pairing of rows and columns, and how clear it is."""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit

from shoal.stages.kernels import inner


@njit(cache=True, nogil=True, error_model="numpy")
def assign(likeness):
    """Column of each row in the assignment of largest total likeness.

    Shortest augmenting paths with dual variables, one row after the other (Jonker & Volgenant 1987 in the rectangular
    form of Crouse, IEEE TAES 2016). Among equal paths the first free column wins, columns counted from the right:
    the order in which ``scipy.optimize.linear_sum_assignment`` looks at them, so that ties fall as they do there.

    Args:
        likeness: (T, N) finite.

    Returns:
        (T,) column of each row, -1 = none (there are more rows than columns).

    >>> assign(np.array([[1.0, 0.9], [0.8, 0.1], [0.0, 0.0]])).tolist()
    [1, 0, -1]
    """
    n_rows, n_columns = likeness.shape
    column = np.empty(n_rows, np.int64)
    column[:] = -1
    turned = n_columns < n_rows
    n, m = (n_columns, n_rows) if turned else (n_rows, n_columns)
    cost = np.empty((n, m))
    for i in range(n):
        for j in range(m):
            cost[i, j] = -likeness[j, i] if turned else -likeness[i, j]
    mate, owner = np.empty(n, np.int64), np.empty(m, np.int64)
    here, there = np.empty(n), np.empty(m)  # dual variables
    mate[:], owner[:], here[:], there[:] = -1, -1, 0.0, 0.0
    for i in range(n):
        augment(cost, i, mate, owner, here, there)
    for i in range(n):
        if not turned:
            column[i] = mate[i]
        elif mate[i] >= 0:
            column[mate[i]] = i
    return column


@inner
def augment(cost, start, mate, owner, here, there):
    """Give row ``start`` a column by the shortest augmenting path; all arrays but ``cost`` are changed in place.

    Args:
        cost: (n, m), n <= m, finite.
        start: row without a column.
        mate: (n,) column of each row, -1 = none.
        owner: (m,) row of each column, -1 = none.
        here: (n,) dual variables of the rows.
        there: (m,) of the columns.
    """
    n_left = m = cost.shape[1]
    left, path, reached, length = np.empty(m, np.int64), np.empty(m, np.int64), np.empty(m, np.bool_), np.empty(m)
    for j in range(m):
        left[j], path[j], reached[j], length[j] = m - j - 1, -1, False, np.inf
    row, done, end = start, 0.0, -1
    while end < 0:
        best, lowest = -1, np.inf
        for k in range(n_left):
            j = left[k]
            to = done + cost[row, j] - here[row] - there[j]
            if to < length[j]:
                length[j], path[j] = to, row
            if length[j] < lowest or (length[j] == lowest and owner[j] < 0):
                lowest, best = length[j], k
        if lowest == np.inf:  # NaN everywhere
            return
        done, j = lowest, left[best]
        reached[j] = True
        n_left -= 1
        left[best] = left[n_left]
        row = owner[j]
        if row < 0:
            end = j
    here[start] += done
    for j in range(m):
        if reached[j]:
            if owner[j] >= 0:
                here[owner[j]] += done - length[j]
            there[j] -= done - length[j]
    while True:
        row = path[end]
        owner[end] = row
        mate[row], end = end, mate[row]
        if row == start:
            return


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
