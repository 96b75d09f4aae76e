"""OpenVINO: the fastest on most CPUs; float32, bf16 where the processor has it, int8 calibrated on real frames."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy import ndarray

from shoal.errors import ConfigError
from shoal.models.checkpoint import LoadedModel
from shoal.models.device import cpu_flags
from shoal.models.pose import PoseNet, shrink
from shoal.models.runtime.graph import Graph, quiet
from shoal.models.runtime.setup import Forward, Setup, converted

log = logging.getLogger(__name__)

FORMAT = 2
HAS_BF16 = {"avx512_bf16", "amx_bf16"}


def openvino(model: LoadedModel, setup: Setup) -> Forward:
    """A network converted once per frame size; one stream per thread, one frame per call."""
    ov = _import()
    networks: dict[tuple[int, int], Any] = {}
    lock, local = threading.Lock(), threading.local()
    is_bf16 = setup.precision == "bf16" or (setup.precision == "int8" and bool(HAS_BF16 & cpu_flags()))
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if is_bf16 else "f32",
        "INFERENCE_NUM_THREADS": setup.threads,
        "NUM_STREAMS": setup.threads,
    }

    def network(size: tuple[int, int]) -> Any:
        with lock:
            if size not in networks:
                folder = _convert(ov, model, setup, size)
                _try(folder, options)
                networks[size] = ov.Core().compile_model(str(folder / "net.xml"), "CPU", options)
            return networks[size]

    def trunk(small: torch.Tensor) -> list[torch.Tensor]:
        size = (small.shape[1], small.shape[2])
        if getattr(local, "size", None) != size:
            local.request, local.size = network(size).create_infer_request(), size
        local.request.infer({0: small.contiguous().numpy()}, share_inputs=True)
        return [torch.from_numpy(tensor.data) for tensor in local.request.output_tensors]

    return lambda images: model.net.whole(images, trunk)


def _import() -> Any:
    """OpenVINO without its telemetry: a lab's analyses are nobody else's business."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    os.environ.setdefault("NNCF_CI", "1")
    import openvino

    return openvino


def _convert(ov: Any, model: LoadedModel, setup: Setup, size: tuple[int, int]) -> Path:
    kind = "int8" if setup.precision == "int8" else "float"
    name = f"{model.sha[:16]}-openvino-{kind}-{size[1]}x{size[0]}"

    def make(folder: Path) -> None:
        log.info("converting the network for OpenVINO (%s, %d x %d px; once)", kind, size[1], size[0])
        example = torch.zeros(1, *size, 3, dtype=torch.uint8)
        with quiet(), torch.inference_mode():
            found = ov.convert_model(Graph(model.net), example_input=example, input=[list(example.shape)])
        if kind == "int8":
            found = _quantize(found, model.net, setup.frames(), size)
        ov.save_model(found, str(folder / "net.xml"), compress_to_fp16=False)

    return converted(name, [str(FORMAT), ov.__version__, torch.__version__], make)


def _try(folder: Path, options: dict[str, Any]) -> None:
    """Compile a network in a process of its own, once: OpenVINO 2026.4 crashes on some small frames.

    Raises:
        ConfigError: it did not survive.
    """
    name = "-".join(map(str, options.values()))
    if (folder / f"{name}.ok").exists():
        return
    code = f"import openvino; openvino.Core().compile_model({str(folder / 'net.xml')!r}, 'CPU', {options!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        why = f"it crashed (signal {-done.returncode})" if done.returncode < 0 else done.stderr.strip()[-200:]
        raise ConfigError(
            f"expected a network that OpenVINO can compile, got: {why}\nwhere: {folder / 'net.xml'}",
            hint="--set predict.runtime=eager does without OpenVINO",
        )
    (folder / f"{name}.ok").touch()


def _quantize(found: Any, net: PoseNet, frames: Sequence[ndarray], size: tuple[int, int]) -> Any:
    """Post-training int8 (nncf, symmetric weights, asymmetric activations) on real frames."""
    import cv2
    import nncf

    nncf.set_log_level(logging.ERROR)
    samples = []
    for frame in frames:
        small = shrink(torch.from_numpy(frame[None]), net.input_scale)[0].contiguous().numpy()
        samples.append(small if small.shape[:2] == size else cv2.resize(small, size[::-1]))
    return nncf.quantize(
        found, nncf.Dataset([s[None] for s in samples]), preset=nncf.QuantizationPreset.MIXED, subset_size=len(samples)
    )
