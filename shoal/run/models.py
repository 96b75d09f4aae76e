"""Models of a project: where they are, training them, saying how long that takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shoal.config.run import RunConfig, load_config
from shoal.errors import CheckpointError, ConfigError, ProjectError, Stopped
from shoal.io.artifacts import write_atomic
from shoal.io.dlc.project import read_project
from shoal.types import OnProgress, no_progress

FILES = ("best.pt", "last.pt")


def models_folder(root: Path) -> Path:
    """Where a project's models are: ``<project>/shoal/models``."""
    return root / "shoal" / "models"


def find_model(path: Path, *, name: str = "") -> Path:
    """The model file that ``path`` means.

    Args:
        path: a model file, a model's folder, a project folder or its config.yaml.
        name: of the model, if it is a project; empty = the one trained last.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if path.is_file() and path.suffix != ".yaml":
        return path
    folder = path.parent if path.is_file() else path
    found = [folder / file for file in FILES if (folder / file).is_file()]
    if found:
        return found[0]
    models = models_folder(folder)
    trained = [m for m in models.glob(name or "*") if any((m / file).is_file() for file in FILES)]
    if not trained:
        wanted, where = f"a model named {name}" if name else "a model", models if folder.is_dir() else path
        raise CheckpointError(
            f"expected {wanted}, found none\nwhere: {where}",
            hint="`shoal train PROJECT` makes one",
        )
    last = max(trained, key=lambda m: max((m / file).stat().st_mtime for file in FILES if (m / file).is_file()))
    return find_model(last)


def train(
    project: Path,
    *,
    name: str = "pose",
    config: RunConfig | None = None,
    fresh: bool = False,
    on_progress: OnProgress = no_progress,
) -> dict[str, Any]:
    """Train a model of a project, or go on with it, and draw its curves.

    Args:
        project: the folder or its config.yaml.
        name: of the model.
        config: settings; None = defaults.
        fresh: start again.
        on_progress: called with ("images" | "train" | "evaluate", done, total).

    Returns:
        ``model``, ``epoch``, ``n_epochs``, ``scores``, ``seconds``, ``files``.

    Raises:
        ProjectError: no usable labels, or other ones than the unfinished training's.
        ConfigError: settings that cannot work.
        Stopped: a signal came; the training was saved.
    """
    from shoal.run.plots import plot_training
    from shoal.training import pose

    config = config or load_config()
    found = read_project(project, exclude=config.dataset.exclude)
    if not name or name != Path(name).name:
        raise ProjectError(f"expected a plain name for the model, got '{name}'")
    run_dir = models_folder(found.root) / name
    result = pose.train(found, run_dir, config, fresh=fresh, on_progress=on_progress)
    if result.stopped_by:
        raise Stopped(
            f"training stopped by {result.stopped_by} at epoch {result.epoch} of {result.n_epochs}; it is saved"
            f"\nwhere: {run_dir}",
            hint="the same command goes on from here", signal_name=result.stopped_by,
        )  # fmt: skip
    curves = plot_training(run_dir)
    files = [result.model, run_dir / "run.yaml", run_dir / "log.jsonl", *([curves] if curves else [])]
    return {
        "model": str(run_dir), "epoch": result.epoch, "n_epochs": result.n_epochs, "scores": result.scores,
        "seconds": result.seconds, "files": [str(file) for file in files],
    }  # fmt: skip


def estimate_training(
    project: Path, *, config: RunConfig | None = None, on_progress: OnProgress = no_progress
) -> dict[str, Any]:
    """A few worst-case steps and one evaluation, thrown away: how fast, how much memory, how long all of it takes.

    Returns:
        ``device``, ``images_per_s``, ``memory_mb``, ``micro_batch``, ``evaluate_s`` (per image), ``steps``, ``hours``.
    """
    from shoal.training.trial import try_training

    config = config or load_config()
    found = read_project(project, exclude=config.dataset.exclude)
    trial = try_training(found, config, on_progress=on_progress)
    return {
        "device": trial.device, "images_per_s": trial.images_per_s, "memory_mb": trial.peak_memory_mb,
        "micro_batch": trial.micro_batch, "evaluate_s": trial.evaluate_s, "steps": trial.n_steps,
        "hours": trial.seconds / 3600,
    }  # fmt: skip


def export_model(path: Path, *, size: str, dest: Path | None = None) -> Path:
    """Write a network as ``<model>.onnx`` for other programs; it takes shrunk uint8 frames, its metadata say the rest.

    Args:
        path: as ``find_model``.
        size: of the frames, e.g. 1296x972.
        dest: folder of the file; None = beside the model.

    Raises:
        CheckpointError: no model there.
        ConfigError: a size that is none, or a package is missing.
    """
    from shoal.models.checkpoint import load_model
    from shoal.models.runtime.choose import lacks
    from shoal.models.runtime.onnx import export_onnx

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ConfigError(f"expected the size of the frames as WIDTHxHEIGHT, got '{size}'", hint="--size 1296x972")
    model = load_model(find_model(path))
    if missing := lacks("onnx", model.device):
        raise ConfigError(f"expected what ONNX files need, {missing}", hint="pip install 'shoal[onnx]'")
    source = find_model(path).resolve()
    name = source.parent.name if source.name in FILES else source.stem
    target = (dest or source.parent) / f"{name}.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, lambda aside: export_onnx(model, aside, size=(int(height), int(width))))
    return target


def describe_training(found: dict[str, Any]) -> str:
    """``train``'s or ``estimate_training``'s result in words."""
    if "hours" in found:
        hours = found["hours"]
        long = f"{hours:.1f} hours" if hours >= 2 else f"{hours * 60:.1f} minutes"
        return (
            f"{found['device']}: {found['images_per_s']:.1f} images/s, {found['memory_mb']:.0f} MB at most, "
            f"{found['micro_batch']} crops at a time, {found['evaluate_s']:.2f} s per evaluated image; "
            f"all {found['steps']} steps with their evaluations take about {long}"
        )
    scores = found["scores"]
    words = f"trained {found['epoch']} epochs in {found['seconds'] / 60:.1f} minutes"
    if "rmse" in scores:
        words += f"; test frames: error {scores['rmse']:.2f} px, mAP {scores['mAP']:.1f}, mAR {scores['mAR']:.1f}"
    return words
