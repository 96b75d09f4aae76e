"""What is known about who is who besides motion, as log odds for ``stitch``."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from shoal.types import Evidence, Tracks

SAME = float(np.log(100))
"""Nats for one name: DLC makes the weight of such a join a hundredth."""


def evidence_of_names(tracklets: Tracks, name: Int64[ndarray, "M"], *, log_odds: float = SAME) -> Evidence:
    """Evidence from the names that the identity head gives to animals.

    Args:
        tracklets: from ``associate``.
        name: (M,) individual of each row (``assemble.name_animals``), -1 = none.
        log_odds: for two tracklets whose rows all have one name; as much against two different names.

    Returns:
        All pairs of tracklets that do not overlap and both have named rows, weighted by the share of rows that have
        the tracklet's commonest name, beyond what two names drawn at random would agree.
    """
    n, n_named = tracklets.n_tracks, int(name.max(initial=-1)) + 1
    rows = np.flatnonzero((tracklets.track >= 0) & (name >= 0))
    if not len(rows) or n_named < 2:
        return Evidence(np.zeros(0), np.zeros(0), np.zeros(0))
    votes = np.zeros((n, n_named))
    np.add.at(votes, (tracklets.track[rows], name[rows]), 1)
    total = votes.sum(axis=1)
    sure = (votes.max(axis=1) / np.maximum(total, 1) - 1 / n_named) / (1 - 1 / n_named)
    frame = tracklets.poses.frame
    first, last = np.full(n, np.iinfo(np.int64).max), np.full(n, -1)
    mine = np.flatnonzero(tracklets.track >= 0)
    np.minimum.at(first, tracklets.track[mine], frame[mine])
    np.maximum.at(last, tracklets.track[mine], frame[mine])
    known = np.flatnonzero(total > 0)
    a, b = np.meshgrid(known, known, indexing="ij")
    follows = last[a] < first[b]
    a, b = a[follows], b[follows]
    same = np.where(votes[a].argmax(axis=1) == votes[b].argmax(axis=1), 1.0, -1.0)
    return Evidence(a, b, log_odds * same * sure[a] * sure[b])
