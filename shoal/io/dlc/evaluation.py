"""DLC's ``evaluation-results-pytorch`` (dlc_formats.md, 5.3): predictions, tables of figures, labelled images."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray

from shoal.errors import ProjectError
from shoal.io.artifacts import write_atomic
from shoal.io.dlc.config_file import DlcConfig
from shoal.io.dlc.pose_table import SINGLE, PoseTable, read_pose_table, write_pose_table
from shoal.io.dlc.shuffles import Shuffle

INDEX = ("%Training dataset", "Shuffle number", "Training epochs", "Detector epochs (TD only)", "pcutoff")
COMBINED = "CombinedEvaluation-results.csv"
Key = tuple[float, int, int, int, float]
"""A row's index: fraction, shuffle, epochs, -1, pcutoff."""


@dataclass(frozen=True)
class Results:
    """A table of figures.

    Attributes:
        rows: figures by name (``train rmse`` ...) of each key; NaN = nothing to measure.
    """

    rows: Mapping[Key, Mapping[str, float]]


def evaluation_folder(config: DlcConfig, shuffle: Shuffle) -> Path:
    """Where DLC puts the evaluation of a shuffle."""
    root = config.path.parent / "evaluation-results-pytorch"
    return root / f"iteration-{shuffle.iteration}" / shuffle.name


def write_predictions(
    path: Path,
    *,
    scorer: str,
    images: Sequence[tuple[str, str]],
    individuals: Sequence[str],
    keypoints: Sequence[str],
    poses: Float[ndarray, "F I K 3"],
    unique: Sequence[str] = (),
    unique_poses: Float[ndarray, "F U 3"] | None = None,
) -> None:
    """Write ``<scorer>.h5``: x, y, likelihood of every animal on every image; NaN = none.

    Args:
        path: ``.h5`` (or ``.csv``).
        scorer: the network's name.
        images: (folder, file) of the F rows, in the order of the merged label table.
        individuals: names of the I columns; empty names in single-animal projects.
        keypoints: K names.
        poses: predictions.
        unique: U names.
        unique_poses: predictions.
    """
    values = np.asarray(poses, np.float32).reshape(len(images), -1)
    columns = [(scorer, i, k, c) for i in individuals for k in keypoints for c in ("x", "y", "likelihood")]
    if len(unique):
        single = np.asarray(unique_poses, np.float32).reshape(len(images), -1)
        values = np.column_stack([values, single])
        columns += [(scorer, SINGLE, k, c) for k in unique for c in ("x", "y", "likelihood")]
    index = tuple(("labeled-data", *image) for image in images)
    table = PoseTable(tuple(columns), index, values)  # type: ignore[arg-type]
    write_atomic(path, lambda aside: write_pose_table(aside, table, key="df_with_missing", layout="fixed"))


def read_predictions(
    path: Path,
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[str, ...], Float32[ndarray, "F I K 3"]]:
    """(images, individuals, keypoints, x y likelihood) of an evaluation's h5; unique keypoints are left out.

    Raises:
        ProjectError: not such a file.
    """
    try:
        table = read_pose_table(path)
        scorer = table.names("scorer")[0]
        images = tuple((row[-2], row[-1]) for row in table.index)
    except (OSError, ValueError, IndexError) as error:
        raise ProjectError(f"expected predictions on labelled images, got: {error}\nwhere: {path}") from error
    individuals = tuple(name for name in table.names("individuals") if name != SINGLE)
    keypoints = tuple(dict.fromkeys(c[2] for c in table.columns if c[1] != SINGLE))
    poses = table.gather(scorer, individuals=individuals, bodyparts=keypoints, coords=("x", "y", "likelihood"))
    return images, individuals, keypoints, poses.astype(np.float32)


def write_results(path: Path, results: Results) -> None:
    """Write a table of figures, rounded to 2 decimals; an empty cell = nothing to measure."""
    names = list(dict.fromkeys(name for row in results.rows.values() for name in row))
    lines = [[*INDEX, *names]]
    for key, row in results.rows.items():
        lines.append([*(str(k) for k in key), *(_cell(row.get(name, np.nan)) for name in names)])
    write_atomic(path, _csv(lines))


def read_results(path: Path) -> Results:
    """A table of figures of any DLC 3 version.

    Raises:
        ProjectError: not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            head, *lines = list(csv.reader(file))
        at = [head.index(name) for name in INDEX]
        rows: dict[Key, dict[str, float]] = {}
        for line in lines:
            fraction, shuffle, epochs, detector, pcutoff = (float(line[i]) for i in at)
            key = (fraction, int(shuffle), int(epochs), int(detector), pcutoff)
            rows[key] = {
                name: float(cell) if cell else float("nan")
                for i, (name, cell) in enumerate(zip(head, line, strict=True))
                if i not in at
            }
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, IndexError) as error:
        raise ProjectError(
            f"expected a table of evaluation results, got: {error}\nwhere: {path}",
            hint="move this file away; new results start a new table",
        ) from error
    return Results(rows)


def merge_results(path: Path, results: Results) -> None:
    """Add rows to ``CombinedEvaluation-results.csv``; other rows stay, the same key is replaced.

    Raises:
        ProjectError: the file is no such table; it is left as it is.
    """
    before = read_results(path).rows if path.is_file() else {}
    write_results(path, Results({**before, **results.rows}))


def write_keypoint_results(path: Path, names: Sequence[str], train: Sequence[float], test: Sequence[float]) -> None:
    """Write ``<scorer>-keypoint-results.csv``: mean errors in px, full precision."""
    lines = [["", *names]]
    for title, errors in (("Train error (px)", train), ("Test error (px)", test)):
        lines.append([title, *(repr(float(e)) if np.isfinite(e) else "" for e in errors)])
    write_atomic(path, _csv(lines))


def _cell(value: float) -> str:
    return str(round(float(value), 2)) if np.isfinite(value) else ""


def _csv(lines: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue().encode()


def plot_labels(
    path: Path,
    image: UInt8[ndarray, "H W 3"],
    truth: Float[ndarray, "A K 2"],
    predicted: Float[ndarray, "I K 3"],
    *,
    color_by: str = "bodypart",
    colormap: str = "rainbow",
    pcutoff: float = 0.6,
    size: float = 12,
    alpha: float = 0.7,
) -> None:
    """Draw labels (+) and predictions (. if sure, x if not) as DLC's LabeledImages have them, one px per image px.

    Args:
        path: PNG to write.
        image: RGB.
        truth: labels, NaN = none.
        predicted: x, y, confidence; NaN = none.
        color_by: ``bodypart`` or ``individual``: what has a colour of its own.
        colormap: matplotlib's name; an unknown one means rainbow.
        pcutoff: confidence from which a prediction is a dot.
        size: of the markers, points.
        alpha: opacity.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = image.shape[:2]
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(image, extent=(0, width, height, 0), interpolation="nearest")
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.axis("off")
    by_animal = color_by == "individual"
    n = max(len(truth), len(predicted)) if by_animal else truth.shape[1]
    known = colormap if colormap in matplotlib.colormaps else "rainbow"
    colors = matplotlib.colormaps[known].resampled(max(n, 1))
    for points, is_truth in ((truth, True), (predicted, False)):
        for a in range(points.shape[0]):
            for k in range(points.shape[1]):
                x, y = points[a, k, :2]
                if np.isfinite(x) and np.isfinite(y):
                    mark = "+" if is_truth else "." if points[a, k, 2] >= pcutoff else "x"
                    axis.plot(x, y, mark, ms=size, alpha=alpha, color=colors(a if by_animal else k))
    write_atomic(path, lambda aside: figure.savefig(aside, dpi=100, metadata={"Software": "shoal"}))
