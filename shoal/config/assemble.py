"""Peaks to animals."""

from __future__ import annotations

from pydantic import Field

from shoal.config.settings import Settings


class AssembleConfig(Settings):
    """Grouping of peaks by limb affinity."""

    max_animals: int = Field(default=0, ge=0, description="keep at most this many per frame, best first; 0 = no limit")
    min_keypoints: int = Field(default=3, gt=0, description="animals with fewer are dropped (lowered to K for small K)")
    min_affinity: float = Field(default=0.25, ge=0, description="limbs above speak for, limbs below against one animal")
    min_confidence: float = Field(default=0.1, ge=0, le=1, description="weaker peaks are ignored")
    min_score: float = Field(default=0.2, ge=0, le=1, description="animals below are dropped (0.8 is a sure one)")
    identity_weight: float = Field(
        default=0.25, ge=0, description="weight of the identity head against one limb; 0 = only limbs"
    )
    identity_only: bool = Field(default=False, description="group peaks by the identity head alone, without limbs")
    duplicate_overlap: float = Field(default=0.5, gt=0, le=1, description="two animals sharing this much are one")
    duplicate_distance: float = Field(default=0.1, ge=0, description="shared = this close, in body lengths")
