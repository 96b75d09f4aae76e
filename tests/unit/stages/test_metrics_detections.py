import numpy as np

from shoal.stages.metrics_detections import detection_errors, identity_accuracy
from shoal.types import Detections, Poses


def truth(xy):
    xy = np.array(xy, float)
    return Poses([0] * len(xy), range(len(xy)), xy, np.ones(xy.shape[:2]), np.ones(len(xy)), (0, 2))


def peaks(rows):
    frame, keypoint, x, y, confidence, who = np.array(rows, float).T
    none = np.zeros(0)
    return Detections(
        frame, np.arange(len(frame)), keypoint, np.column_stack([x, y]), confidence, none, none, none, none, none,
        np.eye(2)[who.astype(int)], (0, 2),
    )  # fmt: skip


def test_each_label_gets_its_own_prediction_the_closest_pair_first():
    labels = truth([[[0, 0]], [[10, 0]], [[np.nan, np.nan]]])
    errors, confidence = detection_errors(
        labels, peaks([(0, 0, 9, 0, 0.9, 0), (0, 0, 4, 0, 0.3, 0), (1, 0, 0, 0, 1, 0)])
    )
    assert sorted(errors.tolist()) == [1, 4]
    assert np.allclose(sorted(confidence), [0.3, 0.9], atol=1e-3)


def test_nothing_found_is_no_error():
    errors, _ = detection_errors(truth([[[0, 0], [5, 5]]]), peaks([(0, 1, 5, 6, 0.9, 0)]))
    assert errors.tolist() == [1]


def test_identity_of_the_nearest_peak_is_judged():
    labels = truth([[[0, 0], [0, 9]], [[50, 0], [50, 9]]])
    found = peaks([(0, 0, 1, 0, 0.9, 0), (0, 0, 51, 0, 0.9, 0)])
    share = identity_accuracy(labels, np.array([0, 1]), found)
    assert share[0] == 0.5
    assert np.isnan(share[1])
