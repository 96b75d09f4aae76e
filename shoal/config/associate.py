"""Animals to tracklets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings


class AssociateConfig(Settings):
    """Frame-to-frame association. Lengths are in body lengths of the animals compared."""

    similarity: Literal["pose", "ellipse", "box", "skeleton"] = Field(
        default="pose", description="how two animals are compared; ellipse, box, skeleton are DLC's measures"
    )
    min_similarity: float = Field(default=0.4, ge=0, le=1, description="pairs below are joined only as a clear jump")
    min_margin: float = Field(default=0.05, ge=0, description="cut where the second-best choice is closer than this")
    max_jump: float = Field(
        default=2.0, ge=0, description="body lengths an animal may jump in a frame if nothing else fits"
    )
    min_clear: float = Field(
        default=0.5, ge=0, le=1, description="cut where an animal's score falls below this share of its usual one"
    )
    max_age: int = Field(default=3, ge=0, description="frames a tracklet survives unseen")
    box_slack_px: float = Field(default=0.0, ge=0, description="added to every side of a box (box similarity only)")
    body_px: float = Field(
        default=0.0, ge=0, description="body length where keypoints cannot tell; 0 = measured, else 40"
    )
