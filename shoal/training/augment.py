"""Patches -> training crops, batched on the device."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from shoal.models.targets import Labels
from shoal.training.data import Patches, sides

BLUR_RADIUS = 4
MOTION_RADIUS = 3
MAX_COVERS = 10
LUMA = (0.299, 0.587, 0.114)


@torch.no_grad()
def augment(
    patches: Patches, crop: int | tuple[int, int], *, device: torch.device, pin: bool = False
) -> tuple[Float[Tensor, "B 3 h w"], Labels]:
    """One bilinear resampling per crop, then light, blur and noise.

    Args:
        patches: from ``draw_patches``.
        crop: side of the crops, or their width and height.
        device: where to compute.
        pin: go through pinned memory to a GPU.

    Returns:
        (crops 0-255, labels in crop px).
    """
    raw = torch.from_numpy(patches.pixels)
    if pin and device.type == "cuda":
        raw = raw.pin_memory()
    pixels = raw.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    crops = resample(pixels, torch.from_numpy(patches.matrix).to(device, torch.float32), crop)
    crops = _change_light(crops, torch.from_numpy(patches.light).to(device))
    if patches.effects is not None:
        crops = _change_picture(crops, patches.effects, patches.noise_seed)
    crops = _add_noise(crops, torch.from_numpy(patches.light[:, 6]).to(device), patches.noise_seed)
    labels = Labels(
        torch.from_numpy(patches.xy).to(device),
        torch.from_numpy(patches.unique_xy).to(device),
        torch.from_numpy(patches.individual).to(device),
    )
    return crops, labels


def resample(
    pixels: Float[Tensor, "B 3 H W"], matrix: Float[Tensor, "B 2 3"], crop: int | tuple[int, int]
) -> Float[Tensor, "B 3 h w"]:
    """Cut crops; ``matrix`` takes crop px to patch px (corners at integers)."""
    height, width = pixels.shape[2:]
    # grid_sample's own units: -1 and 1 are the outer corners, of the crop and of the patch (align_corners=False)
    across, down = sides(crop).tolist()
    half = torch.tensor([across / 2, down / 2], device=pixels.device, dtype=matrix.dtype)
    theta = matrix.clone()
    theta[:, :, 2] += theta[:, :, :2] @ half
    theta[:, :, :2] *= half
    size = torch.tensor([width, height], device=pixels.device, dtype=theta.dtype)
    theta = theta * (2 / size)[:, None]
    theta[:, :, 2] -= 1
    grid = F.affine_grid(theta, [len(pixels), 3, down, across], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _change_light(x: Tensor, light: Float[Tensor, "B 7"]) -> Tensor:
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * light[:, 0, None, None, None] + mean + light[:, 1, None, None, None]
    x = x * light[:, 2:5, None, None]
    blurred = (light[:, 5] > 0).nonzero()[:, 0]
    if len(blurred):
        x[blurred] = _blur(x[blurred], light[blurred, 5])
    return x


def _add_noise(x: Tensor, deviation: Float[Tensor, "B"], seed: int) -> Tensor:
    generator = torch.Generator(x.device).manual_seed(seed)
    # one grey field for all channels: a third of the time, and sensors' noise is mostly grey after compression
    noise = torch.randn(len(x), 1, *x.shape[2:], generator=generator, device=x.device)
    return (x + noise * deviation[:, None, None, None]).clamp(0, 255)


def _change_picture(x: Tensor, effects: np.ndarray, seed: int) -> Tensor:
    """Equalized histogram, motion blur, covered parts, no colours: what DLC's configuration may ask for."""
    rng = np.random.default_rng([seed, 1])
    for i, (length, angle, equalize, grey, cover) in enumerate(effects.tolist()):
        if equalize:
            x[i] = torch.stack([_equalized(channel) for channel in x[i]])
        if length:
            x[i] = _motion_blur(x[i], length, angle)
        if cover:
            _cover(x[i], rng)
        if grey:
            x[i] = (x[i] * x.new_tensor(LUMA)[:, None, None]).sum(0)
    return x


def _equalized(channel: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Grey values by their rank: the histogram becomes flat; an even channel stays as it is."""
    level = channel.clamp(0, 255).round().long()
    rank = torch.bincount(level.flatten(), minlength=256).cumsum(0).float()
    lowest = rank[int(level.min())]
    if lowest == rank[-1]:
        return channel
    return (255 * (rank - lowest) / (rank[-1] - lowest)).clamp(min=0)[level]


def _motion_blur(image: Float[Tensor, "3 h w"], length: float, angle: float) -> Float[Tensor, "3 h w"]:
    """Mean along a line of ``length`` px."""
    t = torch.arange(-MOTION_RADIUS, MOTION_RADIUS + 1, device=image.device, dtype=image.dtype)
    along = t * np.cos(angle) + t[:, None] * np.sin(angle)
    aside = t[:, None] * np.cos(angle) - t * np.sin(angle)
    kernel = (1 - aside.abs()).clamp(min=0) * (along.abs() <= length / 2)
    padded = F.pad(image[:, None], (MOTION_RADIUS,) * 4, mode="replicate")
    return F.conv2d(padded, (kernel / kernel.sum())[None, None])[:, 0]


def _cover(image: Float[Tensor, "3 h w"], rng: np.random.Generator) -> None:
    """Black rectangles of 1 to 5 % of the sides."""
    height, width = image.shape[1:]
    for _ in range(rng.integers(1, MAX_COVERS + 1)):
        h, w = (max(1, int(n * rng.uniform(0.01, 0.05))) for n in (height, width))
        y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        image[:, y : y + h, x : x + w] = 0


def _blur(x: Float[Tensor, "B 3 h w"], sigma: Float[Tensor, "B"]) -> Tensor:
    """Separable Gaussian, one width per image."""
    t = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=x.device)
    kernel = torch.softmax(-(t**2) / (2 * sigma[:, None] ** 2), 1).repeat_interleave(3, 0)[:, None, None]
    flat = F.pad(x.reshape(1, -1, *x.shape[2:]), (BLUR_RADIUS,) * 4, mode="replicate")
    flat = F.conv2d(F.conv2d(flat, kernel, groups=len(kernel)), kernel.transpose(2, 3), groups=len(kernel))
    return flat.view_as(x)
