"""Settings of a ``pytorch_config.yaml`` -> shoal's: what acts, and the names of what does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from shoal.config.run import RunConfig
from shoal.config.train import OPTIMIZERS, SCHEDULES, AugmentConfig, TrainConfig
from shoal.errors import ConfigError
from shoal.io.dlc.pytorch_config import graph_in, model_section, net_types

KEY_SCORES = ("mAP", "mAR", "rmse", "rmse_pcutoff")
NO_LIMIT = 1e9
"""Gradient norm that is never reached: DLC does not clip."""
WHERE = "pytorch_config.yaml"
_SILENT = (
    "config_version", "metadata.", "net_type", "method", "data.bbox_margin", "data.colormode", "data.inference.",
    "data.loader", "runner.type", "runner.device", "runner.snapshots.", "inference.multithreading.",
    "inference.compile.backend", "inference.eval.", "inference.snapshot", "inference.output_dir",
    "with_center_keypoints", "resume_training_from", "data.train.normalize_images", "data.train.auto_padding.",
)  # fmt: skip
"""Read elsewhere, or without a meaning for training a bottom-up network."""
_MODEL_SILENT = (".pretrained", "weight_init")


class _Leaves:
    """The values of a nested mapping by dotted key; what nobody takes is left over."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.left = dict(flatten(content))

    def take(self, key: str, default: Any, kind: Callable[[Any], Any] = lambda value: value) -> Any:
        value = self.left.pop(key, None)
        if value is None:
            return default
        try:
            return kind(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"expected {getattr(kind, '__name__', 'a value')}, got {value!r}\nwhere: {key} in {WHERE}"
            ) from error

    def section(self, key: str) -> dict[str, Any]:
        """All leaves below a key, by the rest of their names."""
        found = {name: self.left.pop(name) for name in list(self.left) if name.startswith(f"{key}.")}
        return {name[len(key) + 1 :]: value for name, value in found.items()}


def to_run_config(content: Mapping[str, Any], base: RunConfig) -> tuple[RunConfig, list[str]]:
    """The settings that a DLC configuration asks for.

    Args:
        content: of pytorch_config.yaml, of any age.
        base: settings that it says nothing about (device, prediction, assembly, ...).

    Returns:
        The settings, and the names of what the file sets and shoal does not do, with what it does instead.

    Raises:
        ConfigError: values of the wrong type, or a network that shoal does not have.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), Mapping):
        raise ConfigError(f"expected a section 'model', got none\nwhere: {WHERE}")
    net_type = net_types(str(content.get("net_type")))
    leaves = _Leaves({key: value for key, value in content.items() if key != "model"})
    missing: list[str] = _odd_model(content["model"], net_type)
    backbone = content["model"].get("backbone") or {}
    device = _device(leaves, base.compute.device, missing)
    train: dict[str, Any] = {
        "batch_size": leaves.take("train_settings.batch_size", 8, _whole),
        "epochs": leaves.take("train_settings.epochs", 200, _whole),
        "seed": leaves.take("train_settings.seed", 42, _whole),
        "log_every": leaves.take("train_settings.display_iters", 500, _whole),
        "workers": leaves.take("train_settings.dataloader_workers", 0, _whole),
        "pin_memory": leaves.take("train_settings.dataloader_pin_memory", False, bool),
        "eval_every": leaves.take("runner.eval_interval", 10, _whole),
        "eval_last": False,
        "freeze_norm_stats": bool(backbone.get("freeze_bn_stats")),
        "freeze_norm_weights": bool(backbone.get("freeze_bn_weights")),
        "crops_per_image": 1.0,
        "heat_sigma_px": 0.0,
        "clip_norm": NO_LIMIT,
        "ema": 0.0,
        **_key_score(leaves, missing),
        **_optimizer(leaves, missing),
        **_schedule(leaves, missing),
        **_crop(leaves, missing),
        "augment": _augment(leaves, missing),
    }
    missing += _left_over(leaves)
    try:
        settings = TrainConfig.model_validate({**base.train.model_dump(), **train})
        model = base.model.model_copy(update={"name": net_type, "input_scale": 1.0, "edges": "all"})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key}: {first['msg']}, got {first['input']!r}\nwhere: {WHERE}") from error
    compute = base.compute.model_copy(update={"device": device})
    return base.model_copy(update={"train": settings, "model": model, "compute": compute}), missing


def flatten(content: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of every leaf; lists are leaves, empty sections are none."""
    out: list[tuple[str, Any]] = []
    for key, value in content.items():
        name = f"{prefix}{key}"
        out += flatten(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)]
    return out


def _device(leaves: _Leaves, base: str, missing: list[str]) -> str:
    device = leaves.take("device", "auto", str)
    gpus = leaves.take("runner.gpus", [], lambda v: [int(g) for g in (v if isinstance(v, list) else [v])])
    if len(gpus) > 1:
        missing.append(f"runner.gpus: {gpus} (trains on the first)")
    if base != "auto" or not gpus or device == "cpu":
        return base if base != "auto" else device
    return f"cuda:{gpus[0]}"


def _key_score(leaves: _Leaves, missing: list[str]) -> dict[str, Any]:
    name = leaves.take("runner.key_metric", "test.mAP", str)
    ascending = leaves.take("runner.key_metric_asc", True, bool)
    score = name.removeprefix("metrics/").removeprefix("test.")
    if score not in KEY_SCORES:
        missing.append(f"runner.key_metric: {name} (mAP decides; supported: test.{', test.'.join(KEY_SCORES)})")
        score, ascending = "mAP", True
    return {"key_score": score, "key_ascending": ascending}


def _optimizer(leaves: _Leaves, missing: list[str]) -> dict[str, Any]:
    name = leaves.take("runner.optimizer.type", "AdamW", str)
    params = leaves.section("runner.optimizer.params")
    if name not in OPTIMIZERS:
        missing.append(f"runner.optimizer.type: {name} (AdamW is used; supported: {', '.join(OPTIMIZERS)})")
        name, params = "AdamW", {"lr": params.get("lr")}
    rate = _number(params.pop("lr", None), 1e-3, "runner.optimizer.params.lr")
    decay = _number(params.pop("weight_decay", None), 0.01 if name == "AdamW" else 0.0, "weight_decay")
    return {
        "optimizer": name, "learning_rate": rate, "weight_decay": decay, "optimizer_params": _plain(params),
    }  # fmt: skip


def _schedule(leaves: _Leaves, missing: list[str]) -> dict[str, Any]:
    name = leaves.take("runner.scheduler.type", "", str)
    nested = leaves.section("runner.scheduler.params")
    if not name:
        return {"schedule": "constant", "schedule_params": {}}
    if name not in SCHEDULES or name == "one_cycle":
        missing.append(f"runner.scheduler.type: {name} (the learning rate stays as it is)")
        return {"schedule": "constant", "schedule_params": {}}
    return {"schedule": name, "schedule_params": _plain(nested)}


def _crop(leaves: _Leaves, missing: list[str]) -> dict[str, Any]:
    found = leaves.section("data.train.crop_sampling")
    leaves.left.pop("data.train.crop_sampling", None)
    if not found:  # null, or a file older than the key: whole images
        return {"crop_px": 0, "crop_height_px": 0, "crop_method": "whole", "crop_shift": 0.0}
    method = str(found.pop("method", None) or "hybrid")
    if method not in ("uniform", "keypoints", "density", "hybrid"):
        missing.append(f"data.train.crop_sampling.method: {method} (hybrid is used)")
        method = "hybrid"
    size = {key: int(_number(found.pop(key, None), 448, f"crop_sampling.{key}")) for key in ("width", "height")}
    shift = _number(found.pop("max_shift", None), 0.1, "crop_sampling.max_shift")
    missing += [f"data.train.crop_sampling.{key}" for key in found]
    return {"crop_px": size["width"], "crop_height_px": size["height"], "crop_method": method, "crop_shift": shift}


def _augment(leaves: _Leaves, missing: list[str]) -> AugmentConfig:
    affine = leaves.section("data.train.affine")
    scaling = affine.pop("scaling", None)
    scaling = [1.0, 1.0] if scaling is None else list(scaling) if isinstance(scaling, list | tuple) else [scaling] * 2
    values: dict[str, Any] = {
        "affine": _number(affine.pop("p", None), 0.5, "data.train.affine.p"),
        "rotation_deg": _number(affine.pop("rotation", None), 0.0, "data.train.affine.rotation"),
        "translate_px": _number(affine.pop("translation", None), 0.0, "data.train.affine.translation"),
        "scale": tuple(sorted(scaling)), "log_scale": False,
        "brightness": 0.0, "contrast": 0.0, "color": 0.0, "blur": 0.0,
        "noise": _noise(leaves), "noise_p": 0.5,
        "motion_blur": _chance(leaves, "motion_blur", missing), "cover": _chance(leaves, "covering", missing),
        "equalize": _chance(leaves, "hist_eq", missing), "grey": _chance(leaves, "grayscale", missing),
        "mirror": _symmetries(leaves), "flip": _chance(leaves, "hflip", missing),
    }  # fmt: skip
    missing += [f"data.train.affine.{key}" for key in affine]
    if leaves.left.get("data.train.normalize_images") is False:
        missing.append("data.train.normalize_images: false (images are always normalised)")
    try:
        return AugmentConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{first['loc'][0]}: {first['msg']}, got {first['input']!r}\nwhere: data.train in {WHERE}"
        ) from error


def _noise(leaves: _Leaves) -> float:
    value = leaves.take("data.train.gaussian_noise", 0.0)
    if isinstance(value, bool):
        value = 12.75 if value else 0.0
    return _number(value, 0.0, "data.train.gaussian_noise") / 255


def _chance(leaves: _Leaves, name: str, missing: list[str]) -> float:
    """Probability of a transform that is written as true, as a number or as a section with ``p``."""
    value = leaves.take(f"data.train.{name}", False)
    section = leaves.section(f"data.train.{name}")
    chance = section.pop("p", None)
    missing += [f"data.train.{name}.{key}" for key in section]
    if chance is None:
        chance = value if not isinstance(value, bool) else 0.5 if value or section else 0.0
    return _number(chance, 0.0, f"data.train.{name}")


def _symmetries(leaves: _Leaves) -> tuple[tuple[int, int], ...] | None:
    pairs = leaves.take("data.train.hflip.symmetries", None)
    if pairs is not None:
        leaves.left.setdefault("data.train.hflip.p", 0.5)  # a section without p asks for mirror images, too
    try:
        return None if pairs is None else tuple((int(a), int(b)) for a, b in pairs)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"expected pairs of keypoint numbers, got {pairs!r}\nwhere: data.train.hflip.symmetries in {WHERE}"
        ) from error


def _odd_model(model: Mapping[str, Any], net_type: str) -> list[str]:
    """What in section ``model`` is not as DLC makes it for this network; decoding has settings of its own."""
    graph = [list(edge) for edge in graph_in({"model": model})]
    heads = model.get("heads") or {}
    try:
        n, k = (int(heads["bodypart"]["predictor"][key]) for key in ("num_animals", "num_multibodyparts"))
        u = int(heads["unique_bodypart"]["heatmap_config"]["channels"][-1]) if "unique_bodypart" in heads else 0
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"expected the sizes of DLC's heads, got: {error!r}\nwhere: model.heads in {WHERE}"
        ) from error
    usual = dict(flatten(model_section(net_type, n, k, u, graph, identity="identity" in heads)))
    found = dict(flatten(model))
    odd: list[str] = []
    for key, value in found.items():
        if ".predictor." in key or "freeze_bn" in key or key.endswith(_MODEL_SILENT) or key.startswith("pose_model"):
            continue
        same = _comparable(value) == _comparable(usual[key]) if key in usual else value in (None, False)
        if not same:
            odd.append(f"model.{key}: {value if not isinstance(value, list) else '...'}")
    return odd


def _comparable(value: Any) -> Any:
    """Lists of sections by their leaves, without those that are off; numbers by value."""
    if isinstance(value, Mapping):
        leaves = ((k, v) for k, v in flatten(value) if v is not None and v is not False)
        return sorted((k, repr(_comparable(v))) for k, v in leaves)
    if isinstance(value, list | tuple):
        return [_comparable(item) for item in value]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _left_over(leaves: _Leaves) -> list[str]:
    return [
        f"{key}: {value}"
        for key, value in leaves.left.items()
        if value not in (None, False, "", [])
        and not any(key == s or (s[-1] == "." and key.startswith(s)) for s in _SILENT)
    ]


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ValueError("not a whole number")
    return int(value)


def _number(value: Any, default: float, where: str) -> float:
    if value is None:
        return default
    try:
        if isinstance(value, bool):
            raise ValueError("not a number")
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"expected a number, got {value!r}\nwhere: {where} in {WHERE}") from error


def _plain(value: Any) -> Any:
    """Ruamel's containers and numbers as plain ones."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool) or value is None:
        return value
    return int(value) if isinstance(value, int) else float(value) if isinstance(value, float) else str(value)
