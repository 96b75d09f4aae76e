"""How large the animals are: what a video's own tracklets say about telling animals apart by body length."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (numba comes without types)

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.types import Tracks

QUANTILE = 0.85  # of a tracklet's rows: bent and half-seen bodies are short, chimeras long
BLOCKS = (10, 20, 40, 80, 160)  # rows
MIN_BLOCKS = 8  # tracklets needed to learn a block's error from
SMALLEST = 0.005**2  # no body length is known better than to half a percent
NORMAL_MEDIAN = 0.6745  # median of |x| for unit deviation


def measure_sizes(
    tracks: Tracks, rows: Int64[ndarray, "m"], begin: Int64[ndarray, "C"], end: Int64[ndarray, "C"]
) -> tuple[Float64[ndarray, "C"], Float64[ndarray, "C"]]:
    """Natural log of the body length of every tracklet, and the variance of its error (inf = not known).

    The error is learned from blocks at the two ends of longer tracklets: one animal, far apart in time.

    Args:
        tracks: tracklets.
        rows: their rows, by tracklet and frame.
        begin: first position in ``rows`` of each tracklet.
        end: one past its last.
    """
    from shoal.stages.kernels.associate import describe

    _, length = describe(tracks.poses.xy[rows].astype(np.float64))
    log_length = np.log(length)
    size = _quantiles(log_length, begin, end)
    errors = _block_errors(log_length, begin, end)
    variance = np.full(len(begin), np.inf)
    if errors:
        variance = np.interp(np.log(end - begin), np.log(list(errors)), list(errors.values()), left=np.inf)
    variance[np.isnan(size)] = np.inf
    return size, variance


def _quantiles(
    log_length: Float64[ndarray, "m"], begin: Int64[ndarray, "C"], end: Int64[ndarray, "C"]
) -> Float64[ndarray, "C"]:
    """QUANTILE of each stretch of rows, NaN where no size is known."""
    piece = np.repeat(np.arange(len(begin)), end - begin)
    inside = np.concatenate([np.arange(b, e) for b, e in zip(begin, end, strict=True)]) if len(begin) else piece
    known = np.isfinite(log_length[inside])
    piece, value = piece[known], log_length[inside][known]
    value = value[np.lexsort((value, piece))]
    first = np.searchsorted(piece, np.arange(len(begin)))
    count = np.bincount(piece, minlength=len(begin))
    at = np.minimum(first + np.floor(QUANTILE * np.maximum(count - 1, 0)).astype(np.int64), max(len(value) - 1, 0))
    return np.where(count > 0, value[at] if len(value) else np.nan, np.nan)


def _block_errors(
    log_length: Float64[ndarray, "m"], begin: Int64[ndarray, "C"], end: Int64[ndarray, "C"]
) -> dict[int, float]:
    """Variance of the size of a block of so many rows, from both ends of tracklets at least three times as long."""
    errors: dict[int, float] = {}
    for block in BLOCKS:
        long = end - begin >= 3 * block
        if long.sum() < MIN_BLOCKS:
            break
        early = _quantiles(log_length, begin[long], begin[long] + block)
        late = _quantiles(log_length, end[long] - block, end[long])
        spread = np.nanmedian(np.abs(late - early)) / NORMAL_MEDIAN
        errors[block] = max(SMALLEST, min([float(spread**2 / 2), *errors.values()]))  # more rows are never worse
    return errors


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
