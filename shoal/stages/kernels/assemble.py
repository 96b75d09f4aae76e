"""Peaks of each frame -> groups with at most one peak per keypoint.

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


@njit(cache=True, nogil=True, error_model="numpy")
def gather(nodes, group, keypoint, n_keypoints, min_keypoints):
    """Groups of one frame that have enough keypoints.

    Returns:
        (G, K) peak rows, -1 = missing; (n,) group of each node, -1 = none.
    """
    n = len(nodes)
    size = np.empty(n, np.int64)
    size[:] = 0
    for i in range(n):
        size[group[i]] += 1
    index = np.empty(n, np.int64)
    index[:] = -1
    n_groups = 0
    for i in range(n):
        if size[i] >= min_keypoints:
            index[i] = n_groups
            n_groups += 1
    rows = np.empty((n_groups, n_keypoints), np.int64)
    rows[:] = -1
    of_node = np.empty(n, np.int64)
    for i in range(n):
        of_node[i] = index[group[i]]
        if of_node[i] >= 0:
            rows[of_node[i], keypoint[nodes[i]]] = nodes[i]
    return rows, of_node


@njit(cache=True, nogil=True, error_model="numpy")
def score_groups(rows, confidence, edges, limb_sum):
    """Score of each group, 0-1: confidence summed over all K keypoints / K, times mean limb affinity.

    A limb whose ends are both present but that the network did not see counts as 0, so a chimera of
    two animals scores low.
    """
    n_groups, n_keypoints = rows.shape
    score = np.empty(n_groups)
    score[:] = 0
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


@njit(cache=True, nogil=True, error_model="numpy")
def extent(row, xy):
    """Diagonal of the box around one group's peaks, px."""
    low_x = low_y = np.inf
    high_x = high_y = -np.inf
    for k in range(len(row)):
        if row[k] >= 0:
            low_x, high_x = min(low_x, xy[row[k], 0]), max(high_x, xy[row[k], 0])
            low_y, high_y = min(low_y, xy[row[k], 1]), max(high_y, xy[row[k], 1])
    return np.hypot(high_x - low_x, high_y - low_y)


@njit(cache=True, nogil=True, error_model="numpy")
def share_on_body(row, body, xy, edges, reach):
    """Share of one group's peaks that lie within ``reach`` px of another group's limbs or peaks."""
    n = n_on = 0
    for k in range(len(row)):
        if row[k] < 0:
            continue
        n += 1
        x, y = xy[row[k], 0], xy[row[k], 1]
        nearest = np.inf
        for m in range(len(body)):
            if body[m] >= 0:
                nearest = min(nearest, np.hypot(x - xy[body[m], 0], y - xy[body[m], 1]))
        for e in range(len(edges)):
            i, j = body[edges[e, 0]], body[edges[e, 1]]
            if nearest <= reach or i < 0 or j < 0:
                continue
            limb_x, limb_y = xy[j, 0] - xy[i, 0], xy[j, 1] - xy[i, 1]
            along = (x - xy[i, 0]) * limb_x + (y - xy[i, 1]) * limb_y
            along = min(1.0, max(0.0, along / max(limb_x * limb_x + limb_y * limb_y, 1e-12)))
            nearest = min(nearest, np.hypot(x - xy[i, 0] - along * limb_x, y - xy[i, 1] - along * limb_y))
        n_on += nearest <= reach
    return n_on / max(n, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def share_of_doubles(row, body, xy, reach):
    """Peaks of one type within ``reach`` px of each other, as a share of the smaller group's peaks."""
    n_a = n_b = n_close = 0
    for k in range(len(row)):
        i, j = body[k], row[k]
        n_a += i >= 0
        n_b += j >= 0
        if i >= 0 and j >= 0 and np.hypot(xy[i, 0] - xy[j, 0], xy[i, 1] - xy[j, 1]) <= reach:
            n_close += 1
    return n_close / max(min(n_a, n_b), 1)


@njit(cache=True, nogil=True, error_model="numpy")
def merge_duplicates(rows, order, score, xy, edges, limits):
    """Drop groups that lie on a better one.

    Either most of their peaks repeat the better one's (then it takes over the keypoints that it lacks), or they
    are its ghost: much fainter, nearly all peaks on its body, as when a network sees left and right at once.

    Args:
        rows: (G, K) peak rows, changed in place.
        order: (G,) groups, best first.
        score: (G,) of each group.
        xy: (P, 2) positions.
        edges: (E, 2) limbs, the body's outline.
        limits: share of the smaller group's keypoints that must coincide; how close that is, in units of the
            larger group's extent; share of a ghost's peaks on the body; a ghost's score, relative.

    Returns:
        (G,) True where a group stays.
    """
    overlap, distance, ghost_share, ghost_score = limits
    n_groups, n_keypoints = rows.shape
    keep = np.empty(n_groups, np.bool_)
    keep[:] = True
    for p in range(n_groups):
        a = order[p]
        if not keep[a]:
            continue
        size = extent(rows[a], xy)
        for q in range(p + 1, n_groups):
            b = order[q]
            if not keep[b]:
                continue
            if share_of_doubles(rows[b], rows[a], xy, distance * max(size, extent(rows[b], xy))) >= overlap:
                keep[b] = False
                for k in range(n_keypoints):
                    if rows[a, k] < 0:
                        rows[a, k] = rows[b, k]
            elif score[b] <= ghost_score * score[a]:
                keep[b] = share_on_body(rows[b], rows[a], xy, edges, distance * size) < ghost_share
    return keep


@njit(cache=True, nogil=True, error_model="numpy")
def best_first(rows, score, xy):
    """Order of groups: descending score, then position (mean x, mean y)."""
    n_groups, n_keypoints = rows.shape
    middle = np.empty((n_groups, 2))
    middle[:] = 0
    for g in range(n_groups):
        n = 0
        for k in range(n_keypoints):
            if rows[g, k] >= 0:
                middle[g, 0] += xy[rows[g, k], 0]
                middle[g, 1] += xy[rows[g, k], 1]
                n += 1
        middle[g, 0] /= max(n, 1)
        middle[g, 1] /= max(n, 1)
    order = np.empty(n_groups, np.int64)
    order[:] = 0
    for p in range(1, n_groups):  # insertion sort: few groups, and numba's argsort has one key
        g, q = p, p - 1
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


@njit(cache=True, nogil=True, error_model="numpy")
def group_frames(
    peak_start, limb_start, keypoint, xy, confidence, edge, source, target, affinity, identity, edges, is_edge,
    options, min_keypoints, max_animals, limits,
):  # fmt: skip
    """Group the peaks of every frame.

    Args:
        peak_start: (F + 1,) first peak row of each frame.
        limb_start: (F + 1,) first link of each frame.
        keypoint: (P,) type of each peak.
        xy: (P, 2) positions.
        confidence: (P,) of each peak.
        edge: (L,) limb type of each link, ascending within a frame.
        source: (L,) peak row of its first end.
        target: (L,) peak row of its second end.
        affinity: (L,) positive.
        identity: (P, I) share of each named individual.
        edges: (E, 2) keypoints of each limb.
        is_edge: (K, K) True where there is a limb.
        options: see ``link_weights``.
        min_keypoints: groups with fewer are dropped.
        max_animals: kept per frame, best first.
        limits: see ``merge_duplicates``.

    Returns:
        frame index (M,), peak rows (M, K), score (M,); frames in order, best animal first.
    """
    n_peaks, n_keypoints = len(keypoint), len(is_edge)
    room = n_peaks // max(min_keypoints, 1) + 1
    out_frame = np.empty(room, np.int64)
    out_rows = np.empty((room, n_keypoints), np.int64)
    out_score = np.empty(room, np.float64)
    local = np.empty(n_peaks, np.int64)  # both are written before they are read
    place = np.empty(n_peaks, np.int64)
    matched = np.empty(len(source), np.bool_)
    matched[:] = False
    product = np.empty(len(source))
    product[:] = 0
    n_out = 0
    for f in range(len(peak_start) - 1):
        first, last = limb_start[f], limb_start[f + 1]
        n = 0
        nodes = np.empty(peak_start[f + 1] - peak_start[f], np.int64)
        linked = np.empty(len(nodes), np.bool_)
        linked[:] = False
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
        for k in range(first, last):
            product[k] = affinity[k] * np.sqrt(confidence[source[k]] * confidence[target[k]])
        mark_matched(first, last, edge, source, target, product, place, matched)
        weight = link_weights(
            nodes, local, keypoint, confidence, is_edge, first, last, source, target, affinity, identity, matched,
            options,
        )  # fmt: skip
        group = contract(weight.copy())
        improve(group, weight, keypoint[nodes], n_keypoints, ROUNDS)
        rows, of_node = gather(nodes, group, keypoint, n_keypoints, min_keypoints)
        limb_sum = np.empty(len(rows))
        limb_sum[:] = 0
        for k in range(first, last):
            g = of_node[local[source[k]]]
            if g >= 0 and g == of_node[local[target[k]]]:
                limb_sum[g] += affinity[k]
        score = score_groups(rows, confidence, edges, limb_sum)
        order = best_first(rows, score, xy)
        keep = merge_duplicates(rows, order, score, xy, edges, limits)
        n_kept = 0
        for g in order:
            if keep[g] and n_kept < max_animals:
                out_frame[n_out], out_score[n_out] = f, score[g]
                for k in range(n_keypoints):
                    out_rows[n_out, k] = rows[g, k]
                n_out += 1
                n_kept += 1
    return out_frame[:n_out], out_rows[:n_out], out_score[:n_out]
