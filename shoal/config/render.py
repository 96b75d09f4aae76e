"""Tracks drawn on video."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings


class RenderConfig(Settings):
    """How it looks and how it is encoded."""

    what: Literal["tracks", "detections"] = Field(default="tracks", description="stitched animals, or every peak")
    color_by: Literal["individual", "keypoint"] = Field(default="individual", description="what a colour means")
    trail: int = Field(default=15, ge=0, description="past frames drawn as a trail")
    skeleton: bool = Field(default=True, description="draw limbs")
    labels: bool = Field(default=True, description="write each individual's name")
    clock: bool = Field(default=False, description="write frame number and time into a corner")
    min_confidence: float = Field(default=0.3, ge=0, le=1, description="keypoints below are not drawn")
    dot_px: int = Field(default=0, ge=0, description="radius; 0 = by image size")
    colormap: str = Field(default="", description="a colour map of matplotlib; empty = shoal's colours")
    alpha: float = Field(default=1.0, ge=0, le=1, description="how opaque the drawing is")
    preset: str = Field(default="veryfast", description="x264 preset")
    crf: int = Field(default=20, ge=0, le=51, description="x264 quality, smaller is better")
