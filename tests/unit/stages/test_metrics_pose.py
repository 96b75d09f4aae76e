"""Figures of poses on tables that can be counted by hand; DeepLabCut's own numbers are in tests/peer."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.stages.metrics_pose import figures, folder_errors, score_poses
from shoal.types import Poses, Regions

NAN = float("nan")
SQUARE = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 40.0], [30.0, 40.0]])


def moved(x: float) -> np.ndarray:
    """The square, x px to the right."""
    return SQUARE + np.array([x, 0.0])


def poses(rows: list[tuple[int, np.ndarray, float]], stop: int = 1, n_keypoints: int = 4) -> Poses:
    """Rows (image, keypoints, confidence of all of them)."""
    xy = np.array([r[1] for r in rows]).reshape(-1, n_keypoints, 2)
    confidence = np.array([[r[2]] * n_keypoints for r in rows]).reshape(-1, n_keypoints)
    return Poses([r[0] for r in rows], np.zeros(len(rows)), xy, confidence, np.zeros(len(rows)), (0, stop))


def test_a_perfect_prediction() -> None:
    truth = poses([(0, SQUARE, 1.0), (0, SQUARE + 200, 1.0), (2, SQUARE, 1.0)], 3)
    found = figures(score_poses(truth, truth, mirror=np.array([1, 0, 2, 3])))
    want = {"rmse": 0, "mAP": 100, "mAR": 100, "recall": 1, "precision": 1, "pck": 1, "median": 0, "swapped": 0}
    assert {name: found[name] for name in want} == pytest.approx(want)
    assert (found["n_images"], found["n_truth"], found["n_predicted"], found["length"]) == (3, 3, 3, 50.0)


def test_rmse_is_the_mean_distance_and_pcutoff_takes_the_confident_ones() -> None:
    predicted = SQUARE + np.array([[3.0, 4.0], [0, 0], [0, 0], [0, 1]])
    table = poses([(0, predicted, 0.5)])
    table = Poses(table.frame, table.item, table.xy, [[0.2, 0.6, 0.59, 0.9]], table.score, table.span)
    found = score_poses(poses([(0, SQUARE, 1.0)]), table, pcutoff=0.6)
    assert (found.rmse, found.rmse_pcutoff, found.median) == pytest.approx((1.5, 0.5, 0.5), abs=1e-6)
    assert found.percent == pytest.approx(3.0, abs=1e-5)
    assert found.keypoint_error.tolist() == pytest.approx([5, 0, 0, 1])
    assert found.keypoint_n.tolist() == [1, 1, 1, 1]


def test_a_missed_animal_costs_recall_and_pck_but_not_rmse() -> None:
    truth = poses([(0, SQUARE, 1.0), (0, SQUARE + 300, 1.0)])
    found = score_poses(truth, poses([(0, moved(2.0), 0.9)]))
    assert (found.rmse, found.recall, found.precision, found.pck) == pytest.approx((2.0, 0.5, 1.0, 0.5))
    assert found.mAR == pytest.approx(50.0)


def test_the_better_scored_of_two_predictions_of_one_animal_counts() -> None:
    truth = poses([(0, SQUARE, 1.0)])
    near, far = (0, moved(1.0), 0.3), (0, moved(4.0), 0.8)
    for rows in ([near, far], [far, near]):
        found = score_poses(truth, poses(rows))
        assert (found.rmse, found.precision) == pytest.approx((4.0, 0.5))


def test_padding_with_negative_confidence_is_no_animal() -> None:
    found = score_poses(poses([(0, SQUARE, 1.0)]), poses([(0, SQUARE, 0.9), (0, SQUARE, -1.0)]))
    assert (found.n_predicted, found.precision) == (1, 1.0)


def test_keypoints_that_an_animal_lacks_count_as_confidence_0_when_animals_are_ranked() -> None:
    """The mean over those present put sure fragments before whole animals: mAP .09 off DeepLabCut's of equal poses."""
    part = np.where(np.arange(4)[:, None] < 2, moved(15.0), NAN)
    table = poses([(0, SQUARE, 0.5), (1, part, 0.75)], 2)
    confidence = np.where(np.isnan(table.xy[..., 0]), 0, table.confidence)
    table = Poses(table.frame, table.item, table.xy, confidence, table.score, table.span)
    truth = poses([(0, SQUARE, 1.0), (1, SQUARE, 1.0)], 2)
    assert score_poses(truth, table).mAP == pytest.approx(100 * 51 / 101)  # the fragment first: 25.2


def test_animals_with_one_keypoint_are_left_out_of_map() -> None:
    one = np.full((4, 2), NAN)
    one[0] = 500.0
    truth = poses([(0, SQUARE, 1.0), (0, one, 1.0)])
    found = score_poses(truth, poses([(0, SQUARE, 0.9), (0, one, 0.95)]))
    assert (found.mAP, found.mAR, found.recall) == pytest.approx((100.0, 100.0, 1.0))
    assert found.n_truth == 2


@pytest.mark.parametrize(("n_truth", "n_predicted"), [(0, 0), (0, 1), (1, 0)])
def test_nothing_to_judge(n_truth: int, n_predicted: int) -> None:
    row = [(0, SQUARE, 0.9)]
    found = figures(score_poses(poses(row * n_truth), poses(row * n_predicted)))
    assert (found["mAP"], found["recall"], found["precision"]) == (0, 0, 0)
    assert np.isnan([found["rmse"], found["median"], found["swapped"]]).all()


def test_a_prediction_in_an_ignore_region_that_is_like_no_truth_is_neither_right_nor_wrong() -> None:
    truth = poses([(0, SQUARE, 1.0)])
    predicted = poses([(0, SQUARE, 0.9), (0, SQUARE + 300, 0.8), (0, SQUARE + 600, 0.7)])
    found = score_poses(truth, predicted, ignore=Regions([0, 0], [[315.0, 320.0], [15.0, 20.0]], [50.0, 50.0]))
    assert (found.n_ignored, found.n_predicted, found.precision) == (1, 2, 0.5)


def test_exchanged_sides_are_seen_per_keypoint() -> None:
    predicted = SQUARE[[1, 0, 2, 3]] + 0.5
    found = score_poses(poses([(0, SQUARE, 1.0)]), poses([(0, predicted, 1.0)]), mirror=np.array([1, 0, 3, 2]))
    assert found.keypoint_swapped.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert found.swapped == 0.5
    assert np.isnan(score_poses(poses([(0, SQUARE, 1.0)]), poses([(0, predicted, 1.0)])).swapped)


def test_unique_keypoints_add_to_rmse_and_to_the_keypoints() -> None:
    truth, predicted = poses([(0, SQUARE, 1.0)]), poses([(0, SQUARE, 1.0)])
    corner = poses([(0, np.array([[0.0, 0.0]]), 1.0)], n_keypoints=1)
    corner_found = poses([(0, np.array([[0.0, 10.0]]), 0.2)], n_keypoints=1)
    found = score_poses(truth, predicted, unique=(corner, corner_found))
    assert (found.rmse, found.rmse_pcutoff) == pytest.approx((2.0, 0.0))
    assert found.keypoint_error.tolist() == [0, 0, 0, 0, 10]


def test_a_single_animal_is_measured_however_far_it_is_and_with_one_keypoint() -> None:
    truth = poses([(0, np.array([[0.0, 0.0]]), 1.0)], n_keypoints=1)
    rows = [(0, np.array([[30.0, 40.0]]), 0.9), (0, np.array([[0.0, 0.0]]), 0.1)]
    found = score_poses(truth, poses(rows, n_keypoints=1), is_single=True)
    assert found.rmse == 50.0
    assert np.isnan([found.pck, found.percent, found.length]).all()
    assert np.isnan(score_poses(truth, poses(rows, n_keypoints=1)).rmse)


def test_folder_errors_are_means_over_their_images() -> None:
    truth = poses([(f, SQUARE, 1.0) for f in range(3)], 3)
    predicted = poses([(f, moved(float(f)), 1.0) for f in range(3)], 3)
    found = folder_errors(score_poses(truth, predicted), [0, 2, 2], 3)
    assert found[[0, 2]].tolist() == pytest.approx([0.0, 1.5])
    assert np.isnan(found[1])
