"""A network's trunk as converters want it: shrunk uint8 frames of one size in, a plain tuple of tensors out."""

from __future__ import annotations

import warnings

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from shoal.models.pose import PoseNet


class Graph(nn.Module):
    """``PoseNet.trunk_of_bytes`` as a module of its own; ``PoseNet.finish`` makes maps of what it gives."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: UInt8[Tensor, "B h w 3"]) -> tuple[Float[Tensor, "B C h w"], ...]:
        """What ``PoseNet.trunk`` gives."""
        return self.net.trunk_of_bytes(pixels)


def quiet() -> warnings.catch_warnings:
    """Tracers warn about each size that becomes a constant, which is what is wanted here."""
    return warnings.catch_warnings(action="ignore")
