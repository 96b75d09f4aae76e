"""How well single keypoints are found and told apart, whatever animal they are put together to."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.types import Detections, Poses

NEIGHBOURS = 3
"""Predictions nearest to a label that can be matched with it (DeepLabCut's number)."""


def detection_errors(truth: Poses, detections: Detections) -> tuple[Float64[ndarray, "Q"], Float64[ndarray, "Q"]]:
    """Distance and confidence of the prediction matched with each labelled keypoint, as DLC's ``rmse_detections``.

    Per image and keypoint, the label with the nearest prediction chooses first; each prediction is used once.

    Args:
        truth: labelled animals.
        detections: peaks on the same frames.

    Returns:
        ((Q,) px, (Q,) confidences) of the labels that found a prediction.
    """
    errors: list[float] = []
    confidence: list[float] = []
    for xy, peaks in _groups(truth, detections):
        distance = np.linalg.norm(xy[:, None] - detections.xy[peaks].astype(np.float64), axis=-1)
        used: set[int] = set()
        for label in np.argsort(distance.min(1), kind="stable"):
            near = np.argsort(distance[label], kind="stable")[:NEIGHBOURS].tolist()
            free = [peak for peak in near if peak not in used]
            if free:
                used.add(free[0])
                errors.append(float(distance[label, free[0]]))
                confidence.append(float(detections.confidence[peaks[free[0]]]))
    return np.array(errors, np.float64), np.array(confidence, np.float64)


def identity_accuracy(truth: Poses, who: Int64[ndarray, "M"], detections: Detections) -> Float64[ndarray, "K"]:
    """Share of labels whose nearest prediction names the right animal, per keypoint; NaN without any.

    Args:
        truth: labelled animals.
        who: the individual of each row of ``truth``; -1 = unnamed, not judged.
        detections: peaks with identity scores.
    """
    right = np.zeros((2, truth.n_keypoints))
    for k in range(truth.n_keypoints):
        for row in np.flatnonzero(np.isfinite(truth.xy[:, k, 0]) & (who >= 0)):
            peaks = np.flatnonzero((detections.frame == truth.frame[row]) & (detections.keypoint == k))
            if len(peaks):
                nearest = peaks[np.linalg.norm(detections.xy[peaks] - truth.xy[row, k], axis=1).argmin()]
                right[:, k] += (int(detections.identity[nearest].argmax()) == who[row]), 1
    return np.where(right[1] > 0, right[0] / np.maximum(right[1], 1), np.nan)


def _groups(truth: Poses, detections: Detections) -> list[tuple[ndarray, ndarray]]:
    """(labels (A, 2), indices of peaks) of each frame and keypoint that has both."""
    out: list[tuple[ndarray, ndarray]] = []
    for frame in np.unique(truth.frame):
        rows, seen = truth.frame == frame, np.flatnonzero(detections.frame == frame)
        for k in range(truth.n_keypoints):
            xy = truth.xy[rows, k].astype(np.float64)
            xy, peaks = xy[np.isfinite(xy).all(1)], seen[detections.keypoint[seen] == k]
            if len(xy) and len(peaks):
                out.append((xy, peaks))
    return out
