"""``shoal edit``: corrections of who is who, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shoal.cli.options import AsJson, Quiet, Verbose
from shoal.cli.session import report, session


def edit(
    run: Annotated[Path, typer.Argument(help="run folder (VIDEO.shoal), tracked")],
    what: Annotated[str, typer.Argument(help="same, different, name, move, remove; list, show, undo")] = "list",
    words: Annotated[list[str] | None, typer.Argument(help="animals as FRAME:NAME or FRAME:itemN, see above")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="remove: all of its tracklet, not one row")] = False,
    author: Annotated[str, typer.Option("--author", help="who says so (default: the user of this machine)")] = "",
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Say who is who; `shoal track RUN` then tracks accordingly.

    same 120:fish1 400:fish3 (one animal), different 120:fish1 400:fish1 (two), name 120:fish1 Otto (what it is called),
    move 120:fish1 fish3 (from frame 120 on it is fish3), remove 120:fish1 (no animal). show 120 lists the animals of a
    frame, list the edits, undo [N] takes one back.
    """
    from shoal.run.edits import EDITS

    with session(verbose=verbose, quiet=quiet):
        found, text = _do(run, what, words or [], whole, author)
    wrote = what not in ("list", "show")
    files = {"files": [run / EDITS]} if wrote else {}
    words = ["shoal", "track", str(run)] if wrote or (what == "list" and found["edits"]) else []
    report(found | files, as_json=as_json, text=text, next_command=words)


def _do(run: Path, what: str, words: list[str], whole: bool, author: str) -> tuple[dict[str, Any], str]:
    """Do it; what came out, for programs and for people."""
    from shoal.errors import InputError
    from shoal.run.anchors import make_edit, show_frame
    from shoal.run.edits import add_edit, describe, undo_edit
    from shoal.types import EDIT_KINDS

    if what in EDIT_KINDS:
        made = make_edit(run, what, words, whole=whole, author=author)
        number = add_edit(run, made)
        text = f"edit {number}: {describe(made)}"
        return {"edit": number, "kind": what, "rows": made.rows}, text
    if what not in ("list", "show", "undo"):
        raise InputError(f"expected {', '.join(EDIT_KINDS)}, list, show or undo, got '{what}'")
    if len(words) != (what == "show") and not (what == "undo" and len(words) == 1):
        raise InputError(f"expected {what}{' FRAME' * (what == 'show')}, got {what} {' '.join(words)}")
    if words and not words[0].isdecimal():
        raise InputError(f"expected a number after {what}, got '{words[0]}'")
    if what == "list":
        return _list(run)
    if what == "show":
        rows = show_frame(run, int(words[0]))
        lines = [f"item{r['item']:<4} {r['name'] or '(no track)':<20} at {r['x']}, {r['y']}" for r in rows]
        return {"rows": rows}, "\n".join(lines) or f"no animal in frame {words[0]}"
    line = undo_edit(run, int(words[0]) if words else 0, author=author)
    return {"undone": line.number}, f"edit {line.number} is undone ({describe(line.edit)})"


def _list(run: Path) -> tuple[dict[str, Any], str]:
    from shoal.run.edits import describe, edit_report, read_edits
    from shoal.run.folder import open_folder

    open_folder(run)
    why = {int(number): str(reason) for number, reason in edit_report(run)["left_out"]}
    rows = [
        {
            "edit": line.number, "kind": line.edit.kind, "says": describe(line.edit), "author": line.edit.author,
            "time": line.edit.time, "is_undone": line.is_undone, "left_out": why.get(line.number, ""),
        }
        for line in read_edits(run)
    ]  # fmt: skip
    lines = [
        f"{row['edit']:>4}  {row['says']}  ({row['author']}, {row['time']})"
        + (" undone" if row["is_undone"] else f" left out: {row['left_out']}" if row["left_out"] else "")
        for row in rows
    ]
    return {"edits": rows}, "\n".join(lines) or "no edits"
