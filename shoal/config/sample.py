"""Which frames' appearance is stored."""

from __future__ import annotations

from pydantic import Field

from shoal.config.settings import Settings


class SampleConfig(Settings):
    """In-stream choice of animal rows worth storing."""

    every: int = Field(default=10, gt=0, description="frames between samples of quiet animals")
    feature_size: int = Field(default=64, gt=0, description="channels after the fixed projection")
    min_confidence: float = Field(default=0.3, ge=0, le=1, description="mean confidence an animal needs")
    near: float = Field(
        default=0.5, ge=0, description="animals whose centres are closer than this many body lengths are crossing"
    )
