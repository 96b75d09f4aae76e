"""The split that a training uses; without torch, so that the command line can show it at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from shoal.config.run import RunConfig
from shoal.errors import ConfigError, ProjectError
from shoal.io.dlc.training_set import read_shuffles, shuffle_split
from shoal.stages.split import split_labels
from shoal.types import Project

Split = tuple[Int64[ndarray, "_"], Int64[ndarray, "_"]]
"""Positions in ``project.labels`` to train on and to hold out."""


def split_project(project: Project, config: RunConfig) -> Split:
    """(train, test) positions in ``project.labels`` as ``config.dataset`` says.

    Raises:
        ConfigError: a split that cannot be made.
        ProjectError: the shuffle is not there, or its split is lost.
    """
    settings = config.dataset
    if settings.split != "shuffle":
        folder = np.array([label.video for label in project.labels])
        frame = np.array([label.frame for label in project.labels], np.int64)
        return split_labels(folder, frame, settings)
    shuffles = {s.index: s for s in read_shuffles(project.root)}
    if settings.shuffle is None:
        raise ConfigError(
            f"expected a shuffle number, got none (there are: {sorted(shuffles) or 'none'})\nwhere: dataset.shuffle",
            hint="--set dataset.shuffle=N, or dataset.split=random",
        )
    if settings.shuffle not in shuffles:
        raise ProjectError(
            f"expected shuffle {settings.shuffle}, got {sorted(shuffles) or 'none'}\nwhere: {project.root}",
            hint="--set dataset.shuffle=N, or dataset.split=random",
        )
    return shuffle_split(project, shuffles[settings.shuffle])
