from __future__ import annotations

import pytest
import torch
from torch import nn

from shoal.config.train import OPTIMIZERS, TrainConfig
from shoal.errors import ConfigError
from shoal.training.schedule import epoch_rates, make_optimizer


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
