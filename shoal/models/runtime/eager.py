"""torch itself: float32 is the reference that every other runtime is held against."""

from __future__ import annotations

import torch

from shoal.models.checkpoint import LoadedModel
from shoal.models.device import autocast
from shoal.models.pose import PoseMaps
from shoal.models.runtime.setup import Forward, Setup


def eager(model: LoadedModel, setup: Setup) -> Forward:
    """The network as it is, in float32, bf16 or fp16 (autocast)."""

    def forward(images: torch.Tensor) -> PoseMaps:
        with autocast(setup.precision, model.device):
            return model.net(images)

    return forward


def compiled(model: LoadedModel, setup: Setup) -> Forward:
    """``torch.compile``: about half a minute per frame size, then faster; needs a C++ compiler on CPUs."""
    trunk = torch.compile(model.net.trunk_of_bytes, dynamic=False)

    def forward(images: torch.Tensor) -> PoseMaps:
        with autocast(setup.precision, model.device):
            return model.net.whole(images, trunk)

    return forward
