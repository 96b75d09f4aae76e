"""DLC's bottom-up multi-animal networks, layer by layer, so that state dicts go both ways (dlc_formats.md 4.3).

Child names are DLC's: ``backbone.model.*``, ``heads.bodypart.*``, ``heads.unique_bodypart.*``, ``heads.identity.*``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from shoal.io.dlc.pytorch_config import NETS
from shoal.models.pose import PoseMaps

N_STAGES = 5
N_SHARED = 128
"""Channels that the refinement stages share."""


class DlcBody(nn.Module):
    """One of DLC's backbones with its multi-stage limb head.

    Strides: a backbone of stride 16 or 32 gives bodypart maps of stride 4; HRNet (stride 4) gives maps of stride 1.

    Args:
        net: DLC's name of the network, see ``NETS``.
        channels: (K, 2E, U, I) map channels.
        keep: limbs that are given out, DLC's ``edges_to_keep``; None = all. The weights are those of all limbs.
    """

    def __init__(self, net: str, channels: tuple[int, int, int, int], *, keep: Sequence[int] | None = None) -> None:
        super().__init__()
        kind, name, stride, n_out = NETS[net]
        keypoints, limbs, unique, identity = channels
        is_deep = stride == 32
        self.net = net
        self.channels = channels
        self.keep = None if keep is None or list(keep) == list(range(limbs // 2)) else [int(e) for e in keep]
        self.margin = 32 if kind == "HRNet" else 1
        self.stride = stride
        self.map_stride = stride / (8 if is_deep else 4)
        self.n_features = (n_out,)
        self.backbone = _backbone(kind, name, stride)
        hidden = (n_out // 2,) if is_deep else ()
        heads: dict[str, nn.Module] = {"bodypart": _LimbHead(n_out, keypoints, limbs, hidden)}
        if unique:
            heads["unique_bodypart"] = _HeatHead(n_out, unique, locref=True)
        if identity:
            heads["identity"] = _HeatHead(n_out, identity, locref=False)
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> PoseMaps:
        """Maps of normalised pixels."""
        return self.finish(self.trunk(x))

    def trunk(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Everything that is computed: bodypart maps (heat, limbs, locref), those of the side heads, the backbone's."""
        y = self.backbone(x)
        found = [*self.heads["bodypart"](y)]
        if "unique_bodypart" in self.heads:
            found += self.heads["unique_bodypart"](y)
        if "identity" in self.heads:
            found.append(self.heads["identity"](y)[0])
        return (*found, y)

    def finish(self, tensors: Sequence[Tensor]) -> PoseMaps:
        """What ``trunk`` gives, named."""
        heat, limbs, locref, *sides, y = (t.float() for t in tensors)
        if self.keep is not None:
            limbs = limbs.unflatten(1, (-1, 2))[:, self.keep].flatten(1, 2)
        unique = unique_locref = identity = y.new_zeros(len(y), 0, 2 * y.shape[2] + 1, 2 * y.shape[3] + 1)
        if "unique_bodypart" in self.heads:
            unique, unique_locref, *sides = sides
        if "identity" in self.heads:
            identity = sides[0]
        return PoseMaps(
            heat=heat,
            limbs=limbs,
            unique=unique,
            identity=identity,
            features=(tensors[-1],),
            stride=(self.map_stride, self.map_stride),
            side_stride=(self.stride / 2, self.stride / 2),
            feature_strides=((float(self.stride), float(self.stride)),),
            locref=locref,
            unique_locref=unique_locref,
            is_dlc=True,
        )


def _backbone(kind: str, name: str, stride: int) -> nn.Module:
    return _HRNet(name) if kind == "HRNet" else _ResNet(name, stride) if kind == "ResNet" else _DLCRNet(name, stride)


class _ResNet(nn.Module):
    def __init__(self, name: str, stride: int) -> None:
        super().__init__()
        self.model = timm.create_model(name, output_stride=stride, num_classes=0, global_pool="", pretrained=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model.forward_features(x)  # type: ignore[operator]


class _DLCRNet(_ResNet):
    """A ResNet with two side paths from its finer levels; no gradient goes back through them."""

    def __init__(self, name: str, stride: int) -> None:
        super().__init__(name, stride)
        self.conv_block1 = _conv_block(512, 512, 3)
        self.conv_block2 = _conv_block(512, 128, 1)
        self.conv_block3 = _conv_block(256, 256, 3)
        self.conv_block4 = _conv_block(256, 256, 3)
        self.conv_block5 = _conv_block(256, 128, 1)

    def forward(self, x: Tensor) -> Tensor:
        model = self.model
        fine = model.layer1(model.maxpool(model.act1(model.bn1(model.conv1(x)))))  # type: ignore[operator]
        middle = model.layer2[:3](fine)  # type: ignore[index,operator]
        y = model.layer4(model.layer3(model.layer2[3:](middle)))  # type: ignore[index,operator]
        first = self.conv_block2(self.conv_block1(middle.detach()))
        second = self.conv_block5(self.conv_block4(self.conv_block3(fine.detach())))
        return torch.cat([_resized(second, y), _resized(first, y), y], 1)


class _HRNet(nn.Module):
    """Only the finest of its four branches is used."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = timm.create_model(
            name, features_only=True, out_indices=(1, 2, 3, 4), feature_location="", pretrained=False
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)[0]


def _conv_block(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    stride = 2 if kernel == 3 else 1
    return nn.Sequential(nn.Conv2d(n_in, n_out, kernel, stride), nn.BatchNorm2d(n_out, momentum=0.001), nn.ReLU())


def _resized(x: Tensor, to: Tensor) -> Tensor:
    return F.interpolate(x.float(), size=to.shape[2:], mode="bilinear", antialias=True, align_corners=False)


class _Deconv(nn.Module):
    """Transposed convolutions of stride 2 through ``channels``, with ReLU between them."""

    def __init__(self, *channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(channels):
            layers += [nn.ConvTranspose2d(n_in, n_out, 3, stride=2), nn.ReLU()]
        self.deconv_layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv_layers(x)


class _HeatHead(nn.Module):
    """Heatmaps and, if asked for, locref; DLC starts them near zero ("weight_init: normal")."""

    def __init__(self, n_in: int, n_out: int, *, locref: bool) -> None:
        super().__init__()
        self.heatmap_head = _Deconv(n_in, n_out)
        self.locref_head = _Deconv(n_in, 2 * n_out) if locref else None
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        heat = self.heatmap_head(x)
        return heat, self.locref_head(x) if self.locref_head is not None else heat[:, :0]


class _LimbHead(nn.Module):
    """Heatmaps, limb fields and locref; heatmaps and fields are refined together over five stages."""

    def __init__(self, n_in: int, keypoints: int, limbs: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        n_all = N_SHARED + keypoints + limbs
        self.convt1 = _up(n_in, keypoints)
        self.convt2 = _up(n_in, 2 * keypoints)
        self.convt3 = _up(n_in, limbs)
        self.convt4 = _up(n_in, N_SHARED)
        self.hm_ref_layers = nn.ModuleList(nn.Conv2d(n_all, keypoints, 3, padding=1) for _ in range(N_STAGES))
        self.paf_ref_layers = nn.ModuleList(nn.Conv2d(n_all, limbs, 3, padding=1) for _ in range(N_STAGES))
        self.heatmap_head = _Deconv(n_all, *hidden, keypoints)
        self.paf_head = _Deconv(n_all, *hidden, limbs)
        self.locref_head = _Deconv(2 * keypoints, *hidden, 2 * keypoints)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heat, limbs, shared = self.convt1(x), self.convt3(x), self.convt4(x)
        joined, before = torch.cat([heat, limbs, shared], 1), heat
        for stage, (hm_ref, paf_ref) in enumerate(zip(self.hm_ref_layers, self.paf_ref_layers, strict=True)):
            heat, limbs = hm_ref(joined), paf_ref(joined)
            heat = heat + before if stage else heat
            joined, before = torch.cat([heat, limbs, shared], 1), heat
        return self.heatmap_head(joined), self.paf_head(joined), self.locref_head(self.convt2(x))


def _up(n_in: int, n_out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(n_in, n_out, 3, stride=2, padding=1, output_padding=1)
