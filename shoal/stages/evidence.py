"""What is known about who is who besides motion, as log odds for ``stitch``."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.types import Evidence, Tracks

SAME = float(np.log(100))
"""Nats for one name: DLC makes the weight of such a join a hundredth."""
LIMIT = 6.0  # nats that one pair may say at most, for or against: evidence adds to motion, it overrides nothing


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
