"""The pose network: frames in, maps out.

``PoseNet`` owns everything that all networks share (normalisation, shrinking, padding, coordinates); its ``body``
turns normalised pixels into maps. A body is any module with ``trunk(x) -> tensors`` (nearly all of the work, which
other runtimes can do), ``finish(tensors) -> PoseMaps`` (strides in input pixels), ``margin`` (the input's sides must be
multiples of it) and ``n_features`` (channels of each feature level).

Tensor legend, on top of types.py: h, w map size; C channels; s stride.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import timm
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from shoal.errors import ConfigError

Stride = tuple[float, float]
LOCREF_PX = 7.2801
"""Unit of DLC's locref offsets, input px."""


@dataclass(frozen=True, eq=False)
class PoseMaps:
    """What the network says about B images. Cell i's centre lies at (i + 0.5) * stride.

    Attributes:
        heat: (B, K, h, w) keypoint heatmaps, linear (0-1), or logits if ``is_dlc``.
        limbs: (B, 2E, h, w) limb fields (x0, y0, x1, y1, ...).
        unique: (B, U, hu, wu) heatmaps of keypoints that exist once, linear.
        identity: (B, I, hu, wu) logits of named individuals.
        features: feature levels (B, C, hf, wf), fine to coarse, for appearance.
        stride: (x, y) frame pixels per cell of ``heat`` and ``limbs``.
        side_stride: the same for ``unique`` and ``identity``.
        feature_strides: the same per feature level.
        locref: (B, 2K, h, w) offsets to the keypoint, input px / ``LOCREF_PX`` (DLC's shape only).
        unique_locref: (B, 2U, hu, wu) likewise.
        pixels: (x, y) frame pixels per input pixel of the body: what locref offsets are multiplied by.
        is_dlc: plateau logits with locref instead of linear Gaussians.
    """

    heat: Float[Tensor, "B K h w"]
    limbs: Float[Tensor, "B E2 h w"]
    unique: Float[Tensor, "B U hu wu"]
    identity: Float[Tensor, "B I hu wu"]
    features: tuple[Tensor, ...]
    stride: Stride
    side_stride: Stride
    feature_strides: tuple[Stride, ...]
    locref: Tensor | None = None
    unique_locref: Tensor | None = None
    pixels: Stride = (1.0, 1.0)
    is_dlc: bool = False


class PoseNet(nn.Module):
    """A body with everything around it.

    Args:
        body: see the module's text.
        mean: of the pixels, 0-255, per channel or one number.
        std: likewise.
        input_scale: frames are shrunk by this first.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, *, mean: tuple[float, ...], std: tuple[float, ...], input_scale: float) -> None:
        super().__init__()
        self.body = body
        self.input_scale = input_scale
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> PoseMaps:
        """Maps of whole frames; strides in pixels of ``images``."""
        return self.whole(images, self.trunk_of_bytes)

    def trunk_of_bytes(self, small: UInt8[Tensor, "B h w 3"]) -> tuple[Tensor, ...]:
        """``trunk`` of shrunk frames."""
        return self.trunk(small.permute(0, 3, 1, 2).to(torch.float32))

    def whole(self, images: UInt8[Tensor, "B H W 3"], trunk: Callable[[Tensor], Sequence[Tensor]]) -> PoseMaps:
        """The same by way of another ``trunk``, from shrunk uint8 pixels (B, h, w, 3)."""
        small = shrink(images, self.input_scale)
        size = small.shape[1:3]
        return in_frame_pixels(self.finish(trunk(small), size), frame=images.shape[1:3], small=size)

    def at_scale(self, pixels: Float[Tensor, "B 3 h w"]) -> PoseMaps:
        """Maps of images (0-255) that already have the network's scale; strides in their pixels."""
        return self.finish(self.trunk(pixels), pixels.shape[2:])

    def trunk(self, pixels: Float[Tensor, "B 3 h w"]) -> tuple[Tensor, ...]:
        """The part that other runtimes can take over; ``finish`` makes maps of what it gives."""
        x = (pixels - self.mean) / self.std
        height, width = map(int, x.shape[2:])  # int: under a tracer sizes are tensors
        margin: int = self.body.margin  # type: ignore[assignment]
        # padding right and below with the mean leaves all coordinates as they are
        x = F.pad(x, (0, -width % margin, 0, -height % margin))
        return self.body.trunk(x.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]

    def finish(self, tensors: Sequence[Tensor], size: Sequence[int]) -> PoseMaps:
        """Maps of images of ``size`` (height, width)."""
        maps = self.body.finish(tensors)  # type: ignore[operator]
        height, width = size
        # DLC's maps reach a cell over the edge of a frame that needs no padding; DLC reads it, and so do we
        is_padded = height % self.body.margin or width % self.body.margin  # type: ignore[operator]
        return _without_padding(maps, width, height) if is_padded else maps


def shrink(images: UInt8[Tensor, "B H W 3"], scale: float) -> UInt8[Tensor, "B h w 3"]:
    """Frames at the network's scale, antialiased; corners stay corners (align_corners=False).

    Whole grey levels, as training sees them: the CPU's uint8 kernel takes a fifth of the time of the float32 one.
    """
    if scale == 1.0:
        return images
    x = images.permute(0, 3, 1, 2)
    height, width = shrunk_size(x.shape[2:], scale)
    is_rounded = x.dtype == torch.uint8 and x.device.type != "cpu"  # only the CPU has an antialiasing kernel for uint8
    small = F.interpolate(
        x.float() if is_rounded else x, size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return (small.round().to(torch.uint8) if is_rounded else small).permute(0, 2, 3, 1)


def shrunk_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """(height, width) after ``shrink``."""
    height, width = (max(1, round(int(n) * scale)) for n in size)
    return height, width


def in_frame_pixels(maps: PoseMaps, *, frame: Sequence[int], small: Sequence[int]) -> PoseMaps:
    """Strides in pixels of frames (height, width) instead of those of the shrunk ones."""
    fx, fy = frame[1] / small[1], frame[0] / small[0]

    def scaled(stride: Stride) -> Stride:
        return stride[0] * fx, stride[1] * fy

    return replace(
        maps,
        stride=scaled(maps.stride),
        side_stride=scaled(maps.side_stride),
        feature_strides=tuple(scaled(s) for s in maps.feature_strides),
        pixels=scaled(maps.pixels),
    )


def _without_padding(maps: PoseMaps, width: int, height: int) -> PoseMaps:
    """Cells whose centre lies in the padding are dropped, so that nothing is found there."""

    def cut(grid: Tensor | None, stride: Stride) -> Tensor | None:
        if grid is None:
            return None
        w, h = int(width / stride[0] + 0.5), int(height / stride[1] + 0.5)
        return grid[:, :, : max(h, 1), : max(w, 1)]

    return replace(
        maps,
        heat=cut(maps.heat, maps.stride),
        limbs=cut(maps.limbs, maps.stride),
        locref=cut(maps.locref, maps.stride),
        unique=cut(maps.unique, maps.side_stride),
        identity=cut(maps.identity, maps.side_stride),
        unique_locref=cut(maps.unique_locref, maps.side_stride),
    )


class LightBody(nn.Module):
    """timm backbone to stride 16, feature pyramid to the output stride, one linear head.

    The recipe of recipe_spike.md: 1x1 lateral, add, 3x3 (Lin et al. 2017, Feature Pyramid Networks).

    Args:
        backbone: any timm ``features_only`` backbone by name.
        channels: (K, 2E, U, I) map channels.
        stride: input pixels per map cell; must be one of the backbone's reductions.
        neck: channels of the pyramid.

    Raises:
        ConfigError: timm does not know the backbone, or it has no level at ``stride``.
    """

    def __init__(self, backbone: str, channels: tuple[int, int, int, int], *, stride: int, neck: int) -> None:
        super().__init__()
        reduction, _ = _levels(backbone)
        wanted = [i for i, r in enumerate(reduction) if stride <= r <= 16]
        if not wanted or reduction[wanted[0]] != stride:
            raise ConfigError(
                f"expected a stride that backbone '{backbone}' has, got {stride}\nwhere: model.stride",
                hint=f"it has {', '.join(str(r) for r in reduction if r <= 16)}",
            )
        self.backbone = timm.create_model(backbone, features_only=True, pretrained=False, out_indices=tuple(wanted))
        sizes: list[int] = self.backbone.feature_info.channels()  # type: ignore[union-attr,operator]
        self.n_features = tuple(sizes)
        self.strides = tuple(float(reduction[i]) for i in wanted)
        self.margin = int(self.strides[-1])
        self.channels = channels
        self.lateral = nn.ModuleList(nn.Conv2d(c, neck, 1) for c in sizes)
        self.smooth = nn.ModuleList(_conv_block(neck) for _ in sizes)
        self.head = nn.Conv2d(neck, sum(channels), 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> PoseMaps:
        """Maps of normalised pixels."""
        return self.finish(self.trunk(x))

    def trunk(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """The neck's finest level, then the backbone's levels."""
        levels = self.backbone(x)
        y = self.smooth[-1](self.lateral[-1](levels[-1]))
        for level in range(len(levels) - 2, -1, -1):
            up = F.interpolate(y, scale_factor=2.0, mode="nearest")
            y = self.smooth[level](self.lateral[level](levels[level]) + up)
        return (y, *levels)

    def finish(self, tensors: Sequence[Tensor]) -> PoseMaps:
        """The head, in float32 whatever came before: bf16 maps have equal neighbours and lose sub-pixel position."""
        y, *levels = tensors
        n_images, n_channels, height, width = y.shape
        # a product in this order takes two thirds of the convolution's time and leaves each map in one piece
        weight = self.head.weight.view(-1, n_channels)
        with torch.autocast(y.device.type, enabled=False):
            cells = y.float().permute(0, 2, 3, 1).reshape(-1, n_channels)
            maps = torch.addmm(self.head.bias[:, None], weight, cells.T).view(-1, n_images, height, width)  # type: ignore[index]
        heat, limbs, unique, identity = maps.transpose(0, 1).split(self.channels, dim=1)
        stride = (self.strides[0], self.strides[0])
        return PoseMaps(
            heat, limbs, unique, identity, tuple(levels), stride, stride, tuple((s, s) for s in self.strides)
        )  # fmt: skip


def _conv_block(n: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n), nn.ReLU())


def _levels(backbone: str) -> tuple[list[int], list[int]]:
    """Reductions and channels of a timm backbone's levels, without building its weights."""
    if not timm.is_model(backbone):
        near = timm.list_models(f"*{backbone.split('_')[0][:6]}*")[:4]
        raise ConfigError(
            f"expected a backbone that timm knows, got '{backbone}'\nwhere: model.backbone",
            hint=f"near: {', '.join(near)}" if near else "timm.list_models() names them all",
        )
    with torch.device("meta"):
        info = timm.create_model(backbone, features_only=True, pretrained=False).feature_info
    return info.reduction(), info.channels()  # type: ignore[union-attr,operator]
