"""Patches -> training crops, batched on the device."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from shoal.models.targets import Labels
from shoal.training.data import Patches

BLUR_RADIUS = 4


@torch.no_grad()
def augment(patches: Patches, crop: int, *, device: torch.device) -> tuple[Float[Tensor, "B 3 h w"], Labels]:
    """One bilinear resampling per crop, then light, blur and noise.

    Args:
        patches: from ``draw_patches``.
        crop: side of the crops.
        device: where to compute.

    Returns:
        (crops 0-255, labels in crop px).
    """
    pixels = torch.from_numpy(patches.pixels).to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    crops = resample(pixels, torch.from_numpy(patches.matrix).to(device, torch.float32), crop)
    crops = _change_light(crops, torch.from_numpy(patches.light).to(device), patches.noise_seed)
    labels = Labels(
        torch.from_numpy(patches.xy).to(device),
        torch.from_numpy(patches.unique_xy).to(device),
        torch.from_numpy(patches.individual).to(device),
    )
    return crops, labels


def resample(
    pixels: Float[Tensor, "B 3 H W"], matrix: Float[Tensor, "B 2 3"], crop: int
) -> Float[Tensor, "B 3 crop crop"]:
    """Cut crops; ``matrix`` takes crop px to patch px (corners at integers)."""
    height, width = pixels.shape[2:]
    # grid_sample's own units: -1 and 1 are the outer corners, of the crop and of the patch (align_corners=False)
    theta = matrix.clone()
    theta[:, :, 2] += theta[:, :, :2].sum(2) * (crop / 2)
    theta[:, :, :2] *= crop / 2
    size = torch.tensor([width, height], device=pixels.device, dtype=theta.dtype)
    theta = theta * (2 / size)[:, None]
    theta[:, :, 2] -= 1
    grid = F.affine_grid(theta, [len(pixels), 3, crop, crop], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _change_light(x: Tensor, light: Float[Tensor, "B 7"], noise_seed: int) -> Tensor:
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * light[:, 0, None, None, None] + mean + light[:, 1, None, None, None]
    x = x * light[:, 2:5, None, None]
    blurred = (light[:, 5] > 0).nonzero()[:, 0]
    if len(blurred):
        x[blurred] = _blur(x[blurred], light[blurred, 5])
    generator = torch.Generator(x.device).manual_seed(noise_seed)
    # one grey field for all channels: a third of the time, and sensors' noise is mostly grey after compression
    noise = torch.randn(len(x), 1, *x.shape[2:], generator=generator, device=x.device)
    return (x + noise * light[:, 6, None, None, None]).clamp(0, 255)


def _blur(x: Float[Tensor, "B 3 h w"], sigma: Float[Tensor, "B"]) -> Tensor:
    """Separable Gaussian, one width per image."""
    t = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=x.device)
    kernel = torch.softmax(-(t**2) / (2 * sigma[:, None] ** 2), 1).repeat_interleave(3, 0)[:, None, None]
    flat = F.pad(x.reshape(1, -1, *x.shape[2:]), (BLUR_RADIUS,) * 4, mode="replicate")
    flat = F.conv2d(F.conv2d(flat, kernel, groups=len(kernel)), kernel.transpose(2, 3), groups=len(kernel))
    return flat.view_as(x)
