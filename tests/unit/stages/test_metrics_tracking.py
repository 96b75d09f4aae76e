"""HOTA, identity and CLEAR figures on tables that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.stages.metrics_tracking import Comparison, compare_frames, score_tracks, tracking_scores
from shoal.types import Poses, Regions, Tracks

LENGTH = 20.0
POSE = np.array([[0.0, 0.0], [20.0, 0.0]])


def scores_of(truth: list[list[int]], predicted: list[list[int]], similar: float = 1.0) -> dict[str, float]:
    """Prediction k of a frame lies on true animal k."""
    pairs = zip(truth, predicted, strict=True)
    return tracking_scores(compare_frames(truth, predicted, [np.eye(len(a), len(b)) * similar for a, b in pairs]))


def tracks(rows: list[tuple[int, int, float]], stop: int) -> Tracks:
    """Rows (frame, track, x) of a fish 20 px long."""
    xy = np.array([POSE + np.array([x, 0.0]) for _, _, x in rows]).reshape(-1, 2, 2)
    frame, track = [r[0] for r in rows], [r[1] for r in rows]
    return Tracks(Poses(frame, np.zeros(len(rows)), xy, np.ones((len(rows), 2)), np.ones(len(rows)), (0, stop)), track)


def test_perfect_tracks_score_1() -> None:
    found = scores_of([[0, 1], [0, 1], [1]], [[7, 3], [7, 3], [3]])
    for name in ("HOTA", "DetA", "AssA", "LocA", "IDF1", "IDP", "IDR", "MOTA", "MOTP", "recall", "precision"):
        assert found[name] == pytest.approx(1.0, abs=1e-12), name
    assert [found[n] for n in ("switches", "fragmentations", "misses", "false_positives")] == [0, 0, 0, 0]


def test_a_change_of_track_is_one_switch_and_halves_identity() -> None:
    found = scores_of([[0], [0], [0], [0]], [[1], [1], [2], [2]])
    assert (found["switches"], found["MOTA"], found["IDF1"]) == (1, 0.75, 0.5)
    # each half: 2 rows agree, 2 rows of the truth are missed: 2 / 4
    assert (found["AssA"], found["DetA"], found["HOTA"]) == pytest.approx((0.5, 1.0, np.sqrt(0.5)))


def test_two_animals_that_exchange_tracks_are_two_switches() -> None:
    found = scores_of([[0, 1]] * 4, [[0, 1], [0, 1], [1, 0], [1, 0]])
    assert (found["switches"], found["IDF1"], found["MOTA"]) == (2, 0.5, 0.75)


def test_a_gap_is_a_fragmentation_but_no_switch() -> None:
    found = scores_of([[0, 1]] * 4, [[5, 6], [5], [5, 6], [5, 6]])
    assert (found["fragmentations"], found["switches"], found["misses"]) == (1, 0, 1)


def test_a_frame_without_any_prediction_does_not_fragment_as_in_trackeval() -> None:
    found = scores_of([[0], [0], [0]], [[5], [], [5]])
    assert (found["fragmentations"], found["misses"]) == (0, 1)


def test_clear_prefers_the_partner_of_the_frame_before() -> None:
    truth, predicted = [[0], [0]], [[1], [1, 2]]
    found = tracking_scores(compare_frames(truth, predicted, [np.ones((1, 1)), np.array([[0.6, 0.9]])]))
    assert (found["switches"], found["false_positives"], found["MOTP"]) == (0, 1, 0.8)


def test_similarity_of_exactly_a_half_is_a_match() -> None:
    assert scores_of([[0]], [[0]], 0.5)["matches"] == 1
    assert scores_of([[0]], [[0]], 0.499)["matches"] == 0


def test_hota_counts_thresholds_up_to_the_similarity() -> None:
    assert scores_of([[0]], [[0]], 0.5)["HOTA"] == pytest.approx(10 / 19)


@pytest.mark.parametrize(("truth", "predicted"), [([], []), ([[0]], [[]]), ([[]], [[0]]), ([[]], [[]])])
def test_nothing_to_match_scores_0(truth: list, predicted: list) -> None:
    found = scores_of(truth, predicted)
    assert [found[n] for n in ("HOTA", "IDF1", "MOTA", "matches", "switches")] == [0] * 5
    assert found["misses"] == sum(map(len, truth))
    assert found["false_positives"] == sum(map(len, predicted))


def test_a_comparison_with_columns_that_do_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="track"):
        Comparison(np.zeros(2), np.zeros(3), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))


def test_score_tracks_compares_poses_and_reports_rates() -> None:
    truth = tracks([(0, 0, 0.0), (0, 1, 100.0), (1, 0, 0.0), (1, 1, 100.0)], 2)
    predicted = tracks([(0, 4, 1.0), (0, 9, 101.0), (1, 9, 1.0), (1, 4, 101.0)], 2)
    found = score_tracks(truth, predicted, ignore=Regions.empty(), fps=2.0)
    assert (found["switches"], found["matches"], found["length"]) == (2, 4, LENGTH)
    assert found["switches_per_animal_hour"] == pytest.approx(2 / (4 / 2 / 3600))
    assert found["MOTP"] == pytest.approx(np.exp(-1 / (2 * 2.0**2)))


def test_predictions_in_an_ignore_region_that_match_nothing_are_dropped_and_only_those() -> None:
    truth = tracks([(0, 0, 0.0)], 2)
    predicted = tracks([(0, 0, 0.0), (0, 1, 30.0), (0, 2, 200.0), (1, 3, 30.0)], 2)
    regions = Regions([0], [[30.0, 0.0]], [LENGTH])  # reaches the matched prediction's centre, 10, too
    found = score_tracks(truth, predicted, ignore=regions)
    assert (found["matches"], found["false_positives"], found["ignored"]) == (1, 2, 1)


def test_rows_without_track_or_keypoints_and_frames_outside_the_truth_do_not_count() -> None:
    truth = tracks([(1, 0, 0.0), (1, -1, 60.0), (1, 1, np.nan)], 2)
    predicted = tracks([(1, 0, 0.0), (1, -1, 90.0), (1, 2, np.nan), (5, 0, 0.0)], 9)
    found = score_tracks(truth, predicted, ignore=Regions.empty())
    assert (found["truth_rows"], found["rows"], found["IDF1"]) == (1, 1, 1.0)


def test_no_tracks_no_truth_and_no_length() -> None:
    some, none = tracks([(0, 0, 0.0)], 3), Tracks.empty((0, 3), 2)
    assert score_tracks(some, none, ignore=Regions.empty())["misses"] == 1
    assert score_tracks(none, some, ignore=Regions.empty())["false_positives"] == 1
    assert np.isnan(score_tracks(none, none, ignore=Regions.empty(), fps=30)["switches_per_animal_hour"])
