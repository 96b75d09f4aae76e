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

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from shoal.errors import ConfigError
from shoal.models.checkpoint import LoadedModel
from shoal.models.device import cpu_flags
from shoal.models.pose import PoseNet, shrink
from shoal.models.runtime.graph import Graph, as_trunk, quiet
from shoal.models.runtime.setup import Forward, Setup, cached, converted

log = logging.getLogger(__name__)

FORMAT = 5
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
        return as_trunk(tensor.data for tensor in local.request.output_tensors)

    return lambda images: model.net.whole(images, trunk)


def _import() -> Any:
    """OpenVINO without its telemetry: a lab's analyses are nobody else's business."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    os.environ.setdefault("NNCF_CI", "1")
    import openvino

    return openvino


def _convert(ov: Any, model: LoadedModel, setup: Setup, size: tuple[int, int]) -> Path:
    """The folder with ``net.xml`` of a network at one frame size, made now if it is not there."""
    versions = [str(FORMAT), ov.__version__, torch.__version__]
    where = f"{size[1]}x{size[0]}"

    def make_float(folder: Path) -> None:
        log.info("converting the network for OpenVINO (%s px; once)", where)
        example = torch.zeros(1, *size, 3, dtype=torch.uint8)
        with quiet(), torch.inference_mode():
            found = ov.convert_model(Graph(model.net), example_input=example, input=[list(example.shape)])
        ov.save_model(found, str(folder / "net.xml"), compress_to_fp16=False)

    def make_int8(folder: Path) -> None:
        log.info("calibrating int8 (%s px; once)", where)
        np.save(folder / "frames.npy", _samples(model.net, setup.frames(), size))
        _survive(f"from {__name__} import quantize; quantize({str(plain)!r}, {str(folder)!r})", folder)
        (folder / "frames.npy").unlink()

    plain = converted(cached(model, "openvino-float", size, versions), make_float)
    if setup.precision != "int8":
        return plain
    return converted(cached(model, "openvino-int8", size, versions), make_int8)


def quantize(source: str, target: str) -> None:
    """Post-training int8 (nncf) of ``source/net.xml`` on ``target/frames.npy``, into ``target/net.xml``."""
    ov = _import()
    import nncf

    nncf.set_log_level(logging.ERROR)
    frames = np.load(Path(target) / "frames.npy")
    plain = ov.Core().read_model(Path(source) / "net.xml")
    found = nncf.quantize(
        plain, nncf.Dataset([frame[None] for frame in frames]), preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(frames), ignored_scope=nncf.IgnoredScope(names=first_layers(plain)),
    )  # fmt: skip
    ov.save_model(found, str(Path(target) / "net.xml"), compress_to_fp16=False)


def first_layers(network: Any) -> list[str]:
    """Convolutions of an OpenVINO network that see the picture nearly as it is: down to a quarter of its size.

    They stay out of int8. Eight bits of a whole picture's range are coarse for a fish that hardly differs from sand:
    with them in int8 keypoints of a mobilenetv4_conv_small moved by .125 px (median) and 1.20 px (99 %), without by
    .084 and .754, for no time that could be measured. No other layers made as much of a difference.
    """
    shape = network.input(0).shape
    found: list[str] = []
    enlarged: set[str] = set()
    for node in network.get_ordered_ops():
        name = node.get_friendly_name()
        if node.get_type_name() == "Interpolate" or any(
            value.get_node().get_friendly_name() in enlarged for value in node.input_values()
        ):
            enlarged.add(name)
        elif node.get_type_name() in ("Convolution", "GroupConvolution") and 4 * node.output(0).shape[2] >= shape[1]:
            found.append(name)
    return found


def _samples(net: PoseNet, frames: Sequence[ndarray], size: tuple[int, int]) -> UInt8[ndarray, "N h w 3"]:
    """Frames as the network sees them, all of one size."""
    small = [shrink(torch.from_numpy(np.array(frame)[None]), net.input_scale)[0].numpy() for frame in frames]
    return np.stack([s if s.shape[:2] == size else cv2.resize(s, size[::-1]) for s in small])


def _try(folder: Path, options: dict[str, Any]) -> None:
    """Compile a network in a process of its own, once.

    Raises:
        ConfigError: it did not survive.
    """
    done = folder / f"{'-'.join(map(str, options.values()))}.ok"
    if not done.exists():
        code = f"import openvino; openvino.Core().compile_model({str(folder / 'net.xml')!r}, 'CPU', {options!r})"
        _survive(f"import sys; sys.modules['openvino_telemetry'] = None; {code}", folder)
        done.touch()


def _survive(code: str, folder: Path) -> None:
    """Run Python that may crash: OpenVINO dies of float32 convolutions with odd channel numbers on some processors.

    Raises:
        ConfigError: it did.
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    if done.returncode:
        why = f"it crashed (signal {-done.returncode})" if done.returncode < 0 else done.stderr.strip()[-200:]
        raise ConfigError(
            f"expected a network that OpenVINO can compile, got: {why}\nwhere: {folder}",
            hint="--set predict.runtime=eager does without OpenVINO",
        )
