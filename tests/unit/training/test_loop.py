from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from shoal.config.train import TrainConfig
from shoal.errors import ConfigError, ResourceError
from shoal.training import loop
from shoal.training.loop import State, fit, is_out_of_memory
from shoal.training.schedule import learning_rate

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    epochs=4, batch_size=8, learning_rate=0.05, eval_every=2, save_minutes=60, precision="float32", ema=0.9
)


class Line:
    """Fits y = 3 x; counts what the loop asks for."""

    n_steps = 5

    def __init__(self, folder: Path) -> None:
        self.folder, self.sizes, self.evaluated, self.ended = folder, [], [], []
        self.fail_above, self.nan_at = 99, None

    def batch(self, epoch: int, step: int) -> SimpleNamespace:
        generator = torch.Generator().manual_seed(1000 * epoch + step)
        return SimpleNamespace(x=torch.randn(8, 1, generator=generator), at=(epoch, step))

    def losses(self, net: nn.Module, batch: SimpleNamespace, rows: slice) -> dict[str, torch.Tensor]:
        x = batch.x[rows]
        self.sizes.append(len(x))
        if len(x) > self.fail_above:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        error = (net(x) - 3 * x).square().sum() / 8
        return {"fit": error * (float("nan") if batch.at == self.nan_at else 1.0)}

    def evaluate(self, net: nn.Module, epoch: int) -> dict[str, float]:
        self.evaluated.append((epoch, net.weight.item()))
        return {"mAP": 10.0 - abs(epoch - 2)}

    def epoch_done(self, end: loop.EpochEnd) -> None:
        self.ended.append(end)

    def save(self, name: str, weights: dict, epoch: int, scores: dict, training: dict | None) -> None:
        torch.save({"weights": weights, "epoch": epoch, "scores": scores, "training": training}, self.folder / name)


def net() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(1, 1)


def run(
    folder: Path, task: Line | None = None, config: TrainConfig = CONFIG, **more: object
) -> tuple[nn.Linear, Line, loop.FitResult]:
    folder.mkdir(exist_ok=True)
    task, line = task or Line(folder), net()
    return line, task, fit(line, task, config, run_dir=folder, device=CPU, **more)  # type: ignore[arg-type]


def curve(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_it_learns_and_logs_every_epoch(tmp_path: Path) -> None:
    _, task, result = run(tmp_path)
    assert result.stopped_by == ""
    assert result.state.epoch == 4
    losses = curve(tmp_path)
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert [epoch for epoch, _ in task.evaluated] == [2, 4]
    logged = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert {"epoch", "step", "fit", "mAP", "images_per_s", "eta_s", "peak_memory_mb", "learning_rate"} <= set(logged)


def test_evaluated_and_kept_weights_are_the_averaged_ones(tmp_path: Path) -> None:
    line, task, _ = run(tmp_path)
    assert task.evaluated[-1][1] != line.weight.item()
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    assert last["weights"]["weight"].item() == task.evaluated[-1][1]
    assert last["training"]["weights"]["weight"].item() == line.weight.item()
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert (best["epoch"], best["scores"]["mAP"]) == (2, 10.0)
    assert best["training"] is None


class Killed(BaseException):
    """Stands for kill -9: nothing gets a chance to save."""


@pytest.mark.parametrize("kill_at", [1, 5, 7, 12, 19])
def test_going_on_gives_the_same_curve_bit_for_bit(tmp_path: Path, kill_at: int) -> None:
    whole, _, _ = run(tmp_path / "whole")
    every = CONFIG.model_copy(update={"save_minutes": 1e-9})

    def die(stage: str, done: int, total: int | None) -> None:
        if done == kill_at:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "cut", config=every, on_progress=die)
    file = tmp_path / "cut" / "last.pt"
    resume = torch.load(file, weights_only=True)["training"] if file.exists() else None
    with (tmp_path / "cut" / "log.jsonl").open("a") as log:
        log.write('{"epoch": 99, "loss": 1')  # a line that was being written
    again, _, _ = run(tmp_path / "cut", config=every, resume=resume)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    assert torch.equal(again.weight, whole.weight)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"])
def test_a_signal_saves_and_stops(tmp_path: Path, name: str) -> None:
    before = signal.getsignal(getattr(signal, name))

    def send(stage: str, done: int, total: int | None) -> None:
        if done == 7:
            os.kill(os.getpid(), getattr(signal, name))

    _, _, result = run(tmp_path, on_progress=send)
    assert result.stopped_by == name
    saved = torch.load(tmp_path / "last.pt", weights_only=True)["training"]["state"]
    assert (saved["epoch"], saved["step"]) == (1, 2)
    assert signal.getsignal(getattr(signal, name)) == before
    run(tmp_path / "whole")
    run(tmp_path, resume=torch.load(tmp_path / "last.pt", weights_only=True)["training"])
    assert curve(tmp_path) == curve(tmp_path / "whole")


def test_out_of_memory_halves_the_pieces_not_the_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, _, _ = run(tmp_path / "whole")
    task = Line(tmp_path)
    task.fail_above = 2
    with caplog.at_level(logging.WARNING):
        pieces, _, result = run(tmp_path, task)
    assert task.sizes[:4] == [8, 4, 2, 2]
    assert result.state.micro == 2
    assert sum("out of memory" in r.message for r in caplog.records) == 2  # once per halving, never again
    assert torch.allclose(pieces.weight, whole.weight, atol=1e-6)
    assert curve(tmp_path) == pytest.approx(curve(tmp_path / "whole"), rel=1e-5)


def test_no_memory_for_a_single_crop(tmp_path: Path) -> None:
    task = Line(tmp_path)
    task.fail_above = 0
    with pytest.raises(ResourceError, match="one training crop") as error:
        run(tmp_path, task)
    assert "crop_px" in error.value.hint


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1"), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_loss_that_is_not_finite_stops_with_advice(tmp_path: Path) -> None:
    task = Line(tmp_path)
    task.nan_at = (1, 3)
    with pytest.raises(ConfigError, match="epoch 2, step 4") as error:
        run(tmp_path, task)
    assert "learning_rate" in error.value.hint


def test_one_cycle() -> None:
    rates = [learning_rate(CONFIG, i, 100) for i in range(100)]
    assert rates.index(max(rates)) == 10
    assert max(rates) == pytest.approx(0.05)
    assert rates[0] < 0.01
    assert rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_without_gpu_it_says_how_long(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run(tmp_path, config=CONFIG.model_copy(update={"epochs": 6}))
    assert [r.message.split(":")[0] for r in caplog.records] == ["no GPU"]


def test_batches_are_made_ahead_on_other_devices(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    folder = tmp_path / "ahead"
    folder.mkdir()
    fit(net(), Line(folder), CONFIG, run_dir=folder, device=torch.device("meta"))  # its tensors stay on the CPU
    assert curve(folder) == curve(tmp_path / "whole")


def test_without_test_frames_the_latest_is_kept(tmp_path: Path) -> None:
    task = Line(tmp_path)
    task.evaluate = lambda net, epoch: {}  # type: ignore[method-assign]
    run(tmp_path, task)
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 4


def test_state_is_plain() -> None:
    assert State(**State(epoch=3, sums={"a": 1.0}).__dict__) == State(epoch=3, sums={"a": 1.0})
