"""The pose network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings

ModelName = Literal[
    "light", "resnet_50", "resnet_101", "dlcrnet_stride16_ms5", "dlcrnet_stride32_ms5",
    "hrnet_w18", "hrnet_w32", "hrnet_w48",
]  # fmt: skip


class ModelConfig(Settings):
    """Which network, at which scale."""

    name: ModelName = Field(
        default="light", description="light: timm backbone + small neck; the others: DLC's shapes, layer by layer"
    )
    backbone: str = Field(default="resnet18", description="light: any timm features_only backbone by name")
    pretrained: str = Field(
        default="",
        description="backbone weights: empty = none, 'timm' = download, or a file, or an installed package's name",
    )
    stride: int = Field(default=4, description="light: input pixels per map cell")
    neck: int = Field(default=64, gt=0, description="light: channels of the neck")
    input_scale: float = Field(
        default=0.0, ge=0, le=1, description="frames are shrunk by this; 0 = by the labels' body length"
    )
    edges: Literal["auto", "skeleton", "all"] = Field(
        default="auto", description="limbs learned: short and steady ones, the config's skeleton, or all pairs (DLC)"
    )

    @property
    def is_dlc(self) -> bool:
        """Whether it has DLC's shape."""
        return self.name != "light"
