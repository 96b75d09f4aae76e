from __future__ import annotations

import pytest
import torch

from shoal.config.compute import ComputeConfig
from shoal.errors import ResourceError
from shoal.models import device


def test_threads_and_device() -> None:
    before = torch.get_num_threads()
    try:
        assert device.pick_device(ComputeConfig(device="cpu", threads=1)).type == "cpu"
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["cuda:99", "nonsense"])
def test_missing_device_is_a_resource_error(name: str) -> None:
    with pytest.raises(ResourceError, match=name) as error:
        device.pick_device(ComputeConfig(device=name, threads=1))
    assert "cpu" in error.value.hint


@pytest.mark.parametrize(("flag", "expected"), [("avx512_bf16", True), ("amx_bf16", True), ("avx2", False)])
def test_auto_precision_goes_by_the_processor(monkeypatch: pytest.MonkeyPatch, flag: str, expected: bool) -> None:
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset({flag}))
    cpu = torch.device("cpu")
    assert device.use_bf16("auto", cpu) is expected
    assert device.use_bf16("bf16", cpu)
    assert not device.use_bf16("float32", cpu)
    with device.autocast("auto", cpu):
        assert torch.is_autocast_enabled("cpu") is expected


def test_the_number_of_threads_can_be_limited_as_usual(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = device.usable_cores()
    for asked, expected in (("1", 1), ("9999", cores), ("0", cores), ("many", cores)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert device.usable_cores() == expected
