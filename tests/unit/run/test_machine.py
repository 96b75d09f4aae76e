"""What this machine offers and what does not fit."""

import copy
import subprocess

import pytest

from shoal.run import machine


@pytest.fixture(scope="module")
def here():
    return machine.check_machine()


@pytest.fixture
def fitting(here):
    """A machine on which everything fits, whatever the one that runs the tests is like."""
    found = copy.deepcopy(here)
    found["packages"] = dict.fromkeys(found["packages"], "1")
    found["driver"] = {"version": "580.1", "gpus": [{"name": "H100"}]}
    gpu = {"name": "H100", "memory_gib": 80, "compute": "9.0", "supported": True}
    found["torch"] |= {"cuda_build": "13.0", "cuda_available": True, "gpus": [gpu]}
    found["codecs"] = {"decode": {"h264": True, "hevc": True}, "encode": {"libx264": True}}
    found["threads"] = {"cores": 8, "usable": 4, "OMP_NUM_THREADS": None}
    return found


def test_this_machine_is_described(here):
    assert here["packages"]["numpy"]
    assert here["torch"]["version"]
    assert 1 <= here["threads"]["usable"] <= here["threads"]["cores"]
    assert here["codecs"]["decode"]["h264"]
    assert here["memory_gib"]["total"] >= here["memory_gib"]["free"] > 0
    assert not here["codecs"]["encode"].get("nonsense")


def test_what_fits_is_not_complained_about(fitting):
    assert machine.find_misfits(fitting) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda f: f["torch"].update(cuda_build=None, cuda_available=False, gpus=[]), "built without CUDA"),
        (lambda f: f["torch"].update(cuda_available=False, gpus=[]), "update the driver"),
        (lambda f: f["torch"]["gpus"][0].update(supported=False), "compute 9.0"),
        (lambda f: f["torch"].update(error="ImportError: libfoo"), "libfoo"),
        (lambda f: f["packages"].update(timm=None), "timm is not installed"),
        (lambda f: f["codecs"]["encode"].update(libx264=False), "libx264"),
        (lambda f: f["codecs"]["decode"].update(hevc=False), "H.265"),
        (lambda f: f["threads"].update(OMP_NUM_THREADS="64"), "OMP_NUM_THREADS=64"),
    ],
)
def test_what_does_not_fit_is_named(fitting, change, word):
    change(fitting)
    (misfit,) = machine.find_misfits(fitting)
    assert word in misfit


def test_the_driver_is_asked_without_torch(monkeypatch):
    def answer(command, **_):
        return subprocess.CompletedProcess(command, 0, stdout="580.65.06, NVIDIA H100, 81559, 81000\n")

    monkeypatch.setattr(subprocess, "run", answer)
    found = machine._driver()
    assert found == {
        "version": "580.65.06", "gpus": [{"name": "NVIDIA H100", "memory_mib": "81559", "free_mib": "81000"}]
    }  # fmt: skip


def test_no_driver_is_no_error(monkeypatch):
    def answer(command, **_):
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", answer)
    assert machine._driver() == {"version": None, "gpus": []}


def test_gpus_are_described(monkeypatch):
    import types

    import torch

    properties = types.SimpleNamespace(name="NVIDIA H100", total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: properties)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90a"])
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91000)
    (gpu,) = machine._torch()["gpus"]
    assert gpu == {"name": "NVIDIA H100", "memory_gib": 80.0, "compute": "9.0", "supported": True}


@pytest.mark.parametrize(
    ("built", "compute", "expected"),
    [
        (["sm_80", "sm_90"], (8, 6), True),
        (["sm_80", "sm_90"], (12, 0), False),
        (["sm_80", "compute_90"], (12, 0), True),
        (["sm_86"], (8, 0), False),
        (["sm_75", "sm_120"], (6, 1), False),
        (["sm_100f", "sm_120a"], (10, 3), True),
        ([], (9, 0), None),
    ],
)
def test_which_gpus_a_build_of_torch_runs_on(built, compute, expected):
    assert machine._is_supported(built, *compute) is expected
