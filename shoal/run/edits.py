"""Corrections of a run: ``edits.jsonl``, what its lines say about the run's rows, and which of them are kept.

One JSON object a line, only ever added to; an edit is taken back by a line more (kind ``undo``). An edit's number is
that of its line.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from shoal.errors import ArtifactError, InputError
from shoal.io.artifacts import fingerprint, read_entry, read_json, write_failure, write_json
from shoal.io.dlc.pose_table import SINGLE
from shoal.io.dlc.results import name_tracks
from shoal.run.folder import each_span, open_folder, plan_spans, read_card, read_spans
from shoal.run.names import called_by_looks
from shoal.stages.constraints import Links, bind, gather, names_of_tracks, split
from shoal.types import EDIT_KINDS, Edit, Poses, Tracks

EDITS, NAMES = "edits.jsonl", "track_names.json"
UNDO = "undo"
ROWS = {"same": (2, 2), "different": (2, 2), "name": (1, 1), "move": (2, 3), "remove": (1, None)}
LEAST_REACH_PX = 10.0  # a row is not another one because it moved by less


@dataclass(frozen=True)
class Line:
    """An edit in the file.

    Attributes:
        number: of its line, from 1 on.
        edit: what it says.
        is_undone: by a later line.
    """

    number: int
    edit: Edit
    is_undone: bool = False


@dataclass(frozen=True)
class Applied:
    """What a run's edits come to.

    Attributes:
        links: constraints on its tracklets; None = there are none.
        kept: numbers of the edits that are kept.
        left_out: number and reason of those that are not.
    """

    links: Links | None
    kept: tuple[int, ...]
    left_out: tuple[tuple[int, str], ...]

    def tracklets(self, run_dir: Path) -> Iterator[Tracks]:
        """The run's tracklets span by span, cut as the edits ask for."""
        for tracklets in each_span(run_dir, kind="tracklets"):
            yield split(tracklets, self.links) if self.links else tracklets


def read_edits(run_dir: Path) -> list[Line]:
    """The edits of a run, undone ones too; none if nobody made any.

    Raises:
        ArtifactError: a line that cannot be read, named by its number.
    """
    path = Path(run_dir) / EDITS
    try:
        text = path.read_bytes().decode() if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise ArtifactError(f"expected text, got: {error}\nwhere: {path}") from error
    lines: dict[int, Line] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            about = json.loads(line)
            if about["kind"] == UNDO:
                undone = int(about["value"])
                if undone not in lines:
                    raise ValueError(f"there is no edit {undone} to undo")
                lines[undone] = replace(lines[undone], is_undone=True)
            else:
                lines[number] = Line(number, check_edit(_edit_of(about)))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, InputError) as error:
            what = error.message if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            raise ArtifactError(
                f"expected an edit, got a line that cannot be read ({what})\nwhere: {path}, line {number}",
                hint="mend that line or empty it (lines are counted, so do not delete it)",
            ) from error
    return list(lines.values())


def check_edit(edit: Edit) -> Edit:
    """The same edit.

    Raises:
        InputError: it means nothing.
    """
    if edit.kind not in EDIT_KINDS:
        raise InputError(f"expected an edit of kind {', '.join(EDIT_KINDS)}, got '{edit.kind}'")
    least, most = ROWS[edit.kind]
    if len(edit.rows) < least or (most and len(edit.rows) > most):
        raise InputError(f"expected {least} animals for {edit.kind}, got {len(edit.rows)}")
    if any(frame < 0 or not 0 <= item < 2**15 for frame, item in edit.rows):
        raise InputError(f"expected frames and items from 0 on, got {edit.rows[:3]}")
    if edit.xy and len(edit.xy) != len(edit.rows):
        raise InputError(f"expected a position for each of {len(edit.rows)} animals, got {len(edit.xy)}")
    if edit.kind == "name" and (not edit.value.strip() or not edit.value.isprintable() or edit.value == SINGLE):
        raise InputError(f"expected a name in printable letters (not '{SINGLE}'), got '{edit.value}'")
    if edit.kind in ("same", "different", "move") and edit.rows[0] == edit.rows[1]:
        raise InputError(f"expected two animals for {edit.kind}, got one twice: {_place(edit.rows[0])}")
    return edit


def add_edit(run_dir: Path, edit: Edit) -> int:
    """Add an edit, with author and time if it has none; the number of its line.

    Raises:
        ArtifactError: not a run folder, or the file is damaged.
        InputError: it means nothing.
        ResourceError: it cannot be written.
    """
    open_folder(Path(run_dir))
    check_edit(edit)
    about = {
        "kind": edit.kind, "rows": [list(row) for row in edit.rows], "value": edit.value,
        "xy": [[round(x, 1), round(y, 1)] for x, y in edit.xy],
    }  # fmt: skip
    return _append(Path(run_dir), about | _signed(edit))


def undo_edit(run_dir: Path, number: int = 0, *, author: str = "") -> Line:
    """Take back an edit; 0 = the last one that stands.

    Raises:
        InputError: there is none, or it is undone already.
    """
    lines = read_edits(run_dir)
    standing = [line for line in lines if not line.is_undone]
    found = [line for line in standing if line.number == number] if number else standing[-1:]
    if not found:
        which = ", ".join(str(line.number) for line in standing) or "none"
        raise InputError(f"expected an edit that stands ({which}), got {number or 'none'}\nwhere: {run_dir}")
    line = found[0]
    _append(Path(run_dir), {"kind": UNDO, "value": str(line.number)} | _signed(Edit(UNDO, (), author=author)))
    return line


def edits_print(run_dir: Path) -> str:
    """Hash of what the standing edits say, empty if there are none: undone, they are as if they had never been.

    Raises:
        ArtifactError: the file is damaged.
    """
    said = [line.edit for line in read_edits(run_dir) if not line.is_undone]
    plain = [[e.kind, [list(r) for r in e.rows], e.value, [list(p) for p in e.xy]] for e in said]
    return fingerprint("edits", 1, {"edits": plain}) if said else ""


def apply_edits(run_dir: Path) -> Applied:
    """What the edits of a run mean for its tracklets; those about rows that are not there any more are left out.

    Raises:
        ArtifactError: the file is damaged, or the run has no tracklets.
    """
    lines = [line for line in read_edits(run_dir) if not line.is_undone]
    if not lines:
        return Applied(None, (), ())
    gone = _missing_rows(run_dir, [line.edit for line in lines])
    left_out = {line.number: why for line, why in zip(lines, gone, strict=True) if why}
    there = [line for line in lines if line.number not in left_out]
    constraints, against = gather([line.edit for line in there], [line.number for line in there])
    left_out |= {there[i].number: why for i, why in against.items()}
    kept = tuple(line.number for line in lines if line.number not in left_out)
    links = bind(lambda: each_span(run_dir, kind="tracklets"), constraints) if len(constraints) else None
    return Applied(links, kept, tuple(sorted(left_out.items())))


def write_names(run_dir: Path, applied: Applied, number: ndarray) -> list[Path]:
    """Note which tracks the edits gave a name (``track_names.json``, if there are any); the files written."""
    path = Path(run_dir) / NAMES
    names = names_of_tracks(number, applied.links) if applied.links else {}
    if not names:
        path.unlink(missing_ok=True)
        return []
    write_json(path, {str(track): name for track, name in names.items()}, make_parents=False)
    return [path]


def given_names(run_dir: Path) -> dict[int, str]:
    """Names that edits gave to tracks, by track."""
    path = Path(run_dir) / NAMES
    return {int(track): str(name) for track, name in read_json(path).items()} if path.is_file() else {}


def with_names(names: Sequence[str], given: Mapping[int, str]) -> tuple[str, ...]:
    """Names by number, with those that were given; a name that another one had is exchanged with it.

    >>> with_names(("ann", "bob"), {0: "bob", 2: "eve"})
    ('bob', 'ann', 'eve')
    """
    found = list(name_tracks(names, max(given, default=-1) + 1))
    for number, name in given.items():
        if name in found:
            found[found.index(name)] = found[number]
        found[number] = name
    return tuple(found)


def read_names(run_dir: Path) -> tuple[str, ...]:
    """Names of a run's tracks by number: the project's individuals, what a gallery says, and what edits say."""
    return with_names(read_card(run_dir).individuals, _told_names(run_dir))


def _told_names(run_dir: Path) -> dict[int, str]:
    """Names that somebody or something gave to tracks."""
    given = given_names(run_dir)
    seen = {track: name for track, name in called_by_looks(run_dir).items() if name not in given.values()}
    return seen | given


def column_names(run_dir: Path, number: ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """Names of an exported table's columns: ``names``, and what edits and galleries call the tracks that they hold.

    Args:
        run_dir: the run folder.
        number: (C,) column of each track, -1 = none.
        names: of the columns, in their order.
    """
    given = {int(number[t]): name for t, name in _told_names(run_dir).items() if t < len(number) and number[t] >= 0}
    return with_names(name_tracks(names, int(number.max(initial=-1)) + 1), given)


def edit_report(run_dir: Path) -> dict[str, Any]:
    """How many edits the last tracking kept, which it left out and why, and how many seconds joining took."""
    entry = read_entry(Path(run_dir), "stitch") or {"counts": {}, "seconds": 0.0}
    counts = entry["counts"]
    return {
        "run": str(run_dir), "edits": counts.get("edits", 0), "left_out": counts.get("edits_left_out", []),
        "seconds": entry["seconds"],
    }  # fmt: skip


def describe(edit: Edit) -> str:
    """An edit in words.

    >>> describe(Edit("same", ((3, 0), (9, 1))))
    'same: item 0 of frame 3 and item 1 of frame 9 are one animal'
    """
    first, *more = map(_place, edit.rows)
    return {
        "same": lambda: f"same: {first} and {more[0]} are one animal",
        "different": lambda: f"different: {first} and {more[0]} are two animals",
        "name": lambda: f"name: {first} is {edit.value}",
        "move": lambda: f"move: from {first} on, to the animal of {more[0]}",
        "remove": lambda: f"remove: {first}{f' and {len(more)} more rows are' if more else ' is'} no animal",
    }[edit.kind]()


def _place(row: tuple[int, int]) -> str:
    return f"item {row[1]} of frame {row[0]}"


def _edit_of(about: Mapping[str, Any]) -> Edit:
    rows = tuple((int(frame), int(item)) for frame, item in about["rows"])
    xy = tuple((float(x), float(y)) for x, y in about.get("xy", ()))
    text = {name: str(about.get(name, "")) for name in ("value", "author", "time")}
    return Edit(str(about["kind"]), rows, xy=xy, **text)


def _signed(edit: Edit) -> dict[str, str]:
    try:
        who = edit.author or getpass.getuser()
    except (OSError, KeyError):  # no such user in a container
        who = "unknown"
    return {"author": who, "time": edit.time or datetime.now(UTC).isoformat(timespec="seconds")}


def _append(run_dir: Path, about: Mapping[str, Any]) -> int:
    """Add one line in one write, so that two programs at a time cannot mix theirs; its number."""
    read_edits(run_dir)  # nothing is added to a damaged file
    path = run_dir / EDITS
    before = path.read_bytes() if path.is_file() else b""
    newline = b"" if not before or before.endswith(b"\n") else b"\n"
    line = newline + json.dumps(about, ensure_ascii=False).encode() + b"\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise write_failure(path, error) from error
    return (before + newline).count(b"\n") + 1


def _missing_rows(run_dir: Path, edits: Sequence[Edit]) -> list[str]:
    """Why each edit cannot be kept, empty = it can: a row is not there, or another one than was seen."""
    wanted = {(row, at) for edit in edits for row, at in _noted(edit)}
    why: dict[tuple[Any, Any], str] = {}
    for start, stop in plan_spans(run_dir):
        here = [(row, at) for row, at in wanted if start <= row[0] < stop]
        poses = read_spans(run_dir, "poses", Poses, start=start, stop=stop) if here else None
        for row, at in here:
            assert poses is not None
            why[row, at] = _fault(poses, row, at)
    return [next((f for key in _noted(edit) if (f := why.get(key, _absent(key[0])))), "") for edit in edits]


def _noted(edit: Edit) -> Iterator[tuple[tuple[int, int], tuple[float, float] | None]]:
    return zip(edit.rows, edit.xy or [None] * len(edit.rows), strict=True)


def _absent(row: tuple[int, int]) -> str:
    return f"{_place(row)} is not there any more"


def _fault(poses: Poses, row: tuple[int, int], at: tuple[float, float] | None) -> str:
    begin, end = np.searchsorted(poses.frame, (row[0], row[0] + 1))
    found = begin + np.flatnonzero(poses.item[begin:end] == row[1])
    if not len(found):
        return _absent(row)
    if at is None or not np.isfinite(at).all():
        return ""
    centre = np.array([centre_of(xy) for xy in poses.xy[begin:end]])
    apart = np.hypot(*(centre - at).T)
    own = poses.xy[found[0]]
    size = float(np.hypot(*(np.nanmax(own, axis=0) - np.nanmin(own, axis=0)))) if np.isfinite(own).all(1).any() else 0.0
    is_nearest = apart[found[0] - begin] <= np.nanmin(apart) + 1e-6 if np.isfinite(apart).any() else False
    if is_nearest and apart[found[0] - begin] <= max(size, LEAST_REACH_PX):
        return ""
    return f"{_place(row)} is another animal now"


def centre_of(xy: ndarray) -> tuple[float, float]:
    """Mean of an animal's keypoints, NaN without any."""
    seen = xy[np.isfinite(xy).all(axis=1)]
    return (float(seen[:, 0].mean()), float(seen[:, 1].mean())) if len(seen) else (float("nan"), float("nan"))
