"""ONNX: networks as files for other programs, and ONNX Runtime to run them (float32)."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shoal.models.checkpoint import LoadedModel
from shoal.models.pose import PoseNet, shrunk_size
from shoal.models.runtime.graph import Graph, as_trunk, quiet
from shoal.models.runtime.setup import Forward, Setup, cached, converted

FORMAT = 3
MAPS = ("heat", "limbs", "unique", "identity", "locref", "unique_locref")


def onnx(model: LoadedModel, setup: Setup) -> Forward:
    """ONNX Runtime on the CPU, one frame per call."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # frames go side by side instead
    options.log_severity_level = 3
    sessions: dict[tuple[int, int], Any] = {}
    lock = threading.Lock()

    def session(size: tuple[int, int]) -> Any:
        with lock:
            if size not in sessions:
                versions = [str(FORMAT), torch.__version__, onnxruntime.__version__]
                place = cached(model, "onnx", size, versions)
                folder = converted(place, lambda folder: _save(Graph(model.net), size, folder / "net.onnx"))
                sessions[size] = onnxruntime.InferenceSession(folder / "net.onnx", options, ["CPUExecutionProvider"])
            return sessions[size]

    def trunk(small: torch.Tensor) -> list[torch.Tensor]:
        found = session((small.shape[1], small.shape[2])).run(None, {"pixels": small.contiguous().numpy()})
        return as_trunk(found)

    return lambda images: model.net.whole(images, trunk)


class _Maps(nn.Module):
    """The whole network from shrunk frames to the maps that have channels."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.named(pixels).values())

    def named(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.net.finish(self.net.trunk_of_bytes(pixels), tuple(map(int, pixels.shape[1:3])))
        found = {name: getattr(maps, name) for name in MAPS}
        return {name: value for name, value in found.items() if value is not None and value.shape[1]}


def export_onnx(model: LoadedModel, path: Path, *, size: tuple[int, int]) -> None:
    """Write a network as an ONNX file: uint8 RGB pixels (1, h, w, 3) in, maps out, their meaning in its metadata.

    Args:
        model: the network, on the CPU.
        path: of the file.
        size: (height, width) of the frames; the file takes them after ``input_scale``.
    """
    import onnx as onnx_files

    small = shrunk_size(size, model.net.input_scale)
    maps = _Maps(model.net)
    with torch.inference_mode():
        named = maps.named(torch.zeros(1, *small, 3, dtype=torch.uint8))
    _save(maps, small, path, tuple(named))
    file = onnx_files.load(str(path))
    about = {
        "keypoints": model.skeleton.keypoints, "unique": model.skeleton.unique, "limbs": model.edges.tolist(),
        "individuals": model.individuals, "is_dlc": model.config.model.is_dlc, "sha": model.sha,
        "input_scale": model.net.input_scale, "frame": {"width": size[1], "height": size[0]},
    }  # fmt: skip
    onnx_files.helper.set_model_props(file, {"shoal": json.dumps(about)})
    onnx_files.save(file, str(path))


def _save(module: nn.Module, size: tuple[int, int], path: Path, names: Sequence[str] = ()) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    example = torch.zeros(1, *size, 3, dtype=torch.uint8)
    with quiet(), torch.inference_mode():
        torch.onnx.export(
            module, (example,), str(path), input_names=["pixels"], output_names=list(names) or None,
            dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
