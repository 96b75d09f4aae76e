"""Which frames of a video are worth labelling: evenly spread, unlike each other, or badly tracked."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from numpy import ndarray

from shoal.stages.filter import predict_arma

MAX_ROUNDS = 50
TOLERANCE = 1e-3  # relative movement of centres at which k-means has settled


def pick_uniform(candidates: Int64[ndarray, "N"], n: int, rng: np.random.Generator) -> Int64[ndarray, "n"]:
    """``n`` of the candidates at random (all of them if there are fewer), ascending.

    >>> pick_uniform(np.arange(3), 5, np.random.default_rng(0)).tolist()
    [0, 1, 2]
    """
    return np.sort(rng.permutation(candidates)[:n])


def pick_diverse(
    candidates: Int64[ndarray, "N"], pictures: Float32[ndarray, "N D"], n: int, rng: np.random.Generator
) -> Int64[ndarray, "n"]:
    """One candidate, at random, of each of ``n`` groups of similar pictures (k-means), ascending.

    Args:
        candidates: frame numbers.
        pictures: small images, flattened, one per candidate.
        n: frames wanted.
        rng: of the first centres and of the choice within groups.
    """
    if len(candidates) <= n:
        return np.sort(candidates)
    group = _cluster(pictures - pictures.mean(axis=0), n, rng)
    chosen = [int(rng.choice(np.flatnonzero(group == g))) for g in range(n) if (group == g).any()]
    left = np.setdiff1d(np.arange(len(candidates)), chosen)
    more = rng.permutation(left)[: n - len(chosen)]  # groups that ended empty: many pictures are the same
    return np.sort(candidates[np.r_[chosen, more].astype(np.int64)])


def jumps(xy: Float[ndarray, "F N 2"], epsilon: float) -> Bool[ndarray, "F"]:
    """Frames in which a point has moved more than ``epsilon`` px since the frame before.

    >>> jumps(np.array([[[0.0, 0]], [[1, 0]], [[30, 0]]]), 20).tolist()
    [False, False, True]
    """
    moved = np.hypot(*np.moveaxis(np.diff(xy, axis=0), -1, 0))
    far = np.zeros(len(xy), np.bool_)
    far[1:] = (moved > epsilon).any(axis=1)  # NaN is not more
    return far


def doubts(confidence: Float[ndarray, "F N"], bound: float) -> Bool[ndarray, "F"]:
    """Frames in which a point that was found has a confidence below ``bound``."""
    return np.asarray((confidence < bound).any(axis=1))


def misfits(xy: Float[ndarray, "F N 2"], epsilon: float, *, ar: int = 3, ma: int = 1) -> Bool[ndarray, "F"]:
    """Frames whose points are, in the mean, more than ``epsilon`` px from an ARMA model's prediction of their paths."""
    seen = np.isfinite(xy).all(axis=2)
    predicted = predict_arma(xy.reshape(len(xy), -1).astype(np.float64), ar, ma).reshape(xy.shape)
    distance = np.nan_to_num(np.hypot(*np.moveaxis(xy - predicted, -1, 0)))
    return np.asarray((distance * seen).sum(axis=1) > epsilon * np.maximum(seen.sum(axis=1), 1))


def _cluster(pictures: Float32[ndarray, "N D"], n: int, rng: np.random.Generator) -> Int64[ndarray, "N"]:
    """Group of each picture: k-means++ starts, Lloyd's rounds."""
    centres = _starts(pictures, n, rng)
    group = np.zeros(len(pictures), np.int64)
    for _ in range(MAX_ROUNDS):
        group = _squared(pictures, centres).argmin(axis=1)
        size = np.bincount(group, minlength=n)
        total = np.zeros_like(centres)
        np.add.at(total, group, pictures)
        moved = np.where(size[:, None] > 0, total / np.maximum(size, 1)[:, None], centres)
        shift = float(np.abs(moved - centres).sum() / max(float(np.abs(centres).sum()), 1e-9))
        centres = moved.astype(np.float32)
        if shift < TOLERANCE:
            break
    return group


def _starts(pictures: Float32[ndarray, "N D"], n: int, rng: np.random.Generator) -> Float32[ndarray, "n D"]:
    """Centres to start from: each picture is likelier the farther it is from those chosen (k-means++)."""
    chosen = [int(rng.integers(len(pictures)))]
    near = _squared(pictures, pictures[chosen])[:, 0]
    while len(chosen) < n:
        total = float(near.sum())
        weights = near / total if total > 0 else np.full(len(near), 1 / len(near))
        chosen.append(int(rng.choice(len(near), p=weights / weights.sum())))
        near = np.minimum(near, _squared(pictures, pictures[chosen[-1:]])[:, 0])
    return pictures[chosen]


def _squared(pictures: Float32[ndarray, "N D"], centres: Float32[ndarray, "n D"]) -> Float[ndarray, "N n"]:
    """Squared distances of all pictures to all centres."""
    cross = pictures @ centres.T
    found = (pictures**2).sum(axis=1)[:, None] - 2 * cross + (centres**2).sum(axis=1)
    return np.maximum(found.astype(np.float64), 0)
