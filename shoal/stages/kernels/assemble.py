"""Peaks of each frame -> groups with at most one peak per keypoint, scored, duplicates merged, best first.

Which peaks belong together is decided in ``group.py``.
"""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit

# numba's cache goes by this file's time: a change of group.py alone is not noticed
from shoal.stages.kernels.group import ROUNDS, contract, improve, link_weights, mark_matched


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
def adopt(rows, of_node, local, keypoint, first, last, source, target, affinity, floor):
    """Peaks left over join groups that lack their keypoint, in place, the strongest limb above ``floor`` first.

    A peak whose other limbs were too weak to be candidates stays alone although one reaches it; DLC adds every such
    peak (dlc_formats.md, 6.3), and labels agree: mAP 83.7 -> 86.8 of an hrnet_w18 (bench/dlc_parity.py).

    Args:
        rows: (G, K) peak rows of each group.
        of_node: (n,) group of each node, -1 = none.
        local: (P,) node of each peak row.
        keypoint: (P,) of each peak row.
        first: link of the frame.
        last: behind it.
        source: (L,) peak row.
        target: (L,) peak row.
        affinity: (L,).
        floor: links that are not above do not count.
    """
    while len(rows) > 0:
        best, joins, to = floor, -1, -1
        for k in range(first, last):
            if affinity[k] <= best:
                continue
            for free, held in ((source[k], target[k]), (target[k], source[k])):
                g = of_node[local[held]]
                if of_node[local[free]] < 0 and g >= 0 and rows[g, keypoint[free]] < 0:
                    best, joins, to = affinity[k], free, g
        if joins < 0:
            return
        rows[to, keypoint[joins]] = joins
        of_node[local[joins]] = to


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
        options: see ``link_weights``; last, the affinity from which a left-over peak joins.
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
            options[:3],
        )  # fmt: skip
        group = contract(weight.copy())
        improve(group, weight, keypoint[nodes], n_keypoints, ROUNDS)
        rows, of_node = gather(nodes, group, keypoint, n_keypoints, min_keypoints)
        adopt(rows, of_node, local, keypoint, first, last, source, target, affinity, options[3])
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
