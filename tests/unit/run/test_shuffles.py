"""What a training goes on from: a whole snapshot, or its backbone (DeepLabCut's ``keepdeconvweights=False``)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import shoal.run.shuffles as shuffles
from shoal.config.run import load_config
from shoal.deeplabcut import train_network
from shoal.errors import CheckpointError
from shoal.io.dlc.pytorch_config import model_section
from shoal.io.dlc.pytorch_settings import to_run_config
from shoal.models.targets import Grid
from shoal.training import pose
from shoal.training.pose import prepare
from shoal.types import LabeledFrame, Project, Skeleton

CONFIG = load_config(overrides=["compute.device=cpu", "model.name=resnet_50", "train.epochs=3"])
MODEL = model_section("resnet_50", 2, 3, 0, [[0, 1], [0, 2], [1, 2]], identity=False)
CONTENT = {"model": {"heads": {"bodypart": {"predictor": {"graph": [[0, 1]]}}}}}


class Body(nn.Module):
    """Backbone and heads, as in DLC's networks."""

    def __init__(self, value: float, outputs: int = 2) -> None:
        super().__init__()
        self.backbone, self.heads = nn.Linear(2, 2), nn.Linear(2, outputs)
        nn.init.constant_(self.backbone.weight, value)
        nn.init.constant_(self.heads.weight, value)


@pytest.fixture
def snapshot(tmp_path: Path):
    def write(**what) -> Path:
        path = tmp_path / "snapshot-007.pt"
        torch.save({"model": Body(5.0, **what).state_dict(), "metadata": {"epoch": 7}}, path)
        return path

    return write


@pytest.fixture
def start(tmp_path: Path, monkeypatch):
    """The body that a training begins with."""
    net = SimpleNamespace(body=Body(1.0), mean=torch.zeros(1), to=lambda **_: net)
    monkeypatch.setattr(pose, "build_model", lambda info, pretrained: net)
    monkeypatch.setattr(pose, "_grid", lambda *_: Grid((1, 1), 4.0, (1, 1), 4.0, 0))
    monkeypatch.setattr(pose, "cache_images", lambda *_, **__: [])
    xy = np.full((1, 2, 2), 5.0)
    label = LabeledFrame(Path("i.png"), "v", 0, xy, np.ones((1, 2), bool), np.array([0]), np.zeros((0, 2)))
    project = Project(tmp_path, "p", "me", "Nov22", Skeleton(("a", "b"), [[0, 1]]), ("one",), (), (label,))

    def begin(path: Path, *, keep_heads: bool):
        recipe, settings = shuffles._start(path, CONFIG, tmp_path, CONTENT, keep_heads=keep_heads, choose_weights=False)
        rows = (np.arange(1), np.arange(0))
        prepare(project, rows, tmp_path, settings, on_progress=lambda *_: None, asked={}, recipe=recipe)
        return net.body, recipe, settings.train

    return begin


def test_a_snapshot_is_taken_whole_and_epochs_are_added(snapshot, start):
    body, recipe, train = start(snapshot(), keep_heads=True)
    assert (body.backbone.weight == 5).all()
    assert (body.heads.weight == 5).all()
    assert (train.start_epoch, train.epochs) == (7, 10)
    assert recipe.origin == "epoch 7 of a snapshot"


@pytest.mark.parametrize("outputs", [2, 9])
def test_without_the_heads_only_the_backbone_is_the_snapshots(snapshot, start, outputs):
    """Also of a network for another number of bodyparts, which as a whole does not fit."""
    path = snapshot(outputs=outputs)
    body, recipe, _ = start(path, keep_heads=False)
    assert (body.backbone.weight == 5).all()
    assert (body.heads.weight == 1).all()
    assert recipe.origin == "backbone of epoch 7 of a snapshot"  # going on with the whole one is another training
    if outputs != 2:
        with pytest.raises(CheckpointError, match="of another shape"):
            start(path, keep_heads=True)


@pytest.mark.parametrize("keep", [True, False])
def test_keepdeconvweights_reaches_the_training(monkeypatch, tmp_path, keep):
    seen = {}
    monkeypatch.setattr(shuffles, "train_shuffle", lambda *_, **given: seen.update(given) or Path("snapshot-002.pt"))
    train_network(str(tmp_path / "config.yaml"), keepdeconvweights=keep, snapshot_path="s.pt")
    assert (seen["keep_heads"], seen["snapshot"]) == (keep, Path("s.pt"))


@pytest.mark.parametrize(
    ("gpus", "device", "has_gpu", "expected"),
    [([1, 2], "auto", True, "cuda:1"), ([1, 2], "auto", False, "auto"), ([1, 2], "cpu", True, "cpu")],
)
def test_the_first_of_several_gpus_trains(monkeypatch, caplog, gpus, device, has_gpu, expected):
    """``runner.gpus``; where there is no GPU the list gives way, and that is said."""
    content = {"runner": {"gpus": gpus}, "device": device, "net_type": "resnet_50", "model": MODEL}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    settings, missing = to_run_config(content, load_config())
    assert missing == ["runner.gpus: [1, 2] (trains on the first)"]
    assert shuffles.usable_device(settings, content).compute.device == expected
    assert ("no GPU that can be used" in caplog.text) == (expected == "auto")
