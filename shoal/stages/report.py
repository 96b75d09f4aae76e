"""Figures as sentences: what a biologist can use of an evaluation, and what looks wrong in it.

Pure strings from score tables. A warning says what was seen and what it usually means; its limit is a constant here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shoal.stages.metrics_pose import PoseScores

VERSION = 1

GAP = 2.0
"""Test error over train error from which the network has learned frames by heart."""

LOW_MAP = 10.0
"""mAP below which poses are of no use yet."""

LOW_RECALL = 0.5
"""Share of animals found below which most are missed."""

LARGE_PERCENT = 50.0
"""Mean error, in % of body length, beyond which a keypoint may lie on any part of the animal."""

WORSE_KEYPOINT = 3.0
"""A keypoint's error over the median keypoint's from which it is worth a look at its labels."""

SWAPPED = 0.3
"""Share of left-right pairs the wrong way round; 0.5 = sides are guessed."""

FEW = 10
"""Distances below which a keypoint or folder is not singled out."""


def sentence(
    test: PoseScores,
    *,
    keypoints: Sequence[str],
    train: PoseScores | None = None,
    folder_errors: Mapping[str, float] | None = None,
) -> str:
    """What the figures of a pose model mean, in one paragraph; warnings follow, one line each.

    Args:
        test: scores of frames that were not trained on.
        keypoints: names in the order of ``keypoint_error``: the skeleton's, then the unique ones.
        train: scores of the frames trained on; adds the gap between the two.
        folder_errors: mean error in px of each labeled-data folder; adds the worst one.
    """
    if not len(test.error):
        parts = [
            f"No keypoint could be measured on {test.n_images} test frames with {test.n_truth} labelled animals "
            f"and {test.n_predicted} predicted ones."
        ]
    else:
        parts = [
            f"On {test.n_images} test frames keypoints are off by {_px(test.rmse)} on average"
            f"{_share_of_body(test)}, half of them by less than {_px(test.median)}; "
            f"{test.recall:.0%} of the {test.n_truth} labelled animals are found (mAP {test.mAP:.1f})."
        ]
    if train is not None and len(train.error) and len(test.error):
        parts.append(f"On frames it was trained on the error is {_px(train.rmse)}{_times(test.rmse, train.rmse)}.")
    worst = _worst_keypoint(test)
    if worst is not None and len(keypoints) > 1:
        parts.append(f"The worst keypoint is {keypoints[worst]} ({_px(float(test.keypoint_error[worst]))}).")
    measured = {name: error for name, error in (folder_errors or {}).items() if np.isfinite(error)}
    if len(measured) > 1:
        folder = max(measured, key=lambda name: measured[name])
        parts.append(f"The worst folder is {folder} ({_px(measured[folder])}).")
    lines = [" ".join(parts), *(f"warning: {line}" for line in warnings(test, keypoints=keypoints, train=train))]
    return "\n".join(lines)


def warnings(test: PoseScores, *, keypoints: Sequence[str], train: PoseScores | None = None) -> tuple[str, ...]:
    """What looks wrong in a pose model, one sentence each; empty if nothing does."""
    if not test.n_truth:
        return ("there are no labelled animals among the test frames, so nothing can be said about this model",)
    found = list(_training_warnings(test, train))
    if test.percent > LARGE_PERCENT:
        found.append(
            f"the mean error is {test.percent:.0f} % of a body length: keypoints may lie on any part of the animal; "
            "train longer, or check that the labels belong to these images"
        )
        return tuple(found)  # single keypoints, or left and right, mean nothing before animals are found
    worst, typical = _worst_keypoint(test), float(_median(test.keypoint_error))
    if worst is not None and test.keypoint_error[worst] > WORSE_KEYPOINT * typical:
        found.append(
            f"{keypoints[worst]} is {test.keypoint_error[worst] / typical:.1f} times as far off as a typical keypoint "
            f"({_px(float(test.keypoint_error[worst]))} against {_px(typical)}); look at its labels"
        )
    if test.swapped > SWAPPED:
        sides = [name for name, share in zip(keypoints, test.keypoint_swapped, strict=True) if share > SWAPPED]
        found.append(
            f"left and right are exchanged in {test.swapped:.0%} of the cases ({', '.join(sides)}); look for labels "
            "that were mixed up, and check the mirror pairs used for flipped training images"
        )
    return tuple(found)


def tracking_sentence(scores: Mapping[str, float]) -> str:
    """What the figures of ``metrics.score_tracks`` mean, in one paragraph."""
    if not scores["truth_rows"]:
        return "There is no true animal to compare tracks with."
    rate = scores.get("switches_per_animal_hour", float("nan"))
    per_hour = f" ({rate:.1f} per animal and hour)" if np.isfinite(rate) else ""
    return (
        f"{scores['recall']:.1%} of the animals' positions are found, {scores['precision']:.1%} of the predicted ones "
        f"are right. The track that follows an animal changes {_times_in_words(scores['switches'])}{per_hour}; with "
        f"one track chosen per animal, {scores['IDF1']:.1%} of the positions agree (IDF1; HOTA {scores['HOTA']:.3f}, "
        f"MOTA {scores['MOTA']:.3f}). There are {scores['tracks']:.0f} tracks for {scores['truth_tracks']:.0f} animals."
    )


def _training_warnings(test: PoseScores, train: PoseScores | None) -> list[str]:
    found: list[str] = []
    if test.recall < LOW_RECALL:
        found.append(
            f"{test.recall:.0%} of the labelled animals are found ({test.n_predicted} predictions for "
            f"{test.n_truth} animals); train longer, or lower the confidence limits"
        )
    elif test.mAP < LOW_MAP:
        found.append(f"mAP is {test.mAP:.1f}: animals are found but poses do not fit yet; train longer")
    if train is not None and test.rmse > GAP * train.rmse:
        found.append(
            f"the error on test frames is {test.rmse / train.rmse:.1f} times that on training frames: the network "
            "knows its training frames by heart; label more, and more different, frames"
            if train.rmse > 0
            else "the error on training frames is 0: train and test frames may be the same"
        )
    elif train is not None and train.recall - test.recall > 0.2:
        found.append(
            f"{train.recall:.0%} of the animals are found on training frames but {test.recall:.0%} on test frames; "
            "label more, and more different, frames"
        )
    return found


def _worst_keypoint(scores: PoseScores) -> int | None:
    measured = np.where(scores.keypoint_n >= FEW, scores.keypoint_error, np.nan)
    return int(np.nanargmax(measured)) if np.isfinite(measured).any() else None


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _share_of_body(scores: PoseScores) -> str:
    return (
        f" ({scores.percent:.1f} % of a body length of {scores.length:.0f} px)" if np.isfinite(scores.percent) else ""
    )


def _times(test: float, train: float) -> str:
    return f", the test error is {test / train:.1f} times that" if train > 0 else ""


def _times_in_words(n: float) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(int(n), f"{n:.0f} times")


def _px(value: float) -> str:
    return f"{value:.2f} px" if value < 10 else f"{value:.1f} px"
