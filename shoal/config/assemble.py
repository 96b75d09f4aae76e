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
    adopt: bool = Field(
        default=False,
        description="a peak left over joins an animal that lacks it if one limb speaks for it (DLC's rule)",
    )
    duplicate_overlap: float = Field(default=0.5, gt=0, le=1, description="two animals sharing this much are one")
    duplicate_distance: float = Field(default=0.1, ge=0, description="shared = this close, in body lengths")


FOR_DLC = {"min_affinity": 0.05, "min_score": 0.1, "adopt": True}
"""Fields of DLC's networks taper off beside a limb, and their affinity (dlc_formats.md 6.2) counts each axis apart, so
that it is about half of the light network's. A resnet_50 with mAP 87 had 45 with the light network's thresholds
(bench/dlc_parity.py). 0.05 is DLC's own. Without ``adopt`` an hrnet_w18 had mAP 83.7 instead of 86.8; with it the light
network's tracks of the demo had two more switches (IDF1 .869 instead of .902), as what is left over at crossings is
often another animal's."""


def suit_dlc(config: AssembleConfig) -> AssembleConfig:
    """The settings for a network of DLC's shape: those that nobody set become ``FOR_DLC``.

    >>> suit_dlc(AssembleConfig()).min_affinity, suit_dlc(AssembleConfig(min_affinity=0.25)).min_affinity
    (0.05, 0.25)
    """
    unset = {name: value for name, value in FOR_DLC.items() if name not in config.model_fields_set}
    return config.model_copy(update=unset)
