"""All measures, to import from one place: ``from shoal.stages import metrics``.

``metrics_similarity`` how alike two animals are, ignore regions; ``metrics_tracking`` HOTA, IDF1, CLEAR;
``metrics_pose`` rmse, mAP, mAR, PCK.
"""

from __future__ import annotations

from shoal.stages.metrics_pose import PoseScores, figures, folder_errors, score_poses
from shoal.stages.metrics_similarity import TOLERANCE, centres, ignore_regions, inside_regions, oks, pose_similarity
from shoal.stages.metrics_tracking import Comparison, compare_frames, score_tracks, tracking_scores

VERSION = 2

__all__ = [
    "TOLERANCE",
    "VERSION",
    "Comparison",
    "PoseScores",
    "centres",
    "compare_frames",
    "figures",
    "folder_errors",
    "ignore_regions",
    "inside_regions",
    "oks",
    "pose_similarity",
    "score_poses",
    "score_tracks",
    "tracking_scores",
]
