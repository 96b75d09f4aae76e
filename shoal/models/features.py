"""What the network saw at each peak, short enough to keep: the raw material of appearance."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from shoal.models import loops
from shoal.models.pose import PoseMaps
from shoal.stages.sampling import PROJECTION_SEED


@torch.no_grad()
def peak_features(
    maps: PoseMaps, image: Int64[Tensor, "P"], xy: Float[Tensor, "P 2"], *, size: int
) -> Float[Tensor, "P D"]:
    """Backbone features at positions, through a fixed random projection.

    Each level is read bilinearly and brought to length 1, so that no level drowns the others; distances between the
    joined vectors survive a random projection (Johnson & Lindenstrauss 1984).

    Args:
        maps: of B images.
        image: image of each position.
        xy: positions, frame px.
        size: D.
    """
    levels = [
        F.normalize(read_at(level, image, xy, stride), dim=1)
        for level, stride in zip(maps.features, maps.feature_strides, strict=True)
    ]
    joined = torch.cat(levels, 1)
    return joined @ _projection(joined.shape[1], size).to(joined.device)


def read_at(
    level: Float[Tensor, "B C h w"], image: Tensor, xy: Tensor, stride: tuple[float, float]
) -> Float[Tensor, "P C"]:
    """Values of a map at positions (frame px), bilinear between cell centres, the border's value beyond them."""
    if level.device.type == "cpu" and level.dtype == torch.float32:
        places = (image.numpy(), xy.numpy(), np.array(stride, np.float32))
        return torch.from_numpy(loops.read_at(level.permute(0, 2, 3, 1).numpy(), *places))
    return read_anywhere(level, image, xy, stride)


def read_anywhere(
    level: Float[Tensor, "B C h w"], image: Tensor, xy: Tensor, stride: tuple[float, float]
) -> Float[Tensor, "P C"]:
    """The same on any device and in any precision."""
    height, width = level.shape[2:]
    cells = level.permute(0, 2, 3, 1).flatten(
        0, 2
    )  # no copy where a cell's channels lie together, as runtimes give them
    at = xy / torch.tensor(stride, device=xy.device, dtype=xy.dtype) - 0.5
    x, y = at[:, 0].clamp(0, width - 1), at[:, 1].clamp(0, height - 1)
    x0, y0 = x.long(), y.long()
    right, below = (x0 < width - 1).long(), (y0 < height - 1).long() * width
    corner = (image * height + y0) * width + x0
    four = cells.index_select(0, torch.cat([corner, corner + below, corner + right, corner + below + right]))
    left, right = four.float().view(2, 2, len(xy), -1)
    top, bottom = left.lerp(right, (x - x0)[:, None])
    return top.lerp(bottom, (y - y0)[:, None])


@lru_cache
def _projection(n_in: int, n_out: int) -> Tensor:
    """The same matrix everywhere and for ever: numpy's PCG64 stream is stable across versions and platforms."""
    matrix = np.random.default_rng(PROJECTION_SEED).standard_normal((n_in, n_out)) / np.sqrt(n_out)
    return torch.from_numpy(matrix.astype(np.float32))
