"""How well a network does on labelled frames: predict, assemble, measure. The same code in training and in the CLI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from shoal.config.run import RunConfig
from shoal.errors import ProjectError
from shoal.io.dlc.config_file import read_config
from shoal.models.checkpoint import LoadedModel
from shoal.models.detect import detect
from shoal.stages.assemble import assemble
from shoal.stages.metrics import PoseScores, figures, score_poses
from shoal.training.data import read_image
from shoal.types import (
    Detections,
    FrameBatch,
    LabeledFrame,
    OnProgress,
    Poses,
    Project,
    concatenate,
    no_progress,
)

PCUTOFF = 0.6
"""DLC's default."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions on labelled frames and how good they are. ``frame`` = position in ``rows``.

    Attributes:
        rows: indices into ``project.labels``.
        scores: all figures.
        truth: labelled animals.
        predicted: animals found.
        detections: peaks and limbs they were assembled from.
        unique: (truth, prediction) of the unique keypoints.
    """

    rows: ndarray
    scores: PoseScores
    truth: Poses
    predicted: Poses
    detections: Detections
    unique: tuple[Poses, Poses]

    @property
    def figures(self) -> dict[str, float]:
        """The overall figures by name."""
        return figures(self.scores)


def evaluate(
    model: LoadedModel,
    project: Project,
    rows: Sequence[int] | ndarray,
    config: RunConfig,
    *,
    pcutoff: float | None = None,
    is_single: bool | None = None,
    on_progress: OnProgress = no_progress,
) -> Evaluation:
    """Predict on labelled frames and compare.

    Works with any network, trained or not: caps bound what an untrained one emits.

    Args:
        model: the network.
        project: the labels; keypoints must be the model's.
        rows: indices into ``project.labels``.
        config: ``predict`` and ``assemble`` are used.
        pcutoff: confidence for ``rmse_pcutoff``; None = the project's.
        is_single: see ``score_poses``; None = the project has one individual.
        on_progress: called per image.

    Raises:
        ProjectError: an image cannot be read.
    """
    labels = [project.labels[int(row)] for row in rows]
    k = model.skeleton.n_keypoints
    seen: list[tuple[Detections, Poses]] = []
    for frame, label in enumerate(labels):
        batch = FrameBatch(np.array([frame]), read_image(label.image)[None])
        detections, unique, _ = detect(model, batch, config.predict, feature_size=0)
        seen.append((detections, unique))
        on_progress("evaluate", frame + 1, len(labels))
    detections = concatenate([d for d, _ in seen]) if seen else Detections.empty((0, 0), model.info.n_named)
    unique = concatenate([u for _, u in seen]) if seen else Poses.empty((0, 0), len(model.skeleton.unique))
    predicted, _ = assemble(detections, model.edges, config.assemble, n_keypoints=k)
    truth, true_unique = truth_poses(labels, n_keypoints=k, n_unique=len(model.skeleton.unique))
    pair = (true_unique, unique) if len(model.skeleton.unique) else None
    scores = score_poses(
        truth, predicted, mirror=model.skeleton.mirror, unique=pair,
        pcutoff=project_pcutoff(project.root) if pcutoff is None else pcutoff,
        is_single=len(project.individuals) == 1 if is_single is None else is_single,
    )  # fmt: skip
    return Evaluation(np.asarray(rows, np.int64), scores, truth, predicted, detections, (true_unique, unique))


def project_pcutoff(root: Path) -> float:
    """``pcutoff`` of a project's config.yaml; DLC's default where there is none."""
    try:
        value = read_config(root).content.get("pcutoff")
    except ProjectError:
        return PCUTOFF
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else PCUTOFF


def truth_poses(labels: Sequence[LabeledFrame], *, n_keypoints: int, n_unique: int) -> tuple[Poses, Poses]:
    """Labels as tables, ``frame`` = position in ``labels``: (animals, unique keypoints)."""
    span = (0, len(labels))
    counts = [len(label.xy) for label in labels]
    frame = np.repeat(np.arange(len(labels)), counts)
    item = np.concatenate([np.zeros(0, int), *(np.arange(n) for n in counts)])
    xy = np.concatenate([np.zeros((0, n_keypoints, 2)), *(label.xy for label in labels)])
    animals = Poses(frame, item, xy, np.isfinite(xy[..., 0]), np.ones(len(xy)), span)
    rows = np.arange(len(labels) if n_unique else 0)
    unique_xy = np.stack([labels[int(row)].unique_xy for row in rows]) if len(rows) else np.zeros((0, n_unique, 2))
    unique = Poses(rows, np.zeros(len(rows)), unique_xy, np.isfinite(unique_xy[..., 0]), np.ones(len(rows)), span)
    return animals, unique
