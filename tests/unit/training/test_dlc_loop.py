"""What ``train_settings`` and ``runner`` of a pytorch_config.yaml do to a training, on a network of a few weights."""

from __future__ import annotations

import copy
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from shoal.io.dlc.learning_stats import read_learning_stats
from shoal.io.dlc.shuffles import list_snapshots
from shoal.models.checkpoint import ModelInfo
from shoal.models.targets import Grid
from shoal.training import dlc_files
from shoal.training.dlc_files import ShuffleFiles
from shoal.training.loop import fit
from shoal.training.pose import PoseTask, Recipe
from shoal.types import Skeleton

CPU = torch.device("cpu")
SKELETON = Skeleton(("nose", "left", "right"), [[0, 1], [0, 2]])
BUSY = {
    "data.train.affine": {"p": 0.5, "rotation": 30, "scaling": [0.5, 1.25]}, "data.train.gaussian_noise": 12.75,
    "data.train.motion_blur": True, "data.train.covering": True, "data.train.hist_eq": True,
    "data.train.crop_sampling": {"width": 64, "height": 48, "method": "hybrid"},
    "train_settings.epochs": 2, "train_settings.batch_size": 2,
}  # fmt: skip


class Recorded(PoseTask):
    """A pose task whose network is anything with weights; keeps what it was given."""

    def losses(self, net, batch, rows):
        pixels, targets = batch
        if rows.start == 0:
            self.extra["seen"].append((pixels.clone(), targets.heat.clone(), targets.limbs.clone()))
        return {"heat": net(pixels[rows] / 255).square().mean() * len(pixels[rows]) / len(pixels)}

    def evaluate(self, net, epoch):
        self.extra["evaluated"].append(epoch)
        return dict(self.extra["scores"].get(epoch, {}))

    def save(self, name, weights, epoch, scores, training):
        self.extra["saved"].append((name, epoch))


def small_net(norm: str = "batch") -> nn.Module:
    torch.manual_seed(0)
    middle = nn.BatchNorm2d(4) if norm == "batch" else nn.GroupNorm(2, 4)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), middle, nn.Conv2d(4, 1, 1))


@pytest.fixture
def go(tmp_path, settings, coordinates):
    """Train on six images as the dotted keys say -> (network before, after, the task)."""
    points = np.random.default_rng(0).uniform(20, 100, (6, 2, 3, 2))
    images = [coordinates(xy, 120, 110, blue=40 * i) for i, xy in enumerate(points)]

    def run(updates=None, *, norm="batch", scores=None, on_epoch=None):
        config = settings(BUSY | (updates or {}))
        info = ModelInfo(SKELETON, SKELETON.edges, ("a", "b"), False, 40.0, config)
        extra = {"seen": [], "evaluated": [], "saved": [], "scores": scores or {}}
        task = Recorded(
            SimpleNamespace(), images, np.arange(1), info, Grid((12, 16), 4.0, (6, 8), 8.0, 0), tmp_path, CPU, extra,
            127, Recipe(on_epoch=on_epoch), lambda *_: None,
        )  # fmt: skip
        net = small_net(norm)
        before = copy.deepcopy(net)
        fit(net, task, config.train, run_dir=tmp_path, device=CPU)
        return before, net, task

    return run


def pixels(task):
    return torch.stack([seen[0] for seen in task.extra["seen"]])


@pytest.mark.parametrize(
    ("key", "value"), [("train_settings.dataloader_workers", 3), ("train_settings.dataloader_pin_memory", True)]
)
def test_how_batches_are_made_does_not_change_them(go, key, value):
    """Bit for bit: crops, targets, and so the trained weights."""
    (_, one, first), (_, other, second) = go(), go({key: value})
    assert len(first.extra["seen"]) == len(second.extra["seen"]) == 6
    for a, b in zip(first.extra["seen"], second.extra["seen"], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    for name, value_ in one.state_dict().items():
        assert torch.equal(value_, other.state_dict()[name])


def test_the_seed_decides_the_batches(go):
    one, again, other = (pixels(go({"train_settings.seed": seed})[2]) for seed in (7, 7, 8))
    assert torch.equal(one, again)
    assert not (one == other).flatten(1).all(1).any()


@pytest.mark.parametrize(("size", "steps"), [(1, 6), (2, 3), (3, 2), (6, 1), (10, 1)])
def test_batches_have_their_size_and_an_epoch_all_images(go, size, steps):
    still = {f"data.train.{name}": None for name in ("affine", "hist_eq", "gaussian_noise", "covering")}
    _, _, task = go({"train_settings.batch_size": size, "train_settings.epochs": 1} | still)
    seen = pixels(task)
    assert seen.shape == (steps, size, 3, 48, 64)
    blues = seen[:, :, 2].flatten(0, 1).flatten(1).median(1).values.round()
    assert set(blues.tolist()) == {0, 40, 80, 120, 160, 200}


@pytest.mark.parametrize(("stats", "weights"), [(False, False), (True, False), (False, True), (True, True)])
def test_batch_norm_is_frozen_as_written(go, stats, weights):
    before, after, _ = go({"model.backbone.freeze_bn_stats": stats, "model.backbone.freeze_bn_weights": weights})
    old, new = before.state_dict(), after.state_dict()
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(old[name], new[name]) == stats, name
    for name in ("1.weight", "1.bias"):
        assert torch.equal(old[name], new[name]) == weights, name
    assert not torch.equal(old["0.weight"], new["0.weight"])  # the rest is trained


def test_group_norm_is_trained_whatever_is_frozen(go):
    frozen = {"model.backbone.freeze_bn_stats": True, "model.backbone.freeze_bn_weights": True}
    (_, free, _), (before, after, _) = go(norm="group"), go(frozen, norm="group")
    assert not torch.equal(before.state_dict()["1.weight"], after.state_dict()["1.weight"])
    assert all(torch.equal(free.state_dict()[name], value) for name, value in after.state_dict().items())


@pytest.mark.parametrize(("interval", "expected"), [(1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3]), (99, [])])
def test_evaluations_come_at_their_interval_and_no_more(go, interval, expected):
    _, _, task = go({"runner.eval_interval": interval, "train_settings.epochs": 4})
    assert task.extra["evaluated"] == expected
    assert ("last.pt", 4) in task.extra["saved"]
    assert [epoch for name, epoch in task.extra["saved"] if name == "best.pt"] == expected  # no scores: the latest


NAN = float("nan")


@pytest.mark.parametrize(
    ("metric", "ascending", "values", "best"),
    [
        ("test.rmse", False, [9.0, 7.0, 8.0, 7.0], [1, 2]),
        ("test.rmse", True, [7.0, 9.0, 8.0, 9.0], [1, 2]),
        ("test.rmse_pcutoff", False, [7.0, 6.5, 6.0, 5.0], [1, 2, 3, 4]),
        ("test.mAP", True, [0.0, 0.0, 5.0, 4.0], [1, 3]),
        ("metrics/test.mAR", True, [3.0, 2.0, 1.0, 4.0], [1, 4]),
        ("test.rmse", False, [NAN, 9.0, NAN, 8.0], [2, 4]),
    ],
)
def test_the_key_metric_decides_which_is_the_best(go, metric, ascending, values, best):
    ended = []
    name = metric.split(".")[-1]
    scores = {epoch: {name: value, "other": 100.0 - value} for epoch, value in enumerate(values, 1)}
    updates = {"runner.key_metric": metric, "runner.key_metric_asc": ascending, "runner.eval_interval": 1}
    go(updates | {"train_settings.epochs": 4}, scores=scores, on_epoch=ended.append)
    assert [end.epoch for end in ended if end.is_best] == best


def test_a_score_that_is_nan_is_never_the_best_snapshot(go):
    """An untrained network finds nothing, its rmse is NaN: it used to be written as snapshot-best."""
    ended = []
    updates = {"runner.key_metric": "test.rmse", "runner.key_metric_asc": False, "runner.eval_interval": 1}
    go(updates, scores={1: {"rmse": NAN}, 2: {"rmse": NAN}}, on_epoch=ended.append)
    assert [end.is_best for end in ended] == [False, False]


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 2, 3, 4, 5, 6]), (4, [4]), (500, [])])
def test_lines_come_every_display_iters(go, caplog, every, expected):
    """Counted over all epochs: three steps each."""
    caplog.set_level(logging.INFO)
    go({"train_settings.display_iters": every})
    lines = [r.getMessage() for r in caplog.records if "iterations" in r.getMessage()]
    found = [re.fullmatch(r"Number of iterations: (\d+), loss: \d\.\d{5}, lr: 0\.0005", line) for line in lines]
    assert [int(match[1]) for match in found if match] == expected
    assert all(found)


@pytest.fixture
def snapshots(go, tmp_path: Path, monkeypatch):
    """Train with rules of ``runner.snapshots`` -> names of the files left, and the last one's content."""

    def save(path, net, **content):
        torch.save({"model": net.state_dict()} | {k: v for k, v in content.items() if v is not None}, path)

    monkeypatch.setattr(dlc_files, "save_snapshot", save)  # which wants a network of DLC's shape
    folder, run_dir = tmp_path / "train", tmp_path / "run"
    folder.mkdir()
    run_dir.mkdir()

    def run(rules, scores=None, epochs=6):
        files = ShuffleFiles(folder, run_dir, rules, n_epochs=epochs)
        quick = {"train_settings.epochs": epochs, "train_settings.batch_size": 6, "runner.eval_interval": 1}
        go(quick, scores=scores, on_epoch=files)
        found = list_snapshots(folder)
        return [s.path.name for s in found], torch.load(found[-1].path, weights_only=True)

    return run


@pytest.mark.parametrize(
    ("rules", "epochs"),
    [
        ({"max_snapshots": 5, "save_epochs": 1}, [2, 3, 4, 5, 6]),
        ({"max_snapshots": 2, "save_epochs": 1}, [5, 6]),
        ({"max_snapshots": 5, "save_epochs": 4}, [4, 6]),
        ({"max_snapshots": 5, "save_epochs": 25}, [6]),
        ({}, [6]),
    ],
)
def test_as_many_snapshots_as_written_stay(snapshots, rules, epochs):
    assert snapshots(rules)[0] == [f"snapshot-{epoch:03d}.pt" for epoch in epochs]


def test_the_best_one_is_kept_beside_the_others(snapshots):
    names, _ = snapshots({"max_snapshots": 1, "save_epochs": 1}, {e: {"mAP": 9.0 - abs(e - 3)} for e in range(1, 7)})
    assert names == ["snapshot-006.pt", "snapshot-best-003.pt"]


@pytest.mark.parametrize("with_state", [True, False])
def test_the_optimizers_state_is_in_the_file_if_asked_for(snapshots, with_state, tmp_path):
    names, content = snapshots({"save_optimizer_state": with_state}, epochs=2)
    assert names == ["snapshot-002.pt"]
    assert ("optimizer" in content) == with_state
    assert not with_state or content["optimizer"]["state"]
    assert set(read_learning_stats(tmp_path / "train" / "learning_stats.csv")) == {1, 2}
