"""Coordinates through the network: what a body sees at a cell is what lies at that cell's centre in the frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from shoal.config.predict import PredictConfig
from shoal.errors import ConfigError
from shoal.models.decode import decode
from shoal.models.features import read_at
from shoal.models.pose import LightBody, PoseMaps, PoseNet, shrink
from shoal.models.targets import Labels, heatmaps

SIGMA_CELLS = 1.25


def coordinate_image(height: int, width: int) -> torch.Tensor:
    """Channels x and y of each pixel's centre, less a half, and 1; not bytes, which shrinking would round."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1).float()[None]


class CoordinateBody(nn.Module):
    """Reads x and y from the pixels; its heatmaps are Gaussians around frame positions that it compares them with."""

    def __init__(self, xy: torch.Tensor, stride: int, scale: float, margin: int = 32) -> None:
        super().__init__()
        self.xy, self.stride, self.scale, self.margin = xy, stride, scale, margin

    def trunk(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x,)

    def finish(self, tensors: tuple[torch.Tensor, ...]) -> PoseMaps:
        (x,) = tensors
        pooled = F.avg_pool2d(x, self.stride)
        seen = pooled[:, :2] / pooled[:, 2:].clamp(min=1e-6) + 0.5  # cells partly in the padding see the rest only
        sigma = SIGMA_CELLS * self.stride / self.scale
        distance = (seen[:, None] - self.xy[None, :, :, None, None]).square().sum(2)
        heat = torch.exp(-distance / (2 * sigma**2))
        none = heat.new_zeros(len(x), 0, *heat.shape[2:])
        s = (float(self.stride), float(self.stride))
        return PoseMaps(heat, none, heat, none, (seen,), s, s, (s,))


@pytest.mark.parametrize("size", [(160, 224), (151, 203), (121, 163)])
@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.625])
def test_coordinate_image(size: tuple[int, int], stride: int, scale: float) -> None:
    height, width = size
    margin = 3 * stride / scale + 3
    xy = torch.tensor(np.random.default_rng(stride).uniform(margin, [width - margin, height - margin], (7, 2)))
    net = PoseNet(CoordinateBody(xy.float(), stride, scale), mean=(0.0,), std=(1.0,), input_scale=scale)
    maps = net(coordinate_image(height, width))
    peaks, _, unique = decode(maps, torch.zeros(0, 2, dtype=torch.int64), config=PredictConfig(), n_animals=2)
    assert peaks.keypoint.tolist() == list(range(7))
    # the map's last row may be read from half a shrunken pixel, so a hundredth of a cell is allowed
    assert (peaks.xy - xy).abs().max() < 0.02 * stride / scale
    assert (unique[0, :, :2] - xy).abs().max() < 0.02 * stride / scale
    seen = read_at(maps.features[0], peaks.image, peaks.xy, maps.feature_strides[0])
    assert (seen - xy).abs().max() < 0.02 * stride / scale


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.625])
def test_targets_lie_where_frames_say(scale: float) -> None:
    xy = torch.tensor([[50.3, 40.2], [120.9, 77.7]])
    net = PoseNet(CoordinateBody(xy, 4, scale), mean=(0.0,), std=(1.0,), input_scale=scale)
    maps = net(coordinate_image(120, 160))
    factor = torch.tensor([round(160 * scale) / 160, round(120 * scale) / 120])
    size = (maps.heat.shape[2], maps.heat.shape[3])
    target = heatmaps((xy * factor)[None, None], size, stride=4.0, sigma=4 * SIGMA_CELLS)
    assert (maps.heat - target).abs().max() < 0.02


def test_padding_finds_nothing_and_moves_nothing() -> None:
    xy = torch.tensor([[30.0, 20.0]])
    near, far = (
        PoseNet(CoordinateBody(xy, 4, 1.0, margin), mean=(0.0,), std=(1.0,), input_scale=1.0) for margin in (4, 64)
    )
    image = coordinate_image(60, 76)
    assert torch.equal(near(image).heat, far(image).heat)
    assert near(image).heat.shape == (1, 1, 15, 19)


def test_shrink_keeps_corners() -> None:
    small = shrink(coordinate_image(64, 96), 0.5)
    assert torch.allclose(small[0, 10, 5:40, 0] + 0.5, (torch.arange(5, 40) + 0.5) * 2, atol=1e-3)


@pytest.mark.parametrize("scale", [0.5, 0.625, 0.9])
def test_shrunk_bytes_are_rounded_floats(scale: float) -> None:
    images = torch.randint(0, 256, (1, 121, 163, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    small, exact = shrink(images, scale), shrink(images.float(), scale)
    assert small.dtype == torch.uint8 and small.shape == exact.shape
    off = small.float() - exact
    assert off.abs().max() <= 1.0 and abs(float(off.mean())) < 0.02


def test_light_body_gives_all_maps() -> None:
    body = LightBody("test_resnet", (3, 4, 2, 5), stride=4, neck=16).eval()
    maps = PoseNet(body, mean=(127.5,), std=(127.5,), input_scale=0.5)(torch.zeros(2, 50, 70, 3, dtype=torch.uint8))
    assert maps.heat.shape == (2, 3, 6, 9)
    assert maps.limbs.shape[1] == 4
    assert maps.unique.shape[1] == 2
    assert maps.identity.shape[1] == 5
    assert maps.stride == (8.0, 8.0)
    assert [s[0] for s in maps.feature_strides] == [8.0, 16.0, 32.0]


def test_unknown_backbone_and_stride_say_what_there_is() -> None:
    with pytest.raises(ConfigError, match="resnet19") as error:
        LightBody("resnet19", (1, 0, 0, 0), stride=4, neck=8)
    assert "resnet" in error.value.hint
    with pytest.raises(ConfigError, match=r"got 3") as error:
        LightBody("test_resnet", (1, 0, 0, 0), stride=3, neck=8)
    assert "4" in error.value.hint


def test_labels_rows() -> None:
    labels = Labels(torch.zeros(4, 2, 3, 2), torch.zeros(4, 1, 2), torch.arange(8).view(4, 2))
    assert labels.rows(slice(1, 3)).individual.tolist() == [[2, 3], [4, 5]]
