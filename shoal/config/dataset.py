"""What is trained on and what is held out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings


class DatasetConfig(Settings):
    """Split of labelled frames into train and test."""

    exclude: tuple[str, ...] = Field(default=(), description="labeled-data folders to leave out")
    split: Literal["random", "time", "video", "shuffle"] = Field(
        default="random",
        description="random frames; blocks of time within each folder; whole folders; or a DLC shuffle's own indices",
    )
    train_fraction: float = Field(default=0.8, gt=0, le=1, description="share of labelled frames trained on")
    shuffle: int | None = Field(default=None, description="DLC shuffle whose split is used (split=shuffle)")
    seed: int = Field(default=0, description="of the split")
