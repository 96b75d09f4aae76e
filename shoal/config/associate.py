"""Animals to tracklets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings


class AssociateConfig(Settings):
    """Frame-to-frame association."""

    similarity: Literal["ellipse"] = Field("ellipse", description="how two poses are compared")
    min_similarity: float = Field(0.4, ge=0, le=1, description="pairs below are never joined")
    min_margin: float = Field(0.1, ge=0, description="cut where the second-best choice is closer than this")
    max_age: int = Field(3, ge=0, description="frames a tracklet survives unseen")
