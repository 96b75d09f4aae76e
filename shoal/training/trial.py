"""What a training would cost, found by doing a little of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shoal.config.run import RunConfig
from shoal.models.device import describe
from shoal.training.loop import State, gradients, peak_memory_mb
from shoal.training.pose import PoseTask, prepare
from shoal.training.settings import resolve
from shoal.training.split import Split, split_project
from shoal.types import OnProgress, Project, no_progress

N_STEPS = 6
"""Steps tried; the first two build kernels and buffers and are not timed."""


@dataclass(frozen=True)
class Trial:
    """Cost of a training on this machine.

    Attributes:
        device: in words.
        images_per_s: crops trained per second.
        peak_memory_mb: of the GPU, else of this process.
        micro_batch: crops that fit through the network together; smaller than the batch if memory is short.
        evaluate_s: seconds per evaluated image.
        n_steps: steps of the whole training.
        seconds: expected for all epochs, evaluations included.
    """

    device: str
    images_per_s: float
    peak_memory_mb: float
    micro_batch: int
    evaluate_s: float
    n_steps: int
    seconds: float


def try_training(
    project: Project, config: RunConfig, *, split: Split | None = None, on_progress: OnProgress = no_progress
) -> Trial:
    """A few steps on the images with most animals and one evaluation by an untrained network; writes no run folder.

    Args:
        project: what would be trained on.
        config: as for ``train``.
        split: as for ``train``.
        on_progress: called with ("images" | "trial", done, total).

    Raises:
        ConfigError, ProjectError, CheckpointError, ResourceError: as ``train`` would.
    """
    rows = split or split_project(project, config)
    config = resolve(config, [project.labels[int(row)] for row in rows[0]])  # by all images, not by those tried
    task, net = prepare(project, _crowded(project, rows), Path(), config, on_progress=on_progress, asked={})
    train = task.info.config.train
    state = State(micro=train.batch_size)
    net.train()
    times: list[float] = []
    for step in range(N_STEPS):
        begun = time.perf_counter()
        gradients(net, task, task.batch(0, step % task.n_steps), train, state, device=task.device)
        times.append(time.perf_counter() - begun)
        on_progress("trial", step + 1, N_STEPS)
    step_s = float(np.median(times[2:]))
    evaluate_s = _evaluation(task, net)
    n_epoch = max(1, round(len(rows[0]) * train.crops_per_image / train.batch_size))
    n_steps = train.epochs * n_epoch
    n_evaluated = len(rows[1]) * (train.epochs // train.eval_every)
    return Trial(
        device=describe(task.device, train.precision),
        images_per_s=train.batch_size / step_s,
        peak_memory_mb=peak_memory_mb(task.device),
        micro_batch=state.micro,
        evaluate_s=evaluate_s,
        n_steps=n_steps,
        seconds=n_steps * step_s + n_evaluated * evaluate_s,
    )


def _crowded(project: Project, rows: Split) -> Split:
    """The training images with most labels, as many as are needed, and one image to evaluate."""
    labelled = [int(np.isfinite(project.labels[int(row)].xy).sum()) for row in rows[0]]
    most = np.sort(rows[0][np.argsort(labelled, kind="stable")[-64:]])
    return most, (rows[1] if len(rows[1]) else rows[0])[:1]


def _evaluation(task: PoseTask, net: torch.nn.Module) -> float:
    """Seconds per image; the first one compiles and does not count."""
    net.eval()
    task.evaluate(net, 0)
    begun = time.perf_counter()
    task.evaluate(net, 0)
    return (time.perf_counter() - begun) / max(len(task.test), 1)
