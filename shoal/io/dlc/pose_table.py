"""One DLC pose file (h5 or csv: labels, tracks, predictions) as plain arrays.

Every DLC pose file is a data frame whose columns are (scorer, [individuals,] bodyparts, coords) and whose
rows are image paths or frame numbers. All layout quirks end here; the other modules see ``PoseTable``.
"""

from __future__ import annotations

import csv
import errno
import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import tables
from jaxtyping import Float64, Int64
from numpy import ndarray

logger = logging.getLogger(__name__)

LEVELS = ("scorer", "individuals", "bodyparts", "coords")
SINGLE = "single"
"""Individual under which DLC files unique bodyparts."""
Layout = Literal["fixed", "table"]
KEYS = ("df_with_missing", "tracks", "predictions")


@dataclass(frozen=True, eq=False)
class PoseTable:
    """A DLC data frame.

    Attributes:
        columns: one (scorer, individual, bodypart, coord) per column; individual is "" in files of
            single-animal projects, which lack that level.
        index: rows: tuples of path parts, or 1-tuples with the text of a frame number.
        values: (rows, columns), NaN = missing.
    """

    columns: tuple[tuple[str, str, str, str], ...]
    index: tuple[tuple[str, ...], ...]
    values: Float64[ndarray, "R C"]

    def names(self, level: str, *, scorer: str | None = None) -> tuple[str, ...]:
        """Distinct names of one level, in file order; of one scorer's columns only, if given."""
        at = LEVELS.index(level)
        return tuple(dict.fromkeys(c[at] for c in self.columns if scorer is None or c[0] == scorer))

    def gather(
        self, scorer: str, *, individuals: Sequence[str], bodyparts: Sequence[str], coords: Sequence[str]
    ) -> Float64[ndarray, "R I K D"]:
        """Values by name, NaN where the file has no such column."""
        at: dict[tuple[str, ...], int] = {column: i for i, column in enumerate(self.columns)}
        missing = self.values.shape[1]
        wanted = [
            at.get((scorer, individual, part, coord), missing)
            for individual in individuals
            for part in bodyparts
            for coord in coords
        ]
        padded = np.column_stack([self.values, np.full(len(self.values), np.nan)])
        return padded[:, np.array(wanted, np.intp)].reshape(
            len(self.values), len(individuals), len(bodyparts), len(coords)
        )


def read_pose_table(path: Path, rows: tuple[int, int] | None = None) -> PoseTable:
    """Read an h5 or csv file of DLC; ``rows`` (first, after the last) of an h5 file only, if given.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it opens but is no DLC pose file.
    """
    return _read_csv(path) if path.suffix.lower() == ".csv" else _read_h5(path, rows)


def row_frames(path: Path) -> Int64[ndarray, "R"] | None:
    """Frame number of each row of an h5 file, ascending; None where only reading all of the file tells.

    Raises:
        OSError: the file cannot be opened.
    """
    if path.suffix.lower() == ".csv":
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pd.HDFStore(str(path), mode="r") as store:
                key = _key(store)
                if not store.get_storer(key).is_table:
                    return None
                frames = np.asarray(store.select_column(key, "index"))
    except OSError:
        raise
    except Exception as error:  # as below; what is wrong is said when the table is read
        logger.debug("%s: %s", path, error)
        return None
    is_usable = frames.dtype.kind in "iu" and (len(frames) < 2 or bool((np.diff(frames) > 0).all()))
    return frames.astype(np.int64) if is_usable else None


def split_points(values: Float64[ndarray, "... 3"]) -> tuple[Float64[ndarray, "... 2"], Float64[ndarray, "..."]]:
    """(x, y, likelihood) as DLC stores them -> positions with NaN and confidences with 0 where a keypoint is missing.

    DLC marks missing keypoints by NaN and missing animals by -1 in all three.
    """
    xy, confidence = values[..., :2], values[..., 2]
    seen = ~np.isnan(xy).any(axis=-1) & ~((xy == -1).all(axis=-1) & ~(confidence >= 0))
    confidence = np.where(seen, np.where(np.isnan(confidence), 1.0, confidence), 0.0)
    return np.where(seen[..., None], xy, np.nan), confidence


def split_path(text: str) -> tuple[str, ...]:
    """Parts of a path in either notation: DLC files keep the separators of the machine that wrote them."""
    return tuple(part for part in text.replace("\\", "/").split("/") if part)


def _key(store: pd.HDFStore) -> str:
    keys = [key.lstrip("/") for key in store.keys()]  # noqa: SIM118 - not a dict
    if not keys:
        raise ValueError("expected a pandas table, got an HDF5 file without one")
    return next((k for k in KEYS if k in keys), keys[0])


def _read_h5(path: Path, rows: tuple[int, int] | None = None) -> PoseTable:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pd.HDFStore(str(path), mode="r") as store:
                key = _key(store)
                frame = store.get(key) if rows is None else store.select(key, start=rows[0], stop=rows[1])
    except (OSError, ValueError):
        raise
    # PyTables and pandas raise all kinds of errors on damaged files; which one says nothing to the caller
    except Exception as error:
        raise ValueError(f"not readable as a pandas table: {type(error).__name__}: {error}") from error
    if not isinstance(frame, pd.DataFrame) or frame.columns.nlevels not in (3, 4):
        raise ValueError("expected a data frame with 3 or 4 column levels (scorer, [individuals,] bodyparts, coords)")
    columns = tuple(_column(tuple(str(v) for v in c)) for c in frame.columns)
    # old annotation tools left object columns behind
    values = frame.to_numpy() if all(d.kind in "fiu" for d in frame.dtypes) else _numbers(frame)
    cells = [row if isinstance(row, tuple) else (row,) for row in frame.index]
    index = tuple(_row([str(v) for v in row]) for row in cells)
    return PoseTable(columns, index, np.asarray(values, np.float64).reshape(len(index), len(columns)))


def _numbers(frame: pd.DataFrame) -> Float64[ndarray, "R C"]:
    parts = [pd.to_numeric(frame.iloc[:, i], errors="coerce") for i in range(frame.shape[1])]
    return np.column_stack([np.asarray(p, np.float64) for p in parts])


def _column(names: tuple[str, ...]) -> tuple[str, str, str, str]:
    return (names[0], *names[-3:]) if len(names) == 4 else (names[0], "", *names[1:])  # pyright: ignore[reportReturnType]


def _row(cells: list[str]) -> tuple[str, ...]:
    return tuple(part for cell in cells for part in split_path(cell))


def _read_csv(path: Path) -> PoseTable:
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = [row for row in csv.reader(file) if row]
    except csv.Error as error:
        raise ValueError(f"not readable as csv: {error}") from error
    heads: dict[str, list[str]] = {}
    while rows and (level := rows[0][0].strip().lower()) in LEVELS:
        heads[level] = rows.pop(0)
    if not {"scorer", "bodyparts", "coords"} <= heads.keys():
        raise ValueError("expected header rows scorer, bodyparts, coords")
    # the path is one cell ("labeled-data/x/img.png") or three; their header cells are empty
    coords = heads["coords"]
    first = next((i for i in range(1, len(coords)) if coords[i].strip()), len(coords))
    n = len(coords) - first
    blank = [""] * len(coords)
    columns = tuple(
        (heads["scorer"][i], heads.get("individuals", blank)[i], heads["bodyparts"][i], coords[i])
        for i in range(first, len(coords))
    )
    index = tuple(_row(row[:first]) for row in rows)
    values = np.array([_floats(row[first:], n) for row in rows], np.float64).reshape(len(rows), n)
    return PoseTable(columns, index, values)


def _floats(cells: list[str], n: int) -> list[float]:
    out = [np.nan] * n
    for i, cell in enumerate(cells[:n]):
        try:
            out[i] = float(cell)
        except ValueError:  # an empty cell, or a word that somebody typed into a spreadsheet
            continue
    return out


def write_pose_table(path: Path, table: PoseTable, *, key: str, layout: Layout) -> None:
    """Write a table as DLC does.

    Args:
        path: ``.h5`` or ``.csv``.
        table: numeric 1-tuples in ``index`` become an integer index, path tuples a multi-index.
        key: HDF5 key: ``df_with_missing`` or ``tracks``.
        layout: pandas' "fixed" (labels) or "table" (results).
    """
    write_pose_parts(path, [table], key=key, layout=layout)


def write_pose_parts(path: Path, parts: Iterable[PoseTable], *, key: str, layout: Layout = "table") -> None:
    """As ``write_pose_table``, of a table that comes in pieces of rows with equal columns: only one is in memory.

    A table whose column names do not fit the table layout is written as fixed.
    """
    if path.suffix == ".csv":
        for i, part in enumerate(parts):
            _write_csv(path, part, is_first=i == 0)
        return
    pieces = iter(parts)
    first = _data_frame(next(pieces))
    rest = (_data_frame(part) for part in pieces)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTables on long attributes and names with spaces
            # pandas writes nothing at all for a table without rows
            if layout == "fixed" or not len(first) or not _append(path, first, rest, key):
                _write_fixed(path, first, rest, key)
            _mark_version(path, key)
            _read_again(path, key)
    except (tables.HDF5ExtError, tables.NoSuchNodeError) as error:  # it does not say why: a full disk looks like this
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path)) from error


def _write_csv(path: Path, table: PoseTable, *, is_first: bool) -> None:
    """The bytes that pandas writes, ten times as fast where rows have numbers: a value is its ``repr`` or nothing."""
    if not all(len(row) == 1 for row in table.index):  # paths, which may need quotes
        _data_frame(table).to_csv(path, mode="w" if is_first else "a", header=is_first)
        return
    if is_first:
        _data_frame(replace(table, index=(), values=table.values[:0])).to_csv(path)
    with path.open("a", encoding="utf-8") as file:
        for (number,), row in zip(table.index, table.values, strict=True):
            file.write(f"{number},{','.join(map(repr, row.tolist()))}\n".replace("nan", ""))


def _data_frame(table: PoseTable) -> pd.DataFrame:
    single = all(c[1] == "" for c in table.columns)
    names = [(c[0], *c[2:]) if single else c for c in table.columns]
    levels = [level for level in LEVELS if not (single and level == "individuals")]
    columns = pd.MultiIndex.from_tuples(names, names=levels)
    index: Any
    if all(len(row) == 1 for row in table.index):
        index = pd.Index([int(row[0]) for row in table.index], dtype=np.int64)
    else:
        index = pd.MultiIndex.from_tuples(table.index)
    return pd.DataFrame(table.values, columns=columns, index=index)


def _write_fixed(path: Path, first: pd.DataFrame, rest: Iterable[pd.DataFrame], key: str) -> None:
    """Pandas writes ``first``; where there is more, its arrays of rows and values become ones that grow."""
    first.to_hdf(path, key=key, mode="w", format="fixed")
    more = next(iter(rest), None)
    if more is None:
        return
    with tables.open_file(str(path), "a") as file:
        grown = {name: _growing(file, f"/{key}/{name}") for name in ("axis1", "block0_values")}
        while more is not None:
            grown["axis1"].append(more.index.to_numpy())
            grown["block0_values"].append(more.to_numpy())
            more = next(iter(rest), None)


def _growing(file: tables.File, place: str) -> tables.EArray:
    """An array of a file made one that rows can be appended to, with everything that pandas noted about it."""
    old: Any = file.get_node(place)
    noted = {name: old._v_attrs[name] for name in old._v_attrs._v_attrnamesuser}
    values, parent, name = old.read(), old._v_parent, old._v_name
    file.remove_node(old)
    new = file.create_earray(parent, name, obj=values)
    for key, value in noted.items():
        new._v_attrs[key] = value
    return new


def _append(path: Path, first: pd.DataFrame, rest: Iterable[pd.DataFrame], key: str) -> bool:
    """Write a table row by row; False if the names of its columns do not fit."""
    with pd.HDFStore(str(path), mode="w") as store:
        try:
            store.append(key, first, format="table", nan_rep="nan", index=False)
        except tables.HDF5ExtError as error:
            if "header message is too large" not in str(error):
                raise
            # the table layout keeps all column names in one 64 KiB attribute; fixed has no such limit and reads alike
            logger.info("%s: %d columns do not fit the table layout, written as fixed", path.name, first.shape[1])
            return False
        for frame in rest:
            store.append(key, frame, format="table", nan_rep="nan", index=False)
        store.create_table_index(key, columns=True)
    return True


def _mark_version(path: Path, key: str) -> None:
    """Pandas 3 leaves the version out and pandas 2 (DLC's) then takes the file for a prehistoric one."""
    with tables.open_file(str(path), "a") as file:
        file.get_node(f"/{key}")._v_attrs.pandas_version = "0.15.2"


def _read_again(path: Path, key: str) -> None:
    """Open the file and read its last row: HDF5 closes a file that did not fit on the disk without a word."""
    with tables.open_file(str(path)) as file:
        leaves: Any = file.walk_nodes(f"/{key}", "Leaf")
        for leaf in leaves:
            if leaf.nrows:
                leaf.read(start=leaf.nrows - 1)
