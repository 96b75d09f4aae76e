"""Which peaks of one frame belong together: links weighed, groups contracted, keypoints exchanged.

First each limb type on its own: the assignment of largest total weight (Hungarian method) says which
candidates contradict better ones; those count less. Then all limbs together:
greedy additive edge contraction (Keuper et al., ICCV 2015, section 4): the two groups with the largest
summed link weight merge, their links to every other group add up, until no sum is positive. Two
groups that share a keypoint type never merge: their weight is minus infinity, which sums keep. Last, groups exchange
keypoints while the sum of weights inside them grows (Kernighan-Lin).
"""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit

ROUNDS = 4
"""Of exchanges between groups; nearly always the second finds nothing left to do."""


@njit(cache=True, nogil=True, error_model="numpy")
def contract(weight):
    """Merge nodes until no summed weight is positive.

    Args:
        weight: (n, n) symmetric link weights, destroyed; -inf = never in one group.

    Returns:
        (n,) representative (smallest member) of each node's group.
    """
    n = len(weight)
    parent = np.empty(n, np.int64)
    alive = np.empty(n, np.bool_)
    best = np.empty(n, np.int64)
    best_weight = np.empty(n)
    for i in range(n):
        parent[i], alive[i] = i, True
        best[i], best_weight[i] = -1, -np.inf
        for j in range(n):
            if j != i and weight[i, j] > best_weight[i]:
                best[i], best_weight[i] = j, weight[i, j]
    while True:
        i, top = -1, 0.0
        for k in range(n):
            if alive[k] and best_weight[k] > top:
                i, top = k, best_weight[k]
        if i < 0:
            break
        j = best[i]
        if j < i:
            i, j = j, i
        parent[j] = i
        alive[j] = False
        best[i], best_weight[i] = -1, -np.inf
        for k in range(n):
            if not alive[k] or k == i:
                continue
            total = weight[i, k] + weight[j, k]
            weight[i, k] = weight[k, i] = total
            if total > best_weight[i]:
                best[i], best_weight[i] = k, total
            if best[k] == i or best[k] == j:
                best[k], best_weight[k] = -1, -np.inf
                for m in range(n):
                    if alive[m] and m != k and weight[k, m] > best_weight[k]:
                        best[k], best_weight[k] = m, weight[k, m]
            elif total > best_weight[k]:
                best[k], best_weight[k] = i, total
    for k in range(n):
        root = k
        while parent[root] != root:
            root = parent[root]
        parent[k] = root
    return parent


@njit(cache=True, nogil=True, error_model="numpy")
def best_matching(weight):
    """Assignment of largest total weight (Hungarian method with potentials).

    Args:
        weight: (n, m) non-negative, n <= m.

    Returns:
        (m,) row of each column, -1 = none.
    """
    n, m = weight.shape
    row_price = np.empty(n + 1)
    row_price[:] = 0
    column_price = np.empty(m + 1)
    column_price[:] = 0
    row_of = np.empty(m + 1, np.int64)  # rows and columns count from 1, 0 = none
    row_of[:] = 0
    came_from = np.empty(m + 1, np.int64)
    came_from[:] = 0
    slack = np.empty(m + 1)
    is_done = np.empty(m + 1, np.bool_)
    for row in range(1, n + 1):
        row_of[0] = row
        column = 0
        for j in range(m + 1):
            slack[j] = np.inf
            is_done[j] = False
        while True:
            is_done[column] = True
            here, least, following = row_of[column], np.inf, 0
            for j in range(1, m + 1):
                if is_done[j]:
                    continue
                reduced = -weight[here - 1, j - 1] - row_price[here] - column_price[j]
                if reduced < slack[j]:
                    slack[j], came_from[j] = reduced, column
                if slack[j] < least:
                    least, following = slack[j], j
            for j in range(m + 1):
                if is_done[j]:
                    row_price[row_of[j]] += least
                    column_price[j] -= least
                else:
                    slack[j] -= least
            column = following
            if row_of[column] == 0:
                break
        while column:
            row_of[column] = row_of[came_from[column]]
            column = came_from[column]
    return row_of[1:] - 1


@njit(cache=True, nogil=True, error_model="numpy")
def mark_matched(first, last, edge, source, target, weight, place, matched):
    """Which limb candidates of one frame the best matching of their limb type contains.

    Args:
        first: first candidate of the frame.
        last: one past its last; candidates are sorted by limb type.
        edge: (L,) limb type.
        source: (L,) peak row of the first end.
        target: (L,) peak row of the second end.
        weight: (L,) positive.
        place: (P,) scratch.
        matched: (L,) set to True in place.
    """
    begin = first
    while begin < last:
        end = begin
        while end < last and edge[end] == edge[begin]:
            place[source[end]] = place[target[end]] = -1
            end += 1
        n = m = 0
        for k in range(begin, end):
            if place[source[k]] < 0:
                place[source[k]] = n
                n += 1
            if place[target[k]] < 0:
                place[target[k]] = m
                m += 1
        table = np.empty((min(n, m), max(n, m)))
        table[:] = 0
        for k in range(begin, end):
            i, j = place[source[k]], place[target[k]]
            if n > m:
                i, j = j, i
            table[i, j] = weight[k]
        row_of = best_matching(table)
        for k in range(begin, end):
            i, j = place[source[k]], place[target[k]]
            if n > m:
                i, j = j, i
            matched[k] = row_of[j] == i
        begin = end


@njit(cache=True, nogil=True, error_model="numpy")
def link_weights(
    nodes, local, keypoint, confidence, is_edge, first, last, source, target, affinity, identity, matched, options
):  # fmt: skip
    """Dense link weights between the linked peaks of one frame.

    Args:
        nodes: (n,) peak rows.
        local: (P,) position of each peak row in ``nodes``.
        keypoint: (P,) type of every peak.
        confidence: (P,) of every peak.
        is_edge: (K, K) True where the model learned a limb.
        first: first link of the frame.
        last: one past its last.
        source: (L,) peak row of each link's first end.
        target: (L,) peak row of its second end.
        affinity: (L,) of each link.
        identity: (P, I) share of each named individual; I = 0: nobody is named.
        matched: (L,) False where the link contradicts better ones.
        options: affinity that speaks neither for nor against; factor on links that are not matched; weight of
            identity, which is 1 for two peaks that are surely one individual, 0 where it is as good as unknown, -1 at
            worst: log of the odds against chance, to the base I.

    Returns:
        (n, n) geometric mean of confidences times (affinity - threshold); a limb that was not seen has affinity 0,
        two peaks of one type weigh minus infinity.
    """
    n = len(nodes)
    threshold, doubt, identity_weight = options
    n_named = identity.shape[1]
    weight = np.empty((n, n))
    weight[:] = 0
    for i in range(n):
        for j in range(n):
            a, b = keypoint[nodes[i]], keypoint[nodes[j]]
            if a == b:
                weight[i, j] = -np.inf
            elif is_edge[a, b]:
                weight[i, j] = -threshold * np.sqrt(confidence[nodes[i]] * confidence[nodes[j]])
    for k in range(first, last):
        i, j = local[source[k]], local[target[k]]
        shown = affinity[k] if matched[k] else affinity[k] * doubt
        weight[i, j] = (shown - threshold) * np.sqrt(confidence[source[k]] * confidence[target[k]])
        weight[j, i] = weight[i, j]
    if n_named > 1 and identity_weight > 0:
        for i in range(n):
            for j in range(i):
                a, b = nodes[i], nodes[j]
                if not is_edge[keypoint[a], keypoint[b]]:
                    continue
                same = 0.0
                for k in range(n_named):
                    same += identity[a, k] * identity[b, k]
                agreement = max(-1.0, np.log(n_named * same) / np.log(n_named))
                weight[i, j] += identity_weight * agreement * np.sqrt(confidence[a] * confidence[b])
                weight[j, i] = weight[i, j]
    return weight


@njit(cache=True, nogil=True, error_model="numpy")
def trade(a, b, weight, order, is_done):
    """Let two groups exchange keypoints, the best exchange first, even at a loss, and keep the best state on the way.

    Args:
        a: (K,) nodes of one group, -1 = none; changed in place.
        b: (K,) of the other, changed in place.
        weight: (n, n) of all nodes.
        order: (K,) scratch.
        is_done: (K,) scratch.

    Returns:
        By how much the sum of weights inside the two groups grew.
    """
    n_keypoints = len(a)
    for k in range(n_keypoints):
        is_done[k] = a[k] < 0 and b[k] < 0
    n_done = n_kept = 0
    total = most = 0.0
    while True:
        best, top = -1, 0.0
        for k in range(n_keypoints):
            if is_done[k]:
                continue
            gain = 0.0
            i, j = a[k], b[k]
            for m in range(n_keypoints):
                if m == k:
                    continue
                if i >= 0:
                    gain += (weight[i, b[m]] if b[m] >= 0 else 0.0) - (weight[i, a[m]] if a[m] >= 0 else 0.0)
                if j >= 0:
                    gain += (weight[j, a[m]] if a[m] >= 0 else 0.0) - (weight[j, b[m]] if b[m] >= 0 else 0.0)
            if best < 0 or gain > top:
                best, top = k, gain
        if best < 0:
            break
        a[best], b[best] = b[best], a[best]
        is_done[best] = True
        order[n_done] = best
        n_done += 1
        total += top
        if total > most + 1e-9:
            most, n_kept = total, n_done
    for step in range(n_kept, n_done):
        k = order[step]
        a[k], b[k] = b[k], a[k]
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def improve(group, weight, kind, n_keypoints, rounds):
    """Let groups exchange keypoints, pair by pair, while the sum of weights inside groups grows.

    Kernighan and Lin's local search (Keuper et al., section 4.2): contraction never takes a merger back, so that where
    two animals cross the strongest limb decides alone. Only pairs that some limb connects are tried.

    Args:
        group: (n,) representative of each node's group, changed in place.
        weight: (n, n) link weights.
        kind: (n,) keypoint of each node.
        n_keypoints: K.
        rounds: at most this often over all pairs.
    """
    n = len(group)
    index = np.empty(n, np.int64)
    index[:] = -1
    n_groups = 0
    for i in range(n):
        if index[group[i]] < 0:
            index[group[i]] = n_groups
            n_groups += 1
    rows = np.empty((n_groups, n_keypoints), np.int64)
    rows[:] = -1
    own = np.empty(n, np.int64)
    for i in range(n):
        own[i] = index[group[i]]
        rows[own[i], kind[i]] = i
    order, is_done = np.empty(n_keypoints, np.int64), np.empty(n_keypoints, np.bool_)
    between, partner = np.empty((n_groups, n_groups)), np.empty(n_groups, np.int64)
    for _ in range(rounds):
        between[:] = 0
        for i in range(n):
            for j in range(i):
                if weight[i, j] > 0 and own[i] != own[j]:
                    between[min(own[i], own[j]), max(own[i], own[j])] += weight[i, j]
        for g in range(n_groups):
            partner[g] = between[g].argmax()
        is_better = False
        while True:
            p = 0
            for g in range(1, n_groups):
                if between[g, partner[g]] > between[p, partner[p]]:
                    p = g
            q = partner[p]
            if between[p, q] <= 0:
                break
            is_better |= trade(rows[p], rows[q], weight, order, is_done) > 0
            between[p, q] = 0
            partner[p] = between[p].argmax()
        if not is_better:
            break
        for p in range(n_groups):
            first = -1
            for k in range(n_keypoints):
                if rows[p, k] >= 0:
                    first = rows[p, k] if first < 0 else first
                    group[rows[p, k]], own[rows[p, k]] = first, p
