"""Encoders of appearance: a crop of an animal -> a vector; near vectors look alike."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS, STRIDES = (3, 24, 32, 64, 96, 96), (2, 2, 1, 2, 1)
ALONG = 5  # parts of the body, from tail to head, that are described apart
AT_ONCE = 256  # crops; rounding differs between batch sizes by less than float32 holds


class CropEncoder(nn.Module):
    """Five convolutions, mean over each part of the body, one linear layer; vectors of length 1.

    Batch normalisation, also of the vectors: animals that look much alike give nearly equal vectors at first, and their
    differences, brightness among them, must reach the loss (with group normalisation the encoder hardly learned
    eight zebrafish). In evaluation mode a crop's vector does not depend on the others in its batch.

    Args:
        size: D, numbers in a vector.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (inside, outside), stride in zip(pairwise(CHANNELS), STRIDES, strict=True):
            layers += [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(CHANNELS[-1] * ALONG, size), nn.BatchNorm1d(size, affine=False))

    def forward(self, crops: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        """Vectors of crops, from ``prepared``."""
        parts = F.adaptive_avg_pool2d(self.body(crops), (1, ALONG)).flatten(1)
        return F.normalize(self.head(parts), dim=1)


def prepared(image: UInt8[Tensor, "B h w 3"], usual: Float[Tensor, "2 3"]) -> Float[Tensor, "B 3 h w"]:
    """Crops as encoders take them: colours less the usual one in units of their spread, 0 where the animal is not.

    Args:
        image: crops, 0 = not of the animal.
        usual: of the animals of the video, from ``usual_colour``.
    """
    value = image.permute(0, 3, 1, 2).float()
    mean, spread = usual[:, :, None, None]
    return ((value - mean) / spread * (value > 0)).contiguous(memory_format=torch.channels_last)


def usual_colour(image: UInt8[Tensor, "B h w 3"]) -> Float[Tensor, "2 3"]:
    """Mean colour of the animals in crops and its standard deviation, 0 to 255; the same spread for all channels."""
    shown = (image > 0).sum(dim=(0, 1, 2)).clamp(min=1).double()
    mean = image.sum(dim=(0, 1, 2)) / shown
    square = sum((part.double() ** 2).sum(dim=(0, 1, 2)) for part in image.split(AT_ONCE))
    spread = (square / shown - mean**2).clamp(min=0).mean().sqrt().clamp(min=1)
    return torch.stack([mean, spread.expand(3)]).float()


@torch.inference_mode()
def encode(net: nn.Module, image: UInt8[Tensor, "B h w 3"], usual: Float[Tensor, "2 3"]) -> Float[Tensor, "B D"]:
    """Vectors of crops, on the device of the network, as float32 on the CPU."""
    device = next(net.parameters()).device
    parts = [net(prepared(part.to(device), usual.to(device))).float().cpu() for part in image.split(AT_ONCE)]
    return torch.cat(parts) if parts else torch.zeros(0, 0)
