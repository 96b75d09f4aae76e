"""Joins between tracklets, and the cheapest set of disjoint paths through them."""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

import numpy as np
from numba import njit

from shoal.stages.evidence import LIMIT
from shoal.stages.kernels.heap import pop, push

TAIL = 2.0  # degrees of freedom of the Student t errors: animals startle
TURN = 0.3  # error per frame of gap, as a share of the change of velocity
BUILD_LIMIT = 5.0  # nats: wrong proportions are at most this much against a join
GAP_COST = 1.5  # nats per log frame: long gaps are rare, so gaps prefer to be few


@njit(cache=True, nogil=True, error_model="numpy")
def student(square, variance, broad):
    """Negative log odds of an error under a Student t of scale ``variance`` against a density 1 / (2 pi broad).

    Args:
        square: squared length of the 2-D error.
        variance: squared scale if related.
        broad: squared scale if unrelated; then nothing is known below it.
    """
    return np.log(variance / broad) + (TAIL + 2) / 2 * np.log1p(square / (TAIL * variance))


@njit(cache=True, nogil=True, error_model="numpy")
def median(values, n):
    """Median of the first ``n`` values, which are sorted in place."""
    for i in range(1, n):
        value, k = values[i], i
        while k > 0 and values[k - 1] > value:
            values[k] = values[k - 1]
            k -= 1
        values[k] = value
    return values[n // 2] if n % 2 else 0.5 * (values[n // 2 - 1] + values[n // 2])


@njit(cache=True, nogil=True, error_model="numpy")
def shift(a, b):
    """How an animal has moved and bent, whatever a few misplaced keypoints say.

    Args:
        a: (K, 2) keypoints, NaN = not seen.
        b: (K, 2) the same later.

    Returns:
        median displacement x, y of the shared keypoints, and the median of the squared distances that the
        displacements have from it; NaN without a shared keypoint, the last -1 with fewer than 2.
    """
    n = 0
    x, y, rest = np.empty(len(a)), np.empty(len(a)), np.empty(len(a))
    for k in range(len(a)):
        d_x, d_y = b[k, 0] - a[k, 0], b[k, 1] - a[k, 1]
        if np.isfinite(d_x) and np.isfinite(d_y):
            x[n], y[n] = d_x, d_y
            n += 1
    if n == 0:
        return np.nan, np.nan, -1.0
    rest[:n] = x[:n]
    m_x = median(rest, n)
    rest[:n] = y[:n]
    m_y = median(rest, n)
    for k in range(n):
        rest[k] = (x[k] - m_x) ** 2 + (y[k] - m_y) ** 2
    return m_x, m_y, median(rest, n) if n > 1 else -1.0


@njit(cache=True, nogil=True, error_model="numpy")
def shifts(a, b):
    """``shift`` of many: (n, 2) displacement and (n,) root of the bending, NaN = unknown."""
    move, bend = np.empty((len(a), 2)), np.empty(len(a))
    for i in range(len(a)):
        move[i, 0], move[i, 1], square = shift(a[i], b[i])
        bend[i] = np.sqrt(square) if square >= 0 else np.nan
    return move, bend


@njit(cache=True, nogil=True, error_model="numpy")
def join_cost(
    i, j, gap, xy, velocity, shape, beta, sigma, shape_sigma, shape_any, area, worst, build, build_variance, between,
    look, look_weight, look_odds
):  # fmt: skip
    """Negative log odds that tracklet j continues tracklet i, from motion, posture, build and appearance.

    The displacement expected between two known velocities u and v of an Ornstein-Uhlenbeck process is
    (u + v) beta tanh(dt / 2 beta); from one velocity alone it is v beta (1 - exp(-dt / beta)). Errors are
    Student t around it; unrelated tracklets start anywhere in the arena. Posture (which includes heading)
    changes slowly: its error grows with the gap to that of two unrelated animals.

    Args:
        i: tracklet before.
        j: tracklet after.
        gap: unseen frames between.
        xy: (C, 2, 2) first and last centre of each tracklet.
        velocity: (C, 2, 2) first and last velocity, NaN = unknown.
        shape: (C, 2, K, 2) first and last keypoints relative to the centre.
        beta: frames over which velocity is remembered.
        sigma: (3, G) error scale in px by number of known velocities and by frames ahead.
        shape_sigma: (G,) error scale of the shape.
        shape_any: that of two unrelated animals.
        area: of the arena, px^2.
        worst: upper limit of the motion part: the odds of a jump to anywhere.
        build: (C, Q) body proportions.
        build_variance: (C, Q) of their error, inf = not known.
        between: (Q,) variance of body proportions between animals.
        look: (C, D) appearance; D = 0: not known.
        look_weight: (C,) how well it is known.
        look_odds: (2,) slope and offset of the log odds, as in ``Evidence``.
    """
    dt = gap + 1.0
    ahead = min(int(dt), sigma.shape[1] - 1)
    known = 0
    move_x = move_y = 0.0
    for x, y in ((velocity[i, 1, 0], velocity[i, 1, 1]), (velocity[j, 0, 0], velocity[j, 0, 1])):
        if np.isfinite(x):
            known += 1
            move_x += x
            move_y += y
    reach = beta * np.tanh(dt / (2 * beta)) if known == 2 else beta * (1 - np.exp(-dt / beta))
    d_x, d_y = xy[j, 0, 0] - xy[i, 1, 0], xy[j, 0, 1] - xy[i, 1, 1]
    s_x, s_y, bend = shift(shape[i, 1], shape[j, 0])
    if np.isfinite(s_x):  # better than the centres, which move when a keypoint is missing or misplaced
        d_x, d_y = d_x + s_x, d_y + s_y
    e_x, e_y = d_x - reach * move_x, d_y - reach * move_y
    variance = sigma[known, ahead] ** 2
    if known == 2:  # nobody knows when in the gap velocity changed: a startle widens its own errors
        a_x, a_y = velocity[j, 0, 0] - velocity[i, 1, 0], velocity[j, 0, 1] - velocity[i, 1, 1]
        variance += (TURN * min(dt, beta)) ** 2 * (a_x * a_x + a_y * a_y)
    broad = area / (2 * np.pi)
    cost = min(student(e_x * e_x + e_y * e_y, min(variance, broad), broad), worst)
    if bend >= 0:
        any_square = shape_any * shape_any
        cost += student(bend, shape_sigma[ahead] ** 2, any_square) - student(bend, any_square, any_square)
    doubt = 0.0
    for q in range(build.shape[1]):
        error = build_variance[i, q] + build_variance[j, q]
        if between[q] > 0 and np.isfinite(error):
            square = (build[i, q] - build[j, q]) ** 2
            wide = error + 2 * between[q]
            doubt += 0.5 * np.log(error / wide) + 0.5 * square * (1 / error - 1 / wide)
    cost += min(doubt, BUILD_LIMIT)
    if look_weight[i] * look_weight[j] > 0:
        alike = 0.0
        for d in range(look.shape[1]):
            alike += look[i, d] * look[j, d]
        odds = look_weight[i] * look_weight[j] * (look_odds[0] * alike + look_odds[1])
        cost -= min(max(odds, -LIMIT), LIMIT)
    return cost + GAP_COST * np.log1p(gap)


@njit(cache=True, nogil=True, error_model="numpy")
def least_cost(gap, sigma, shape_sigma, shape_any, area, most_gain):
    """Lower bound of ``join_cost`` for this gap; it rises with the gap, as the scales do."""
    ahead = min(gap + 1, sigma.shape[1] - 1)
    scale = min(sigma[0, ahead], sigma[1, ahead], sigma[2, ahead])
    motion = np.log(scale**2 * 2 * np.pi / area)
    return motion + 2 * np.log(shape_sigma[ahead] / shape_any) + GAP_COST * np.log1p(gap) - most_gain


@njit(cache=True, nogil=True, error_model="numpy")
def join_costs(source, target, first, last, model):
    """``join_cost`` of many pairs; ``model`` = its arguments from ``xy`` on."""
    cost = np.empty(len(source))
    for k in range(len(source)):
        i, j = source[k], target[k]
        cost[k] = join_cost(i, j, first[j] - last[i] - 1, *model)
    return cost


@njit(cache=True, nogil=True, error_model="numpy")
def candidates(first, last, max_gap, max_joins, max_looked, model):
    """The cheapest joins of each tracklet.

    Args:
        first: (C,) first frame, ascending.
        last: (C,) last frame.
        max_gap: longest gap in frames.
        max_joins: kept per tracklet.
        max_looked: later tracklets looked at per tracklet, nearest in time first.
        model: the arguments of ``join_cost`` from ``xy`` on.

    Returns:
        source, target, cost of at most C x max_joins joins, grouped by source.
    """
    n = len(first)
    build_variance, between, look_weight = model[10], model[11], model[13]
    most_gain = 0.0
    for q in range(build_variance.shape[1]):
        least_error = np.inf
        for i in range(n):
            least_error = min(least_error, 2 * build_variance[i, q])
        most_gain += 0.5 * np.log1p(2 * between[q] / least_error)
    if (look_weight > 0).any():
        most_gain += LIMIT
    source = np.empty(n * max_joins, np.int64)
    target = np.empty(n * max_joins, np.int64)
    cost = np.empty(n * max_joins)
    n_out = 0
    kept_cost = np.empty(max_joins)
    kept = np.empty(max_joins, np.int64)
    for i in range(n):
        begin = i + 1  # first frames ascend
        while begin < n and first[begin] <= last[i]:
            begin += 1
        n_kept, dearest = 0, 0
        for j in range(begin, min(n, begin + max_looked)):
            gap = first[j] - last[i] - 1
            if gap > max_gap or (
                n_kept == max_joins
                and least_cost(gap, model[4], model[5], model[6], model[7], most_gain) > kept_cost[dearest]
            ):
                break
            value = join_cost(i, j, gap, *model)
            if n_kept < max_joins:
                kept[n_kept], kept_cost[n_kept] = j, value
                n_kept += 1
            elif value < kept_cost[dearest]:
                kept[dearest], kept_cost[dearest] = j, value
            else:
                continue
            dearest = 0
            for k in range(1, n_kept):
                if kept_cost[k] > kept_cost[dearest]:
                    dearest = k
        for k in range(n_kept):
            source[n_out + k], target[n_out + k], cost[n_out + k] = i, kept[k], kept_cost[k]
        n_out += n_kept
    return source[:n_out], target[:n_out], cost[:n_out]


@njit(cache=True, nogil=True, error_model="numpy")
def _build(reward, start_cost, end_cost, source, target, cost):
    """Arcs in both directions, grouped by tail: (start of each node's arcs, head, price, open, reverse)."""
    n, n_joins = len(reward), len(source)
    n_nodes, n_arcs = 2 * n + 2, 3 * n + n_joins
    tails = np.empty(n_arcs, np.int64)
    heads = np.empty(n_arcs, np.int64)
    prices = np.empty(n_arcs)
    for i in range(n):
        tails[3 * i], heads[3 * i], prices[3 * i] = 2 * n, 2 * i, start_cost[i]
        tails[3 * i + 1], heads[3 * i + 1], prices[3 * i + 1] = 2 * i, 2 * i + 1, -reward[i]
        tails[3 * i + 2], heads[3 * i + 2], prices[3 * i + 2] = 2 * i + 1, 2 * n + 1, end_cost[i]
    for k in range(n_joins):
        tails[3 * n + k], heads[3 * n + k] = 2 * source[k] + 1, 2 * target[k]
        prices[3 * n + k] = cost[k]
    arc_start = np.empty(n_nodes + 1, np.int64)
    arc_start[:] = 0
    for k in range(n_arcs):
        arc_start[tails[k] + 1] += 1
        arc_start[heads[k] + 1] += 1
    for node in range(n_nodes):
        arc_start[node + 1] += arc_start[node]
    place = np.empty(n_nodes, np.int64)
    for node in range(n_nodes):
        place[node] = arc_start[node]
    head = np.empty(2 * n_arcs, np.int64)
    price = np.empty(2 * n_arcs)
    is_open = np.empty(2 * n_arcs, np.bool_)
    is_open[:] = False
    reverse = np.empty(2 * n_arcs, np.int64)
    for k in range(n_arcs):
        a = place[tails[k]]
        place[tails[k]] += 1
        b = place[heads[k]]
        place[heads[k]] += 1
        head[a], price[a], is_open[a], reverse[a] = heads[k], prices[k], True, b
        head[b], price[b], reverse[b] = tails[k], -prices[k], a
    return arc_start, head, price, is_open, reverse


@njit(cache=True, nogil=True, error_model="numpy")
def cheapest_paths(reward, start_cost, end_cost, source, target, cost, max_paths, stop_at_loss):
    """Minimum-cost set of node-disjoint paths, by successive shortest paths with potentials.

    Every prefix is optimal for its number of paths (Suurballe 1974; for tracking: Berclaz et al., PAMI 2011).

    Args:
        reward: (C,) for covering each tracklet, in order of first frame.
        start_cost: (C,) of a path that begins there.
        end_cost: (C,) of a path that ends there.
        source: (J,) earlier tracklet of each join.
        target: (J,) later tracklet; its first frame is after the source's last.
        cost: (J,) of each join.
        max_paths: at most this many.
        stop_at_loss: stop as soon as one more path would cost more than it gives.

    Returns:
        (C,) next tracklet on the same path: -1 = path ends here, -2 = on no path; cost of each path added.
    """
    n = len(reward)
    n_nodes, begin, end = 2 * n + 2, 2 * n, 2 * n + 1
    arc_start, head, price, is_open, reverse = _build(reward, start_cost, end_cost, source, target, cost)
    forward = np.empty(len(is_open), np.bool_)
    for a in range(len(is_open)):
        forward[a] = is_open[a]
    potential = np.empty(n_nodes)
    potential[:] = np.inf
    potential[begin] = 0.0
    for step in range(-1, 2 * n):  # nodes in order of time are in topological order
        node = begin if step < 0 else step
        for a in range(arc_start[node], arc_start[node + 1]):
            if is_open[a] and potential[node] + price[a] < potential[head[a]]:
                potential[head[a]] = potential[node] + price[a]
    distance = np.empty(n_nodes)
    came_by = np.empty(n_nodes, np.int64)
    heap_keys = np.empty(len(head) + 1)  # no more entries than arcs
    heap_items = np.empty(len(head) + 1, np.int64)
    paid = np.empty(min(max_paths, n))
    n_paths = 0
    while n_paths < min(max_paths, n):
        for node in range(n_nodes):
            distance[node] = np.inf
        distance[begin] = 0.0
        heap_keys[0], heap_items[0], n_heap = 0.0, begin, 1
        reached = False
        while n_heap:
            here, node, n_heap = pop(heap_keys, heap_items, n_heap)
            if here > distance[node]:
                continue
            if node == end:
                reached = True
                break
            for a in range(arc_start[node], arc_start[node + 1]):
                if not is_open[a]:
                    continue
                to = head[a]
                there = here + max(0.0, price[a] + potential[node] - potential[to])
                if there < distance[to]:
                    distance[to] = there
                    came_by[to] = a
                    n_heap = push(heap_keys, heap_items, n_heap, there, to)
        if not reached:
            break
        limit = distance[end]
        for node in range(n_nodes):
            potential[node] += min(distance[node], limit)
        paid[n_paths] = potential[end] - potential[begin]
        if stop_at_loss and paid[n_paths] >= 0:
            break
        n_paths += 1
        node = end
        while node != begin:
            a = came_by[node]
            is_open[a] = False
            is_open[reverse[a]] = True
            node = head[reverse[a]]
    following = np.empty(n, np.int64)
    following[:] = -2
    for i in range(n):
        for a in range(arc_start[2 * i + 1], arc_start[2 * i + 2]):
            if forward[a] and not is_open[a]:
                following[i] = -1 if head[a] == end else head[a] // 2
    return following, paid[:n_paths]


@njit(cache=True, nogil=True, error_model="numpy")
def _potentials(arc_start, head, price, is_open, begin, end, may_add, may_remove):
    """Potentials under which no open arc has a negative reduced cost (Bellman-Ford from everywhere, with a queue)."""
    n_nodes = len(arc_start) - 1
    potential = np.zeros(n_nodes)
    waiting = np.empty(n_nodes + 1, np.int64)  # a ring
    queued = np.empty(n_nodes, np.bool_)
    for node in range(n_nodes):
        waiting[node], queued[node] = node, True
    first, n_waiting, budget = 0, n_nodes, 200 * len(head) + 1000
    while n_waiting and budget:
        budget -= 1  # an optimum has no negative cycle; rounding must not make one
        node = waiting[first]
        first = (first + 1) % len(waiting)
        n_waiting -= 1
        queued[node] = False
        for a in range(arc_start[node], arc_start[node + 1] + 1):
            if a < arc_start[node + 1]:
                if not is_open[a]:
                    continue
                to, there = head[a], potential[node] + price[a]
            elif (node == end and may_add) or (node == begin and may_remove):
                to, there = begin + end - node, potential[node]
            else:
                continue
            if there < potential[to] - 1e-9:
                potential[to] = there
                if not queued[to]:
                    waiting[(first + n_waiting) % len(waiting)] = to
                    n_waiting += 1
                    queued[to] = True
    return potential


@njit(cache=True, nogil=True, error_model="numpy")
def path_margins(reward, start_cost, end_cost, source, target, cost, following, may_add, may_remove):
    """How much the total cost of ``cheapest_paths`` would rise if one step of its paths were forbidden.

    That is the cheapest way around the step in the residual graph, less the step's own cost.

    Args:
        reward: as in ``cheapest_paths``.
        start_cost: likewise.
        end_cost: likewise.
        source: likewise.
        target: likewise.
        cost: likewise.
        following: its answer.
        may_add: may there be one more path.
        may_remove: may there be one less.

    Returns:
        (C,) of the step to the next tracklet, or of ending there; (C,) of beginning there; NaN where no such step
        was taken, inf where there is no other way.
    """
    n = len(reward)
    begin, end = 2 * n, 2 * n + 1
    arc_start, head, price, is_open, reverse = _build(reward, start_cost, end_cost, source, target, cost)
    forward = is_open.copy()
    is_first = following != -2
    for i in range(n):
        if following[i] >= 0:
            is_first[following[i]] = False
    for node in range(2 * n + 2):
        for a in range(arc_start[node], arc_start[node + 1]):
            if not forward[a]:
                continue
            to = head[a]
            if node == begin:
                used = is_first[to // 2]
            elif node % 2 == 0:
                used = following[node // 2] != -2
            elif to == end:
                used = following[node // 2] == -1
            else:
                used = following[node // 2] == to // 2
            if used:
                is_open[a], is_open[reverse[a]] = False, True
    potential = _potentials(arc_start, head, price, is_open, begin, end, may_add, may_remove)
    ahead, before = np.full(n, np.nan), np.full(n, np.nan)
    distance = np.full(2 * n + 2, np.inf)
    touched = np.empty(2 * n + 2, np.int64)
    keys, items = np.empty(len(head) + 3 * n + 8), np.empty(len(head) + 3 * n + 8, np.int64)
    for tail in range(2 * n + 2):
        for step in range(arc_start[tail], arc_start[tail + 1]):
            if not forward[step] or is_open[step] or (tail < begin and tail % 2 == 0):
                continue
            goal = head[step]
            distance[tail] = 0.0
            touched[0], n_touched = tail, 1
            keys[0], items[0], n_heap = 0.0, tail, 1
            found = np.inf
            while n_heap:
                here, node, n_heap = pop(keys, items, n_heap)
                if here > distance[node]:
                    continue
                if node == goal:
                    found = here
                    break
                for a in range(arc_start[node], arc_start[node + 1] + 1):
                    if a < arc_start[node + 1]:
                        if not is_open[a]:
                            continue
                        to, own = head[a], price[a]
                    elif (node == end and may_add) or (node == begin and may_remove):
                        to, own = begin + end - node, 0.0
                    else:
                        continue
                    there = here + max(0.0, own + potential[node] - potential[to])
                    if there < distance[to]:
                        if distance[to] == np.inf:
                            touched[n_touched] = to
                            n_touched += 1
                        distance[to] = there
                        n_heap = push(keys, items, n_heap, there, to)
            for k in range(n_touched):
                distance[touched[k]] = np.inf
            margin = max(0.0, found - potential[tail] + potential[goal] - price[step])
            if tail == begin:
                before[goal // 2] = margin
            else:
                ahead[tail // 2] = margin
    return ahead, before
