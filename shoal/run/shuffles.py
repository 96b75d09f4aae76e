"""DLC's shuffles trained and evaluated by shoal: settings from DLC's files, results in DLC's files."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal.config.run import RunConfig
from shoal.errors import CheckpointError, ConfigError, ProjectError, Stopped
from shoal.io.dlc.config_file import DlcConfig, read_config
from shoal.io.dlc.project import read_project
from shoal.io.dlc.pytorch_config import (
    NETS,
    graph_in,
    kept_limbs,
    read_pytorch_config,
    set_kept_limbs,
    update_pytorch_config,
    write_pytorch_config,
)
from shoal.io.dlc.pytorch_settings import to_run_config
from shoal.io.dlc.shuffles import Shuffle, find_shuffle, list_snapshots, shuffle_split
from shoal.io.dlc.training_set import write_model_folder
from shoal.run.models import models_folder
from shoal.types import OnProgress, Project, no_progress

if TYPE_CHECKING:
    from shoal.training.pose import Recipe

log = logging.getLogger(__name__)

TIME = "%Y-%m-%d %H:%M:%S"
HUB = ("huggingface.co", 443)


def train_shuffle(
    root: Path,
    index: int = 1,
    fraction_index: int = 0,
    *,
    updates: Mapping[str, Any] | None = None,
    snapshot: Path | None = None,
    keep_heads: bool = True,
    config: RunConfig | None = None,
    on_progress: OnProgress = no_progress,
    fresh: bool = False,
) -> Path:
    """Train a shuffle as its ``pytorch_config.yaml`` says; snapshots, train.txt and learning_stats.csv lie beside it.

    shoal's own state is in ``<project>/shoal/models/<shuffle>``: the same call goes on with an interrupted training,
    bit for bit; a finished one, or one with other settings, is replaced after saying so.

    Args:
        root: the project folder or its config.yaml.
        index: shuffle number.
        fraction_index: position in ``TrainingFraction``.
        updates: dotted keys of pytorch_config.yaml to set first; they are written into the file.
        snapshot: train ``epochs`` more from this snapshot.
        keep_heads: False: take only the snapshot's backbone; it may be of other bodyparts.
        config: settings that DLC's file does not have (device, pretrained weights, ...); None = defaults, and
            pretrained weights if they can be had.
        on_progress: called with ("images" | "train" | "evaluate", done, total).
        fresh: start again in any case.

    Returns:
        The snapshot to go on with: the best one, else the last.

    Raises:
        ProjectError: no such shuffle, its split is lost, or labels that do not fit.
        ConfigError: settings that cannot work.
        CheckpointError: a snapshot that cannot be used.
        Stopped: a signal came; the training was saved.
    """
    from shoal.run.plots import plot_training
    from shoal.training import pose
    from shoal.training.dlc_files import ShuffleFiles

    dlc = read_config(root)
    shuffle = find_shuffle(root, index, fraction_index)
    content, settings = _settings(dlc, shuffle, updates or {}, config or RunConfig())
    project = project_of(dlc, content)
    split = shuffle_split(project, shuffle)
    run_dir = models_folder(project.root) / shuffle.name
    snapshot = snapshot or (Path(str(content["resume_training_from"])) if content.get("resume_training_from") else None)
    recipe, settings = _start(
        snapshot, settings, run_dir, content, keep_heads=keep_heads, choose_weights=config is None
    )
    files = ShuffleFiles(
        shuffle.train_folder, run_dir, content.get("runner", {}).get("snapshots") or {},
        n_epochs=settings.train.epochs, keep=snapshot.name if snapshot else "",
    )  # fmt: skip
    recipe = replace(recipe, on_epoch=files, scores_of={"is_single": not dlc.is_multi})
    with pose.log_file(shuffle.train_folder / "train.txt", "%(asctime)s %(message)s", TIME):
        asked = pose.asked_for(project, settings, split, recipe)
        fresh = _begin(run_dir, shuffle, asked, settings.train.epochs, fresh=fresh, keep=snapshot is not None)
        if fresh and (snapshot is None or not keep_heads) and len(kept_limbs(content)) < len(graph_in(content)):
            set_kept_limbs(
                shuffle.folder, content, range(len(graph_in(content)))
            )  # chosen for the network that is replaced
        log.info("Using %d images and %d for testing", len(split[0]), len(split[1]))
        log.info("\nStarting pose model training...\n%s", 50 * "-")
        result = pose.train(
            project, run_dir, settings, split=split, recipe=recipe, on_progress=on_progress, fresh=fresh
        )
    if result.stopped_by:
        raise Stopped(
            f"training stopped by {result.stopped_by} at epoch {result.epoch} of {result.n_epochs}; it is saved"
            f"\nwhere: {run_dir}",
            hint="the same call goes on from here", signal_name=result.stopped_by,
        )  # fmt: skip
    plot_training(run_dir)
    return list_snapshots(shuffle.train_folder)[-1].path


def evaluate_shuffle(
    root: Path,
    index: int = 1,
    fraction_index: int = 0,
    *,
    snapshots: int | str | Sequence[str] | None = None,
    plotting: str = "",
    per_keypoint: bool = False,
    pcutoff: float | None = None,
    keypoints: Sequence[str] = (),
    device: str | None = None,
    show_errors: bool = True,
    on_progress: OnProgress = no_progress,
) -> list[dict[str, Any]]:
    """Measure snapshots of a shuffle on its training and test images; writes ``evaluation-results-pytorch``.

    Args:
        root: the project folder or its config.yaml.
        index: shuffle number.
        fraction_index: position in ``TrainingFraction``.
        snapshots: see ``select_snapshots``; None = ``snapshotindex`` of config.yaml.
        plotting: draw all images: ``bodypart`` or ``individual`` (what has a colour of its own); empty = none.
        per_keypoint: write the errors of each keypoint, too.
        pcutoff: confidence for ``rmse_pcutoff``; None = config.yaml's.
        keypoints: names to judge; empty = all.
        device: as in ``compute.device``.
        show_errors: log the figures.
        on_progress: called with ("evaluate" | "plot", done, total).

    Returns:
        Per snapshot: ``scorer``, ``snapshot``, ``figures`` by DLC's names, ``text`` (what they mean), ``files``.

    Raises:
        ProjectError: no such shuffle, its split is lost, unreadable images.
        CheckpointError: no such snapshot.
    """
    from shoal.io.dlc.shuffles import select_snapshots
    from shoal.run.shuffle_scores import choose_used_limbs, evaluate_snapshot

    dlc = read_config(root)
    shuffle = find_shuffle(root, index, fraction_index)
    which = dlc.content.get("snapshotindex", -1) if snapshots is None else snapshots
    chosen = select_snapshots(shuffle, -1 if which is None else which)
    content = read_pytorch_config(shuffle.config_path)
    project = project_of(dlc, content)
    unknown = [name for name in keypoints if name not in (*project.skeleton.keypoints, *project.skeleton.unique)]
    if unknown:
        raise ConfigError(
            f"expected bodyparts of the project, got {', '.join(unknown)}\nwhere: comparison_bodyparts",
            hint=f"there are {', '.join((*project.skeleton.keypoints, *project.skeleton.unique))}",
        )
    asked = pcutoff if pcutoff is not None else dlc.content.get("pcutoff", 0.6)
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 <= asked <= 1:
        raise ConfigError(f"expected a number from 0 to 1, got {asked!r}\nwhere: pcutoff")
    settings, _ = to_run_config(content, RunConfig())
    name = device or usable_device(settings, content).compute.device
    choose_used_limbs(shuffle, chosen[-1], content, project, device=name, on_progress=on_progress)
    return [
        evaluate_snapshot(
            dlc, shuffle, snapshot, content, project,
            plotting=plotting, per_keypoint=per_keypoint, pcutoff=float(asked), keypoints=keypoints, device=name,
            show_errors=show_errors, on_progress=on_progress,
        )
        for snapshot in chosen
    ]  # fmt: skip


def project_of(dlc: DlcConfig, content: Mapping[str, Any]) -> Project:
    """The project as the network of a configuration sees it.

    Raises:
        ProjectError: the configuration is of other bodyparts or individuals.
    """
    project = read_project(dlc.path)
    heads = content["model"].get("heads") or {}
    meta = content.get("metadata") or {}
    unique = project.skeleton.unique if "unique_bodypart" in heads else ()
    for name, ours in (
        ("bodyparts", project.skeleton.keypoints), ("unique_bodyparts", unique), ("individuals", project.individuals)
    ):  # fmt: skip
        theirs = meta.get(name)
        if theirs is not None and [str(n) for n in theirs] != list(ours):
            raise ProjectError(
                f"expected {name} {', '.join(map(str, theirs)) or 'none'} as this shuffle was made, "
                f"got {', '.join(ours) or 'none'}\nwhere: {dlc.path}",
                hint="make a new shuffle of the project as it is now",
            )
    labels = project.labels
    if not unique and project.skeleton.unique:
        labels = tuple(replace(label, unique_xy=label.unique_xy[:0]) for label in labels)
    return replace(
        project, skeleton=replace(project.skeleton, unique=unique), labels=labels, has_identity="identity" in heads
    )


def usable_device(settings: RunConfig, content: Mapping[str, Any]) -> RunConfig:
    """Without a GPU, ``runner.gpus`` (not an explicit ``device``) gives way to what there is."""
    import torch

    asked = settings.compute.device
    if not asked.startswith("cuda") or torch.cuda.is_available() or content.get("device", "auto") != "auto":
        return settings
    log.warning("runner.gpus asks for %s, but there is no GPU that can be used here", asked)
    return settings.model_copy(update={"compute": settings.compute.model_copy(update={"device": "auto"})})


def _settings(
    dlc: DlcConfig, shuffle: Shuffle, updates: Mapping[str, Any], base: RunConfig
) -> tuple[dict[str, Any], RunConfig]:
    """pytorch_config.yaml with the updates, written back, and what it means; one warning for all that does not act."""
    path = shuffle.config_path
    if not path.is_file():
        net_type = str(dlc.content.get("default_net_type") or "resnet_50")
        log.warning("shuffle %d has no pytorch_config.yaml; a new one is made for %s", shuffle.index, net_type)
        write_model_folder(dlc, shuffle.folder, net_type)
    content = read_pytorch_config(path)
    update_pytorch_config(content, updates)
    settings, missing = to_run_config(content, base)
    if missing:
        log.warning("not supported in pytorch_config.yaml, and left out: %s", "; ".join(missing))
    if updates:
        write_pytorch_config(path, content)
    return content, usable_device(settings, content)


def _start(
    snapshot: Path | None,
    settings: RunConfig,
    run_dir: Path,
    content: Mapping[str, Any],
    *,
    keep_heads: bool,
    choose_weights: bool,
) -> tuple[Recipe, RunConfig]:
    """Limbs, first weights and first epoch."""
    from shoal.models.dlc_snapshots import read_snapshot
    from shoal.training.pose import Recipe

    edges = np.array(graph_in(content), np.int64).reshape(-1, 2)
    train, model = settings.train, settings.model
    if snapshot is not None:
        saved = read_snapshot(_renamed(snapshot))
        epoch = int((saved.get("metadata") or {}).get("epoch") or 0)
        train = train.model_copy(update={"start_epoch": epoch, "epochs": epoch + train.epochs})
        log.info("going on from %s for %d epochs", snapshot.name, train.epochs - epoch)
        weights, origin = saved["model"], f"epoch {epoch} of a snapshot"
        if not keep_heads:
            weights = {name: value for name, value in weights.items() if name.startswith("backbone.")}
            origin = f"backbone of {origin}"
        optimizer = saved.get("optimizer") if keep_heads else None
        if optimizer is None:
            log.info("no optimizer state is taken from %s, a new optimizer starts", snapshot.name)
        recipe = Recipe(edges=edges, weights=weights, new_heads=not keep_heads, optimizer=optimizer, origin=origin)
    else:
        recipe = Recipe(edges=edges)
        if choose_weights:
            model = model.model_copy(update={"pretrained": _pretrained(model.name, run_dir)})
    return recipe, settings.model_copy(update={"train": train, "model": model})


def _renamed(snapshot: Path) -> Path:
    """A best snapshot that was overtaken since has the name of a regular one."""
    if not snapshot.is_file() and "-best-" in snapshot.name:
        other = snapshot.with_name(snapshot.name.replace("-best", ""))
        return other if other.is_file() else snapshot
    return snapshot


def _pretrained(name: str, run_dir: Path) -> str:
    """ImageNet weights as DLC starts from, if they can be had; an unfinished training keeps what it began with."""
    import timm

    from shoal.models.checkpoint import read_checkpoint
    from shoal.models.weights import load_backbone

    if (run_dir / "last.pt").is_file():
        try:
            return str(read_checkpoint(run_dir / "last.pt")["training"]["asked"]["model"]["pretrained"])
        except (CheckpointError, KeyError, TypeError):
            pass
    backbone = NETS[name][1]
    try:
        socket.create_connection(HUB, timeout=5).close()
        net = (
            timm.create_model(backbone, features_only=True)
            if name.startswith("hrnet")
            else timm.create_model(backbone, num_classes=0)
        )
        load_backbone(net, backbone, "timm")
    except (OSError, CheckpointError) as error:
        log.warning(
            "no pretrained weights of %s (%s): training starts from random ones and needs more epochs; a snapshot "
            "(snapshot_path) or model.pretrained=FILE starts better", backbone, " ".join(str(error).split())[:100],
        )  # fmt: skip
        return ""
    return "timm"


def _begin(run_dir: Path, shuffle: Shuffle, asked: dict[str, Any], n_epochs: int, *, fresh: bool, keep: bool) -> bool:
    """Whether the training starts at its beginning; says what it replaces and makes room for it."""
    from shoal.models.checkpoint import read_checkpoint
    from shoal.training.dlc_files import replace_snapshots
    from shoal.training.pose import change

    last = run_dir / "last.pt"
    if last.is_file() and not fresh:
        try:
            earlier = read_checkpoint(last)
            problem = change(earlier["training"]["asked"], asked)
            if not problem and earlier["epoch"] < n_epochs:
                log.info("going on with the interrupted training of shuffle %d", shuffle.index)
                return False
            what = problem or f"finished after {earlier['epoch']} epochs"
        except (CheckpointError, KeyError, TypeError) as error:
            what = f"its state cannot be read ({str(error).splitlines()[0]})"
        if not keep:
            log.warning("the earlier training of shuffle %d is replaced: %s", shuffle.index, what)
    if not keep:
        replace_snapshots(shuffle.train_folder, run_dir)
    return True
