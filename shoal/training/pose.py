"""The pose recipe: a project becomes a network in a run folder."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor, nn

from shoal.config.model import ModelConfig
from shoal.config.run import RunConfig, save_config
from shoal.config.train import TrainConfig
from shoal.errors import ConfigError, ProjectError
from shoal.models.checkpoint import LoadedModel, ModelInfo, build_model, read_checkpoint, save_checkpoint
from shoal.models.device import describe, pick_device
from shoal.models.dlc_snapshots import fit_weights, renumber_optimizer
from shoal.models.limbs import choose_edges
from shoal.models.pose import PoseNet
from shoal.models.targets import Grid, Labels, Targets, light_loss, light_targets
from shoal.models.targets_dlc import dlc_loss, dlc_targets
from shoal.training.augment import augment
from shoal.training.data import TrainImage, cache_images, draw_patches, epoch_rows, read_image
from shoal.training.evaluate import evaluate
from shoal.training.loop import EpochEnd, fit
from shoal.training.settings import label_length, resolve
from shoal.training.split import Split, split_project
from shoal.types import OnProgress, Project, no_progress

logger = logging.getLogger(__name__)

RUN_FILES = ("run.yaml", "last.pt", "best.pt", "log.jsonl", "train.log")


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a DLC shuffle adds to the plain recipe.

    Attributes:
        edges: (E, 2) limbs to learn; None = as ``config.model.edges`` says.
        weights: state dict of the network's body to start from; None = as ``config.model.pretrained`` says.
        new_heads: ``weights`` are those of the backbone alone.
        optimizer: state of the optimizer that made ``weights``, numbered in their order; None = a new one starts.
        origin: where these weights come from; an unfinished training goes on only from the same.
        on_epoch: called at the end of each epoch instead of a log line.
        scores_of: keyword arguments of ``evaluate``.
    """

    edges: Int64[ndarray, "E 2"] | None = None
    weights: dict[str, Tensor] | None = None
    new_heads: bool = False
    optimizer: Mapping[str, Any] | None = None
    origin: str = ""
    on_epoch: Callable[[EpochEnd], None] | None = None
    scores_of: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a training left behind.

    Attributes:
        run_dir: holds run.yaml, last.pt, best.pt, log.jsonl, train.log.
        model: file to predict with.
        epoch: epochs done.
        n_epochs: epochs asked for.
        scores: of the last evaluation on the test frames; empty without any.
        seconds: trained, all sessions together.
        stopped_by: signal that ended it early, empty if it is finished.
    """

    run_dir: Path
    model: Path
    epoch: int
    n_epochs: int
    scores: dict[str, float]
    seconds: float
    stopped_by: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.n_epochs


@dataclass(frozen=True, eq=False)
class PoseTask:
    """What ``fit`` trains: see ``loop.Task``."""

    project: Project
    images: list[TrainImage]
    test: Int64[ndarray, "N"]
    info: ModelInfo
    grid: Grid
    run_dir: Path
    device: torch.device
    extra: dict[str, Any]
    fill: int
    recipe: Recipe
    on_progress: OnProgress

    @property
    def n_steps(self) -> int:
        """Steps per epoch; batches are always full."""
        train = self.info.config.train
        return max(1, round(len(self.images) * train.crops_per_image / train.batch_size))

    def batch(self, epoch: int, step: int) -> tuple[Tensor, Targets]:
        """Crops and targets of one step."""
        train = self.info.config.train
        size = train.batch_size
        rows = epoch_rows(len(self.images), self.n_steps * size, seed=train.seed, epoch=epoch)
        chosen = [self.images[row] for row in rows[step * size : (step + 1) * size]]
        patches = draw_patches(
            chosen, crop_size(train), train.augment, counters=(train.seed, epoch, step),
            mirror=_mirror(self.info), fill=self.fill, where=(train.crop_method, train.crop_shift),
        )  # fmt: skip
        pixels, labels = augment(patches, crop_size(train), device=self.device, pin=train.pin_memory)
        edges = torch.from_numpy(np.array(self.info.edges)).to(self.device)
        if self.info.config.model.is_dlc:
            return pixels, dlc_targets(labels, self.grid, edges, sigma=train.heat_sigma_px)
        return pixels, light_targets(
            labels, self.grid, edges, sigma=train.heat_sigma_px, limb_width=train.limb_width_px
        )  # fmt: skip

    def losses(self, net: nn.Module, batch: tuple[Tensor, Targets], rows: slice) -> dict[str, Tensor]:
        """Loss terms of some crops of a batch."""
        pixels, targets = batch
        maps = net.at_scale(pixels[rows])  # type: ignore[operator]
        with torch.autocast(self.device.type, enabled=False):
            if maps.is_dlc:
                return dlc_loss(maps, targets.rows(rows))
            return light_loss(maps, targets.rows(rows), limb_weight=self.info.config.train.limb_weight)

    def evaluate(self, net: nn.Module, epoch: int) -> dict[str, float]:
        """Scores on the test frames."""
        if not len(self.test):
            return {}
        assert isinstance(net, PoseNet)
        model = LoadedModel(net, self.info, "", self.device, epoch)
        found = evaluate(
            model, self.project, self.test, self.info.config, on_progress=self.on_progress, **self.recipe.scores_of
        )
        is_shuffle = self.recipe.on_epoch is not None and self.info.config.model.is_dlc
        return found.figures | (self._test_losses(net) if is_shuffle else {})

    @torch.no_grad()
    def _test_losses(self, net: nn.Module) -> dict[str, float]:
        """Mean loss terms of the test images, ``eval.heat`` ...: one by one, whole and unchanged, as DLC does."""
        edges = torch.from_numpy(np.array(self.info.edges)).to(self.device)
        sums: dict[str, float] = {}
        for row in self.test:
            label = self.project.labels[int(row)]
            image = torch.from_numpy(read_image(label.image)).to(self.device).permute(2, 0, 1)[None].float()
            maps = net.at_scale(image)  # type: ignore[operator]
            arrays = (label.xy.astype(np.float32), label.unique_xy.astype(np.float32), label.individual.copy())
            labels = Labels(*(torch.from_numpy(array)[None].to(self.device) for array in arrays))
            targets = dlc_targets(labels, Grid.of(maps), edges, sigma=self.info.config.train.heat_sigma_px)
            for name, value in dlc_loss(maps, targets).items():
                sums[f"eval.{name}"] = sums.get(f"eval.{name}", 0.0) + float(value) / len(self.test)
        return sums

    def epoch_done(self, end: EpochEnd) -> None:
        """Say how the epoch went."""
        if self.recipe.on_epoch is not None:
            self.recipe.on_epoch(end)
        else:
            shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in end.line.items())
            logger.info("%s", "  ".join(shown))

    def save(self, name: str, weights: dict[str, Tensor], epoch: int, scores: dict, training: dict | None) -> None:
        """Write a model file into the run folder."""
        training = None if training is None else training | self.extra
        save_checkpoint(self.run_dir / name, weights, self.info, epoch=epoch, scores=scores, training=training)


def train(
    project: Project,
    run_dir: Path,
    config: RunConfig,
    *,
    split: Split | None = None,
    recipe: Recipe | None = None,
    on_progress: OnProgress = no_progress,
    fresh: bool = False,
) -> TrainResult:
    """Train a pose network, or go on where an earlier call was stopped.

    Args:
        project: what is trained on.
        run_dir: folder of this network, made if absent.
        config: all settings; ``dataset``, ``model``, ``train``, ``predict``, ``assemble``, ``compute`` are used.
        split: (train, test) positions in ``project.labels``; None = as ``config.dataset`` says.
        recipe: what differs from the plain recipe.
        on_progress: called with ("images" | "train" | "evaluate", done, total).
        fresh: start again, replacing what is there.

    Raises:
        ConfigError: settings that cannot work, or other ones than those of the unfinished training.
        ProjectError: no usable labels, or other ones than those of the unfinished training.
        CheckpointError: damaged files, missing pretrained weights.
        ResourceError: no such device, not enough memory.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    if fresh:
        for name in RUN_FILES:
            (run_dir / name).unlink(missing_ok=True)
    recipe = recipe or Recipe()
    with log_file(run_dir / "train.log"):
        rows = split or split_project(project, config)
        last = run_dir / "last.pt"
        earlier = read_checkpoint(last) if last.exists() else None
        asked = asked_for(project, config, rows, recipe)
        if earlier and (problem := change(earlier["training"]["asked"], asked)):
            kind = ConfigError if problem.startswith("expected") else ProjectError
            hint = "--fresh starts again, or choose another name for the new network"
            raise kind(f"{problem}\nwhere: {run_dir}", hint=hint)
        task, net = prepare(project, rows, run_dir, config, on_progress=on_progress, asked=asked, recipe=recipe)
        settings = task.info.config
        device = task.device
        logger.info("training on %s", describe(device, settings.train.precision))
        save_config(settings, run_dir / "run.yaml")
        _log_start(task, rows, earlier)
        fitted = fit(
            net, task, settings.train,
            run_dir=run_dir, device=device, resume=earlier["training"] if earlier else None,
            learned=None if earlier else _learned(recipe, net), on_progress=on_progress,
        )  # fmt: skip
        state = fitted.state
        if fitted.stopped_by:
            logger.info("stopped by %s at epoch %d; the same command goes on", fitted.stopped_by, state.epoch)
        best = run_dir / "best.pt"
        return TrainResult(
            run_dir, best if best.exists() else last, state.epoch, settings.train.epochs, dict(state.scores),
            state.seconds, fitted.stopped_by,
        )  # fmt: skip


def _learned(recipe: Recipe, net: PoseNet) -> Mapping[int, Mapping[str, Any]] | None:
    """What the optimizer of a snapshot knew of each parameter, by shoal's numbers; None if it cannot be used."""
    if recipe.optimizer is None or recipe.weights is None or recipe.new_heads:
        return None
    ours = [name for name, _ in net.body.named_parameters()]
    try:
        saved = renumber_optimizer(recipe.optimizer, [name for name in recipe.weights if name in set(ours)], ours)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        logger.info("the optimizer state of the snapshot cannot be used, a new one starts: %s", error)
        return None
    logger.info("the optimizer goes on with its state in the snapshot")
    return saved["state"]


def prepare(
    project: Project,
    rows: Split,
    run_dir: Path,
    config: RunConfig,
    *,
    on_progress: OnProgress,
    asked: dict[str, Any],
    recipe: Recipe | None = None,
) -> tuple[PoseTask, PoseNet]:
    """Task and network, both seeded, on the device.

    Args:
        project: the labels.
        rows: (train, test) positions in them.
        run_dir: where the task saves.
        config: as the user gave it; automatic values are filled in here.
        on_progress: called per image.
        asked: stored in last.pt, see ``asked_for``.
        recipe: what differs from the plain recipe.

    Raises:
        ProjectError: nothing to train on.
    """
    labels = [project.labels[int(row)] for row in rows[0]]
    if not any(np.isfinite(label.xy).any() or np.isfinite(label.unique_xy).any() for label in labels):
        raise ProjectError(
            f"expected labelled keypoints to train on, got none in {len(labels)} images\nwhere: {project.root}",
            hint="`shoal check` says which labels can be used",
        )
    config, recipe = resolve(config, labels), recipe or Recipe()
    device = pick_device(config.compute)
    chosen = choose_edges(project.skeleton, labels, config.model.edges) if recipe.edges is None else recipe.edges
    info = ModelInfo(
        skeleton=project.skeleton,
        edges=chosen,
        individuals=project.individuals,
        has_identity=project.has_identity,
        body_length=label_length(labels),
        config=config,
    )
    torch.manual_seed(config.train.seed)
    net = build_model(info, pretrained=recipe.weights is None)
    if recipe.weights is not None:
        own = net.body.state_dict() if recipe.new_heads else {}
        heads = {name: value for name, value in own.items() if not name.startswith("backbone.")}
        fit_weights(net.body, recipe.weights | heads, where=f"where: {recipe.origin}")
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = cache_images(labels, scale=config.model.input_scale, on_progress=on_progress)
    task = PoseTask(
        project=project,
        images=images,
        test=rows[1],
        info=info,
        grid=_grid(net, crop_size(config.train), device),
        run_dir=run_dir,
        device=device,
        extra={"asked": asked},
        fill=int(net.mean.mean().round()),  # type: ignore[operator]
        recipe=recipe,
        on_progress=on_progress,
    )
    return task, net


def crop_size(config: TrainConfig) -> tuple[int, int]:
    """Width and height of training crops, px."""
    return config.crop_px, config.crop_height_px or config.crop_px


def _crops(config: TrainConfig) -> str:
    width, height = crop_size(config)
    shown = str(width) if width == height else f"{width} x {height}"
    return f"{'whole images' if config.crop_method == 'whole' else 'crops'} of {shown}"


def _mirror(info: ModelInfo) -> ndarray:
    """Keypoint that each becomes in a mirror image."""
    pairs = info.config.train.augment.mirror
    if pairs is None:
        return np.asarray(info.skeleton.mirror)
    mirror = np.arange(info.skeleton.n_keypoints)
    for a, b in pairs:
        if not (0 <= a < len(mirror) and 0 <= b < len(mirror)):
            raise ConfigError(
                f"expected pairs of keypoint numbers below {len(mirror)}, got {[a, b]}\nwhere: train.augment.mirror"
            )
        mirror[a], mirror[b] = b, a
    return mirror


@torch.no_grad()
def _grid(net: PoseNet, crop: tuple[int, int], device: torch.device) -> Grid:
    """Map sizes, found by asking the network."""
    was_training = net.training
    maps = net.eval().at_scale(torch.zeros(1, 3, crop[1], crop[0], device=device))
    net.train(was_training)
    return Grid.of(maps)


def asked_for(project: Project, config: RunConfig, rows: Split, recipe: Recipe | None = None) -> dict[str, Any]:
    """What a network depends on: going on with anything else would not be the same training."""
    digest = hashlib.sha256()
    for part in rows:
        for row in part:
            label = project.labels[int(row)]
            for array in (label.xy, label.unique_xy, label.individual):
                digest.update(np.ascontiguousarray(array).tobytes())
            digest.update(f"{label.video}/{label.image.name}".encode())
        digest.update(b"|")
    harmless = {
        "eval_every",
        "save_minutes",
        "eval_last",
        "log_every",
        "workers",
        "pin_memory",
        "key_score",
        "key_ascending",
    }
    if config.train.schedule != "one_cycle":
        harmless.add("epochs")  # the rate of an epoch does not depend on how many there are
    recipe = recipe or Recipe()
    return {
        "labels": digest.hexdigest(),
        "keypoints": [*project.skeleton.keypoints, *project.skeleton.unique],
        "model": config.model.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json", exclude=harmless),
        "limbs": None if recipe.edges is None else np.asarray(recipe.edges).tolist(),
        "origin": recipe.origin,
    }


def change(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What makes ``now`` another training than ``before``; empty if it goes on."""
    for key, value in (("keypoints", None), ("labels", None), ("limbs", None), ("origin", "")):
        if before.get(key, value) != now[key]:
            return f"{key} changed since this training began"
    defaults: dict[str, Any] = {"model": ModelConfig(), "train": TrainConfig()}
    for section in ("model", "train"):
        usual = defaults[section].model_dump(mode="json")
        for key, value in now[section].items():
            old = before[section].get(key, usual[key])  # settings that came later had this value before
            if key == "augment":
                old = {**usual["augment"], **old}
            if old != value:
                return f"expected {section}.{key} = {old} as this training began, got {value}"
    return ""


def _log_start(task: PoseTask, rows: Split, earlier: dict[str, Any] | None) -> None:
    train, model = task.info.config.train, task.info.config.model
    logger.info(
        "%d images to train on, %d to test on; body length %.0f px, scale %.3g, %s px, %d limbs",
        len(rows[0]), len(rows[1]), task.info.body_length, model.input_scale, _crops(train), len(task.info.edges),
    )  # fmt: skip
    if earlier:
        logger.info("going on after epoch %d", earlier["epoch"])
    logger.info("%d epochs of %d steps with %d crops each", train.epochs, task.n_steps, train.batch_size)


@contextmanager
def log_file(
    path: Path, form: str = "%(asctime)s %(levelname)s %(message)s", when: str | None = None
) -> Iterator[None]:
    """Everything that shoal logs also goes into ``path``."""
    root = logging.getLogger("shoal")
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter(form, when))
    level = root.level
    root.addHandler(handler)
    if root.getEffectiveLevel() > logging.INFO:
        root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
