"""How well poses fit: DeepLabCut's figures (rmse, mAP, mAR) and figures in pixels, body lengths and animals found.

DLC's mAP is not quite COCO's, and published DLC figures are only comparable in DLC's definition, so that is what is
computed. A prediction claims the true animal it resembles most; if a better scored prediction holds that animal
already, it is wrong (COCO would pass it on to the next best animal). The scale of the similarity is the area of the
keypoints' box (COCO: of the outline), and animals with fewer than 2 keypoints are left out on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from numpy import ndarray

from shoal.stages.metrics_similarity import (
    TOLERANCE,
    centres,
    has_keypoints,
    inside_regions,
    oks_of_pairs,
    pairs_of_frames,
)
from shoal.types import Poses, Regions, body_length, column, select

OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""DLC's and COCO's."""

FOUND = 0.5
"""OKS from which an animal counts as found."""

SAME_ANIMAL = 1e-6
"""OKS from which DLC measures the distance between a prediction and a true animal."""


@dataclass(frozen=True, eq=False)
class PoseScores:
    """Figures of predicted poses; NaN = nothing to measure. K counts the unique keypoints, too; they come last.

    Attributes:
        rmse: mean distance over matched keypoints, px (DLC's name; it is not a root mean square).
        rmse_pcutoff: the same over keypoints with confidence >= pcutoff, px.
        mAP: mean average precision over OKS 0.50-0.95, 0-100, as DLC defines it.
        mAR: mean recall over OKS 0.50-0.95, 0-100, as DLC defines it.
        recall: share of true animals found at OKS 0.5; true animals without OKS are left out.
        precision: share of predictions that found one.
        pck: share of labelled keypoints predicted within a tenth of the body length; a missed animal's count as wrong.
        median: median distance, px.
        percent: ``rmse`` in % of ``length``.
        length: body length of the true animals, px.
        swapped: share of left-right pairs that fit better the other way round.
        n_images: frames judged.
        n_truth: true animals.
        n_predicted: predictions that count.
        n_ignored: predictions in ignore regions.
        keypoint_error: (K,) mean distance, px.
        keypoint_median: (K,) median distance, px.
        keypoint_pck: (K,) as ``pck``.
        keypoint_swapped: (K,) as ``swapped``.
        keypoint_n: (K,) distances measured.
        frame: (Q,) frame of each distance measured.
        keypoint: (Q,) its keypoint.
        error: (Q,) px.
        confidence: (Q,) of the predicted keypoint.
    """

    rmse: float
    rmse_pcutoff: float
    mAP: float
    mAR: float
    recall: float
    precision: float
    pck: float
    median: float
    percent: float
    length: float
    swapped: float
    n_images: int
    n_truth: int
    n_predicted: int
    n_ignored: int
    keypoint_error: Float64[ndarray, "K"]
    keypoint_median: Float64[ndarray, "K"]
    keypoint_pck: Float64[ndarray, "K"]
    keypoint_swapped: Float64[ndarray, "K"]
    keypoint_n: Int64[ndarray, "K"]
    frame: Int64[ndarray, "Q"]
    keypoint: Int64[ndarray, "Q"]
    error: Float64[ndarray, "Q"]
    confidence: Float64[ndarray, "Q"]

    def __post_init__(self) -> None:
        column(self, "keypoint_n", np.int64, None)
        for name in ("keypoint_error", "keypoint_median", "keypoint_pck", "keypoint_swapped"):
            column(self, name, np.float64, len(self.keypoint_n))
        column(self, "error", np.float64, None)
        column(self, "confidence", np.float64, len(self.error))
        column(self, "frame", np.int64, len(self.error))
        column(self, "keypoint", np.int64, len(self.error))


def score_poses(
    truth: Poses,
    predicted: Poses,
    *,
    ignore: Regions | None = None,
    pcutoff: float = 0.6,
    mirror: Shaped[ndarray, "K"] | None = None,
    unique: tuple[Poses, Poses] | None = None,
    is_single: bool = False,
) -> PoseScores:
    """Judge poses image by image; who is who does not matter.

    Args:
        truth: labelled animals, ``frame`` = image number; NaN keypoints are not labelled.
        predicted: animals found on the same images; keypoints with negative confidence are missing (DLC's padding).
        ignore: where predictions that resemble no truth (OKS < 0.5) are neither right nor wrong.
        pcutoff: confidence for ``rmse_pcutoff``.
        mirror: ``Skeleton.mirror``; without it nothing counts as swapped.
        unique: truth and prediction of the unique keypoints, at most one row per frame; their distances are added.
        is_single: a project of one animal: the best scored prediction of a frame is the animal, however far it is
            (DLC's single-animal evaluation; the only one that gives distances with one keypoint).

    Returns:
        Figures; of nothing, mAP and shares of animals are 0 and distances NaN.
    """
    truth = select(truth, has_keypoints(truth.xy))
    predicted = _best_first(predicted)
    best, value = _claims(truth, predicted)
    dropped = np.zeros(len(predicted), bool)
    if ignore is not None and len(ignore):
        dropped = (value < FOUND) & inside_regions(predicted.frame, centres(predicted.xy), ignore)
        predicted, best, value = select(predicted, ~dropped), best[~dropped], value[~dropped]
    matched = _first_claims(best, value, SAME_ANIMAL)
    i, j = _same_frame(truth, predicted) if is_single else (best[matched], np.flatnonzero(matched))
    n_keypoints = truth.n_keypoints
    table = [_distances(truth, predicted, i, j)]
    labelled = (~_missing(truth)).sum(0)
    if unique is not None:
        truth_row, row = _same_frame(*unique)
        table.append(_distances(*unique, truth_row, row, n_keypoints))
        labelled = np.concatenate([labelled, (~_missing(unique[0])).sum(0)])
    frame, keypoint, error, confidence = (np.concatenate(c) for c in zip(*table, strict=True))
    length = body_length(truth.xy)
    swapped, pairs = _swaps(truth.xy[i], predicted.xy[j], mirror, len(labelled))
    precision_mean, recall_mean = _average_precision(truth, predicted, best, value)
    found = int(_first_claims(best, value, FOUND).sum())
    n_judged = int((~np.isnan(oks_of_pairs(truth.xy, truth.xy))).sum())
    close = np.bincount(keypoint[error <= TOLERANCE * length], minlength=len(labelled))
    judged = labelled if np.isfinite(length) else np.zeros_like(labelled)
    rmse = _mean(error)
    return PoseScores(
        rmse=rmse, rmse_pcutoff=_mean(error[confidence >= pcutoff]), mAP=100 * precision_mean, mAR=100 * recall_mean,
        recall=found / max(n_judged, 1), precision=found / max(len(predicted), 1),
        pck=_total_share(close, judged), median=float(np.median(error)) if len(error) else np.nan,
        percent=100 * rmse / length, length=length, swapped=_total_share(swapped, pairs),
        n_images=truth.span[1] - truth.span[0], n_truth=len(truth), n_predicted=len(predicted),
        n_ignored=int(dropped.sum()),
        keypoint_error=np.array([_mean(error[keypoint == k]) for k in range(len(labelled))]),
        keypoint_median=np.array([np.median(e) if len(e := error[keypoint == k]) else np.nan
                                  for k in range(len(labelled))]),
        keypoint_pck=_share(close, judged), keypoint_swapped=_share(swapped, pairs),
        keypoint_n=np.bincount(keypoint, minlength=len(labelled)),
        frame=frame, keypoint=keypoint, error=error, confidence=confidence,
    )  # fmt: skip


def figures(scores: PoseScores) -> dict[str, float]:
    """The overall figures by name, for tables and JSON."""
    values = ((f.name, getattr(scores, f.name)) for f in fields(scores))
    return {name: float(value) for name, value in values if not isinstance(value, ndarray)}


def folder_errors(scores: PoseScores, folder: Sequence[int] | Int64[ndarray, "F"], n_folders: int) -> ndarray:
    """Mean distance of each folder, px.

    Args:
        scores: of images numbered from 0.
        folder: (F,) folder number of each image.
        n_folders: G.

    Returns:
        (G,) px; NaN where nothing was measured.
    """
    where = np.asarray(folder, np.int64)[scores.frame]
    return np.array([_mean(scores.error[where == g]) for g in range(n_folders)])


def _missing(poses: Poses) -> Bool[ndarray, "M K"]:
    return np.isnan(poses.xy.sum(-1))


def _best_first(predicted: Poses) -> Poses:
    """Rows by frame, then by falling mean confidence; DLC's padding (confidence < 0) becomes missing.

    As in DLC a keypoint that an animal lacks has confidence 0 and takes part in the mean, so that of two equally sure
    animals the more complete one comes first; padding takes no part.
    """
    padding = predicted.confidence < 0
    missing = _missing(predicted) | padding
    confidence = np.where(missing, 0, predicted.confidence).astype(np.float32)
    score = confidence.sum(1) / np.maximum((~padding).sum(1), 1)
    xy = np.where(missing[..., None], np.float32(np.nan), predicted.xy)
    clean = Poses(predicted.frame, predicted.item, xy, confidence, score, predicted.span)
    kept = np.flatnonzero(~missing.all(1))
    return select(clean, kept[np.lexsort((-score[kept], predicted.frame[kept]))])


def _claims(truth: Poses, predicted: Poses) -> tuple[Int64[ndarray, "N"], Float[ndarray, "N"]]:
    """The true row that each prediction resembles most, and the OKS; -1 where there is none on its frame."""
    best, value = np.full(len(predicted), -1), np.full(len(predicted), -1.0)
    for i, j in pairs_of_frames(truth.frame, predicted.frame):
        similarity = np.nan_to_num(oks_of_pairs(truth.xy[i], predicted.xy[j]), nan=-1.0)
        order = np.lexsort((i, -similarity, j))
        first = order[np.unique(j[order], return_index=True)[1]]
        first = first[similarity[first] > value[j[first]]]
        best[j[first]], value[j[first]] = i[first], similarity[first]
    return best, value


def _first_claims(best: Int64[ndarray, "N"], value: Float[ndarray, "N"], threshold: float) -> Bool[ndarray, "N"]:
    """Predictions (best scored first) that are the first to claim their true animal with at least this OKS."""
    able = np.flatnonzero((value >= threshold) & (best >= 0))
    first = np.zeros(len(best), bool)
    first[able[np.unique(best[able], return_index=True)[1]]] = True
    return first


def _average_precision(
    truth: Poses, predicted: Poses, best: Int64[ndarray, "N"], value: Float[ndarray, "N"]
) -> tuple[float, float]:
    """Mean over thresholds of the interpolated precision at 101 recalls, and of the last recall.

    As in DLC, predictions without any true animal make a recall of NaN, and no prediction makes one of 0.
    """
    enough = (~_missing(predicted)).sum(1) >= 2
    n_truth = int(((~_missing(truth)).sum(1) >= 2).sum())
    if not n_truth or not enough.any():
        return 0.0, float("nan") if enough.any() else 0.0
    best, value = best[enough], value[enough]
    order = np.argsort(-predicted.score[enough], kind="stable")
    precisions, recalls = np.zeros(len(OKS_THRESHOLDS)), np.zeros(len(OKS_THRESHOLDS))
    for t, threshold in enumerate(OKS_THRESHOLDS):
        right = np.cumsum(_first_claims(best, value, threshold)[order])
        recall, precision = right / n_truth, right / np.arange(1, len(right) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
        precisions[t] = np.append(precision, 0.0)[at].mean()
        recalls[t] = recall[-1]
    return float(precisions.mean()), float(recalls.mean())


def _distances(
    truth: Poses, predicted: Poses, i: Int64[ndarray, "Q"], j: Int64[ndarray, "Q"], offset: int = 0
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Frame, keypoint (+ offset), distance in px and confidence of each keypoint that both rows of a pair have."""
    distance = np.linalg.norm(truth.xy[i].astype(np.float64) - predicted.xy[j], axis=-1)
    row, keypoint = np.nonzero(~np.isnan(distance))
    confidence = predicted.confidence[j].astype(np.float64)
    return truth.frame[i[row]], keypoint + offset, distance[row, keypoint], confidence[row, keypoint]


def _same_frame(truth: Poses, predicted: Poses) -> tuple[Int64[ndarray, "Q"], Int64[ndarray, "Q"]]:
    """The first rows of each frame that both have."""
    _, i, j = np.intersect1d(truth.frame, predicted.frame, return_indices=True)
    return i, j


def _swaps(
    truth_xy: Shaped[ndarray, "Q K 2"], predicted_xy: Shaped[ndarray, "Q K 2"], mirror: ndarray | None, n: int
) -> tuple[ndarray, ndarray]:
    """Per keypoint (n of them), how often it and its mirror partner fit better exchanged, and how often one can."""
    swapped, pairs = np.zeros(n, np.int64), np.zeros(n, np.int64)
    if mirror is None:
        return swapped, pairs
    straight = np.linalg.norm(truth_xy - predicted_xy, axis=-1)
    crossed = np.linalg.norm(truth_xy - predicted_xy[:, mirror], axis=-1)
    straight, crossed = straight + straight[:, mirror], crossed + crossed[:, mirror]
    sided = mirror != np.arange(len(mirror))
    swapped[: len(mirror)] = ((crossed < straight) & sided).sum(0)
    pairs[: len(mirror)] = (~np.isnan(crossed) & ~np.isnan(straight) & sided).sum(0)
    return swapped, pairs


def _mean(values: Float[ndarray, "Q"]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _share(part: ndarray, whole: ndarray) -> ndarray:
    """``part / whole``, NaN where there is no whole."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _total_share(part: ndarray, whole: ndarray) -> float:
    return float(_share(part.sum(keepdims=True), whole.sum(keepdims=True))[0])
