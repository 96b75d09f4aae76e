"""Where the network runs and in which precision; the same answer every time on one machine."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path

import torch

from shoal.config.compute import ComputeConfig
from shoal.errors import ResourceError


def pick_device(config: ComputeConfig) -> torch.device:
    """The device of ``config``; also sets the number of CPU threads.

    Raises:
        ResourceError: the device is not there.
    """
    torch.set_num_threads(config.threads or usable_cores())
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ResourceError(
            f"expected device '{name}', got: {reason}",
            hint="--set compute.device=cpu runs anywhere",
        ) from error
    return device


def usable_cores() -> int:
    """CPU cores this process may use: those a queue system grants, fewer if ``OMP_NUM_THREADS`` says so.

    More threads than free cores are much slower: they wait for each other at full load (14-fold CPU time, measured).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(asked)) if asked.isdigit() and int(asked) > 0 else cores


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16.

    ``auto`` goes by the processor's flags, not by a timing, so that two runs on one machine agree. On CPUs with
    bf16 instructions a step is 1.4 to 3 times faster (bench/recipe.py); elsewhere bf16 is emulated and slower.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool({"avx512_bf16", "amx_bf16"} & cpu_flags())


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Autocast to ``bf16`` or ``fp16``, or (``float32``) nothing; ``auto``: as ``use_bf16`` says."""
    if use_bf16(precision, device):
        return torch.autocast(device.type, torch.bfloat16)
    return torch.autocast(device.type, torch.float16) if precision == "fp16" else nullcontext()


def describe(device: torch.device, precision: str = "") -> str:
    """One line for logs: device, cores or memory, precision."""
    number = f", {'bf16' if use_bf16(precision, device) else 'float32'}" if precision else ""
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        return f"{device} ({found.name}, {found.total_memory / 2**30:.0f} GiB{number})"
    threads = torch.get_num_threads()
    return f"{device} ({cpu_name()}, {threads} thread{'s' * (threads > 1)}{number})"


@lru_cache
def cpu_flags() -> frozenset[str]:
    """Instruction-set flags as Linux names them; empty elsewhere."""
    return frozenset(_cpuinfo("flags").split())


def cpu_name() -> str:
    """The processor's own name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""
