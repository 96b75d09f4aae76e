"""Annotation files: ``labeled-data/<folder>/CollectedData_<scorer>.h5`` and ``.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy import ndarray

from shoal.io.dlc.pose_table import LEVELS, SINGLE, PoseTable, read_pose_table, write_pose_table
from shoal.types import Problem, Skeleton

_MANY = 3
"""Differences named one by one before they are only counted."""


@dataclass(frozen=True, eq=False)
class FolderLabels:
    """Annotation of one labeled-data folder.

    Attributes:
        images: (folder, file name) per image, as written in the file (the folder may have an older name).
        xy: (F, I, K, 2) keypoints, NaN = not labelled.
        individual: (I,) index into the project's individuals, -1 for those it does not name.
        unique_xy: (F, U, 2) unique keypoints.
        in_dlc: True if DLC itself would read these labels (it reads h5 only).
    """

    images: tuple[tuple[str, str], ...]
    xy: Float32[ndarray, "F I K 2"]
    individual: Int64[ndarray, "I"]
    unique_xy: Float32[ndarray, "F U 2"]
    in_dlc: bool


def write_labels(
    folder: Path,
    *,
    scorer: str,
    skeleton: Skeleton,
    individuals: Sequence[str],
    images: Sequence[str],
    xy: Float[ndarray, "F A K 2"],
    unique_xy: Float[ndarray, "F U 2"] | None = None,
) -> None:
    """Write ``CollectedData_<scorer>.h5`` and ``.csv`` of a multi-animal project.

    Args:
        folder: ``<project>/labeled-data/<video>``; must exist.
        scorer: the annotator.
        skeleton: gives the names.
        individuals: the project's individuals; animal ``a`` is ``individuals[a]``.
        images: F file names inside the folder; rows are written sorted by name.
        xy: positions in px of the image, NaN = not labelled; missing animals at the end may be left out.
        unique_xy: unique keypoints; None = none labelled.

    Raises:
        ValueError: shapes that do not fit the names.
    """
    xy = np.asarray(xy, np.float64)
    n_images, n_animals, n_keypoints = xy.shape[:3]
    if n_images != len(images) or n_keypoints != skeleton.n_keypoints or n_animals > len(individuals):
        raise ValueError(
            f"write_labels: expected xy ({len(images)}, at most {len(individuals)}, {skeleton.n_keypoints}, 2), "
            f"got {xy.shape}"
        )
    full = np.full((n_images, len(individuals), n_keypoints, 2), np.nan)
    full[:, :n_animals] = xy
    columns = [(scorer, i, k, c) for i in individuals for k in skeleton.keypoints for c in "xy"]
    values = full.reshape(n_images, len(columns))
    if skeleton.unique:
        unique = np.full((n_images, len(skeleton.unique), 2), np.nan) if unique_xy is None else unique_xy
        values = np.column_stack([values, np.asarray(unique, np.float64).reshape(n_images, 2 * len(skeleton.unique))])
        columns += [(scorer, SINGLE, k, c) for k in skeleton.unique for c in "xy"]
    names = [Path(image).name for image in images]
    order = sorted(range(n_images), key=lambda i: names[i])
    index = tuple(("labeled-data", folder.name, names[i]) for i in order)
    table = PoseTable(tuple(columns), index, values[order])
    for suffix in (".h5", ".csv"):
        write_pose_table(folder / f"CollectedData_{scorer}{suffix}", table, key="df_with_missing", layout="fixed")


def read_labels(
    folder: Path, *, scorer: str, skeleton: Skeleton, individuals: Sequence[str]
) -> tuple[FolderLabels | None, tuple[Problem, ...]]:
    """Read one folder's annotation: the h5, or the csv where the h5 cannot be read.

    Args:
        folder: ``<project>/labeled-data/<video>``.
        scorer: the project's scorer; labels by another are left out, as DLC does.
        skeleton: gives the names of keypoints and unique keypoints.
        individuals: the project's individuals.

    Returns:
        The labels, None if there are none that can be used, and all that did not fit.
    """
    where = f"labeled-data/{folder.name}"
    problems: list[Problem] = []
    table, in_dlc = _read_table(folder, scorer, problems)
    if table is None:
        return None, tuple(problems)
    scorers = table.names("scorer")
    if scorer not in scorers:
        what = f"expected labels by '{scorer}' (config.yaml), got '{', '.join(scorers)}'"
        problems.append(Problem(where, what, skipped=True))
        return None, tuple(problems)
    labels = _arrange(
        table, folder, scorer=scorer, skeleton=skeleton, individuals=individuals, in_dlc=in_dlc, problems=problems
    )
    return labels, tuple(problems)


def label_table(folder: Path, *, scorer: str) -> PoseTable | None:
    """One folder's annotation as it is in its file, in full precision; None if it cannot be read."""
    return _read_table(folder, scorer, [])[0]


def _read_table(folder: Path, scorer: str, problems: list[Problem]) -> tuple[PoseTable | None, bool]:
    """The better of h5 and csv, and whether DLC would read it too."""
    where = f"labeled-data/{folder.name}"
    found: dict[str, PoseTable] = {}
    errors: dict[str, str] = {}
    for suffix in (".h5", ".csv"):
        path = folder / f"CollectedData_{scorer}{suffix}"
        if path.is_file():
            try:
                found[suffix] = read_pose_table(path)
            except (OSError, ValueError) as error:
                errors[suffix] = " ".join(str(error).split())[:120] or type(error).__name__
    if not found and not errors:
        others = sorted(p.name for p in folder.glob("CollectedData_*.h5"))
        got = f"got {', '.join(others)}" if others else "got no annotation file"
        problems.append(Problem(where, f"expected CollectedData_{scorer}.h5, {got}", skipped=True))
        return None, False
    for suffix, error in errors.items():
        used = "the csv is used" if found else "no labels are read"
        used = "" if suffix == ".csv" and found else f"; {used}"
        name = f"{where}/CollectedData_{scorer}{suffix}"
        problems.append(Problem(name, f"expected a readable file, got: {error}{used}", skipped=not found))
    if ".h5" not in found and ".h5" not in errors:
        problems.append(
            Problem(where, "expected an h5 file, got only the csv, which is used; DLC would skip the folder")
        )
    if len(found) == 2 and (difference := _difference(found[".h5"], found[".csv"])):
        problems.append(Problem(where, f"h5 and csv disagree ({difference}); the h5 is used, as DLC does"))
    return found.get(".h5", found.get(".csv")), ".h5" in found


def _difference(h5: PoseTable, text: PoseTable) -> str:
    """In a few words, how the csv differs from the h5; empty if it does not."""
    if set(h5.index) != set(text.index):
        extra = len(set(h5.index) - set(text.index)), len(set(text.index) - set(h5.index))
        return f"{extra[0]} images only in the h5, {extra[1]} only in the csv"
    shared = [c for c in h5.columns if c in set(text.columns) and c[3] != "likelihood"]
    if not shared:
        return "no common column"
    at_h5, at_csv = {c: i for i, c in enumerate(h5.columns)}, {c: i for i, c in enumerate(text.columns)}
    rows = {row: i for i, row in enumerate(text.index)}
    ours = h5.values[:, [at_h5[c] for c in shared]]
    theirs = text.values[[rows[row] for row in h5.index]][:, [at_csv[c] for c in shared]]
    # csv files are rounded by spreadsheets; a hundredth of a pixel is no disagreement
    same = np.isclose(ours, theirs, rtol=0, atol=0.01, equal_nan=True)
    return "" if same.all() else f"{int((~same).any(axis=1).sum())} of {len(same)} images"


def _arrange(
    table: PoseTable,
    folder: Path,
    *,
    scorer: str,
    skeleton: Skeleton,
    individuals: Sequence[str],
    in_dlc: bool,
    problems: list[Problem],
) -> FolderLabels:
    where = f"labeled-data/{folder.name}"
    in_file = table.names("individuals", scorer=scorer)
    if in_file == ("",):  # a single-animal project's file has no individuals; the animal has a name if it is the only
        names, owner = [""], ""
        individual = [0 if len(individuals) == 1 else -1]
    else:
        extra = [name for name in in_file if name not in individuals and name != SINGLE]
        if extra:
            problems.append(Problem(where, f"individuals {_list(extra)} are not in config.yaml; kept without a name"))
        names, owner = [*individuals, *extra], SINGLE
        individual = [*range(len(individuals)), *(-1 for _ in extra)]
    _compare_bodyparts(table, scorer, skeleton, where, problems)
    xy = table.gather(scorer, individuals=names, bodyparts=skeleton.keypoints, coords="xy")
    unique = table.gather(scorer, individuals=[owner], bodyparts=skeleton.unique, coords="xy")[:, 0]
    # half a point is no point
    xy[np.isnan(xy).any(axis=-1)] = np.nan
    unique[np.isnan(unique).any(axis=-1)] = np.nan
    images = tuple(((folder.name, *row)[-2], row[-1]) for row in table.index)
    return FolderLabels(
        images, xy.astype(np.float32), np.array(individual, np.int64), unique.astype(np.float32), in_dlc
    )


def _compare_bodyparts(table: PoseTable, scorer: str, skeleton: Skeleton, where: str, problems: list[Problem]) -> None:
    in_file, in_config = set(table.names("bodyparts", scorer=scorer)), {*skeleton.keypoints, *skeleton.unique}
    if unknown := sorted(in_file - in_config):
        problems.append(Problem(where, f"bodyparts {_list(unknown)} are not in config.yaml; left out"))
    if absent := sorted(in_config - in_file):
        problems.append(Problem(where, f"bodyparts {_list(absent)} of config.yaml have no column; not labelled here"))
    if "likelihood" in table.names(LEVELS[3], scorer=scorer):
        problems.append(Problem(where, "has likelihood columns, which annotation never has; left out"))


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_MANY])
    return shown if len(names) <= _MANY else f"{shown} and {len(names) - _MANY} more"
