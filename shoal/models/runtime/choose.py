"""Which runtime and precision a network runs in: as asked, or the fastest that is installed and suits the processor."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable

import torch

from shoal.errors import ConfigError
from shoal.models.checkpoint import LoadedModel
from shoal.models.device import use_bf16
from shoal.models.runtime.eager import compiled, eager
from shoal.models.runtime.setup import Forward, Setup

Way = tuple[str, str]
"""Runtime, precision."""

REFERENCE: Way = ("eager", "float32")
PRECISIONS = {
    "eager": ("float32", "bf16", "fp16"),
    "compiled": ("float32", "bf16", "fp16"),
    "openvino": ("float32", "bf16", "int8"),
    "onnx": ("float32",),
}
NEEDS = {"openvino": ("openvino",), "onnx": ("onnx", "onnxscript", "onnxruntime")}


def build(model: LoadedModel, way: Way, setup: Setup) -> Forward:
    """A network in a runtime."""
    if way[0] == "openvino":
        from shoal.models.runtime.openvino import openvino as made
    elif way[0] == "onnx":
        from shoal.models.runtime.onnx import onnx as made
    else:
        made: Callable[[LoadedModel, Setup], Forward] = {"eager": eager, "compiled": compiled}[way[0]]
    return made(model, setup)


def ways(runtime: str, precision: str, device: torch.device) -> tuple[Way, ...]:
    """What to try, the best first; one way if it was asked for.

    ``auto`` goes by what is installed and by the processor's flags, not by a timing, so that two runs on one machine
    agree.

    Raises:
        ConfigError: asked for something that is not installed or does not exist.
    """
    found: list[Way] = []
    if runtime != "auto":
        problem = lacks(runtime, device)
        if problem:
            raise ConfigError(
                f"expected what runtime '{runtime}' needs, {problem}\nwhere: predict.runtime",
                hint="predict.runtime=auto takes what there is",
            )
        found.append((runtime, _best(runtime, precision, device)))
    elif precision == "int8":
        found.append(("openvino", "int8"))
    elif device.type == "cpu" and not lacks("openvino", device):
        found.append(("openvino", _best("openvino", precision, device)))
    if runtime == "auto" and precision != "int8":
        found.append(("eager", _best("eager", precision, device)))
        if precision == "auto":
            found += [REFERENCE] if found[-1] != REFERENCE else []
    for name, number in found:
        if number not in PRECISIONS[name] or lacks(name, device):
            raise ConfigError(
                f"expected a precision that runtime '{name}' has ({', '.join(PRECISIONS[name])}), got '{number}'"
                f"{lacks(name, device) and ': ' + lacks(name, device)}\nwhere: predict.precision",
                hint="pip install 'shoal[openvino]' for int8 on CPUs",
            )
    return tuple(found)


def lacks(runtime: str, device: torch.device) -> str:
    """What is missing for a runtime, in words; empty = nothing."""
    missing = [name for name in NEEDS.get(runtime, ()) if importlib.util.find_spec(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if runtime in NEEDS and device.type != "cpu":
        return f"it runs on CPUs only, not on {device.type}"
    if runtime == "compiled" and device.type == "cpu" and not (shutil.which("c++") or shutil.which("g++")):
        return "no C++ compiler found"
    return ""


def _best(runtime: str, precision: str, device: torch.device) -> str:
    if precision != "auto":
        return precision
    return "bf16" if "bf16" in PRECISIONS[runtime] and use_bf16("auto", device) else "float32"
