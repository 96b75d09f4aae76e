"""``fit``: the one training loop. Plain PyTorch; everything it needs to go on is in one file."""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from shoal.config.train import TrainConfig
from shoal.errors import ConfigError, ResourceError
from shoal.io.stopping import stop_requests
from shoal.io.stream import ordered_map, prefetch
from shoal.models.device import autocast
from shoal.training.schedule import epoch_rates, learning_rate, make_optimizer, restore_optimizer
from shoal.types import OnProgress, no_progress

logger = logging.getLogger(__name__)

EPOCH_SAVE_S = 20.0
"""At epoch ends the state is saved if the last time was this long ago: tiny epochs would do little else."""


@runtime_checkable
class Task(Protocol):
    """What is trained: a recipe gives this to ``fit``."""

    @property
    def n_steps(self) -> int:
        """Steps per epoch."""
        ...

    def batch(self, epoch: int, step: int) -> Any:
        """The batch of a step, on the device; a pure function of the counters."""
        ...

    def losses(self, net: nn.Module, batch: Any, rows: slice) -> dict[str, Tensor]:
        """Loss terms of some rows of a batch; over all rows they add up to the loss of the batch."""
        ...

    def evaluate(self, net: nn.Module, epoch: int) -> dict[str, float]:
        """Scores of the averaged network."""
        ...

    def save(self, name: str, weights: dict[str, Tensor], epoch: int, scores: dict, training: dict | None) -> None:
        """Write a model file into the run folder."""
        ...

    def epoch_done(self, end: EpochEnd) -> None:
        """Say how an epoch went, and write what is written every epoch."""
        ...


@dataclass(frozen=True, eq=False)
class EpochEnd:
    """What a task learns at the end of an epoch.

    Attributes:
        net: the averaged network.
        optimizer: of the training.
        epoch: epochs done.
        line: what went into log.jsonl: losses, rate, scores if it was evaluated.
        is_best: its key score is the best so far.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int
    line: dict[str, Any]
    is_best: bool


@dataclass
class State:
    """Counters of a training; saved and restored as they are.

    Attributes:
        epoch: epochs done.
        step: steps done of the current epoch.
        sums: of the losses over these steps.
        micro: crops that go through the network together.
        best: best key score so far.
        scores: of the last evaluation.
        seconds: trained so far.
        log_bytes: length of log.jsonl that belongs to this state.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    micro: int = 0
    best: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    log_bytes: int = 0


@dataclass(frozen=True)
class FitResult:
    """How a training ended.

    Attributes:
        state: counters at the end.
        stopped_by: name of the signal that ended it early, empty if it ran to the end.
    """

    state: State
    stopped_by: str


def fit(
    net: nn.Module,
    task: Task,
    config: TrainConfig,
    *,
    run_dir: Path,
    device: torch.device,
    resume: dict[str, Any] | None = None,
    learned: Mapping[int, Mapping[str, Any]] | None = None,
    on_progress: OnProgress = no_progress,
) -> FitResult:
    """Train ``net`` in place: optimizer, schedule, clipped gradients and averaged weights as ``config`` says.

    Saves ``last.pt`` at epoch ends, every ``save_minutes`` and on SIGTERM, SIGHUP, SIGUSR1 and Ctrl-C; going on from
    it gives the same losses, bit for bit on the CPU in float32.

    Args:
        net: on ``device``.
        task: batches, losses, evaluation and files.
        config: the recipe, resolved (no zeros that mean "automatic").
        run_dir: where log.jsonl goes.
        device: where it runs.
        resume: ``training`` of a saved ``last.pt``.
        learned: state of an earlier optimizer, by the number of each parameter; not used with ``resume``.
        on_progress: called per step.

    Raises:
        ConfigError: the loss is no longer finite.
        ResourceError: memory does not suffice for a single crop.
    """
    optimizer, rates = make_optimizer(net, config), epoch_rates(config)
    average = deepcopy(net).eval().requires_grad_(False)
    state = State(epoch=config.start_epoch, micro=config.batch_size)
    if resume:
        state = State(**resume["state"])
        net.load_state_dict(resume["weights"])
        average.load_state_dict(resume["average"])
        optimizer.load_state_dict(resume["optimizer"])
    elif learned is not None:
        try:
            restore_optimizer(optimizer, learned)
        except ValueError as error:
            logger.info("the state of the earlier optimizer does not fit, a new one starts: %s", error)
    log = _Log(run_dir / "log.jsonl", state.log_bytes)
    clock = _Clock(config, state.seconds)
    before, total = config.start_epoch * task.n_steps, config.epochs * task.n_steps

    def save() -> None:
        state.log_bytes, state.seconds = log.size, clock.trained()
        training = {
            "state": {**state.__dict__}, "weights": net.state_dict(),
            "average": average.state_dict(), "optimizer": optimizer.state_dict(),
        }  # fmt: skip
        task.save("last.pt", average.state_dict(), state.epoch, state.scores, training)
        clock.saved()

    with stop_requests("the current step") as stopped_by:
        _train_mode(net, config)
        while state.epoch < config.epochs:
            for batch in _batches(task, state, config, device):
                done = state.epoch * task.n_steps + state.step
                rate = rates[state.epoch] if rates else learning_rate(config, done - before, total - before)
                _set_rate(optimizer, rate)
                terms = gradients(net, task, batch, config, state, device=device)
                norm = nn.utils.clip_grad_norm_(net.parameters(), config.clip_norm)
                _check_finite(terms | {"gradient": float(norm)}, state)
                optimizer.step()
                _average(average, net, min(config.ema, (1 + done) / (10 + done)))
                state.step += 1
                for name, value in terms.items():
                    state.sums[name] = state.sums.get(name, 0.0) + value
                clock.stepped(config.batch_size)
                if config.log_every and (done + 1 - before) % config.log_every == 0:
                    loss = sum(terms.values())
                    logger.info("Number of iterations: %d, loss: %.5f, lr: %g", done + 1 - before, loss, rate)
                _warn_without_gpu(device, clock, done + 1, total)
                on_progress("train", done + 1, total)
                if stopped_by():
                    break
                if clock.is_due(at_epoch_end=False):
                    save()
            if stopped_by():
                save()
                return FitResult(state, stopped_by())
            line = {"epoch": state.epoch + 1, "step": (state.epoch + 1) * task.n_steps}
            line |= {name: value / task.n_steps for name, value in state.sums.items()}
            line |= {"loss": sum(state.sums.values()) / task.n_steps, "learning_rate": optimizer.param_groups[0]["lr"]}
            is_best = False
            at_end = config.eval_last and state.epoch + 1 == config.epochs
            if (state.epoch + 1) % config.eval_every == 0 or at_end:
                if clock.is_due(at_epoch_end=True):
                    save()  # an evaluation may take longer than a crash may cost
                begun = time.monotonic()
                state.scores = task.evaluate(average, state.epoch + 1)
                line |= state.scores
                is_best = _is_best(state, config)
                if is_best:
                    task.save("best.pt", average.state_dict(), state.epoch + 1, state.scores, None)
                clock.paused(time.monotonic() - begun)
            state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
            line |= clock.line(total, state.epoch * task.n_steps) | {"peak_memory_mb": peak_memory_mb(device)}
            log.write(line)
            is_best = is_best and math.isfinite(line.get(config.key_score, math.nan))  # DLC: a NaN is never the best
            task.epoch_done(EpochEnd(average, optimizer, state.epoch, line, is_best))
            if clock.is_due(at_epoch_end=True) or state.epoch == config.epochs:
                save()
    return FitResult(state, "")


def peak_memory_mb(device: torch.device) -> float:
    """Most memory used so far: of the GPU, else of this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _train_mode(net: nn.Module, config: TrainConfig) -> None:
    """Training mode, but for what ``config`` freezes (group norm has no statistics and is never frozen, as in DLC)."""
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            if config.freeze_norm_stats:
                module.eval()
            if config.freeze_norm_weights:
                module.requires_grad_(False)


def _batches(task: Task, state: State, config: TrainConfig, device: torch.device) -> Iterator[Any]:
    """The rest of an epoch's batches; made ahead where the network does not need the same cores."""
    epoch = state.epoch
    if config.workers:
        steps = range(state.step, task.n_steps)
        return iter(ordered_map(lambda step: task.batch(epoch, step), steps, config.workers))
    batches = (task.batch(epoch, step) for step in range(state.step, task.n_steps))
    return iter(batches) if device.type == "cpu" else prefetch(batches, 2)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def gradients(
    net: nn.Module, task: Task, batch: Any, config: TrainConfig, state: State, *, device: torch.device
) -> dict[str, float]:
    """Gradients of a batch, in pieces of ``state.micro``, which is halved when memory runs out."""
    while True:
        sums: dict[str, float] = {}
        try:
            net.zero_grad(set_to_none=True)
            for start in range(0, config.batch_size, state.micro):
                with autocast(config.precision, device):
                    terms = task.losses(net, batch, slice(start, start + state.micro))
                torch.stack(list(terms.values())).sum().backward()
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach())
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if state.micro == 1:
                reason = str(error).partition("\n")[0]
                raise ResourceError(
                    f"expected memory for one training crop, got: {reason}\nwhere: {device}",
                    hint="--set train.crop_px=192, or a smaller model.input_scale",
                ) from error
        # outside of the handler: the error's traceback holds on to the tensors that have to go
        net.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        state.micro = (state.micro + 1) // 2
        logger.warning(
            "out of memory: crops now go through the network %d at a time; a step still uses %d", state.micro,
            config.batch_size,
        )  # fmt: skip
    return sums


def _check_finite(values: dict[str, float], state: State) -> None:
    bad = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise ConfigError(
            f"expected a finite loss, got {bad[0]} at epoch {state.epoch + 1}, step {state.step + 1}",
            hint="lower train.learning_rate, or train.precision=float32; last.pt holds the state before",
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means "not enough memory": CUDA, CPU allocator and Python say it in different ways."""
    text = str(error).lower()
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "out of memory" in text or "can't allocate memory" in text


@torch.no_grad()
def _average(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the averaged weights (and batch statistics) a little towards the current ones."""
    current = net.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])


def _is_best(state: State, config: TrainConfig) -> bool:
    """Whether the evaluated network is to be kept: a better score; where nothing was held out, the latest."""
    if config.key_score not in state.scores:
        return True
    score = state.scores[config.key_score]
    if not math.isfinite(score):
        return state.best is None
    if state.best is not None and not (score > state.best if config.key_ascending else score < state.best):
        return False
    state.best = score
    return True


def _warn_without_gpu(device: torch.device, clock: _Clock, done: int, total: int) -> None:
    if device.type == "cpu" and clock.n_steps == 10 and total - done > 10:
        logger.warning("no GPU: about %s for the %d steps to go", hours(clock.step_s * (total - done)), total - done)


def hours(seconds: float) -> str:
    """A duration in the unit a person would use."""
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.1f} minutes"


class _Log:
    """log.jsonl, cut back to what belongs to the restored state."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        path.touch()
        os.truncate(path, min(size, path.stat().st_size))

    def write(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.size = self.path.stat().st_size


class _Clock:
    """Times of steps and saves; never decides anything that a network depends on."""

    def __init__(self, config: TrainConfig, before: float) -> None:
        self.config, self.before = config, before
        self.start = self.last_save = self.last_step = time.monotonic()
        self.n_steps, self.step_s, self.images_per_s = 0, 0.0, 0.0

    def stepped(self, crops: int) -> None:
        now = time.monotonic()
        took, self.last_step = now - self.last_step, now
        self.n_steps += 1
        # the first steps build kernels and buffers; later ones are averaged over about fifty
        self.step_s = took if self.n_steps <= 3 else self.step_s + (took - self.step_s) / min(self.n_steps - 2, 50)
        self.images_per_s = crops / max(self.step_s, 1e-9)

    def paused(self, seconds: float) -> None:
        """Evaluations are no training time."""
        self.start += seconds
        self.last_step = time.monotonic()

    def saved(self) -> None:
        self.last_save = self.last_step = time.monotonic()

    def is_due(self, *, at_epoch_end: bool) -> bool:
        limit = 60 * self.config.save_minutes
        return time.monotonic() - self.last_save >= (min(limit, EPOCH_SAVE_S) if at_epoch_end else limit)

    def trained(self) -> float:
        return self.before + time.monotonic() - self.start

    def line(self, total: int, done: int) -> dict[str, float]:
        rate = {"images_per_s": round(self.images_per_s, 1)} if self.n_steps else {}
        return rate | {"eta_s": round(self.step_s * (total - done), 1), "seconds": round(self.trained(), 2)}
