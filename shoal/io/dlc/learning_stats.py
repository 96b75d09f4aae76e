"""DLC's ``learning_stats.csv``: losses and scores of each epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from shoal.errors import ProjectError
from shoal.io.artifacts import write_atomic

STEP = "step"


def read_learning_stats(path: Path) -> dict[int, dict[str, float]]:
    """Epoch -> metrics by name; empty if there is no file.

    Raises:
        ProjectError: not such a file.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {
            int(row[STEP]): {k: float(v) for k, v in row.items() if k and k != STEP and v not in ("", None)}
            for row in rows
        }
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise ProjectError(f"expected DeepLabCut's learning statistics, got: {error!r}\nwhere: {path}") from error


def write_learning_stats(path: Path, rows: Mapping[int, Mapping[str, float]]) -> None:
    """Write all rows, by epoch; columns sorted by name, a cell is empty where an epoch lacks the metric."""
    names = sorted({name for row in rows.values() for name in row})
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([STEP, *names])
    for step in sorted(rows):
        writer.writerow([step, *(rows[step].get(name, "") for name in names)])
    write_atomic(path, buffer.getvalue().encode())
