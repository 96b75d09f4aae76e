from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from shoal.config.train import OPTIMIZERS, TrainConfig
from shoal.errors import ConfigError
from shoal.training.schedule import epoch_rates, make_optimizer, restore_optimizer


def config(schedule: str, epochs: int = 6, **params) -> TrainConfig:
    return TrainConfig(epochs=epochs, learning_rate=1.0, schedule=schedule, schedule_params=params)


def test_dlcs_list_changes_at_its_milestones():
    listed = config("LRListScheduler", milestones=[2, 4], lr_list=[[0.1], [0.01]])
    assert epoch_rates(listed) == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


def test_torchs_schedulers_by_name():
    assert epoch_rates(config("StepLR", step_size=3, gamma=0.5)) == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]
    assert epoch_rates(config("CosineAnnealingLR", T_max=4, epochs=5))[4] == pytest.approx(0, abs=1e-6)
    parts = [{"type": "ConstantLR", "params": {"factor": 0.5}}, {"type": "ExponentialLR", "params": {"gamma": 0.1}}]
    rates = epoch_rates(config("SequentialLR", schedulers=parts, milestones=[2]))
    assert rates[0] == 0.5
    assert rates[-1] < 0.01


@pytest.mark.parametrize(
    "wrong",
    [config("LRListScheduler"), config("LRListScheduler", milestones=[1], lr_list=[]), config("StepLR", nonsense=1),
     config("ReduceLROnPlateau"), config("SequentialLR", schedulers=[{"type": "LambdaLR"}], milestones=[1])],
)  # fmt: skip
def test_schedules_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match=r"where: train\.schedule"):
        epoch_rates(wrong)


def test_every_optimizer_steps():
    for name in OPTIMIZERS:
        net = nn.Linear(2, 1)
        before = net.weight.detach().clone()
        optimizer = make_optimizer(net, TrainConfig(optimizer=name, learning_rate=0.1))
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        assert type(optimizer).__name__ == name
        assert not torch.equal(net.weight, before)
    with pytest.raises(ConfigError, match="nonsense"):
        make_optimizer(nn.Linear(1, 1), TrainConfig(learning_rate=0.1, optimizer_params={"nonsense": 1}))
    with pytest.raises(ConfigError, match="LBFGS"):
        make_optimizer(nn.Linear(1, 1), TrainConfig(learning_rate=0.1, optimizer="LBFGS"))


def trained(name: str, n_outputs: int = 1, steps: int = 3):
    torch.manual_seed(0)
    net = nn.Linear(2, n_outputs)
    optimizer = make_optimizer(net, TrainConfig(optimizer=name, learning_rate=0.1))
    for _ in range(steps):
        step(net, optimizer)
    return net, optimizer


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    net(torch.tensor([[1.0, 2.0]])).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_optimizer_takes_the_step_of_the_one_that_was_saved(name):
    net, optimizer = trained(name)
    other, later = trained(name, steps=0)
    other.load_state_dict(net.state_dict())
    restore_optimizer(later, deepcopy(optimizer.state_dict()["state"]))
    step(net, optimizer)
    step(other, later)
    assert torch.equal(net.weight, other.weight)


def test_an_optimizer_keeps_its_own_settings():
    _, optimizer = trained("AdamW")
    later = make_optimizer(nn.Linear(2, 1), TrainConfig(learning_rate=0.5, weight_decay=0.3))
    restore_optimizer(later, optimizer.state_dict()["state"])
    assert (later.param_groups[0]["lr"], later.param_groups[0]["weight_decay"]) == (0.5, 0.3)


@pytest.mark.parametrize(("name", "outputs", "match"), [("AdamW", 3, "the weights are"), ("Adagrad", 1, "AdamW needs")])
def test_a_state_that_does_not_fit_changes_nothing(name, outputs, match):
    _, optimizer = trained(name, outputs)
    _, later = trained("AdamW", steps=0)
    with pytest.raises(ValueError, match=match):
        restore_optimizer(later, optimizer.state_dict()["state"])
    assert not later.state
