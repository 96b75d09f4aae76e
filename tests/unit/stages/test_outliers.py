from __future__ import annotations

import numpy as np

from shoal.stages.outliers import find_outliers
from shoal.types import Poses


def test_the_smallest_and_largest_animals_are_found():
    size = np.r_[np.linspace(9, 11, 40), 2, 60]
    xy = np.array([[0.0, 0], [1, 1], [np.nan, np.nan]]) * size[:, None, None]
    poses = Poses(np.arange(42), np.zeros(42), xy, np.isfinite(xy[..., 0]), np.ones(42), (0, 42))
    assert find_outliers(poses, percentiles=(2, 98)).tolist() == [40, 41]
    assert {40, 41} < set(find_outliers(poses).tolist())


def test_animals_without_keypoints_have_no_size():
    poses = Poses([3], [0], np.full((1, 2, 2), np.nan), np.zeros((1, 2)), [1], (0, 5))
    assert len(find_outliers(poses)) == 0
