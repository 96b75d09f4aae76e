"""DLC's bottom-up multi-animal network, layer by layer, so that state dicts go both ways (dlc_formats.md 4.3).

Child names are DLC's: ``backbone.model.*``, ``heads.bodypart.*``, ``heads.unique_bodypart.*``, ``heads.identity.*``.
"""

from __future__ import annotations

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from shoal.models.pose import PoseMaps

N_STAGES = 5
N_SHARED = 128
"""Channels that the refinement stages share."""


class DlcBody(nn.Module):
    """resnet50_gn at output stride 16 with DLC's multi-stage limb head.

    Args:
        backbone: timm ResNet by name.
        channels: (K, 2E, U, I) map channels.
    """

    margin = 1

    def __init__(self, backbone: str, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        keypoints, limbs, unique, identity = channels
        self.channels = channels
        self.backbone = _Backbone(backbone)
        c = self.backbone.n_out
        self.n_features = (c,)
        heads: dict[str, nn.Module] = {"bodypart": _LimbHead(c, keypoints, limbs)}
        if unique:
            heads["unique_bodypart"] = _HeatHead(c, unique, locref=True)
        if identity:
            heads["identity"] = _HeatHead(c, identity, locref=False)
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> PoseMaps:
        """Maps of normalised pixels."""
        y = self.backbone(x)
        heat, limbs, locref = self.heads["bodypart"](y)
        unique = unique_locref = identity = y.new_zeros(len(y), 0, 2 * y.shape[2] + 1, 2 * y.shape[3] + 1)
        if "unique_bodypart" in self.heads:
            unique, unique_locref = self.heads["unique_bodypart"](y)
        if "identity" in self.heads:
            identity, _ = self.heads["identity"](y)
        return PoseMaps(
            heat=heat.float(),
            limbs=limbs.float(),
            unique=unique.float(),
            identity=identity.float(),
            features=(y,),
            stride=(4.0, 4.0),
            side_stride=(8.0, 8.0),
            feature_strides=((16.0, 16.0),),
            locref=locref.float(),
            unique_locref=unique_locref.float(),
            is_dlc=True,
        )


class _Backbone(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = timm.create_model(name, output_stride=16, num_classes=0, global_pool="", pretrained=False)
        self.n_out = int(self.model.num_features)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.model.forward_features(x)  # type: ignore[operator]


class _Deconv(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.deconv_layers = nn.Sequential(nn.ConvTranspose2d(n_in, n_out, 3, stride=2))

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

    def __init__(self, n_in: int, keypoints: int, limbs: int) -> None:
        super().__init__()
        n_all = N_SHARED + keypoints + limbs
        self.convt1 = _up(n_in, keypoints)
        self.convt2 = _up(n_in, 2 * keypoints)
        self.convt3 = _up(n_in, limbs)
        self.convt4 = _up(n_in, N_SHARED)
        self.hm_ref_layers = nn.ModuleList(nn.Conv2d(n_all, keypoints, 3, padding=1) for _ in range(N_STAGES))
        self.paf_ref_layers = nn.ModuleList(nn.Conv2d(n_all, limbs, 3, padding=1) for _ in range(N_STAGES))
        self.heatmap_head = _Deconv(n_all, keypoints)
        self.paf_head = _Deconv(n_all, limbs)
        self.locref_head = _Deconv(2 * keypoints, 2 * keypoints)

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
