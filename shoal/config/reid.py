"""Who is who by appearance."""

from __future__ import annotations

from pydantic import Field

from shoal.config.settings import Settings


class ReidConfig(Settings):
    """Crops of animals, what they say about who is who, and who is known by name."""

    use: bool = Field(default=False, description="tell animals apart by their looks, too, when tracks are joined")
    every: int = Field(default=2, gt=0, description="frames between crops, at least")
    crops_per_hour: int = Field(default=100_000, gt=0, description="that are kept of long videos: about half a GB")
    max_crops: int = Field(default=40_000, gt=0, description="that are learned from, spread evenly over the tracklets")
    height: int = Field(default=40, gt=0, multiple_of=20, description="of crops, px")
    width: int = Field(default=80, gt=0, multiple_of=40, description="of crops, px; a body fills four fifths of it")
    max_misfit: float = Field(
        default=0.15, gt=0, description="bent further from the usual body (body lengths): no crop"
    )
    clear: float = Field(default=0.08, ge=0, description="nearer to another animal (body lengths): no crop")
    gallery: str = Field(
        default="", description="folder of animals known by name; empty = tracks are not named by looks"
    )
    known: float = Field(
        default=0.9, gt=0, lt=1, description="probability that an animal is of the gallery, before it is looked at"
    )
