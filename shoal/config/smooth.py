"""Tracks smoothed, their gaps filled."""

from __future__ import annotations

from pydantic import Field

from shoal.config.settings import Settings


class SmoothConfig(Settings):
    """Shoal's own smoothing (``shoal export --smooth``); DeepLabCut's filters are ``filterpredictions``."""

    max_gap: int = Field(default=15, ge=0, description="frames without the animal that are filled in")
    min_confidence: float = Field(default=0.1, ge=0, le=1, description="keypoints below are taken for missing")
