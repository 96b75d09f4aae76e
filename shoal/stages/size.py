"""How large the animals are: what a video's own tracklets say about telling animals apart by body length."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (numba comes without types)

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

QUANTILE = 0.85  # of a tracklet's rows: bent and half-seen bodies are short, chimeras long
BLOCKS = (10, 20, 40, 80, 160)  # rows
MAX_KEPT = 4096  # rows of a tracklet that its size is taken from, evenly spread: hours of one animal say no more
MIN_BLOCKS = 8  # tracklets needed to learn a block's error from
SMALLEST = 0.005**2  # no body length is known better than to half a percent
NORMAL_MEDIAN = 0.6745  # median of |x| for unit deviation


class SizeLog:
    """Body lengths of tracklets whose rows come span by span; only those of unfinished tracklets are kept.

    Args:
        n: (T,) rows of each tracklet, all spans together.
    """

    def __init__(self, n: Int64[ndarray, "T"]) -> None:
        self._n = n
        self._stride = np.maximum(-(-n // MAX_KEPT), 1)
        self._track, self._index = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._length = np.zeros(0)
        self._size = np.full(len(n), np.nan)
        self._change = np.full((len(BLOCKS), len(n)), np.nan)

    def add(
        self,
        track: Int64[ndarray, "m"],
        index: Int64[ndarray, "m"],
        xy: Float32[ndarray, "m K 2"],
        finished: Int64[ndarray, "f"],
    ) -> None:
        """Take in the rows of a span.

        Args:
            track: of each row; rows are sorted by track and frame.
            index: of each row within its tracklet.
            xy: keypoints.
            finished: tracklets that have no more rows.
        """
        from shoal.stages.kernels.associate import describe

        n = self._n[track]
        kept = (index % self._stride[track] == 0) | (index < BLOCKS[-1]) | (index >= n - BLOCKS[-1])
        _, length = describe(xy[kept].astype(np.float64))
        track, index = np.r_[self._track, track[kept]], np.r_[self._index, index[kept]]
        length = np.r_[self._length, np.log(length)]
        order = np.lexsort((index, track))
        track, index, length = track[order], index[order], length[order]
        done = np.zeros(len(self._n), np.bool_)
        done[finished] = True
        done = done[track]
        self._measure(track[done], index[done], length[done])
        self._track, self._index, self._length = track[~done], index[~done], length[~done]

    def _measure(self, track: Int64[ndarray, "m"], index: Int64[ndarray, "m"], length: Float64[ndarray, "m"]) -> None:
        """Sizes of whole tracklets, and how much the blocks at their ends differ."""
        n = self._n[track]
        even = index % self._stride[track] == 0
        numbers = track[index == 0]
        self._size[numbers] = _quantiles(track[even], length[even], numbers)
        for b, block in enumerate(BLOCKS):
            long = numbers[self._n[numbers] >= 3 * block]
            early, late = index < block, index >= n - block
            change = _quantiles(track[late], length[late], long) - _quantiles(track[early], length[early], long)
            self._change[b, long] = change

    def finish(self) -> tuple[Float64[ndarray, "T"], Float64[ndarray, "T"]]:
        """Natural log of the body length of every tracklet, and the variance of its error (inf = not known).

        The error is learned from blocks at the two ends of longer tracklets: one animal, far apart in time.
        """
        errors: dict[int, float] = {}
        for block, change in zip(BLOCKS, self._change, strict=True):
            long = self._n >= 3 * block
            if long.sum() < MIN_BLOCKS:
                break
            spread = np.nanmedian(np.abs(change[long])) / NORMAL_MEDIAN
            errors[block] = max(SMALLEST, min([float(spread**2 / 2), *errors.values()]))  # more rows are never worse
        variance = np.full(len(self._n), np.inf)
        if errors:
            known = np.log(np.maximum(self._n, 1))
            variance = np.interp(known, np.log(list(errors)), list(errors.values()), left=np.inf)
        variance[np.isnan(self._size)] = np.inf
        return self._size, variance


def _quantiles(
    track: Int64[ndarray, "m"], length: Float64[ndarray, "m"], numbers: Int64[ndarray, "c"]
) -> Float64[ndarray, "c"]:
    """QUANTILE of the lengths of each of these tracklets, NaN where none is known."""
    known = np.isfinite(length)
    track, length = track[known], length[known]
    order = np.lexsort((length, track))
    track, length = track[order], length[order]
    first, end = (np.searchsorted(track, numbers, side=side) for side in ("left", "right"))
    count = end - first
    at = np.minimum(first + np.floor(QUANTILE * np.maximum(count - 1, 0)).astype(np.int64), max(len(length) - 1, 0))
    return np.where(count > 0, length[at] if len(length) else np.nan, np.nan)


def spread_between(
    size: Float64[ndarray, "C"], variance: Float64[ndarray, "C"], first: Int64[ndarray, "C"], last: Int64[ndarray, "C"]
) -> float:
    """Variance of log body length between animals: from tracklets seen at once, less the errors of measurement.

    Args:
        size: (C,) log body lengths.
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
    if len(a) < MIN_BLOCKS:
        return 0.0
    return max(0.0, float(np.mean((size[a] - size[b]) ** 2 / 2 - (variance[a] + variance[b]) / 2)))
