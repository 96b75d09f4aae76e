"""How animals are built: what a video's own tracklets say about telling them apart by their body proportions.

Each tracklet is described by the distances between keypoints, in logarithms, where size is a shift of all and shape the
rest. Which combinations of them tell animals apart is learned without names (linear discriminants: Fisher, Annals of
Eugenics 1936): they should vary little between one animal's blocks of rows, which is posture and noise, and much
between tracklets. How far each can be trusted is measured on the two ends of long tracklets.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (numba comes without types)

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

BLOCK = 20  # rows whose median distances are one observation: posture changes within it
MIN_ROWS = 5  # that a distance must be seen on
MAX_BLOCKS = 205  # of a tracklet, evenly spread: hours of one animal say no more
MAX_PAIRS = 45  # of keypoints, evenly spread: all of 10 keypoints
N_DIRECTIONS = 4
SPANS = (1, 2, 4, 8)  # blocks at each end that are compared
MIN_TRACKLETS, MIN_OBSERVATIONS = 8, 20  # to learn an error, and the posture, from
MISSING = 1 / 3  # share of distances that a block may lack
SHRINK = 0.2  # of the covariance of posture, towards its diagonal
OUTLIER = 3.0  # standard deviations that an observation of posture counts at most
SMALLEST = 0.005**2  # no distance is known better than to half a percent
FEWER_ROWS = 0.8  # the error of less than a block grows with this power of its rows: they share their posture
NORMAL_MEDIAN = 0.6745  # median of |x| for unit deviation


class ProportionLog:
    """Distances between the keypoints of tracklets whose rows come span by span.

    Args:
        n: (T,) rows of each tracklet, all spans together.
    """

    def __init__(self, n: Int64[ndarray, "T"]) -> None:
        self._n = n
        self._n_blocks = np.maximum(n // BLOCK, 1)  # the last one may have nearly two blocks' rows
        self._stride = np.maximum(-(-self._n_blocks // MAX_BLOCKS), 1)
        self._waiting: tuple[ndarray, ndarray, ndarray] | None = None  # tracklet, block, xy of unfinished blocks
        self._done: list[tuple[ndarray, ndarray, ndarray]] = []  # tracklet, block, median log distances

    def add(self, track: Int64[ndarray, "m"], index: Int64[ndarray, "m"], xy: Float32[ndarray, "m K 2"]) -> None:
        """Take in the rows of a span.

        Args:
            track: of each row; rows are sorted by track and frame.
            index: of each row within its tracklet.
            xy: keypoints.
        """
        from shoal.stages.kernels.proportions import block_medians

        block = np.minimum(index // BLOCK, self._n_blocks[track] - 1)
        last = np.where(block == self._n_blocks[track] - 1, self._n[track] - 1, block * BLOCK + BLOCK - 1)
        kept = block % self._stride[track] == 0
        new = (track[kept], block[kept], xy[kept])
        complete = np.stack([track, block])[:, kept & (index == last)]
        if self._waiting is not None:
            new = tuple(np.concatenate(pair) for pair in zip(self._waiting, new, strict=True))
            order = np.lexsort((new[1], new[0]))  # stable: frames stay in order
            new = tuple(column[order] for column in new)
        track, block, xy = new
        begin = np.flatnonzero(np.r_[True, (np.diff(track) != 0) | (np.diff(block) != 0)][: len(track)])
        size = np.diff(np.r_[begin, len(track)])
        wide = int(self._n_blocks.max(initial=0)) + 1
        finished = np.isin(track[begin] * wide + block[begin], complete[0] * wide + complete[1])
        pairs = _pairs(xy.shape[1])
        value = block_medians(xy.astype(np.float64), begin[finished], size[finished], pairs, MIN_ROWS)
        self._done.append((track[begin[finished]], block[begin[finished]], value))
        rest = ~np.repeat(finished, size)
        self._waiting = (track[rest], block[rest], xy[rest])

    def finish(self) -> tuple[Float64[ndarray, "T Q"], Float64[ndarray, "T Q"]]:
        """Where every tracklet stands along the directions that tell animals apart, and the variance of its error.

        Returns:
            Q <= 4 coordinates in units of the variation within animals; their variances, inf = not known. Q = 0 if
            there is too little to learn from.
        """
        nothing = np.zeros((len(self._n), 0))
        if not self._done:
            return nothing, nothing
        track, block, value = (np.concatenate(column) for column in zip(*self._done, strict=True))
        order = np.lexsort((block, track))
        track, value = track[order], value[order]
        track, value = _complete(track, value, self._n[track] >= BLOCK)
        directions = _discriminants(track, value) if len(track) else None
        if directions is None:
            return nothing, nothing
        seen = value @ directions
        begin, size = _groups(track)
        total = np.vstack([np.zeros(seen.shape[1]), np.cumsum(seen, axis=0)])
        errors = [_errors(total[:, q], begin, size) for q in range(seen.shape[1])]
        build = np.full((len(self._n), seen.shape[1]), np.nan)
        variance = np.full(build.shape, np.inf)
        known = track[begin]
        build[known] = (total[begin + size] - total[begin]) / size[:, None]
        rows = np.minimum(size * BLOCK, self._n[known])
        for q, error in enumerate(errors):
            if error:
                variance[known, q] = np.interp(np.log(rows), np.log(list(error)), list(error.values()))
                variance[known, q] *= np.maximum(BLOCK / rows, 1.0) ** FEWER_ROWS
        return build, variance


def _pairs(n_keypoints: int) -> Int64[ndarray, "P 2"]:
    """Which keypoints' distances are looked at."""
    pairs = np.stack(np.triu_indices(n_keypoints, 1), axis=1)
    return pairs[np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), MAX_PAIRS)).astype(np.int64))]


def _complete(
    track: Int64[ndarray, "b"], value: Float64[ndarray, "b P"], whole: ndarray
) -> tuple[Int64[ndarray, "c"], Float64[ndarray, "c P"]]:
    """Blocks that show most distances, less the usual ones; those they lack are filled in from their general size."""
    shown = np.isfinite(value)
    kept = shown.sum(axis=1) > (1 - MISSING) * value.shape[1]
    if not (kept & whole).any():
        return track[:0], value[:0]
    usual = np.nan_to_num(np.nanmedian(value[kept & whole], axis=0))
    value, shown = value[kept] - usual, shown[kept]
    general = np.nanmedian(value, axis=1)
    return track[kept], np.where(shown, value, general[:, None])


def _groups(track: Int64[ndarray, "b"]) -> tuple[Int64[ndarray, "c"], Int64[ndarray, "c"]]:
    """Where each tracklet's blocks begin, and how many it has."""
    begin = np.flatnonzero(np.r_[True, np.diff(track) != 0][: len(track)])
    return begin, np.diff(np.r_[begin, len(track)])


def _discriminants(track: Int64[ndarray, "b"], value: Float64[ndarray, "b P"]) -> Float64[ndarray, "P Q"] | None:
    """Directions of the largest variance between tracklets against that within; None = too few blocks."""
    begin, size = _groups(track)
    mean = np.add.reduceat(value, begin, axis=0) / size[:, None]
    long = np.repeat(size >= 3, size)
    if long.sum() < MIN_OBSERVATIONS:
        return None
    inside = (value - np.repeat(mean, size, axis=0)) * np.sqrt(1 / (1 - 1 / np.repeat(np.maximum(size, 2), size)))[
        :, None
    ]
    inside = inside[long]
    spread = OUTLIER / NORMAL_MEDIAN * np.median(np.abs(inside), axis=0)
    inside = np.clip(inside, -spread, spread)
    within = inside.T @ inside / len(inside)
    within = (1 - SHRINK) * within + np.diag(SHRINK * np.diag(within) + SMALLEST)
    weight = size[size >= 3] / size[size >= 3].sum()
    apart = mean[size >= 3] - weight @ mean[size >= 3]
    between = (apart * weight[:, None]).T @ apart
    whiten = np.linalg.inv(np.linalg.cholesky(within))
    _, axes = np.linalg.eigh(whiten @ between @ whiten.T)
    return (whiten.T @ axes[:, ::-1])[:, :N_DIRECTIONS]


def _errors(total: Float64[ndarray, "b"], begin: Int64[ndarray, "c"], size: Int64[ndarray, "c"]) -> dict[int, float]:
    """Variance of the error by rows: from blocks at the two ends of longer tracklets, one animal far apart in time.

    Args:
        total: sums of one coordinate over the blocks before each.
        begin: first block of each tracklet.
        size: blocks of each.
    """
    errors: dict[int, float] = {}
    for blocks in SPANS:
        long = size >= 3 * blocks
        if long.sum() < MIN_TRACKLETS:
            break
        first, last = begin[long], begin[long] + size[long]
        change = (total[last] - total[last - blocks] - total[first + blocks] + total[first]) / blocks
        spread = float(np.median(np.abs(change))) / NORMAL_MEDIAN
        errors[blocks * BLOCK] = min([max(spread**2 / 2, SMALLEST), *errors.values()])  # more rows are never worse
    return errors


def spread_between(
    build: Float64[ndarray, "C"], variance: Float64[ndarray, "C"], first: Int64[ndarray, "C"], last: Int64[ndarray, "C"]
) -> float:
    """Variance of one coordinate between animals: from tracklets seen at once, less the errors of measurement.

    Args:
        build: (C,) coordinates.
        variance: (C,) of their errors, inf = not known.
        first: (C,) first frames.
        last: (C,) last frames.
    """
    good = np.flatnonzero(np.isfinite(variance))
    good = good[np.argsort(first[good] - last[good], kind="stable")][:200]  # the longest say most
    a, b = np.triu_indices(len(good), 1)
    a, b = good[a], good[b]
    together = (first[a] <= last[b]) & (first[b] <= last[a])
    a, b = a[together], b[together]
    if len(a) < MIN_TRACKLETS:
        return 0.0
    return max(0.0, float(np.mean((build[a] - build[b]) ** 2 / 2 - (variance[a] + variance[b]) / 2)))
