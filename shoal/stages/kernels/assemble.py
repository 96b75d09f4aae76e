"""Peaks of each frame -> groups with at most one peak per keypoint.

Greedy additive edge contraction (Keuper et al., ICCV 2015, section 4): the two groups with the largest
summed link weight merge, their links to every other group add up, until no sum is positive. Two
groups that share a keypoint type never merge: their weight is minus infinity, which sums keep.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def contract(weight):
    """Merge nodes until no summed weight is positive.

    Args:
        weight: (n, n) symmetric link weights, destroyed; -inf = never in one group.

    Returns:
        (n,) representative (smallest member) of each node's group.
    """
    n = len(weight)
    parent = np.arange(n)
    alive = np.ones(n, np.bool_)
    best = np.full(n, -1)
    best_weight = np.full(n, -np.inf)
    for i in range(n):
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


@njit(cache=True, nogil=True)
def link_weights(nodes, keypoint, is_edge, source, target, strength, absent, local):
    """Dense link weights between the peaks of one frame.

    Args:
        nodes: (n,) peak rows that have a link.
        keypoint: (P,) type of every peak.
        is_edge: (K, K) True where the model learned a limb.
        source: (l,) peak row of each link's first end.
        target: (l,) peak row of its second end.
        strength: (l,) link weight.
        absent: weight of a learned limb that the network did not see.
        local: (P,) position of each peak row in ``nodes``.

    Returns:
        (n, n) weights.
    """
    n = len(nodes)
    weight = np.zeros((n, n), np.float64)
    for i in range(n):
        for j in range(n):
            a, b = keypoint[nodes[i]], keypoint[nodes[j]]
            if a == b:
                weight[i, j] = -np.inf
            elif is_edge[a, b]:
                weight[i, j] = absent
    for k in range(len(source)):
        i, j = local[source[k]], local[target[k]]
        weight[i, j] = strength[k]
        weight[j, i] = strength[k]
    return weight


@njit(cache=True, nogil=True)
def gather(nodes, group, keypoint, n_keypoints, min_keypoints):
    """Groups of one frame that have enough keypoints.

    Returns:
        (G, K) peak rows, -1 = missing; (n,) group of each node, -1 = none.
    """
    n = len(nodes)
    size = np.zeros(n, np.int64)
    for i in range(n):
        size[group[i]] += 1
    index = np.full(n, -1)
    n_groups = 0
    for i in range(n):
        if size[i] >= min_keypoints:
            index[i] = n_groups
            n_groups += 1
    rows = np.full((n_groups, n_keypoints), -1)
    of_node = np.empty(n, np.int64)
    for i in range(n):
        of_node[i] = index[group[i]]
        if of_node[i] >= 0:
            rows[of_node[i], keypoint[nodes[i]]] = nodes[i]
    return rows, of_node


@njit(cache=True, nogil=True)
def score_groups(rows, confidence, edges, limb_sum):
    """Score of each group, 0-1: confidence summed over all K keypoints / K, times mean limb affinity.

    A limb whose ends are both present but that the network did not see counts as 0, so a chimera of
    two animals scores low.
    """
    n_groups, n_keypoints = rows.shape
    score = np.zeros(n_groups)
    for g in range(n_groups):
        total = 0.0
        for k in range(n_keypoints):
            if rows[g, k] >= 0:
                total += confidence[rows[g, k]]
        n_limbs = 0
        for e in range(len(edges)):
            if rows[g, edges[e, 0]] >= 0 and rows[g, edges[e, 1]] >= 0:
                n_limbs += 1
        affinity = min(1.0, limb_sum[g] / n_limbs) if n_limbs else 1.0
        score[g] = min(1.0, total / n_keypoints) * affinity
    return score


@njit(cache=True, nogil=True)
def extent(row, xy):
    """Diagonal of the box around one group's peaks, px."""
    low_x = low_y = np.inf
    high_x = high_y = -np.inf
    for k in range(len(row)):
        if row[k] >= 0:
            low_x, high_x = min(low_x, xy[row[k], 0]), max(high_x, xy[row[k], 0])
            low_y, high_y = min(low_y, xy[row[k], 1]), max(high_y, xy[row[k], 1])
    return np.hypot(high_x - low_x, high_y - low_y)


@njit(cache=True, nogil=True)
def merge_duplicates(rows, order, xy, overlap, distance):
    """Drop groups that lie on a better one, which takes over the keypoints that it lacks.

    Args:
        rows: (G, K) peak rows, changed in place.
        order: (G,) groups, best first.
        xy: (P, 2) positions.
        overlap: share of the smaller group's keypoints that must coincide.
        distance: how close two peaks of one type must be, in units of the larger group's extent.

    Returns:
        (G,) True where a group stays.
    """
    n_groups, n_keypoints = rows.shape
    keep = np.ones(n_groups, np.bool_)
    for p in range(n_groups):
        a = order[p]
        if not keep[a]:
            continue
        for q in range(p + 1, n_groups):
            b = order[q]
            if not keep[b]:
                continue
            reach = distance * max(extent(rows[a], xy), extent(rows[b], xy))
            n_a = n_b = n_close = 0
            for k in range(n_keypoints):
                i, j = rows[a, k], rows[b, k]
                n_a += i >= 0
                n_b += j >= 0
                if i >= 0 and j >= 0 and np.hypot(xy[i, 0] - xy[j, 0], xy[i, 1] - xy[j, 1]) <= reach:
                    n_close += 1
            if n_close and n_close >= overlap * min(n_a, n_b):
                keep[b] = False
                for k in range(n_keypoints):
                    if rows[a, k] < 0:
                        rows[a, k] = rows[b, k]
    return keep


@njit(cache=True, nogil=True)
def best_first(rows, score, xy):
    """Order of groups: descending score, then position (mean x, mean y)."""
    n_groups, n_keypoints = rows.shape
    middle = np.zeros((n_groups, 2))
    for g in range(n_groups):
        n = 0
        for k in range(n_keypoints):
            if rows[g, k] >= 0:
                middle[g, 0] += xy[rows[g, k], 0]
                middle[g, 1] += xy[rows[g, k], 1]
                n += 1
        middle[g, 0] /= max(n, 1)
        middle[g, 1] /= max(n, 1)
    order = np.arange(n_groups)
    for p in range(1, n_groups):  # insertion sort: few groups, and numba's argsort has one key
        g, q = order[p], p - 1
        while q >= 0:
            h = order[q]
            if score[h] > score[g]:
                break
            if score[h] == score[g] and (
                middle[h, 0] < middle[g, 0] or (middle[h, 0] == middle[g, 0] and middle[h, 1] <= middle[g, 1])
            ):
                break
            order[q + 1] = h
            q -= 1
        order[q + 1] = g
    return order


@njit(cache=True, nogil=True)
def group_frames(
    peak_start, limb_start, keypoint, xy, confidence, source, target, strength, affinity, edges, is_edge,
    absent, min_keypoints, max_animals, overlap, distance,
):  # fmt: skip
    """Group the peaks of every frame.

    Args:
        peak_start: (F + 1,) first peak row of each frame.
        limb_start: (F + 1,) first link of each frame.
        keypoint: (P,) type of each peak.
        xy: (P, 2) positions.
        confidence: (P,) of each peak.
        source: (L,) peak row of each link's first end.
        target: (L,) peak row of its second end.
        strength: (L,) weight that decides about merging.
        affinity: (L,) weight that goes into the score.
        edges: (E, 2) keypoints of each limb.
        is_edge: (K, K) True where there is a limb.
        absent: weight of a limb that was not seen.
        min_keypoints: groups with fewer are dropped.
        max_animals: kept per frame, best first.
        overlap: see ``merge_duplicates``.
        distance: see ``merge_duplicates``.

    Returns:
        frame index (M,), peak rows (M, K), score (M,); frames in order, best animal first.
    """
    n_peaks, n_keypoints = len(keypoint), len(is_edge)
    room = n_peaks // max(min_keypoints, 1) + 1
    out_frame = np.empty(room, np.int64)
    out_rows = np.empty((room, n_keypoints), np.int64)
    out_score = np.empty(room, np.float64)
    local = np.full(n_peaks, -1)
    n_out = 0
    for f in range(len(peak_start) - 1):
        first, last = limb_start[f], limb_start[f + 1]
        n = 0
        nodes = np.empty(peak_start[f + 1] - peak_start[f], np.int64)
        linked = np.zeros(len(nodes), np.bool_)
        for k in range(first, last):
            linked[source[k] - peak_start[f]] = True
            linked[target[k] - peak_start[f]] = True
        for p in range(len(nodes)):
            if linked[p]:
                nodes[n] = peak_start[f] + p
                local[nodes[n]] = n
                n += 1
        if n == 0:
            continue
        nodes = nodes[:n]
        s, t = source[first:last], target[first:last]
        group = contract(link_weights(nodes, keypoint, is_edge, s, t, strength[first:last], absent, local))
        rows, of_node = gather(nodes, group, keypoint, n_keypoints, min_keypoints)
        limb_sum = np.zeros(len(rows))
        for k in range(first, last):
            g = of_node[local[source[k]]]
            if g >= 0 and g == of_node[local[target[k]]]:
                limb_sum[g] += affinity[k]
        score = score_groups(rows, confidence, edges, limb_sum)
        order = best_first(rows, score, xy)
        keep = merge_duplicates(rows, order, xy, overlap, distance)
        n_kept = 0
        for g in order:
            if keep[g] and n_kept < max_animals:
                out_frame[n_out], out_score[n_out] = f, score[g]
                for k in range(n_keypoints):
                    out_rows[n_out, k] = rows[g, k]
                n_out += 1
                n_kept += 1
    return out_frame[:n_out], out_rows[:n_out], out_score[:n_out]
