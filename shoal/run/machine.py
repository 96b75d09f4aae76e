"""What this machine offers, and what of it does not fit together (``shoal check`` without a project)."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import shoal

_PACKAGES = (
    "numpy",
    "scipy",
    "numba",
    "torch",
    "torchvision",
    "timm",
    "av",
    "opencv-python-headless",
    "pandas",
    "tables",
)
_CODECS = {"decode": ("h264", "hevc", "mpeg4", "mjpeg", "vp9", "av1"), "encode": ("libx264", "libx265", "h264_nvenc")}
_OLDEST, _NEWEST = (3, 11), (3, 13)


def check_machine() -> dict[str, Any]:
    """Versions, devices, codecs, threads and memory; ``misfits`` lists what will not work, with the remedy.

    Imports torch, here and not before.
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "shoal": shoal.__version__,
        "packages": {name: _version(name) for name in _PACKAGES},
        "threads": _threads(),
        "memory_gib": _memory_gib(),
        "codecs": _codecs(),
        "driver": _driver(),
    }
    found["torch"] = _torch()
    found["misfits"] = find_misfits(found)
    return found


def find_misfits(found: dict[str, Any]) -> list[str]:
    """One sentence for each thing in ``check_machine``'s report that will not work, with what to do."""
    misfits: list[str] = []
    if not _OLDEST <= sys.version_info[:2] <= _NEWEST:
        misfits.append(f"Python {found['python']}: shoal is tested on 3.11 to 3.13")
    misfits += [f"{name} is not installed" for name, version in found["packages"].items() if version is None]
    torch, gpus = found["torch"], found["driver"]["gpus"]
    if torch.get("error"):
        misfits.append(f"torch cannot be imported: {torch['error']}")
    elif gpus and torch["cuda_build"] is None:
        misfits.append(
            f"there is a GPU ({gpus[0]['name']}) but torch is built without CUDA: install a CUDA build of torch"
        )
    elif gpus and not torch["cuda_available"]:
        misfits.append(
            f"torch (CUDA {torch['cuda_build']}) cannot use the GPU with driver {found['driver']['version']}: "
            "update the driver or install torch for an older CUDA"
        )
    for gpu in torch.get("gpus", ()):
        if gpu["supported"] is False:
            misfits.append(f"{gpu['name']} (compute {gpu['compute']}) is newer or older than this torch build supports")
    codecs = found["codecs"]
    for kind, name, why in (
        ("decode", "h264", "most videos cannot be read"),
        ("decode", "hevc", "H.265 videos cannot be read"),
        ("encode", "libx264", "labelled videos cannot be written"),
    ):
        if not codecs[kind].get(name):
            misfits.append(f"PyAV cannot {kind} {name}: {why}; reinstall av from a wheel")
    threads = found["threads"]
    asked = threads["OMP_NUM_THREADS"]
    if asked and asked.isdigit() and int(asked) > threads["usable"]:
        misfits.append(f"OMP_NUM_THREADS={asked} but this process may use {threads['usable']} cores: it will be slower")
    return misfits


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _threads() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        usable = max(1, min(usable, round(int(quota[0]) / int(quota[1]))))
    return {"cores": os.cpu_count(), "usable": usable, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}


def _memory_gib() -> dict[str, float]:
    """Total and free main memory, as far as this process may use it."""
    lines = (line.split() for line in _read("/proc/meminfo").splitlines())
    kib = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
    found = {"total": kib.get("MemTotal", 0) / 2**20, "free": kib.get("MemAvailable", 0) / 2**20}
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():
        found["total"] = min(found["total"], int(limit) / 2**30)
        found["free"] = min(found["free"], found["total"])
    return {key: round(value, 1) for key, value in found.items()}


def _codecs() -> dict[str, dict[str, bool]]:
    import av.codec

    known = av.codec.codecs_available
    found: dict[str, dict[str, bool]] = {}
    for kind, names in _CODECS.items():
        found[kind] = {}
        for name in names:
            try:
                found[kind][name] = name in known and bool(av.codec.Codec(name, "r" if kind == "decode" else "w"))
            except ValueError:  # known, but only for the other direction
                found[kind][name] = False
    return found


def _driver() -> dict[str, Any]:
    """NVIDIA's driver and GPUs as it reports them, independent of torch."""
    query = ["nvidia-smi", "--query-gpu=driver_version,name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {"version": None, "gpus": []}
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines() if line.count(",") == 3]
    gpus = [{"name": name, "memory_mib": total, "free_mib": free} for _, name, total, free in rows]
    return {"version": rows[0][0] if rows else None, "gpus": gpus}


def _torch() -> dict[str, Any]:
    try:
        import torch
    # a broken installation fails in many ways, and this report is there to say so
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "cuda_build": None, "cuda_available": False}
    available = torch.cuda.is_available()
    found: dict[str, Any] = {
        "version": torch.__version__,
        "cuda_build": torch.version.cuda,
        "cuda_available": available,
        "cudnn": torch.backends.cudnn.version() if available else None,
        "mps_available": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
        "gpus": [],
    }
    for i in range(torch.cuda.device_count() if available else 0):
        properties = torch.cuda.get_device_properties(i)
        compute = f"{properties.major}.{properties.minor}"
        found["gpus"].append(
            {
                "name": properties.name,
                "memory_gib": round(properties.total_memory / 2**30, 1),
                "compute": compute,
                "supported": _is_supported(torch.cuda.get_arch_list(), properties.major, properties.minor),
            }
        )
    return found


def _is_supported(built: list[str], major: int, minor: int) -> bool | None:
    """Whether binaries (``sm_90``) or portable code (``compute_90``) of a torch build fit a GPU; None = not known."""
    for name in built:
        kind, _, digits = name.rstrip("af").rpartition("_")
        code = (int(digits[:-1]), int(digits[-1]))
        # a binary runs on later minor versions of its major one, portable code on everything later
        if code <= (major, minor) and (kind == "compute" or code[0] == major):
            return True
    return False if built else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
