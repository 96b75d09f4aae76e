"""The tracker over the frames of a span: what ``shoal.stages.associate`` says, frame by frame.

Every function changes its tables in place. T live tracklets, N animals of a frame, K keypoints.
"""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

from shoal.stages.kernels import inner

# numba's cache goes by this file's time: a change of one of these alone is not noticed
from shoal.stages.kernels.assign import assign, margins
from shoal.stages.kernels.similarity import apart, compare
from shoal.types import DECISION_REASONS

# Kalman noise as shares of the body length: centre x, y; width, height; angle in radians
MEASUREMENT = np.array([0.02, 0.02, 0.05, 0.05, 0.1])
ACCELERATION = np.array([0.1, 0.1, 0.001, 0.001, 0.01])
FIRST_VELOCITY = np.array([0.2, 0.2, 0.01, 0.01, 0.05])
ANGLE = 4
COST_DOUBT = 20.0
SCORE_WEIGHT, SCORE_RATE = 0.3, 0.2
JUMP_CLEARANCE = 0.5  # a jump needs a margin of this share of its length
CROSSING = 0.5  # rivals whose centres are closer than this many body lengths are crossing
NEWCOMER = 0.2  # of the usual score: fainter ones that turn up on an animal are ghosts
CLEAR_RATE = 0.1  # of the running mean of the usual score
MAX_MIXED = 30  # frames: a score that stays low for longer is the usual one
AMBIGUOUS, JUMP = DECISION_REASONS.index("ambiguous"), DECISION_REASONS.index("jump")
CROSSED, MIXED = DECISION_REASONS.index("crossing"), DECISION_REASONS.index("mixed")
FRAME, STARTED, LIVE, CUTS = range(4)  # of ``at``
NUMBER, LAST, MIXED_FOR = range(3)  # of ``Live.count``
SIZE, SCORE, USUAL = range(3)  # of ``Live.fact``
MEAN, VELOCITY, VARIANCE, BOTH, SPEED = range(5)  # of ``Live.filter``


class Live(NamedTuple):
    """Tracklets that may go on, in the first T rows; the columns are those of ``State``."""

    count: ndarray
    fact: ndarray
    filter: ndarray
    offset: ndarray


class Seen(NamedTuple):
    """The animals of a span: (M, 5) ellipses, (M, K, 2) keypoints, (M,) sizes and scores."""

    ellipse: ndarray
    xy: ndarray
    size: ndarray
    score: ndarray


class Recent(NamedTuple):
    """The latest values of something, for their median: oldest to newest from ``ring[n % len(ring)]`` on.

    Attributes:
        ring: (S,) each value replaces the oldest.
        ordered: (S,) the same sorted, the first min(n, S) in use.
        n: (1,) values so far.
    """

    ring: ndarray
    ordered: ndarray
    n: ndarray


class Rules(NamedTuple):
    """``AssociateConfig`` as numbers; ``floor`` is the similarity of a pair that is too far apart to be one animal."""

    similarity: int
    min_similarity: float
    min_margin: float
    floor: float
    min_clear: float
    max_age: int
    slack: float
    body: float
    default_body: float


@njit(cache=True, nogil=True, error_model="numpy")
def fold(bounds, seen, at, live, sizes, scores, rules, frames, numbers, cuts):
    """Take in frames until the last one, or until there might be no room for what the next one brings.

    Args:
        bounds: (F + 1,) first row of each frame, then M.
        seen: ``Seen``.
        at: (4,) last frame, tracklets started, T, cuts so far.
        live: ``Live``.
        sizes: ``Recent`` sizes of animals, px.
        scores: ``Recent`` scores.
        rules: ``Rules``.
        frames: (F,) frame numbers.
        numbers: (M,) out: tracklet of each animal, -1 for those without a keypoint.
        cuts: (C, 7) out: frame, source, target, gap, cost, margin, reason.

    Returns:
        How many frames were taken in.
    """
    for f in range(len(frames)):
        first, stop = bounds[f], bounds[f + 1]
        if at[LIVE] + stop - first > len(live.count) or at[CUTS] + stop - first > len(cuts):
            return f
        row = observe(seen, first, stop, sizes, scores)
        body = rules.body
        if not body > 0:
            body = middle(sizes) if sizes.n[0] else rules.default_body
        typical = middle(scores) if scores.n[0] else 1.0
        follow_frame(frames[f], row, seen, at, live, body, typical, rules, numbers, cuts)
    return len(frames)


@inner
def observe(seen, first, stop, sizes, scores):
    """Rows of one frame that have a keypoint; their sizes and scores are remembered."""
    n = 0
    row = np.empty(stop - first, np.int64)
    for m in range(first, stop):
        if np.isfinite(seen.ellipse[m, 0]):
            row[n] = m
            n += 1
            remember(scores, seen.score[m])
            if seen.size[m] > 0:
                remember(sizes, seen.size[m])
    return row[:n]


@inner
def remember(recent, value):
    """Put in one value, drop the oldest where the ring is full."""
    ordered, place = recent.ordered, recent.n[0] % len(recent.ring)
    k = min(recent.n[0], len(recent.ring))
    if recent.n[0] >= len(recent.ring):  # move the gap that the oldest leaves to where the new one belongs
        low, high = 0, k - 1
        while low < high:
            half = (low + high) // 2
            if ordered[half] < recent.ring[place]:
                low = half + 1
            else:
                high = half
        k = low
        while k + 1 < len(ordered) and ordered[k + 1] < value:
            ordered[k] = ordered[k + 1]
            k += 1
    while k > 0 and ordered[k - 1] > value:
        ordered[k] = ordered[k - 1]
        k -= 1
    ordered[k], recent.ring[place] = value, value
    recent.n[0] += 1


@inner
def middle(recent):
    """Median of the values that are remembered."""
    n = min(recent.n[0], len(recent.ring))
    return recent.ordered[n // 2] if n % 2 else 0.5 * (recent.ordered[n // 2 - 1] + recent.ordered[n // 2])


@inner
def follow_frame(frame, row, seen, at, live, body, typical, rules, numbers, cuts):
    """Take in one frame: predict, compare, assign, judge, go on, note the cuts.

    ``row`` (N,) are the rows of its animals, ``body`` px and ``typical`` the usual body length and score; the others
    are those of ``fold``.
    """
    forget_old(frame, at, live, rules.max_age)
    predict(live, at[LIVE], frame - at[FRAME], body)
    at[FRAME] = frame
    n = at[LIVE]
    alike = similarities(frame, n, live, row, seen, body, rules)
    likeness = np.empty_like(alike)
    for i in range(n):
        for j in range(len(row)):
            likeness[i, j] = alike[i, j] - SCORE_WEIGHT * np.abs(live.fact[i, SCORE] - seen.score[row[j]]) / max(
                typical, 1e-6
            )
    column = assign(likeness)
    for i in range(n):
        if column[i] >= 0 and not alike[i, column[i]] > rules.floor:
            column[i] = -1
    margin, rival = margins(likeness, column)
    reason = judge(frame, n, live, row, seen, alike, column, margin, rival, body, typical, rules)
    began = at[CUTS]
    for i in range(n):
        if reason[i] >= 0:
            c = at[CUTS]
            cuts[c, 0], cuts[c, 1], cuts[c, 3] = frame, live.count[i, NUMBER], frame - live.count[i, LAST] - 1
            cuts[c, 4], cuts[c, 5], cuts[c, 6] = 1 - alike[i, column[i]], margin[i], reason[i]
            at[CUTS] += 1
    go_on(frame, row, seen, at, live, column, reason, body, numbers)
    for i in range(n):
        if reason[i] >= 0:
            cuts[began, 2] = numbers[row[column[i]]]
            began += 1
    forget_rivals(at, live, column, reason, rival)


@inner
def keep(at, live, stays):
    """Forget the tracklets that the mask leaves out; the others keep their order."""
    n = 0
    for i in range(at[LIVE]):
        if not stays[i]:
            continue
        for c in range(3):
            live.count[n, c], live.fact[n, c] = live.count[i, c], live.fact[i, c]
        for c in range(5):
            for d in range(5):
                live.filter[n, c, d] = live.filter[i, c, d]
        for k in range(live.offset.shape[1]):
            live.offset[n, k, 0], live.offset[n, k, 1] = live.offset[i, k, 0], live.offset[i, k, 1]
        n += 1
    at[LIVE] = n


@inner
def forget_old(frame, at, live, max_age):
    """Drop tracklets that were not seen for more than ``max_age`` frames."""
    stays = np.empty(at[LIVE], np.bool_)
    for i in range(at[LIVE]):
        stays[i] = frame - live.count[i, LAST] - 1 <= max_age
    keep(at, live, stays)


@inner
def forget_rivals(at, live, column, reason, rival):
    """Drop the rivals of unsafe pairs that have no animal of their own: they may be what the pair went on as."""
    stays = np.empty(at[LIVE], np.bool_)
    stays[:] = True
    for i in range(len(column)):
        if reason[i] >= 0 and reason[i] != JUMP and rival[i] >= 0 and column[rival[i]] < 0:
            stays[rival[i]] = False
    keep(at, live, stays)


@inner
def predict(live, n, dt, body):
    """Move the first ``n`` tracklets on by ``dt`` frames with constant velocity."""
    for i in range(n):
        for c in range(5):
            noise = (ACCELERATION[c] * (1.0 if c == ANGLE else body)) ** 2
            both, speed = live.filter[i, c, BOTH], live.filter[i, c, SPEED]
            live.filter[i, c, MEAN] += dt * live.filter[i, c, VELOCITY]
            live.filter[i, c, VARIANCE] += 2 * dt * both + dt**2 * speed + noise * dt**3 / 3
            live.filter[i, c, BOTH] += dt * speed + noise * dt**2 / 2
            live.filter[i, c, SPEED] += noise * dt


@inner
def similarities(frame, n, live, row, seen, body, rules):
    """(n, N) similarity of predictions and animals, floored where a jump would be too long."""
    n_keypoints = live.offset.shape[1]
    ellipse, xy = np.empty((len(row), 5)), np.empty((len(row), n_keypoints, 2))
    length = np.empty((n, len(row)))
    mean, expected = np.empty((n, 5)), np.empty((n, n_keypoints, 2))
    for j in range(len(row)):
        for c in range(5):
            ellipse[j, c] = seen.ellipse[row[j], c]
        for k in range(n_keypoints):
            xy[j, k, 0], xy[j, k, 1] = seen.xy[row[j], k, 0], seen.xy[row[j], k, 1]
    for i in range(n):
        own = live.fact[i, SIZE] if np.isfinite(live.fact[i, SIZE]) else body
        unseen = np.sqrt(float(frame - live.count[i, LAST]))  # uncertainty grows while unseen
        for j in range(len(row)):
            size = seen.size[row[j]]
            length[i, j] = max(own, size if np.isfinite(size) else body) * unseen
        for c in range(5):
            mean[i, c] = live.filter[i, c, MEAN]
        for k in range(n_keypoints):
            expected[i, k, 0] = live.filter[i, 0, MEAN] + live.offset[i, k, 0]
            expected[i, k, 1] = live.filter[i, 1, MEAN] + live.offset[i, k, 1]
    alike = compare(rules.similarity, mean, expected, ellipse, xy, length, rules.slack)
    for i in range(n):
        for j in range(len(row)):
            alike[i, j] = max(alike[i, j], rules.floor)
    return alike


@inner
def judge(frame, n, live, row, seen, alike, column, margin, rival, body, typical, rules):
    """Which assigned pairs are not safe to join, and why.

    Returns:
        (n,) index into ``DECISION_REASONS``; -1 where a pair is joined, or there is none.
    """
    reason = np.empty(n, np.int64)
    reason[:] = -1
    for i in range(n):
        if column[i] < 0:
            continue
        taken = alike[i, column[i]]
        near = taken >= rules.min_similarity
        needed = rules.min_margin * (1 + COST_DOUBT * (1 - taken)) if near else JUMP_CLEARANCE * (1 - taken)
        turned = note_score(live, i, seen.score[row[column[i]]], rules.min_clear)
        if margin[i] >= needed and (near or live.count[i, LAST] == frame - 1):
            if turned:
                reason[i] = MIXED
            elif parts_from_another(i, live, row, seen, column, body, NEWCOMER * typical):
                reason[i] = CROSSED
        elif not near:
            reason[i] = JUMP
        else:
            reason[i] = AMBIGUOUS
            m = rival[i]
            if m >= 0:
                distance = apart(
                    live.filter[i, 0, MEAN] - live.filter[m, 0, MEAN], live.filter[i, 1, MEAN] - live.filter[m, 1, MEAN]
                )
                if distance < CROSSING * body:
                    reason[i] = CROSSED
    return reason


@inner
def parts_from_another(i, live, row, seen, column, body, faint):
    """Does an animal of at least this score that no tracklet is joined with turn up where tracklet ``i`` is?

    Then the two may have been seen as one until now, and which of them went on as ``i`` nobody knows.
    """
    for j in range(len(row)):
        taken = False
        for m in range(len(column)):
            taken |= column[m] == j
        if not taken and seen.score[row[j]] >= faint:
            x = seen.ellipse[row[j], 0] - live.filter[i, 0, MEAN]
            y = seen.ellipse[row[j], 1] - live.filter[i, 1, MEAN]
            if apart(x, y) < CROSSING * body:
                return True
    return False


@inner
def note_score(live, i, score, min_clear):
    """Note whether tracklet ``i`` has a low score for now; True where that begins or ends."""
    low = score < min_clear * live.fact[i, USUAL]
    turned = low != (live.count[i, MIXED_FOR] > 0)
    if low and live.count[i, MIXED_FOR] >= MAX_MIXED:
        live.count[i, MIXED_FOR], live.fact[i, USUAL] = 0, score
    elif low:
        live.count[i, MIXED_FOR] += 1
    else:
        live.count[i, MIXED_FOR] = 0
        live.fact[i, USUAL] += CLEAR_RATE * (score - live.fact[i, USUAL])
    return turned


@inner
def go_on(frame, row, seen, at, live, column, reason, body, numbers):
    """Number the animals of a frame; tracklets with an animal are corrected, new ones start from the other animals."""
    n = len(column)
    for i in range(n):  # the filter goes on under a new number: velocity helps to tell the next frames apart
        if reason[i] >= 0 and reason[i] != JUMP:
            live.count[i, NUMBER] = at[STARTED]
            at[STARTED] += 1
    is_fresh = np.empty(len(row), np.bool_)
    is_fresh[:] = True
    for i in range(n):
        j = column[i]
        if j >= 0 and reason[i] != JUMP:
            is_fresh[j] = False
            numbers[row[j]] = live.count[i, NUMBER]
            correct(live, i, frame, row[j], seen, body)
    for j in range(len(row)):
        if is_fresh[j]:
            numbers[row[j]] = at[STARTED]
            begin(live, at[LIVE], frame, row[j], seen, at[STARTED], body)
            at[STARTED] += 1
            at[LIVE] += 1


@inner
def begin(live, i, frame, m, seen, number, body):
    """A tracklet in place ``i`` from animal ``m``."""
    live.count[i, NUMBER], live.count[i, LAST], live.count[i, MIXED_FOR] = number, frame, 0
    live.fact[i, SIZE], live.fact[i, SCORE], live.fact[i, USUAL] = seen.size[m], seen.score[m], seen.score[m]
    for c in range(5):
        unit = 1.0 if c == ANGLE else body
        live.filter[i, c, MEAN], live.filter[i, c, VELOCITY] = seen.ellipse[m, c], 0.0
        live.filter[i, c, VARIANCE], live.filter[i, c, BOTH] = (MEASUREMENT[c] * unit) ** 2, 0.0
        live.filter[i, c, SPEED] = (FIRST_VELOCITY[c] * unit) ** 2
    for k in range(live.offset.shape[1]):
        for c in range(2):
            live.offset[i, k, c] = seen.xy[m, k, c] - seen.ellipse[m, c]


@inner
def correct(live, i, frame, m, seen, body):
    """Kalman update of tracklet ``i`` with animal ``m``.

    The centre of the visible keypoints moves when one is missing: displacement is measured on the shared ones.
    """
    n_shared, x, y = 0, 0.0, 0.0
    for k in range(live.offset.shape[1]):
        d_x = seen.xy[m, k, 0] - (live.filter[i, 0, MEAN] + live.offset[i, k, 0])
        d_y = seen.xy[m, k, 1] - (live.filter[i, 1, MEAN] + live.offset[i, k, 1])
        if np.isfinite(d_x) and np.isfinite(d_y):
            n_shared, x, y = n_shared + 1, x + d_x, y + d_y
    x = live.filter[i, 0, MEAN] + x / n_shared if n_shared else seen.ellipse[m, 0]
    y = live.filter[i, 1, MEAN] + y / n_shared if n_shared else seen.ellipse[m, 1]
    for c in range(5):
        observed = x if c == 0 else y if c == 1 else seen.ellipse[m, c]
        residual = observed - live.filter[i, c, MEAN]
        if c == ANGLE:
            residual = (residual + np.pi / 2) % np.pi - np.pi / 2  # an ellipse looks the same turned by half
        if not np.isfinite(residual):
            if np.isnan(live.filter[i, c, MEAN]):  # perhaps the first time that the shape is seen
                live.filter[i, c, MEAN] = observed
            continue
        here, both = live.filter[i, c, VARIANCE], live.filter[i, c, BOTH]
        total = here + (MEASUREMENT[c] * (1.0 if c == ANGLE else body)) ** 2
        live.filter[i, c, MEAN] += here / total * residual
        live.filter[i, c, VELOCITY] += both / total * residual
        live.filter[i, c, VARIANCE] = (1 - here / total) * here
        live.filter[i, c, BOTH] = (1 - here / total) * both
        live.filter[i, c, SPEED] -= both / total * both
    for k in range(live.offset.shape[1]):
        if np.isfinite(seen.xy[m, k, 0]) and np.isfinite(seen.xy[m, k, 1]):
            live.offset[i, k, 0], live.offset[i, k, 1] = seen.xy[m, k, 0] - x, seen.xy[m, k, 1] - y
    live.fact[i, SIZE] = np.fmax(live.fact[i, SIZE] * 0.9, seen.size[m])
    live.fact[i, SCORE] += SCORE_RATE * (seen.score[m] - live.fact[i, SCORE])
    live.count[i, LAST] = frame
