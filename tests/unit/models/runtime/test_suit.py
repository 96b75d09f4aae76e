from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shoal.config.predict import PredictConfig
from shoal.config.run import load_config
from shoal.errors import ConfigError
from shoal.models.checkpoint import LoadedModel, ModelInfo
from shoal.models.pose import PoseMaps, PoseNet
from shoal.models.runtime import suit as suiting
from shoal.models.runtime.parity import Parity, compare
from shoal.models.runtime.setup import Setup
from shoal.models.runtime.suit import suit
from shoal.types import Detections, FrameBatch, Skeleton

BF16 = ("openvino", "bf16")
REFERENCE = ("eager", "float32")
SIZE = (120, 80)


class Dots(nn.Module):
    """A Gaussian of each of ten keypoints, whatever it sees."""

    margin = 4

    def trunk(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x,)

    def finish(self, tensors: tuple[torch.Tensor, ...]) -> PoseMaps:
        x = tensors[0]
        rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
        heat = torch.stack([torch.exp(-((rows - 8.3) ** 2 + (columns - 4.2 - 2 * k) ** 2) / 4.5) for k in range(10)])
        heat = heat[None].expand(len(x), -1, -1, -1)
        none = heat.new_zeros(len(x), 0, 20, 30)
        stride = (4.0, 4.0)
        return PoseMaps(heat, none, none, none, (heat,), stride, stride, (stride,))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    info = ModelInfo(Skeleton(tuple("abcdefghij")), np.zeros((0, 2), int), ("x",), False, 30.0, load_config())
    net = PoseNet(Dots(), mean=(0.0,), std=(1.0,), input_scale=1.0)
    return LoadedModel(net, info, "1" * 64, torch.device("cpu"))


def frames() -> list[FrameBatch]:
    return [FrameBatch(np.array([i]), np.zeros((1, 80, 120, 3), np.uint8)) for i in range(6)]


def moved_by(px: float, monkeypatch: pytest.MonkeyPatch, built: list[tuple[str, str]]):
    """Runtimes other than the reference see everything shifted."""
    true_build = suiting.build

    def build(model: LoadedModel, way: tuple[str, str], setup: Setup):
        built.append(way)
        if way == REFERENCE:
            return true_build(model, way, setup)

        def forward(images: torch.Tensor) -> PoseMaps:
            maps = model.net(images)
            heat = nn.functional.grid_sample(
                maps.heat,
                nn.functional.affine_grid(
                    torch.tensor([[[1, 0, -px / 60], [0, 1, 0]]]), list(maps.heat.shape), align_corners=False
                ),
                align_corners=False,
            )
            return replace(maps, heat=heat)

        return forward

    monkeypatch.setattr(suiting, "build", build)


def test_a_runtime_that_agrees_is_taken_and_measured_once(model, monkeypatch, caplog) -> None:
    built: list[tuple[str, str]] = []
    moved_by(0.0, monkeypatch, built)
    with caplog.at_level(logging.INFO):
        assert suit(model, [BF16, REFERENCE], PredictConfig(), Setup, frames, size=SIZE)[0] == BF16
    assert "of 60 keypoints lost" in caplog.text
    assert suit(model, [BF16, REFERENCE], PredictConfig(), Setup, frames, size=SIZE)[0] == BF16
    assert built == [BF16, REFERENCE, BF16], "measured again"


def test_a_runtime_that_differs_is_refused_with_its_figures(model, monkeypatch) -> None:
    moved_by(2.0, monkeypatch, [])
    assert suit(model, [BF16, REFERENCE], PredictConfig(), Setup, frames, size=SIZE)[0] == REFERENCE
    with pytest.raises(ConfigError, match=r"openvino bf16: shifts of [12]\.\d+ px .*allowed 0.05 and 0.25"):
        suit(model, [BF16], PredictConfig(), Setup, frames, size=SIZE)


def test_too_few_keypoints_say_nothing(model, monkeypatch, caplog) -> None:
    moved_by(2.0, monkeypatch, [])
    few = lambda: frames()[:1]  # noqa: E731
    assert suit(model, [BF16, REFERENCE], PredictConfig(), Setup, few, size=SIZE)[0] == BF16
    assert "10 confident keypoints in the frames looked at are too few to check it" in caplog.text


def table(xy: list[list[float]], confidence: float = 0.9) -> Detections:
    n = len(xy)
    empty = np.zeros(0)
    return Detections(
        np.zeros(n), np.arange(n), np.zeros(n), np.array(xy).reshape(-1, 2), np.full(n, confidence),
        empty, empty, empty, empty, empty, np.zeros((n, 0)), (0, 1),
    )  # fmt: skip


def test_lost_and_new_keypoints_are_counted() -> None:
    one = table([[10, 10], [50, 50]])
    assert compare(one, one) == Parity(2, 0.0, 0.0, 0.0, 0.0, 1.0)
    lost = compare(one, table([[10, 10.1]]))
    assert (lost.missing, lost.extra, lost.peaks) == (0.5, 0.0, 0.5)
    assert lost.median_px == pytest.approx(0.1, abs=1e-5)
    new = compare(one, table([[10, 10], [50, 50], [90, 90]]))
    assert (new.missing, new.extra, new.peaks) == (0.0, 0.5, 1.5)
    assert compare(one, table([[10, 10], [50, 50], [90, 90]], 0.3)).extra == 0.0
    assert "50.0% of keypoints lost" in replace(lost, n=100).problem("int8")
    assert not replace(lost, n=100, missing=0.0, median_px=0.14, p99_px=0.7).problem("int8")
    assert replace(lost, n=100, missing=0.0, median_px=0.14, p99_px=0.7).problem("bf16")


def test_a_runtime_that_crashes_is_not_used(model, monkeypatch) -> None:
    def build(model: LoadedModel, way: tuple[str, str], setup: Setup):
        def forward(images: torch.Tensor) -> PoseMaps:
            if way != REFERENCE:
                raise ConfigError("it crashed (signal 11)")
            return model.net(images)

        return forward

    monkeypatch.setattr(suiting, "build", build)
    assert suit(model, [BF16, REFERENCE], PredictConfig(), Setup, frames, size=SIZE)[0] == REFERENCE
    with pytest.raises(ConfigError, match="openvino bf16: it crashed"):
        suit(model, [BF16], PredictConfig(), Setup, frames, size=SIZE)
