"""shoal: multi-animal pose estimation, tracking, stitching and re-identification for DeepLabCut projects."""

from __future__ import annotations

__version__ = "0.1.0"
