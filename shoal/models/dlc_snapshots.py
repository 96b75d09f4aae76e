"""DLC's snapshots: ``snapshot-200.pt`` beside a ``pytorch_config.yaml`` (dlc_formats.md 4.3 and 4.7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shoal.config.assemble import suit_dlc
from shoal.config.run import load_config
from shoal.errors import CheckpointError, ConfigError
from shoal.io.dlc.pytorch_config import NETS, graph_in, kept_limbs, read_pytorch_config
from shoal.io.dlc.skeleton import mirror_index
from shoal.models.checkpoint import LoadedModel, ModelInfo, read_torch_file, weights_sha, write_torch_file
from shoal.models.dlc_networks import DlcBody
from shoal.models.pose import PoseNet
from shoal.models.registry import IMAGENET
from shoal.types import Skeleton

CONFIG_NAME = "pytorch_config.yaml"
SUPPORTED = f"bottom-up multi-animal networks can be used: {', '.join(NETS)}"
_NAME = re.compile(r"snapshot(?P<best>-best)?-(?P<epoch>\d+)")
_FOLDER = re.compile(r"(?P<title>.+)-trainset\d+shuffle(?P<index>\d+)")


def open_snapshot(path: Path, *, device: torch.device | str = "cpu") -> LoadedModel:
    """A snapshot with the ``pytorch_config.yaml`` beside it.

    Raises:
        CheckpointError: as ``load_snapshot``, or no such file beside it.
        ConfigError: that file is damaged.
    """
    config = path.with_name(CONFIG_NAME)
    if not config.is_file():
        raise CheckpointError(
            f"expected {CONFIG_NAME} beside a snapshot of DeepLabCut, got none\nwhere: {path.parent}",
            hint=f"it says what the network's outputs mean; copy it from the snapshot's train folder to {config}",
        )
    return load_snapshot(path, read_pytorch_config(config), device=device)


def load_snapshot(path: Path, content: Mapping[str, Any], *, device: torch.device | str = "cpu") -> LoadedModel:
    """A network from a snapshot of DLC 3's PyTorch engine.

    Args:
        path: the snapshot.
        content: of its ``pytorch_config.yaml``.
        device: where it will run.

    Returns:
        The network; its edges are the limbs of ``edges_to_keep``, its body length is unknown (NaN).

    Raises:
        CheckpointError: damaged, a network that shoal does not have, or weights that do not fit the description.
    """
    where = f"where: {path}"
    net_name = net_in(content, where=where)
    saved = read_snapshot(path)
    info, channels, keep = _meaning(content, net_name, where=where)
    body = DlcBody(net_name, channels, keep=keep)
    fit_weights(body, saved["model"], where=where)
    net = PoseNet(body, mean=IMAGENET[0], std=IMAGENET[1], input_scale=1.0)
    device = torch.device(device)
    net = net.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    metadata = saved.get("metadata") or {}
    scores = {
        str(name).removeprefix("metrics/test."): float(value) for name, value in (metadata.get("metrics") or {}).items()
    }
    epoch, scorer = int(metadata.get("epoch") or 0), snapshot_scorer(path, content)
    return LoadedModel(net, info, weights_sha(saved["model"]), device, epoch, scores, scorer)


def read_snapshot(path: Path) -> dict[str, Any]:
    """The content of a snapshot, on the CPU: ``model`` and, as far as it was saved, ``metadata``, ``optimizer`` ...

    Raises:
        CheckpointError: missing, damaged, or no snapshot.
    """
    content = read_torch_file(path)
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not model or not all(isinstance(value, Tensor) for value in model.values()):
        raise CheckpointError(
            f"expected a snapshot of DeepLabCut's PyTorch engine, got no weights under 'model'\nwhere: {path}"
        )
    return content


def save_snapshot(
    path: Path,
    net: nn.Module,
    *,
    epoch: int,
    metrics: Mapping[str, float],
    losses: Mapping[str, float],
    optimizer: Mapping[str, Any] | None = None,
    scheduler: Mapping[str, Any] | None = None,
) -> None:
    """Write a snapshot that DLC 3 loads, so that a crash leaves the old file or the new one.

    Args:
        path: usually ``train/snapshot-<epoch>.pt``; ``pytorch_config.yaml`` must lie beside it.
        net: a network of DLC's shape.
        epoch: epochs trained.
        metrics: by DLC's names, ``metrics/test.mAP`` ...
        losses: likewise, ``train.total_loss`` ...
        optimizer: its state, of the network's parameters in shoal's order; left out of the file if None.
        scheduler: likewise.

    Raises:
        CheckpointError: a network of another shape.
    """
    body = net.body if isinstance(net, PoseNet) else net
    if not isinstance(body, DlcBody):
        raise CheckpointError(
            f"expected a network of DeepLabCut's shape, got a {type(body).__name__}\nwhere: {path}",
            hint=f"--set model.name=resnet_50 trains one; {SUPPORTED}",
        )
    values, parameters = body.state_dict(), [name for name, _ in body.named_parameters()]
    if optimizer is not None:
        optimizer = renumber_optimizer(optimizer, parameters, in_dlc_order(parameters))
    content: dict[str, Any] = {
        "model": {name: values[name].detach().cpu().contiguous() for name in in_dlc_order(values)},
        "metadata": {
            "epoch": int(epoch),
            "metrics": {str(name): float(value) for name, value in metrics.items()},
            "losses": {str(name): float(value) for name, value in losses.items()},
        },
    }
    content |= {n: dict(v) for n, v in (("optimizer", optimizer), ("scheduler", scheduler)) if v is not None}
    write_torch_file(path, content)


HEAD_ORDER = ("heatmap_head", "locref_head", "paf_head")


def in_dlc_order(names: Iterable[str]) -> list[str]:
    """Names of weights in the order in which DLC's networks have them, by which optimizers number parameters.

    >>> in_dlc_order(["backbone.w", "heads.a.convt1.w", "heads.a.paf_head.w", "heads.a.heatmap_head.w", "heads.b.w"])
    ['backbone.w', 'heads.a.heatmap_head.w', 'heads.a.paf_head.w', 'heads.a.convt1.w', 'heads.b.w']
    """
    names = list(names)
    parts = [name.split(".") for name in names]
    heads = list(dict.fromkeys(part[1] for part in parts if part[0] == "heads"))

    def place(n: int) -> tuple[int, int]:
        if parts[n][0] != "heads":
            return -1, 0
        is_first = len(parts[n]) > 2 and parts[n][2] in HEAD_ORDER
        return heads.index(parts[n][1]), HEAD_ORDER.index(parts[n][2]) if is_first else len(HEAD_ORDER)

    return [names[n] for n in sorted(range(len(names)), key=place)]


def renumber_optimizer(state: Mapping[str, Any], before: Sequence[str], after: Sequence[str]) -> dict[str, Any]:
    """An optimizer's state for the same parameters in another order; torch knows them by their number alone.

    Raises:
        ValueError: a state of other parameters, or of several groups.
    """
    groups = state["param_groups"]
    if len(groups) != 1 or list(groups[0]["params"]) != list(range(len(before))):
        n = sum(len(group["params"]) for group in groups)
        raise ValueError(f"expected one group of {len(before)} parameters, got {n} in {len(groups)}")
    if sorted(before) != sorted(after):
        raise ValueError("expected the same parameters before and after")
    place = {name: n for n, name in enumerate(after)}
    numbered = {place[before[int(n)]]: value for n, value in state["state"].items()}
    return {"state": dict(sorted(numbered.items())), "param_groups": [dict(groups[0])]}


def fit_weights(body: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Load a state dict.

    Raises:
        CheckpointError: names the tensors that are missing, unknown or of another shape.
    """
    own = body.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in own]
    other = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or unknown or other:
        found = {"missing": missing, "unknown": unknown, "of another shape": other}
        words = [f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in found.items() if names]
        raise CheckpointError(
            f"expected {len(own)} tensors of this network, got {'; '.join(words)}\n{where}",
            hint="the snapshot is damaged, or belongs to another pytorch_config.yaml",
        )
    body.load_state_dict({**own, **state})


def net_in(content: Mapping[str, Any], *, where: str) -> str:
    """Which of ``NETS`` a configuration describes; by its layers, not by its name.

    Raises:
        CheckpointError: one that shoal does not have.
    """
    model = content.get("model") or {}
    backbone, heads = model.get("backbone") or {}, model.get("heads") or {}
    head = (heads.get("bodypart") or {}).get("type")
    kind, name = backbone.get("type"), backbone.get("model_name")
    stride = 4 if kind == "HRNet" else int(backbone.get("output_stride") or 32)
    known = [net for net, found in NETS.items() if found[:3] == (kind, name, stride)]
    is_whole = not backbone.get("interpolate_branches") and not backbone.get("increased_channel_count")
    net_type, method = str(content.get("net_type") or kind), str(content.get("method") or "bu")
    if method.lower() == "bu" and known and is_whole and head == "DLCRNetHead":
        return known[0]
    reason = f"{net_type} ({_described(method.lower())}backbone {kind} {name}, head {head})"
    raise CheckpointError(f"expected a network that shoal has, got {reason}\n{where}", hint=SUPPORTED)


def _described(method: str) -> str:
    return {"td": "top-down, ", "ctd": "conditional top-down, "}.get(method, "")


def snapshot_scorer(path: Path, content: Mapping[str, Any]) -> str:
    """The scorer that DLC would give results of a snapshot (dlc_formats.md 5.1), by its file and folder names.

    >>> folder = Path("dlc-models-pytorch/iteration-0/fishNov22-trainset95shuffle1/train")
    >>> snapshot_scorer(folder / "snapshot-best-190.pt", {"net_type": "resnet_50"})
    'DLC_Resnet50_fishNov22shuffle1_snapshot_best-190'
    """
    net = "".join(part.capitalize() for part in str(content.get("net_type", "")).split("_"))
    folder, name = _FOLDER.fullmatch(path.absolute().parent.parent.name), _NAME.fullmatch(path.stem)
    title = f"{folder['title']}shuffle{folder['index']}" if folder else path.absolute().parent.name
    which = f"snapshot_{'best-' if name['best'] else ''}{int(name['epoch'])}" if name else path.stem
    return f"DLC_{net}_{title}_{which}"


def _meaning(
    content: Mapping[str, Any], net_name: str, *, where: str
) -> tuple[ModelInfo, tuple[int, int, int, int], list[int]]:
    """What the outputs mean, the (K, 2E, U, I) channels of the weights, and which of their limbs are used."""
    try:
        metadata, heads = content["metadata"], content["model"]["heads"]
        keypoints = tuple(str(name) for name in metadata["bodyparts"])
        unique = tuple(str(name) for name in metadata.get("unique_bodyparts") or ())
        individuals = tuple(str(name) for name in metadata["individuals"])
        graph = np.array(graph_in(content), np.int64).reshape(-1, 2)
        keep = kept_limbs(content)
        edges = graph[keep]
        n_named = int(heads["identity"]["heatmap_config"]["channels"][-1]) if "identity" in heads else 0
        if n_named not in (0, len(individuals)):
            raise ValueError(f"{n_named} identities for {len(individuals)} individuals")
        if graph.size and not (graph.min() >= 0 and graph.max() < len(keypoints)):
            raise ValueError("limbs of keypoints that there are not")
        if unique and "unique_bodypart" not in heads:
            raise ValueError("unique bodyparts, but no head for them")
    except (KeyError, TypeError, ValueError, IndexError, ConfigError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"description of the network cannot be read: {reason}\n{where}") from error
    pairs = len(keypoints) * (len(keypoints) - 1) // 2
    drawn = edges if len(edges) < pairs else _chain(len(keypoints))
    config = load_config(overrides=[f"model.name={net_name}", "model.input_scale=1.0", "model.edges=all"])
    info = ModelInfo(
        skeleton=Skeleton(keypoints, drawn, mirror_index(keypoints), unique),
        edges=edges,
        individuals=individuals,
        has_identity=n_named > 0,
        body_length=float("nan"),
        config=config.model_copy(update={"assemble": suit_dlc(config.assemble)}),
    )
    return info, (len(keypoints), 2 * len(graph), len(unique), n_named), keep


def _chain(n: int) -> np.ndarray:
    """All pairs would hide the animal in a drawing; a chain of the listed order is a fair guess up to three."""
    return np.array(list(combinations(range(n), 2)) if n <= 3 else [(i, i + 1) for i in range(n - 1)]).reshape(-1, 2)
