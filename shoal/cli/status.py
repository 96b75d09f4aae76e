"""``shoal status``: how far runs are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import AsJson, Quiet, Verbose
from shoal.cli.session import report, session


def status(
    paths: Annotated[list[Path], typer.Argument(help="run folders, videos, or folders that hold some")],
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show how far the analysis of videos is."""
    from shoal.run.steps import status

    with session(verbose=verbose, quiet=quiet):
        rows = status(paths)
    lines = [f"{'state':<11} {'chunks':>9} {'frames':>9} {'bad':>5} {'tracks':>6}  run"]
    for row in rows:
        chunks = f"{row.get('chunks_done', '?')}/{row.get('chunks', '?')}"
        tracks = row.get("tracks", "")
        lines.append(
            f"{row['state']:<11} {chunks:>9} {row['frames']:>9} {row['bad_frames']:>5} {tracks:>6}  {row['run']}"
        )
    report({"status": rows}, as_json=as_json, text="\n".join(lines if rows else ["no runs found"]))
