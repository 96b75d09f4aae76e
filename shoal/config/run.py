"""All settings of a run, composed; read, overridden and saved here and nowhere else."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from shoal.config.assemble import AssembleConfig
from shoal.config.associate import AssociateConfig
from shoal.config.classify import ClassifyConfig
from shoal.config.compute import ComputeConfig
from shoal.config.dataset import DatasetConfig
from shoal.config.model import ModelConfig
from shoal.config.predict import PredictConfig
from shoal.config.reid import ReidConfig
from shoal.config.render import RenderConfig
from shoal.config.sample import SampleConfig
from shoal.config.settings import Settings
from shoal.config.smooth import SmoothConfig
from shoal.config.stitch import StitchConfig
from shoal.config.train import TrainConfig
from shoal.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
RETIRED = {"reid": ("steps", "size", "seed")}
"""Settings that are gone; files of before, models and run folders among them, may still hold them."""
_yaml: Any = YAML(typ="safe")


class RunConfig(Settings):
    """Every stage's settings; what ``run.yaml`` holds."""

    dataset: DatasetConfig = DatasetConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    sample: SampleConfig = SampleConfig()
    assemble: AssembleConfig = AssembleConfig()
    associate: AssociateConfig = AssociateConfig()
    classify: ClassifyConfig = ClassifyConfig()
    reid: ReidConfig = ReidConfig()
    stitch: StitchConfig = StitchConfig()
    smooth: SmoothConfig = SmoothConfig()
    render: RenderConfig = RenderConfig()
    compute: ComputeConfig = ComputeConfig()


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Defaults < file < overrides.

    Args:
        path: a ``run.yaml``; None = defaults only.
        overrides: ``"stitch.max_gap=30"``; values are read as YAML.

    Raises:
        ConfigError: unknown key (with the nearest valid one), wrong value, unreadable file.

    >>> load_config(overrides=["stitch.max_gap=30"]).stitch.max_gap
    30
    """
    loaded: Any = {}
    if path is not None:
        try:
            loaded = _yaml.load(path.read_text()) or {}
        except (OSError, UnicodeDecodeError, YAMLError) as error:
            raise ConfigError(f"expected a YAML file of settings, got: {error}\nwhere: {path}") from error
        if not isinstance(loaded, dict):
            raise ConfigError(f"expected a mapping of settings, got {type(loaded).__name__}\nwhere: {path}")
    data = without_retired(cast("dict[str, Any]", loaded))
    for override in overrides:
        _override(data, override)
    return parse_config(RunConfig, data, where=str(path) if path else "--set")


def save_config(config: RunConfig, path: Path) -> None:
    """Write the full resolved settings as YAML."""
    with path.open("w") as file:
        cast(Any, YAML()).dump(config.model_dump(mode="json"), file)


def without_retired(data: dict[str, Any]) -> dict[str, Any]:
    """Settings read from a file, without those that are gone since it was written."""
    kept = dict(data)
    for section, names in RETIRED.items():
        if isinstance(data.get(section), dict):
            kept[section] = {name: value for name, value in data[section].items() if name not in names}
    return kept


def parse_config(model: type[M], data: dict[str, Any], *, where: str) -> M:
    """Validate ``data``, turning pydantic's complaints into one ConfigError that names the nearest key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, _keys(RunConfig), n=1, cutoff=0.4)
            raise ConfigError(
                f"expected a known setting, got '{key}'\nwhere: {where}",
                hint=f"did you mean '{near[0]}'?" if near else "`shoal check --settings` lists them",
            ) from error
        raise ConfigError(f"{key}: {first['msg']}, got {first['input']!r}\nwhere: {where}") from error


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"expected key=value, got '{override}'\nwhere: --set")
    *parents, last = key.strip().split(".")
    for parent in parents:
        section: Any = data.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(f"expected a section, got a value at '{parent}'\nwhere: --set {override}")
        data = cast("dict[str, Any]", section)
    data[last] = _yaml.load(value) if value else ""


def _keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += _keys(kind, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys
