"""What a command prints at its end: results, errors. What it shows while it works is ``shoal.run.console``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from shoal.errors import PartialFailure, ShoalError
from shoal.run.console import session

__all__ = ["print_error", "report", "session"]

MANY_FILES = 8  # in one folder: these are counted, not listed


def report(
    result: Mapping[str, Any], *, as_json: bool, text: str = "", next_command: Iterable[str | Path] = ()
) -> None:
    """Print a command's result: JSON, or text, the files it wrote (``files``, ``runs``) and what to do next."""
    if as_json:
        from shoal.io.artifacts import json_ready

        typer.echo(json.dumps(json_ready(result), indent=1))
        return
    if text:
        typer.echo(text)
    folders: dict[Path, list[Path]] = {}
    for path in map(Path, [*result.get("runs", ()), *result.get("files", ())]):
        folders.setdefault(path.parent, []).append(path)
    for folder, paths in folders.items():
        if len(paths) > MANY_FILES:
            typer.echo(f"wrote {len(paths)} files into {folder}")
        else:
            typer.echo("\n".join(f"wrote {path}" for path in paths))
    words = [str(word) for word in next_command]
    if words:
        typer.echo(f"\nnext: {shlex.join(words)}")


def print_error(error: ShoalError) -> None:
    """``error: ...``, an empty line, ``hint: ...`` on stderr."""
    lines = [f"error: {error.message}"]
    if isinstance(error, PartialFailure):
        lines += [f"  {item}: {reason}" for item, reason in error.failures]
    if error.hint:
        lines += ["", f"hint: {error.hint}"]
    typer.echo("\n".join(lines), err=True)
