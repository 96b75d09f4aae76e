"""Who of the animals known by name each track is, by its looks: probabilities, "nobody of them" among the answers.

The likeness (cosine) of a track to an animal is taken as normal: around one value where both are the same, around
another one where they are not, both measured when the animals were enrolled. Tracks that are seen at the same time
cannot be one animal; the probabilities given that are found by passing messages between tracks and names (Williams &
Lau, IEEE Transactions on Aerospace and Electronic Systems 2014), which converges always.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

ROUNDS = 100
LIMIT = 20.0  # nats that looks say at most: sums of larger odds would lose the 1 of "none of them"
LEAST_SPREAD = 0.1  # of likeness: few animals were compared
OTHER_DAY, OTHER_DAY_SPREAD = 0.65, 0.16  # share of the likeness within a day that is left on another one, its spread


@dataclass(frozen=True)
class Calibration:
    """What likeness means.

    Attributes:
        same: mean likeness of an animal to itself, of very many crops.
        same_spread: its standard deviation.
        other: mean likeness of an animal to another one.
        other_spread: its standard deviation.
        noise: likeness is less by ``1 / sqrt(1 + noise / crops)`` where there are few crops.
    """

    same: float
    same_spread: float
    other: float
    other_spread: float
    noise: float


def calibrate(
    same: Float64[ndarray, "S"],
    other: Float64[ndarray, "O"],
    pieces: tuple[Float64[ndarray, "P"], Int64[ndarray, "P"]],
    *,
    days: int,
) -> Calibration | None:
    """Fit.

    Args:
        same: likeness of animals to themselves at another time.
        other: of animals to others, learned without them.
        pieces: likeness of short pieces to their own animal, and their crops.
        days: videos that an animal was enrolled in; of a single one it is not known what another day does.

    Returns:
        None where an animal is not more like itself than like others.
    """
    if not len(same) or not len(other):
        return None
    high, low = float(same.mean()) * (1.0 if days > 1 else OTHER_DAY), float(other.mean())
    if high <= low:
        return None
    likeness, crops = pieces
    share = np.clip(likeness.mean() / same.mean(), 0.1, 1.0) if len(likeness) else 1.0
    noise = float((1 / share**2 - 1) / np.mean(1 / crops)) if len(crops) else 0.0
    least = LEAST_SPREAD if days > 1 else OTHER_DAY_SPREAD
    return Calibration(high, max(float(same.std()), least), low, max(float(other.std()), LEAST_SPREAD), noise)


def log_odds_of_names(
    likeness: Float64[ndarray, "T N"], crops: Int64[ndarray, "T"], calibration: Calibration
) -> Float64[ndarray, "T N"]:
    """Log odds that a track is an animal against that it is another one; 0 where there are no crops.

    Likeness beyond what is usual for the same animal, or below what is usual for others, says no more than that.
    """
    few = 1 / np.sqrt(1 + calibration.noise / np.maximum(crops, 1))[:, None]
    high, low = calibration.same * few, calibration.other * few
    value = np.clip(likeness, low, high)
    for_it = ((value - high) / calibration.same_spread) ** 2 / 2 + np.log(calibration.same_spread)
    against = ((value - low) / calibration.other_spread) ** 2 / 2 + np.log(calibration.other_spread)
    return np.where(crops[:, None] > 0, against - for_it, 0.0)


def name_probabilities(
    log_odds: Float64[ndarray, "T N"],
    ends: tuple[Int64[ndarray, "T"], Int64[ndarray, "T"]] | None,
    known: float,
) -> Float64[ndarray, "T N+1"]:
    """Probability of each name for each track, the last one that of none of them.

    Args:
        log_odds: from ``log_odds_of_names``.
        ends: first and last frame of each track: those that share a frame are different animals; None = each is looked
            at as if it were alone.
        known: probability that an animal is one of those enrolled, before it is looked at.

    >>> odds, ends = np.array([[4.0, 0], [3, 2]]), (np.array([0, 5]), np.array([9, 20]))
    >>> name_probabilities(odds, ends, 0.9).argmax(axis=1).tolist()
    [0, 1]
    """
    n = log_odds.shape[1]
    prior = known / max(n, 1) / (1 - known)
    weight = np.exp(np.clip(log_odds, -LIMIT, LIMIT)) * prior
    free = np.ones_like(weight)  # how far a name is free for a track, as far as the others leave it
    if ends is not None:
        for _ in range(ROUNDS):
            wish = weight / (1 + (weight * free).sum(axis=1, keepdims=True) - weight * free)
            before, free = free, 1 / (1 + _sum_at_once(wish, *ends))
            if np.abs(free - before).max(initial=0) < 1e-9:
                break
    share = np.hstack([weight * free, np.ones((len(weight), 1))])
    return share / share.sum(axis=1, keepdims=True)


def _sum_at_once(
    values: Float64[ndarray, "T N"], first: Int64[ndarray, "T"], last: Int64[ndarray, "T"]
) -> Float64[ndarray, "T N"]:
    """Sum over the other tracks that share a frame with each: those begun by its end less those over before it."""
    zero = np.zeros((1, values.shape[1]))
    by_first, by_last = np.argsort(first, kind="stable"), np.argsort(last, kind="stable")
    begun = np.vstack([zero, np.cumsum(values[by_first], axis=0)])
    over = np.vstack([zero, np.cumsum(values[by_last], axis=0)])
    n_begun = np.searchsorted(first[by_first], last, side="right")
    n_over = np.searchsorted(last[by_last], first, side="left")
    return np.maximum(begun[n_begun] - over[n_over] - values, 0)
