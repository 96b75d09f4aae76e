"""Many videos: one that fails neither stops nor hides the others."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from shoal.config.run import RunConfig
from shoal.errors import InputError, PartialFailure, ResourceError, ShoalError, Stopped
from shoal.io.dlc.project import read_project
from shoal.run.clips import Clips, render_clips
from shoal.run.engine import load_engine
from shoal.run.evaluation import evaluate
from shoal.run.models import find_model, train
from shoal.run.render import render
from shoal.run.status import status
from shoal.run.steps import analyze, change_config, export
from shoal.run.videos import expand_videos
from shoal.types import OnProgress, no_progress

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass
class Batch(Generic[T]):
    """What became of each item."""

    results: list[T]
    failures: list[tuple[str, str]]
    errors: list[ShoalError]


def for_each(items: Iterable[Path], work: Callable[[Path], T]) -> Batch[T]:
    """Do ``work`` on every item; errors are gathered, a stop is not.

    Raises:
        Stopped: as soon as the work under way has been brought to an end.
    """
    items, batch = list(items), Batch[T]([], [], [])
    for item in items:
        try:
            batch.results.append(work(item))
        except Stopped:
            raise
        except ShoalError as error:
            if len(items) > 1:  # a single one is raised, not listed
                log.error("%s: %s", item.name, error.message.splitlines()[0])
            batch.failures.append((str(item), error.message.splitlines()[0]))
            batch.errors.append(error)
        except OSError as error:
            reason = f"{error.strerror or error}: {error.filename or item}"
            batch.failures.append((str(item), reason))
            batch.errors.append(ResourceError(f"{reason}\nwhere: {item}", hint="is the disk full, or read-only?"))
        except Exception as error:  # a bug must not cost the other videos of a night
            log.exception("%s: a bug in shoal", item.name)
            batch.failures.append((str(item), f"bug: {type(error).__name__}: {error}"))
            batch.errors.append(ShoalError(f"{type(error).__name__}: {error}\nwhere: {item}", hint="this is a bug"))
    return batch


def raise_failures(batch: Batch[Any]) -> None:
    """Raise the error of a single item as it is, or one that lists all that failed.

    Raises:
        ShoalError: something failed.
    """
    if not batch.failures:
        return
    n = len(batch.failures) + len(batch.results)
    if n == 1:
        raise batch.errors[0]
    raise PartialFailure(
        f"{len(batch.failures)} of {n} failed", batch.failures, hint="the same command tries only these again"
    )


def analyze_videos(
    videos: Iterable[Path],
    model: Path,
    *,
    config: RunConfig,
    dest: Path | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Batch[Path]:
    """Analyze videos with one network.

    Args:
        videos: files and folders.
        model: file or folder of a model, or its project.
        config: settings.
        dest: where run folders go; None = beside the videos.
        overwrite: do everything again.
        on_progress: as ``analyze``; the stage says which of how many videos it is.

    Raises:
        CheckpointError: no model.
        Stopped: a signal came.
    """
    files = expand_videos(videos)
    engine = load_engine(find_model(Path(model)), config)
    began, numbers = time.perf_counter(), itertools.count(1)

    def one(video: Path) -> Path:
        which = f"{next(numbers)}/{len(files)}"
        if len(files) == 1:
            return analyze(video, engine, config=config, dest=dest, overwrite=overwrite, on_progress=on_progress)
        log.info("video %s: %s", which, video)

        def progress(stage: str, done: int, total: int | None) -> None:
            on_progress(f"{stage} {which}", done, total)

        return analyze(video, engine, config=config, dest=dest, overwrite=overwrite, on_progress=progress)

    done = for_each(files, one)
    if len(files) > 1:
        minutes, seconds = divmod(round(time.perf_counter() - began), 60)
        log.info("%d of %d videos analyzed in %d:%02d", len(done.results), len(files), minutes, seconds)
    return done


def summarize(runs: Sequence[Path]) -> str:
    """A line per run: frames, speed of the analysis, tracks."""
    lines = [f"{'frames':>9} {'frames/s':>9} {'tracks':>7}  run"]
    for row in status(runs):
        speed = f"{row['frames'] / row['seconds']:.1f}" if row.get("seconds") else ""
        lines.append(f"{row['frames']:>9} {speed:>9} {row.get('tracks', ''):>7}  {row['run']}")
    return "\n".join(lines)


def render_run(
    run_dir: Path,
    config: Path | None,
    overrides: Sequence[str],
    *,
    video: Path | None = None,
    part: tuple[int, int | None] = (0, None),
    dest: Path | None = None,
    clips: Clips | None = None,
    plots: bool = False,
    on_progress: OnProgress = no_progress,
) -> list[Path]:
    """The labelled video of a run, or clips of it, and its plots if asked for."""
    look = change_config(run_dir, config, overrides).render
    if clips is not None:
        if part != (0, None):
            raise InputError("expected moments (--at) or a part (--start, --stop), got both")
        files = render_clips(run_dir, clips, config=look, video=video, dest=dest, on_progress=on_progress)
    else:
        frames = None if part == (0, None) else (part[0], part[1] if part[1] is not None else 2**62)
        files = [render(run_dir, config=look, video=video, frames=frames, dest=dest, on_progress=on_progress)]
    if plots:
        from shoal.run.plots import plot_run

        files += plot_run(run_dir, dest)
    return files


def run_all(
    project: Path,
    videos: Sequence[Path] = (),
    *,
    name: str = "pose",
    config: RunConfig,
    dest: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> tuple[dict[str, Any], Batch[Path]]:
    """Train if needed, evaluate, then analyze, export and render all videos.

    Args:
        project: the folder or its config.yaml.
        videos: files and folders; empty = the project's own.
        name: of the model.
        config: settings.
        dest: where run folders go; None = beside the videos.
        on_progress: called by every step.

    Returns:
        ``model``, ``evaluation``, ``runs``, ``files``; and what failed.

    Raises:
        ProjectError: nothing to train on.
        Stopped: a signal came.
    """
    trained = train(project, name=name, config=config, on_progress=on_progress)
    judged = evaluate(project, name=name, on_progress=on_progress)
    files = [*trained["files"], *judged["files"]]
    paths = expand_videos(videos) if videos else list(read_project(project).videos)
    engine = load_engine(find_model(Path(trained["model"])), config)

    def one(video: Path) -> Path:
        run_dir = analyze(video, engine, config=config, dest=dest, on_progress=on_progress)
        files.extend(str(file) for file in export(run_dir))
        files.append(str(render(run_dir, config=config.render, on_progress=on_progress)))
        return run_dir

    done = for_each(paths, one)
    return {
        "model": trained["model"], "evaluation": judged, "runs": [str(run) for run in done.results],
        "files": files, "failures": done.failures,
    }, done  # fmt: skip
