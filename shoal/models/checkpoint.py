"""Model files: weights, what they mean, and, while training, all that is needed to go on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from shoal.config.model import ModelConfig
from shoal.config.run import RunConfig, parse_config, without_retired
from shoal.errors import CheckpointError, ConfigError
from shoal.models.pose import PoseNet
from shoal.models.registry import build
from shoal.types import Skeleton

FORMAT = 1
_NUMPY_NUMBERS: list[Any] = [
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")),
]
"""In the metadata of early DLC 3 snapshots."""


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """What a network's outputs mean.

    Attributes:
        skeleton: keypoints, limbs, unique keypoints.
        edges: (E, 2) limbs that the network learned.
        individuals: names of labelled animals.
        has_identity: whether the network tells them apart.
        body_length: median of the training labels, px; NaN if there were none.
        config: resolved settings of the training.
    """

    skeleton: Skeleton
    edges: Int64[ndarray, "E 2"]
    individuals: tuple[str, ...]
    has_identity: bool
    body_length: float
    config: RunConfig

    @property
    def n_named(self) -> int:
        """Channels of the identity head."""
        return len(self.individuals) if self.has_identity else 0


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network ready to look at frames.

    Attributes:
        net: in evaluation mode, on ``device``.
        info: what its outputs mean.
        sha: SHA-256 of the weights.
        device: where it runs.
        epoch: epochs it was trained.
        scores: of its last evaluation.
        scorer: what DLC calls its results; empty if the network does not come from DLC's files.
    """

    net: PoseNet
    info: ModelInfo
    sha: str
    device: torch.device
    epoch: int = 0
    scores: dict[str, float] | None = None
    scorer: str = ""

    @property
    def skeleton(self) -> Skeleton:
        """Keypoints."""
        return self.info.skeleton

    @property
    def edges(self) -> Int64[ndarray, "E 2"]:
        """Limbs learned."""
        return self.info.edges

    @property
    def individuals(self) -> tuple[str, ...]:
        """Names of labelled animals."""
        return self.info.individuals

    @property
    def config(self) -> RunConfig:
        """Resolved settings of the training."""
        return self.info.config


def build_model(info: ModelInfo, *, pretrained: bool) -> PoseNet:
    """A network with the outputs that ``info`` names; ``pretrained`` as in ``registry.build``."""
    model: ModelConfig = info.config.model
    return build(info.skeleton, model, edges=info.edges, n_individuals=info.n_named, pretrained=pretrained)


def save_checkpoint(
    path: Path,
    weights: dict[str, Tensor],
    info: ModelInfo,
    *,
    epoch: int,
    scores: dict[str, float] | None = None,
    training: dict[str, Any] | None = None,
) -> None:
    """Write a model file so that a crash leaves the old or the new one, never half of it.

    Args:
        path: of the file.
        weights: state dict to predict with (the averaged one).
        info: what the outputs mean.
        epoch: epochs trained.
        scores: of the last evaluation.
        training: everything else that going on needs; tensors and plain containers only.
    """
    content = {
        "format": FORMAT,
        "weights": weights,
        "info": _info_to_plain(info),
        "epoch": epoch,
        "scores": dict(scores or {}),
        "training": training,
    }
    write_torch_file(path, content)


def write_torch_file(path: Path, content: Mapping[str, Any]) -> None:
    """Write aside, then rename; tensors and plain containers only."""
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a model file of shoal, on the CPU.

    Raises:
        CheckpointError: missing, damaged or not shoal's.
    """
    return _checked(read_torch_file(path), path)


def _checked(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"expected a model file of format {FORMAT}, got {found}\nwhere: {path}")
    return content


def read_torch_file(path: Path) -> Any:
    """Whatever a file of torch holds, on the CPU, without running what it may contain.

    Raises:
        CheckpointError: missing or damaged, or more than tensors, numbers and plain containers.
    """
    if not path.is_file():
        raise CheckpointError(f"expected a model file, got nothing\nwhere: {path}", hint="`shoal train` makes one")
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, runtime and EOF errors alike
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"expected a model file of shoal or a snapshot of DeepLabCut, got: {reason}\nwhere: {path}",
            hint="the file is damaged or of another program",
        ) from error


def load_model(path: Path, *, device: torch.device | str = "cpu") -> LoadedModel:
    """A network from ``best.pt``, ``last.pt``, a training folder (then its best, else its last) or DLC's snapshot.

    Raises:
        CheckpointError: missing, damaged, or weights that do not fit their own description.
        ConfigError: the ``pytorch_config.yaml`` beside a snapshot is damaged.
    """
    if path.is_dir():
        path = path / "best.pt" if (path / "best.pt").exists() else path / "last.pt"
    content = read_torch_file(path)
    if isinstance(content, dict) and "model" in content and "format" not in content:
        from shoal.models.dlc_snapshots import open_snapshot  # it makes the types of this module

        return open_snapshot(path, device=device)
    content = _checked(content, path)
    info = info_from_plain(content["info"], where=str(path))
    net = build_model(info, pretrained=False)
    try:
        net.load_state_dict(content["weights"])
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"weights do not fit: {reason}\nwhere: {path}") from error
    device = torch.device(device)
    net = net.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return LoadedModel(net, info, weights_sha(content["weights"]), device, content["epoch"], content["scores"])


def weights_sha(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes: the same for ``best.pt`` and a ``last.pt`` with equal weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _info_to_plain(info: ModelInfo) -> dict[str, Any]:
    skeleton = info.skeleton
    return {
        "keypoints": list(skeleton.keypoints),
        "unique": list(skeleton.unique),
        "limbs_drawn": skeleton.edges.tolist(),
        "mirror": np.asarray(skeleton.mirror).tolist(),
        "edges": info.edges.tolist(),
        "individuals": list(info.individuals),
        "has_identity": info.has_identity,
        "body_length": info.body_length,
        "config": info.config.model_dump(mode="json"),
    }


def info_from_plain(plain: dict[str, Any], *, where: str) -> ModelInfo:
    """The meaning stored in a model file.

    Raises:
        CheckpointError: keys or settings that this version does not know.
    """
    try:
        skeleton = Skeleton(
            keypoints=tuple(plain["keypoints"]),
            edges=np.array(plain["limbs_drawn"], np.int64).reshape(-1, 2),
            mirror=np.array(plain["mirror"], np.int64),
            unique=tuple(plain["unique"]),
        )
        return ModelInfo(
            skeleton=skeleton,
            edges=np.array(plain["edges"], np.int64).reshape(-1, 2),
            individuals=tuple(plain["individuals"]),
            has_identity=bool(plain["has_identity"]),
            body_length=float(plain["body_length"]),
            config=parse_config(RunConfig, without_retired(plain["config"]), where=where),
        )
    except (KeyError, ValueError, ConfigError) as error:
        raise CheckpointError(f"description of the network cannot be read: {error}\nwhere: {where}") from error
