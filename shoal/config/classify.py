"""What tracklets are: animals, reflections, duplicates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings

Reflections = Literal["keep", "mark", "drop"]


class ClassifyConfig(Settings):
    """Reflections in glass walls, and second detections of one animal."""

    reflections: Reflections = Field(
        default="mark",
        description="keep: reflections are animals like others; mark: found, tracked apart, never named; "
        "drop: belong to no track",
    )
    min_probability: float = Field(
        default=0.5, ge=0, le=1, description="of being a reflection or duplicate, from which a tracklet counts as one"
    )
