"""Sentences say the figures, and warn exactly when something looks wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.stages.metrics_pose import PoseScores, score_poses
from shoal.stages.report import sentence, tracking_sentence, warnings
from shoal.types import Poses

NAMES = ("nose", "left", "right", "tail")


@pytest.fixture
def good() -> PoseScores:
    """Twelve images of one animal 50 px long, each keypoint 2 px off."""
    square = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 40.0], [30.0, 40.0]])
    shift = np.array([[2.0, 0], [-2, 0], [0, 2], [0, -2]])
    xy, one = np.tile(square, (12, 1, 1)), np.ones((12, 4))
    truth = Poses(np.arange(12), np.zeros(12), xy, one, one[:, 0], (0, 12))
    return score_poses(truth, replace(truth, xy=xy + shift), mirror=np.array([0, 2, 1, 3]))


def test_a_good_model_is_described_without_a_warning(good: PoseScores) -> None:
    text = sentence(good, keypoints=NAMES, train=good, folder_errors={"day1": 2.0, "day2": 2.5, "empty": float("nan")})
    assert "12 test frames" in text
    assert "2.00 px" in text
    assert "4.0 % of a body length of 50 px" in text
    assert "100% of the 12 labelled animals" in text
    assert "1.0 times" in text
    assert "worst folder is day2 (2.50 px)" in text
    assert "warning" not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recall": 0.2}, "20% of the labelled animals"),
        ({"mAP": 3.0}, "mAP is 3.0"),
        ({"percent": 60.0}, "60 % of a body length"),
        ({"rmse": 9.0}, "4.5 times that on training frames"),
        ({"recall": 0.7}, "100% of the animals are found on training frames but 70%"),
        ({"keypoint_error": np.array([2.0, 2, 2, 9])}, "tail is 4.5 times"),
        ({"swapped": 0.5, "keypoint_swapped": [np.nan, 0.5, 0.5, np.nan]}, "in 50% of the cases (left, right)"),
    ],
)  # fmt: skip
def test_what_looks_wrong_is_said(good: PoseScores, change: dict, words: str) -> None:
    found = warnings(replace(good, **change), keypoints=NAMES, train=good)
    assert len(found) == (2 if change == {"recall": 0.2} else 1)  # that is a gap to the training frames, too
    assert words in found[0]
    assert f"warning: {found[0]}" in sentence(replace(good, **change), keypoints=NAMES, train=good)


def test_left_and_right_are_not_judged_before_animals_are_found(good: PoseScores) -> None:
    lost = replace(good, percent=162.0, swapped=0.5, keypoint_swapped=np.array([np.nan, 0.5, 0.5, np.nan]))
    assert len(warnings(lost, keypoints=NAMES, train=good)) == 1


def test_a_keypoint_with_few_measurements_is_not_singled_out(good: PoseScores) -> None:
    rare = replace(good, keypoint_error=np.array([2.0, 2, 2, 40]), keypoint_n=np.array([12, 12, 12, 3]))
    assert warnings(rare, keypoints=NAMES) == ()


def test_nothing_measured_and_nothing_labelled(good: PoseScores) -> None:
    nothing = Poses.empty((0, 5), 4)
    assert "no labelled animals" in sentence(score_poses(nothing, nothing), keypoints=NAMES, train=good)
    one = np.ones((1, 4))
    truth = Poses([0], [0], np.arange(8.0).reshape(1, 4, 2), one, [1], (0, 5))
    text = sentence(score_poses(truth, nothing), keypoints=NAMES, train=good)
    assert "No keypoint could be measured" in text
    assert "0% of the labelled animals" in text


def test_tracks_in_words() -> None:
    scores = {"truth_rows": 10.0, "recall": 0.975, "precision": 1.0, "switches": 2.0, "IDF1": 0.9, "HOTA": 0.8,
              "MOTA": 0.7, "tracks": 3.0, "truth_tracks": 2.0, "switches_per_animal_hour": 4.26}  # fmt: skip
    text = tracking_sentence(scores)
    for words in (
        "97.5% of the animals' positions",
        "changes twice (4.3 per animal and hour)",
        "3 tracks for 2 animals",
    ):
        assert words in text
    assert "per animal and hour" not in tracking_sentence(scores | {"switches_per_animal_hour": float("nan")})
    assert "no true animal" in tracking_sentence({"truth_rows": 0.0})
