"""A network's trunk as converters want it: shrunk uint8 frames of one size in, a plain tuple of tensors out.

Tensors come out with a cell's channels side by side, as runtimes compute them: OpenVINO takes 2.3 of 30 ms a frame to
turn them round (resnet18, 648x486, int8), and features are read faster so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from shoal.models.pose import PoseNet


class Graph(nn.Module):
    """``PoseNet.trunk_of_bytes`` as a module of its own; ``PoseNet.finish`` makes maps of what it gives."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: UInt8[Tensor, "B h w 3"]) -> tuple[Float[Tensor, "B h w C"], ...]:
        """What ``PoseNet.trunk`` gives, channels last."""
        return tuple(tensor.permute(0, 2, 3, 1) for tensor in self.net.trunk_of_bytes(pixels))


def as_trunk(tensors: Iterable[Float[ndarray, "B h w C"]]) -> list[Float[Tensor, "B C h w"]]:
    """What a converted ``Graph`` gave, as ``PoseNet.finish`` takes it; shares memory."""
    return [torch.from_numpy(tensor).permute(0, 3, 1, 2) for tensor in tensors]


def quiet() -> warnings.catch_warnings:
    """Tracers warn about each size that becomes a constant, which is what is wanted here."""
    return warnings.catch_warnings(action="ignore")
