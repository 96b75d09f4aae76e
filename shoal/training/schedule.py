"""Optimizer and learning rate of a training, both from its settings alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from shoal.config.train import OPTIMIZERS, SCHEDULES, TrainConfig
from shoal.errors import ConfigError


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer over all weights that are trained.

    Raises:
        ConfigError: unknown optimizer, or parameters that it does not take.
    """
    if config.optimizer not in OPTIMIZERS:
        raise ConfigError(f"expected one of {', '.join(OPTIMIZERS)}, got '{config.optimizer}'\nwhere: train.optimizer")
    try:
        return getattr(torch.optim, config.optimizer)(
            net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, **config.optimizer_params
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"expected parameters of {config.optimizer}, got: {error}\nwhere: train.optimizer_params"
        ) from error


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Any]]) -> None:
    """Give an optimizer what another one has learned of the same parameters; its own settings stay.

    Args:
        optimizer: new.
        state: of each parameter by its number; parameters may lack.

    Raises:
        ValueError: of another kind of optimizer, or of weights of other shapes; the optimizer is unchanged.
    """
    own = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    probe = nn.Parameter(torch.zeros(1))
    probe.grad = torch.zeros(1)
    like: torch.optim.Optimizer = type(optimizer)([own["param_groups"][0] | {"params": [probe]}])  # type: ignore[call-arg]
    like.step()
    wanted = set(like.state[probe])
    for number, values in state.items():
        if set(values) != wanted:
            raise ValueError(f"it has {', '.join(sorted(values))}, and {type(optimizer).__name__} needs "
                             f"{', '.join(sorted(wanted)) or 'nothing'}")  # fmt: skip
        shape = tuple(parameters[number].shape)
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.ndim and tuple(value.shape) != shape:
                raise ValueError(f"{name} of parameter {number} is {tuple(value.shape)}, the weights are {shape}")
    optimizer.load_state_dict({"state": dict(state), "param_groups": own["param_groups"]})


def learning_rate(config: TrainConfig, done: int, total: int) -> float:
    """One cycle: linear warm-up, then half a cosine down to a hundredth (Smith 2018, super-convergence)."""
    warm = max(1.0, config.warmup * total)
    if done < warm:
        return config.learning_rate * (done + 1) / (warm + 1)
    share = (done - warm) / max(total - warm, 1)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def epoch_rates(config: TrainConfig) -> list[float]:
    """Learning rate of each epoch from 0 to ``epochs``; empty for ``one_cycle``, which goes by steps.

    Schedulers see the epoch's number only, so going on after an interruption needs no state of theirs.

    Raises:
        ConfigError: unknown schedule, or parameters that it does not take.

    >>> epoch_rates(TrainConfig(epochs=2, learning_rate=0.1, schedule="constant"))
    [0.1, 0.1]
    """
    name, params = config.schedule, config.schedule_params
    if name not in SCHEDULES:
        raise ConfigError(f"expected one of {', '.join(SCHEDULES)}, got '{name}'\nwhere: train.schedule")
    if name == "one_cycle":
        return []
    if name == "constant":
        return [config.learning_rate] * config.epochs
    try:
        if name == "LRListScheduler":
            return _listed(params, config)
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
        scheduler = _scheduler(optimizer, name, params)
        rates: list[float] = []
        for _ in range(config.epochs):
            rates.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            scheduler.step()
        return rates
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise ConfigError(f"expected parameters of {name}, got: {error!r}\nwhere: train.schedule_params") from error


def _listed(params: Mapping[str, Any], config: TrainConfig) -> list[float]:
    """DLC's LRListScheduler: from milestone i on the rate is ``lr_list[i]``."""
    rates = [float(r[0] if isinstance(r, list | tuple) else r) for r in params["lr_list"]]
    milestones = [int(m) for m in params["milestones"]]
    if len(rates) != len(milestones):
        raise ValueError(f"{len(rates)} rates for {len(milestones)} milestones")
    order = sorted(zip(milestones, rates, strict=True))
    return [([config.learning_rate] + [r for m, r in order if m <= epoch])[-1] for epoch in range(config.epochs)]


def _scheduler(optimizer: torch.optim.Optimizer, name: str, params: Mapping[str, Any]) -> Any:
    if name in ("SequentialLR", "ChainedScheduler"):
        parts = [_scheduler(optimizer, part["type"], part.get("params") or {}) for part in params["schedulers"]]
        if name == "ChainedScheduler":
            return lr_scheduler.ChainedScheduler(parts)
        return lr_scheduler.SequentialLR(optimizer, parts, milestones=list(params["milestones"]))
    if name not in SCHEDULES[3:]:
        raise ValueError(f"{name} is not supported")
    return getattr(lr_scheduler, name)(optimizer, **params)
