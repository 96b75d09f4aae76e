from __future__ import annotations

import numpy as np
import pytest
import torch

from shoal.config.model import ModelConfig
from shoal.errors import ConfigError
from shoal.models.registry import BUILDERS, build
from shoal.types import Skeleton


def test_every_name_in_the_config_has_a_builder() -> None:
    names = ModelConfig.model_fields["name"].annotation.__args__  # type: ignore[union-attr]
    assert set(names) == set(BUILDERS)


def test_channels_follow_the_skeleton() -> None:
    skeleton = Skeleton(("a", "b", "c"), unique=("u",))
    config = ModelConfig(backbone="test_resnet", neck=8, input_scale=1.0)
    net = build(skeleton, config, edges=np.array([[0, 1]]), n_individuals=4).eval()
    maps = net(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    assert [m.shape[1] for m in (maps.heat, maps.limbs, maps.unique, maps.identity)] == [3, 2, 1, 4]


def test_too_many_limbs_for_the_tables() -> None:
    edges = np.argwhere(np.triu(np.ones((17, 17)), 1))
    with pytest.raises(ConfigError, match="got 17 and 136"):
        build(Skeleton(tuple("abcdefghijklmnopq")), ModelConfig(), edges=edges, n_individuals=0)
