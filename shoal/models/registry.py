"""Network name -> builder: the one place where a network is added."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from shoal.config.model import ModelConfig
from shoal.errors import ConfigError
from shoal.io.dlc.pytorch_config import NETS
from shoal.models.dlc_networks import DlcBody
from shoal.models.pose import LightBody, PoseNet
from shoal.models.weights import load_backbone, normalisation
from shoal.types import Skeleton

Channels = tuple[int, int, int, int]

IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and standard deviation that DLC normalises by, 0-255."""


def _light(config: ModelConfig, channels: Channels, pretrained: bool) -> PoseNet:
    body = LightBody(config.backbone, channels, stride=config.stride, neck=config.neck)
    if pretrained and config.pretrained:
        load_backbone(body.backbone, config.backbone, config.pretrained)
    mean, std = normalisation(config.backbone, config.pretrained)
    return PoseNet(body, mean=mean, std=std, input_scale=config.input_scale)


def _dlc(config: ModelConfig, channels: Channels, pretrained: bool) -> PoseNet:
    body = DlcBody(config.name, channels)
    if pretrained and config.pretrained:
        load_backbone(body.backbone.model, NETS[config.name][1], config.pretrained)  # type: ignore[arg-type]
    return PoseNet(body, mean=IMAGENET[0], std=IMAGENET[1], input_scale=config.input_scale)


BUILDERS: dict[str, Callable[[ModelConfig, Channels, bool], PoseNet]] = {
    "light": _light,
    "resnet_50": _dlc,
    "resnet_101": _dlc,
    "dlcrnet_stride16_ms5": _dlc,
    "dlcrnet_stride32_ms5": _dlc,
    "hrnet_w18": _dlc,
    "hrnet_w32": _dlc,
    "hrnet_w48": _dlc,
}


def build(
    skeleton: Skeleton,
    config: ModelConfig,
    *,
    edges: Int64[ndarray, "E 2"],
    n_individuals: int,
    pretrained: bool = True,
) -> PoseNet:
    """A new network.

    Args:
        skeleton: keypoints and unique keypoints.
        config: which network.
        edges: limbs that it learns.
        n_individuals: named individuals that it learns to tell apart; 0 = no identity head.
        pretrained: False = leave out the backbone weights of ``config`` (a checkpoint follows).

    Raises:
        ConfigError: unknown backbone, a stride it does not have, too many keypoints or limbs.
        CheckpointError: pretrained weights missing or of another network.
    """
    edges = np.asarray(edges).reshape(-1, 2)
    channels = (skeleton.n_keypoints, 2 * len(edges), len(skeleton.unique), n_individuals)
    if skeleton.n_keypoints > 127 or len(edges) > 127:  # int8 columns of Detections
        raise ConfigError(
            f"expected at most 127 keypoints and 127 limbs, got {skeleton.n_keypoints} and {len(edges)}\n"
            "where: model.edges",
            hint="--set model.edges=auto keeps about twice as many limbs as keypoints",
        )
    return BUILDERS[config.name](config, channels, pretrained)
