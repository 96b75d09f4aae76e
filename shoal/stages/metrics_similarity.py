"""How alike a predicted animal and a true one are; pairs of one frame; places that do not count.

Two scales for one kernel, exp(-d^2 / 2 s^2) averaged over the keypoints that the truth has:

* ``pose_similarity``: s = a tenth of the body length, one number per video. Judges tracking.
* ``oks``: s from the area of the animal's bounding box, as DeepLabCut does. Judges poses, for DLC's mAP and mAR only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped
from numpy import ndarray
from scipy.optimize import linear_sum_assignment  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from shoal.types import Regions, Tracks, body_length, select

TOLERANCE = 0.1
"""Keypoint tolerance as a share of body length; also DLC's sigma of every keypoint."""

BLOCK_ROWS = 50_000
"""Truth rows compared at once: bounds memory (10 animals, 9 keypoints: about 70 MB)."""

REACH = 7.5
"""Tolerances beyond which a keypoint's share of the similarity is below 1e-12 and counts as none."""


def pose_similarity(
    truth_xy: Shaped[ndarray, "A K 2"], predicted_xy: Shaped[ndarray, "N K 2"], length: float
) -> Float[ndarray, "A N"]:
    """Mean over truth-visible keypoints of exp(-d^2 / 2 (0.1 length)^2); a missing prediction counts 0.

    Args:
        truth_xy: keypoints in px, NaN = not labelled.
        predicted_xy: keypoints in px, NaN = missing.
        length: body length in px, one per video (``types.body_length`` of the truth).

    Returns:
        0-1 for each pair; 0 for a truth without keypoints.

    >>> pose_similarity(np.array([[[0.0, 0.0], [10.0, 0.0]]]), np.array([[[0.0, 0.0], [np.nan, np.nan]]]), 10.0)
    array([[0.5]])
    """
    return np.nan_to_num(_kernel_mean(truth_xy[:, None], predicted_xy[None], (TOLERANCE * length) ** 2))


def oks(
    truth_xy: Shaped[ndarray, "A K 2"], predicted_xy: Shaped[ndarray, "N K 2"], *, sigma: float = TOLERANCE
) -> Float[ndarray, "A N"]:
    """Object keypoint similarity as DeepLabCut computes it: s^2 = bounding box area * (2 sigma)^2.

    The box is that of the truth's visible keypoints, without a margin.

    Returns:
        0-1 for each pair; NaN where the truth has fewer than 2 keypoints or a box without area.
    """
    truth = np.asarray(truth_xy, np.float64)
    return _kernel_mean(truth[:, None], predicted_xy[None], (_box_area(truth) * (2 * sigma) ** 2)[:, None])


def oks_of_pairs(
    truth_xy: Shaped[ndarray, "Q K 2"], predicted_xy: Shaped[ndarray, "Q K 2"], *, sigma: float = TOLERANCE
) -> Float[ndarray, "Q"]:
    """``oks`` row by row."""
    return _kernel_mean(truth_xy, predicted_xy, _box_area(truth_xy) * (2 * sigma) ** 2)


def _box_area(xy: Shaped[ndarray, "A K 2"]) -> Float[ndarray, "A"]:
    """Area in px^2 of the box of the visible keypoints; NaN with fewer than 2 or without area."""
    low, high = _corners(np.asarray(xy, np.float64))
    enough = (~np.isnan(xy).any(-1)).sum(-1) >= 2
    size = np.where(enough[:, None], high, 0) - np.where(enough[:, None], low, 0)
    area = size[:, 0] * size[:, 1]
    return np.where(area > 0, area + np.finfo(np.float64).eps, np.nan)


def _kernel_mean(
    truth_xy: Shaped[ndarray, "... K 2"],
    predicted_xy: Shaped[ndarray, "... K 2"],
    scale2: Float[ndarray, "..."] | float,
) -> Float[ndarray, "..."]:
    """Mean of exp(-d^2 / 2 scale2) over truth-visible keypoints; NaN without any or with scale2 NaN."""
    distance2 = ((np.asarray(truth_xy, np.float64) - predicted_xy) ** 2).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        closeness = np.nan_to_num(np.exp(-distance2 / (2 * np.expand_dims(np.asarray(scale2, np.float64), -1))))
        mean = closeness.sum(-1) / (~np.isnan(truth_xy).any(-1)).sum(-1)
    return np.where(np.isnan(scale2), np.nan, mean)


def centres(xy: Shaped[ndarray, "M K 2"]) -> Float[ndarray, "M 2"]:
    """Mean of each row's visible keypoints, NaN where there is none."""
    seen = ~np.isnan(xy).any(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(seen, xy, 0).sum(1, dtype=np.float64) / seen.sum(1)


def has_keypoints(xy: Shaped[ndarray, "M K 2"]) -> Bool[ndarray, "M"]:
    """Rows with at least one keypoint."""
    return np.any(~np.isnan(xy).any(-1), axis=-1)


def pairs_of_frames(
    first: Int64[ndarray, "M"], second: Int64[ndarray, "N"]
) -> Iterator[tuple[Int64[ndarray, "Q"], Int64[ndarray, "Q"]]]:
    """All pairs of rows that share a frame, in blocks of rows of ``first``; both sorted by frame."""
    start, stop = np.searchsorted(second, first, "left"), np.searchsorted(second, first, "right")
    for low in range(0, len(first), BLOCK_ROWS):
        count = (stop - start)[low : low + BLOCK_ROWS]
        row = np.repeat(np.arange(len(count)), count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        yield row + low, start[low + row] + within


def similar_pairs(
    truth: Tracks, predicted: Tracks, length: float
) -> tuple[Int64[ndarray, "Q"], Int64[ndarray, "Q"], Float[ndarray, "Q"]]:
    """Rows of truth and prediction on one frame and their ``pose_similarity``, where it is above 0 (1e-12).

    Pairs whose boxes are further apart than any tolerance reaches are left out before the exact comparison:
    with 10 animals nine pairs of ten, and most of the time.
    """
    truth_xy, predicted_xy = truth.poses.xy.astype(np.float64), predicted.poses.xy.astype(np.float64)
    truth_low, truth_high = _corners(truth_xy)
    low, high = _corners(predicted_xy)
    reach = REACH * TOLERANCE * length
    rows: list[tuple[ndarray, ndarray, ndarray]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for i, j in pairs_of_frames(truth.poses.frame, predicted.poses.frame):
        near = np.ones(len(i), bool)
        for axis in (0, 1):
            near &= truth_low[i, axis] - high[j, axis] <= reach
            near &= low[j, axis] - truth_high[i, axis] <= reach
        i, j = i[near], j[near]
        value = np.nan_to_num(_kernel_mean(truth_xy[i], predicted_xy[j], (TOLERANCE * length) ** 2))
        kept = value > 1e-12
        rows.append((i[kept], j[kept], value[kept]))
    i, j, value = (np.concatenate(column) for column in zip(*rows, strict=True))
    return i, j, value


def _corners(xy: Float[ndarray, "M K 2"]) -> tuple[Float[ndarray, "M 2"], Float[ndarray, "M 2"]]:
    low = np.where(np.isnan(xy), np.inf, xy).min(1, initial=np.inf)
    return low, np.where(np.isnan(xy), -np.inf, xy).max(1, initial=-np.inf)


def ignore_regions(truth: Tracks, *, length: float | None = None) -> Regions:
    """Where animals must be on frames on which the truth has no label for them.

    Between two labelled frames an animal's centre is interpolated in time; before its first and after its last one it
    is held. Rows of truth without identity (track -1) are regions as well. Radius: one body length.

    Args:
        truth: a row without any keypoint counts as unlabelled.
        length: px; default ``types.body_length`` of the truth.

    Returns:
        Regions sorted by frame; empty if there is no body length.
    """
    radius = body_length(truth.poses.xy) if length is None else length
    truth = select(truth, has_keypoints(truth.poses.xy))
    centre, frames = centres(truth.poses.xy), np.arange(*truth.span)
    unnamed = truth.track < 0
    found: list[tuple[ndarray, ndarray]] = [(truth.poses.frame[unnamed], centre[unnamed])]
    for track in np.unique(truth.track[~unnamed]):
        mine = truth.track == track
        labelled = truth.poses.frame[mine]
        hidden = np.setdiff1d(frames, labelled)
        place = np.empty((len(hidden), 2))
        for axis in (0, 1):
            place[:, axis] = np.interp(hidden, labelled, centre[mine, axis])
        found.append((hidden, place))
    frame, xy = (np.concatenate(column) for column in zip(*found, strict=True))
    if not np.isfinite(radius):
        return Regions.empty()
    order = np.argsort(frame, kind="stable")
    return Regions(frame[order], xy[order], np.full(len(frame), radius))


def inside_regions(frame: Int64[ndarray, "N"], centre: Float[ndarray, "N 2"], regions: Regions) -> Bool[ndarray, "N"]:
    """Which positions lie within a region of their frame; ``frame`` is sorted."""
    inside = np.zeros(len(frame), bool)
    for i, j in pairs_of_frames(regions.frame, frame):
        distance = np.linalg.norm(regions.xy[i] - centre[j], axis=-1)
        inside[j[distance <= regions.radius[i]]] = True
    return inside


def best_pairs(weight: Float[ndarray, "A N"]) -> tuple[Int64[ndarray, "Q"], Int64[ndarray, "Q"]]:
    """Row and column of the pairs of the assignment with the largest total weight; pairs of weight 0 are left out."""
    row, column = cast("tuple[ndarray, ndarray]", linear_sum_assignment(weight, maximize=True))
    kept = weight[row, column] > np.finfo(np.float64).eps
    return row[kept], column[kept]
