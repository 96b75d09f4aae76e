"""What is known about who is who besides motion, as log odds for ``stitch``."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from shoal.types import Evidence, Tracks

SAME = float(np.log(100))
"""Nats for one name: DLC makes the weight of such a join a hundredth."""
FEW, ENOUGH = 4, 8  # samples of a tracklet to calibrate with, and to know its looks fully
MOST = 1000  # tracklets that pairs are made of: half a million
LEAST_SPREAD = 0.2  # of likeness: a video's own pairs flatter an encoder that has learned from them
LIMIT = 12.0  # nats that one pair may say at most, for or against: evidence adds to motion, it overrides nothing


def log_odds(evidence: Evidence, source: Int64[ndarray, "J"], target: Int64[ndarray, "J"]) -> Float64[ndarray, "J"]:
    """Log odds that pairs of tracklets are one animal, at most ``LIMIT``; 0 for tracklets that it does not know."""
    n = len(evidence.weight)
    known = (source >= 0) & (source < n) & (target >= 0) & (target < n)
    a, b = np.where(known, source, 0), np.where(known, target, 0)
    if not n:
        return np.zeros(len(source))
    vector, weight = evidence.vector.astype(np.float64), evidence.weight.astype(np.float64)
    alike = np.einsum("jd,jd->j", vector[a], vector[b])
    odds = weight[a] * weight[b] * (evidence.slope * alike + evidence.offset)
    return np.where(known, np.clip(odds, -LIMIT, LIMIT), 0.0)


def evidence_of_names(tracklets: Tracks, name: Int64[ndarray, "M"], *, log_odds: float = SAME) -> Evidence:
    """Evidence from the names that the identity head gives to animals.

    Args:
        tracklets: from ``associate``.
        name: (M,) individual of each row (``assemble.name_animals``), -1 = none.
        log_odds: for two tracklets whose rows all have one name; as much against two different names.

    Returns:
        Each tracklet's commonest name, weighted by the share of its named rows that have it, beyond what names drawn
        at random would agree.
    """
    n, n_named = tracklets.n_tracks, int(name.max(initial=-1)) + 1
    rows = np.flatnonzero((tracklets.track >= 0) & (name >= 0))
    if not len(rows) or n_named < 2:
        return Evidence(np.zeros((n, 0)), np.zeros(n), 0.0, 0.0)
    votes = np.zeros((n, n_named))
    np.add.at(votes, (tracklets.track[rows], name[rows]), 1)
    total = votes.sum(axis=1)
    sure = (votes.max(axis=1) / np.maximum(total, 1) - 1 / n_named) / (1 - 1 / n_named)
    is_name = np.arange(n_named) == votes.argmax(axis=1)[:, None]
    return Evidence(is_name, np.where(total > 0, sure, 0.0), 2 * log_odds, -log_odds)


def evidence_of_looks(
    vector: Float32[ndarray, "N D"],
    tracklet: Int64[ndarray, "N"],
    first: Int64[ndarray, "T"],
    last: Int64[ndarray, "T"],
) -> Evidence | None:
    """Evidence from embeddings, calibrated on the video itself.

    Two tracklets at the same time are two animals; the two ends of one tracklet are one. The likeness (cosine) of both
    kinds of pairs is taken as normal with one spread, which makes the log odds linear in it.

    Args:
        vector: of length 1, rows in order of time.
        tracklet: of each.
        first: first frame of each tracklet.
        last: last frames.

    Returns:
        Mean vectors of tracklets, weighted by the root of their number up to ``ENOUGH``; None where the video has no
        pairs of both kinds.
    """
    n = np.bincount(tracklet, minlength=len(first))
    order = np.argsort(tracklet, kind="stable")
    begin = np.r_[0, np.cumsum(n)]
    sums = np.vstack([np.zeros(vector.shape[1]), np.cumsum(vector[order], axis=0, dtype=np.float64)])
    mean = _unit(sums[begin[1:]] - sums[begin[:-1]])
    known = np.flatnonzero(n >= FEW)
    a, b = _at_once(first, last, known[np.argsort(-n[known], kind="stable")][:MOST])
    different = np.einsum("pd,pd->p", mean[a], mean[b])
    long = np.flatnonzero(n >= 2 * FEW)
    quarter = n[long] // 4
    start, stop = begin[long], begin[long + 1]
    ends = _unit(sums[start + quarter] - sums[start]), _unit(sums[stop] - sums[stop - quarter])
    same = np.einsum("pd,pd->p", *ends)
    if not len(same) or not len(different):
        return None
    spread = max(float(same.std()), float(different.std()), LEAST_SPREAD)
    high, low = float(same.mean()), float(different.mean())
    if high <= low:
        return None
    weight = np.sqrt(np.minimum(n, ENOUGH) / ENOUGH)
    return Evidence(mean, weight, (high - low) / spread**2, (low**2 - high**2) / (2 * spread**2))


def _unit(vector: Float64[ndarray, "n D"]) -> Float64[ndarray, "n D"]:
    """Vectors of length 1; those of no length stay 0."""
    return vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-9)


def _at_once(
    first: Int64[ndarray, "T"], last: Int64[ndarray, "T"], which: Int64[ndarray, "n"]
) -> tuple[Int64[ndarray, "P"], Int64[ndarray, "P"]]:
    """Pairs of these tracklets that are seen at the same time."""
    i, j = np.triu_indices(len(which), 1)
    a, b = which[i], which[j]
    shared = (first[a] <= last[b]) & (first[b] <= last[a])
    return a[shared], b[shared]
