"""Motion learned from a video's own tracklets."""

from __future__ import annotations

import numpy as np

from shoal.stages.motion import learn_motion
from shoal.stages.survey import survey
from shoal.types import Poses, Tracks


def test_rows_that_share_no_keypoint_say_nothing_instead_of_everything():
    """One such pair made the error scale of its lag NaN, and stitching raised."""
    n = 200
    xy = np.zeros((n, 4, 2)) + np.arange(n)[:, None, None] + np.arange(4)[None, :, None] * 10
    xy[:100, 2:] = np.nan
    xy[100:, :2] = np.nan
    poses = Poses(np.arange(n), np.zeros(n), xy, np.ones((n, 4)), np.ones(n), (0, n))
    known = survey(lambda: (Tracks(poses, np.zeros(n)),))
    assert any(np.isnan(sample.move).any() for sample in known.samples.values())
    motion = learn_motion(known)
    assert np.isfinite(motion.sigma).all() and np.isfinite(motion.shape_sigma).all() and np.isfinite(motion.beta)
