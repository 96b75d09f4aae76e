"""Pictures of a training and of tracks (matplotlib, no display needed)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shoal.io.artifacts import write_atomic
from shoal.io.overlay import color_of
from shoal.run.folder import fps_of, open_folder, read_animals, read_card
from shoal.types import Tracks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS = 20_000  # drawn per individual; more cannot be told apart
MAX_ROWS = 60  # tracks of their own row in the timeline


def plot_training(run_dir: Path) -> Path | None:
    """Loss and test mAP over epochs: ``curves.png`` in the model's folder; None without a log."""
    log = run_dir / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    losses = [(line["epoch"], line["loss"]) for line in lines if "loss" in line]
    scores = [(line["epoch"], line["mAP"]) for line in lines if "mAP" in line]
    if not losses:
        return None
    figure = _figure(7, 4)
    axis = figure.subplots()
    axis.plot(*zip(*losses, strict=True), color="tab:gray", label="loss")
    axis.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    if scores:
        other = axis.twinx()
        other.plot(*zip(*scores, strict=True), color="tab:blue", marker=".", label="test mAP")
        other.set_ylim(0, 100)
        other.set_ylabel("mAP on test frames", color="tab:blue")
    return _save(figure, run_dir / "curves.png")


def plot_run(run_dir: Path, dest: Path | None = None) -> list[Path]:
    """``timeline.png`` and ``trajectories.png`` of a tracked run.

    Raises:
        ArtifactError: not tracked yet.
    """
    about, names, tracks = open_folder(run_dir), read_card(run_dir).individuals, read_animals(run_dir)
    folder = Path(dest or run_dir / "export")
    size = (about["width"], about["height"])
    return [
        _save(_timeline(tracks, names, float(fps_of(about))), folder / "timeline.png"),
        _save(_trajectories(tracks, names, size), folder / "trajectories.png"),
    ]


def _timeline(tracks: Tracks, names: Sequence[str], fps: float) -> Figure:
    """When each track is seen: one row per track, in the colours of the labelled video."""
    n_rows = min(tracks.n_tracks, MAX_ROWS)
    figure = _figure(10, 1.2 + 0.28 * max(n_rows, 1))
    axis = figure.subplots()
    for number in range(n_rows):
        frames = tracks.poses.frame[tracks.track == number]
        cuts = np.flatnonzero(np.diff(frames) > 1)
        first = frames[np.r_[0, cuts + 1]] if len(frames) else frames
        last = frames[np.r_[cuts, len(frames) - 1]] if len(frames) else frames
        bars = [(a / fps, (b - a + 1) / fps) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
        axis.broken_barh(bars, (number - 0.4, 0.8), color=_rgb(number))
    axis.set_yticks(range(n_rows), [_name(names, number) for number in range(n_rows)])
    axis.set(xlim=(tracks.span[0] / fps, tracks.span[1] / fps), ylim=(max(n_rows, 1) - 0.5, -0.5), xlabel="seconds")
    left_out = tracks.n_tracks - n_rows
    axis.set_title(f"when each animal is tracked{f' ({left_out} more tracks not shown)' if left_out else ''}")
    return figure


def _trajectories(tracks: Tracks, names: Sequence[str], size: tuple[int, int]) -> Figure:
    """Where each track went, in frame pixels."""
    width, height = size
    figure = _figure(9, 9 * height / width + 0.6)
    axis = figure.subplots()
    seen = np.asarray(np.isfinite(tracks.poses.xy).all(axis=2))
    total = np.where(seen[..., None], tracks.poses.xy, 0).sum(axis=1)
    centre = total / np.maximum(seen.sum(axis=1), 1)[:, None]
    for number in range(min(tracks.n_tracks, MAX_ROWS)):
        rows = np.flatnonzero((tracks.track == number) & (seen.sum(axis=1) > 0))
        rows = rows[:: max(1, len(rows) // MAX_POINTS)]
        if not len(rows):
            continue
        jumps = np.flatnonzero(np.diff(tracks.poses.frame[rows]) > 1) + 1
        for part in np.split(centre[rows], jumps):
            axis.plot(part[:, 0], part[:, 1], color=_rgb(number), linewidth=0.8)
        axis.plot([], [], color=_rgb(number), label=_name(names, number))
    axis.set(xlim=(0, width), ylim=(height, 0), xlabel="x (px)", ylabel="y (px)", aspect="equal", facecolor="0.25")
    if 0 < tracks.n_tracks <= 20:
        axis.legend(fontsize=7, loc="upper right", ncols=2)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> Path:
    write_atomic(path, lambda aside: figure.savefig(aside, metadata={"Software": "shoal"}))
    return path


def _rgb(number: int) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in color_of(number))


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else f"individual{number + 1}"
