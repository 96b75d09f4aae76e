from __future__ import annotations

import numpy as np
import torch

from shoal.models.features import _projection, peak_features, read_anywhere, read_at
from shoal.models.pose import PoseMaps


def test_projection_is_the_same_for_ever() -> None:
    assert np.allclose(_projection(3, 2).numpy(), PROJECTION, atol=1e-4)


PROJECTION = [[1.4736, -0.0286], [1.2505, 0.1371], [0.3368, 1.5994]]


def test_values_are_read_between_cells_and_at_the_border() -> None:
    level = torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    xy = torch.tensor([[2.0, 2.0], [4.0, 2.0], [4.0, 6.0], [-9.0, 99.0], [99.0, 2.0]])  # cells are 4 px wide
    found = read_at(level, torch.zeros(5, dtype=torch.int64), xy, (4.0, 4.0))
    assert found[:, 0].tolist() == [0.0, 0.5, 4.5, 8.0, 3.0]
    assert (found[:, 1] - found[:, 0]).tolist() == [12.0] * 5
    for grid in (level.contiguous(), level.bfloat16()):
        assert torch.equal(read_at(grid, torch.zeros(5, dtype=torch.int64), xy, (4.0, 4.0)), found)


def test_the_loop_on_the_cpu_reads_what_any_device_reads() -> None:
    generator = torch.Generator().manual_seed(2)
    level = torch.randn(3, 21, 9, 13, generator=generator)
    image, xy = torch.randint(0, 3, (50,), generator=generator), 120 * torch.rand(50, 2, generator=generator) - 10
    for grid in (level, level.contiguous(memory_format=torch.channels_last)):
        here, anywhere = (read(grid, image, xy, (8.0, 7.5)) for read in (read_at, read_anywhere))
        assert torch.allclose(here, anywhere, atol=1e-5)


def test_distances_survive() -> None:
    generator = torch.Generator().manual_seed(0)
    level = torch.randn(1, 400, 10, 10, generator=generator)
    none = level[:, :0]
    s = (4.0, 4.0)
    maps = PoseMaps(none, none, none, none, (level,), s, s, (s,))
    xy = torch.stack(torch.meshgrid(torch.arange(10), torch.arange(10), indexing="ij"), -1).view(-1, 2) * 4.0 + 2.0
    short = peak_features(maps, torch.zeros(100, dtype=torch.int64), xy, size=64)
    full = torch.nn.functional.normalize(level[0].permute(2, 1, 0).reshape(100, 400), dim=1)
    ratio = torch.pdist(short) / torch.pdist(full)
    assert ratio.min() > 0.6
    assert ratio.max() < 1.4
