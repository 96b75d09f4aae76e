"""Tracklets to tracks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings


class StitchConfig(Settings):
    """One minimum-cost answer over the whole video."""

    n_animals: int = Field(0, ge=0, description="animals in the video; 0 = unknown")
    count: Literal["exact", "at-most", "unknown"] = Field("unknown", description="how n_animals is meant")
    max_gap: int = Field(0, ge=0, description="frames a gap may last; 0 = no limit")
    min_length: int = Field(3, gt=0, description="shorter tracklets are joined only if they fit, never start a track")
