"""Pictures of a training and of tracks (matplotlib, no display needed)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from shoal.io.artifacts import write_atomic
from shoal.io.dlc.pose_table import SINGLE
from shoal.io.dlc.results import read_tracks_file
from shoal.io.overlay import color_of, map_colors
from shoal.run.edits import read_names
from shoal.run.folder import fps_of, open_folder, read_animals
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
    figure = blank_figure(7, 4)
    axis = figure.subplots()
    axis.plot(*zip(*losses, strict=True), color="tab:gray", label="loss")
    axis.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    if scores:
        other = axis.twinx()
        other.plot(*zip(*scores, strict=True), color="tab:blue", marker=".", label="test mAP")
        other.set_ylim(0, 100)
        other.set_ylabel("mAP on test frames", color="tab:blue")
    return save_figure(figure, run_dir / "curves.png")


def plot_run(run_dir: Path, dest: Path | None = None) -> list[Path]:
    """``timeline.png`` and ``trajectories.png`` of a tracked run.

    Raises:
        ArtifactError: not tracked yet.
    """
    about, names, tracks = open_folder(run_dir), read_names(run_dir), read_animals(run_dir)
    folder = Path(dest or run_dir / "export")
    size = (about["width"], about["height"])
    return [
        save_figure(_timeline(tracks, names, float(fps_of(about))), folder / "timeline.png"),
        save_figure(_trajectories(tracks, names, size), folder / "trajectories.png"),
    ]


def plot_trajectories(
    tracks_file: Path,
    folder: Path,
    *,
    suffix: str = "",
    keypoints: Sequence[str] | None = None,
    individuals: Sequence[str] | None = None,
    pcutoff: float = 0.6,
    colormap: str = "rainbow",
    imagetype: str = ".png",
    resolution: int = 100,
    linewidth: float = 1.0,
) -> list[Path]:
    """DLC's four pictures of each individual: ``{trajectory,plot,plot-likelihood,hist}<suffix><individual>.png``.

    Where its keypoints went, x (solid) and y (dashed) over frames, likelihood over frames, and a histogram of steps.

    Args:
        tracks_file: h5 or csv.
        folder: where the pictures go (DLC: ``plot-poses/<video stem>``).
        suffix: ``_filtered`` for filtered tracks.
        keypoints: to show; None = all.
        individuals: to show; None = all.
        pcutoff: keypoints below are not drawn.
        colormap: of matplotlib; spread over the keypoints.
        imagetype: file suffix.
        resolution: dots per inch.
        linewidth: points.

    Raises:
        ProjectError: no tracks file.
        InputError: no such colour map.
    """
    content = read_tracks_file(tracks_file)
    n_frames = content.tracks.span[1]
    shown = [(name, content.tracks.track == i, content.tracks.poses) for i, name in enumerate(content.names)]
    if content.skeleton.unique:
        shown.append((SINGLE, np.ones(len(content.unique), bool), content.unique))
    written: list[Path] = []
    for name, rows, poses in shown:
        if individuals is not None and name not in individuals:
            continue
        parts = content.skeleton.unique if poses is content.unique else content.skeleton.keypoints
        wanted = [k for k, part in enumerate(parts) if keypoints is None or part in keypoints]
        dense = np.full((n_frames, len(parts), 3), np.nan)
        dense[poses.frame[rows], :, :2] = poses.xy[rows]
        dense[poses.frame[rows], :, 2] = poses.confidence[rows]
        colors = [(r / 255, g / 255, b / 255) for r, g, b in map_colors(colormap, len(parts))]
        figures = _four(dense[:, wanted], [parts[k] for k in wanted], [colors[k] for k in wanted], pcutoff, linewidth)
        for kind, figure in figures.items():
            figure.set_dpi(resolution)
            written.append(save_figure(figure, folder / f"{kind}{suffix}{name}{imagetype}"))
    return written


def _four(
    dense: Float64[ndarray, "F K 3"],
    names: Sequence[str],
    colors: Sequence[tuple[float, float, float]],
    pcutoff: float,
    linewidth: float,
) -> dict[str, Figure]:
    """The four pictures of one individual."""
    figures = {"trajectory": blank_figure(6, 4.5), "plot": blank_figure(10, 4), "plot-likelihood": blank_figure(10, 3)}
    figures["hist"] = blank_figure(6, 4)
    axes = {kind: figure.subplots() for kind, figure in figures.items()}
    frames = np.arange(len(dense))
    for k, (name, color) in enumerate(zip(names, colors, strict=True)):
        sure = dense[:, k, 2] >= pcutoff
        xy = np.where(sure[:, None], dense[:, k, :2], np.nan)
        axes["trajectory"].plot(xy[:, 0], xy[:, 1], ".", color=color, markersize=2 * linewidth, label=name)
        axes["plot"].plot(frames, xy[:, 0], "-", color=color, linewidth=linewidth, label=name)
        axes["plot"].plot(frames, xy[:, 1], "--", color=color, linewidth=linewidth)
        axes["plot-likelihood"].plot(frames, dense[:, k, 2], "-", color=color, linewidth=linewidth, label=name)
        steps = np.diff(xy, axis=0)
        if np.isfinite(steps).any():
            limit = max(float(np.nanpercentile(np.abs(steps), 99.5)), 1e-6)
            steps = np.clip(steps[np.isfinite(steps)], -limit, limit)
            axes["hist"].hist(steps, bins=60, histtype="step", color=color, linewidth=linewidth, label=name)
    axes["trajectory"].set(xlabel="x (px)", ylabel="y (px)")
    axes["trajectory"].invert_yaxis()
    axes["plot"].set(xlabel="frame", ylabel="x (solid), y (dashed), px")
    axes["plot-likelihood"].set(xlabel="frame", ylabel="likelihood", ylim=(0, 1.02))
    axes["hist"].set(xlabel="step between frames (px)", ylabel="count")
    for axis in axes.values():
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=6, ncols=2)
    return figures


def _timeline(tracks: Tracks, names: Sequence[str], fps: float) -> Figure:
    """When each track is seen: one row per track, in the colours of the labelled video."""
    n_rows = min(tracks.n_tracks, MAX_ROWS)
    figure = blank_figure(10, 1.2 + 0.28 * max(n_rows, 1))
    axis = figure.subplots()
    for number in range(n_rows):
        frames = tracks.poses.frame[tracks.track == number]
        cuts = np.flatnonzero(np.diff(frames) > 1)
        first = frames[np.r_[0, cuts + 1]] if len(frames) else frames
        last = frames[np.r_[cuts, len(frames) - 1]] if len(frames) else frames
        bars = [(a / fps, (b - a + 1) / fps) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
        axis.broken_barh(bars, (number - 0.4, 0.8), color=color_rgb(number))
    axis.set_yticks(range(n_rows), [track_name(names, number) for number in range(n_rows)])
    axis.set(xlim=(tracks.span[0] / fps, tracks.span[1] / fps), ylim=(max(n_rows, 1) - 0.5, -0.5), xlabel="seconds")
    left_out = tracks.n_tracks - n_rows
    axis.set_title(f"when each animal is tracked{f' ({left_out} more tracks not shown)' if left_out else ''}")
    return figure


def _trajectories(tracks: Tracks, names: Sequence[str], size: tuple[int, int]) -> Figure:
    """Where each track went, in frame pixels."""
    width, height = size
    figure = blank_figure(9, 9 * height / width + 0.6)
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
            axis.plot(part[:, 0], part[:, 1], color=color_rgb(number), linewidth=0.8)
        axis.plot([], [], color=color_rgb(number), label=track_name(names, number))
    axis.set(xlim=(0, width), ylim=(height, 0), xlabel="x (px)", ylabel="y (px)", aspect="equal", facecolor="0.25")
    if 0 < tracks.n_tracks <= 20:
        axis.legend(fontsize=7, loc="upper right", ncols=2)
    return figure


def blank_figure(width: float, height: float) -> Figure:
    """A white figure, inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> Path:
    """Write a picture; the same picture gives the same bytes."""
    write_atomic(path, lambda aside: figure.savefig(aside, metadata={"Software": "shoal"}))
    return path


def color_rgb(number: int) -> tuple[float, ...]:
    """A track's colour in labelled videos, 0-1."""
    return tuple(channel / 255 for channel in color_of(number))


def track_name(names: Sequence[str], number: int) -> str:
    """As the files of tracks name it."""
    return names[number] if number < len(names) else f"individual{number + 1}"
