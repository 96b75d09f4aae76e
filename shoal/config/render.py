"""Tracks drawn on video."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings


class RenderConfig(Settings):
    """How it looks and how it is encoded."""

    what: Literal["tracks", "detections"] = Field("tracks", description="stitched animals, or every peak")
    color_by: Literal["individual", "keypoint"] = Field("individual", description="what a colour means")
    trail: int = Field(15, ge=0, description="past frames drawn as a trail")
    skeleton: bool = Field(True, description="draw limbs")
    labels: bool = Field(True, description="write each individual's name")
    clock: bool = Field(False, description="write frame number and time into a corner")
    min_confidence: float = Field(0.3, ge=0, le=1, description="keypoints below are not drawn")
    dot_px: int = Field(0, ge=0, description="radius; 0 = by image size")
    preset: str = Field("veryfast", description="x264 preset")
    crf: int = Field(20, ge=0, le=51, description="x264 quality, smaller is better")
