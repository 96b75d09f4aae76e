"""Tracklets to tracks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings


class StitchConfig(Settings):
    """One minimum-cost answer over the whole video. Costs are in nats (natural log odds)."""

    n_animals: int = Field(default=0, ge=0, description="animals in the video; 0 = unknown")
    count: Literal["exact", "at-most", "unknown"] = Field(default="unknown", description="how n_animals is meant")
    max_gap: int = Field(default=0, ge=0, description="frames a gap may last; 0 = no limit")
    min_length: int = Field(
        default=10, gt=0, description="shorter tracklets are joined only if they fit, never start a track"
    )
    max_joins: int = Field(default=20, gt=0, description="likeliest continuations considered per tracklet")
    appear_cost: float = Field(default=8.0, ge=0, description="of a track that starts or ends in mid-view, mid-video")
    border_cost: float = Field(default=4.0, ge=0, description="of a track that starts or ends at the edge of the view")
    row_reward: float = Field(
        default=0.25, ge=0, description="for each animal row of typical score that a track explains"
    )
