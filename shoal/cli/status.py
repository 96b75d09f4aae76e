"""``shoal status``: how far runs are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shoal.cli.options import AsJson, Quiet, Verbose
from shoal.cli.session import report, session

MANY_GAPS = 4  # more are counted, not listed


def status(
    paths: Annotated[list[Path], typer.Argument(help="a project, videos, run folders, or folders that hold some")],
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show what is done, running, missing and not begun of the analysis of videos, and how long the rest will take.

    A project stands for the videos in its config.yaml.
    """
    from shoal.run.status import status, total

    with session(verbose=verbose, quiet=quiet):
        rows = status(paths)
    sums = total(rows)
    lines = [f"{'state':<11} {'frames done':>19} {'left':>9} {'bad':>5} {'tracks':>6}  run"]
    for row in rows:
        lines += [_line(row, row["state"], row["run"]), *(f"{'':11} {note}" for note in _notes(row))]
    if len(rows) > 1:
        states = ", ".join(f"{n} {state}" for state, n in sums["states"].items())
        lines += [_line(sums, "all", f"{sums['runs']} runs: {states}; {sums['running']} running")]
    report({"status": rows, "total": sums}, as_json=as_json, text="\n".join(lines if rows else ["no runs found"]))


def _line(row: dict[str, Any], state: str, name: str) -> str:
    from shoal.run.console import clock

    done = f"{row.get('frames_done', '?')}/{row['frames']}" if row["frames"] else ""
    left = row.get("seconds_left")
    wait = "?" if left is None else clock(left) if left else ""
    return f"{state:<11} {done:>19} {wait:>9} {row['bad_frames']:>5} {row.get('tracks', ''):>6}  {name}"


def _notes(row: dict[str, Any]) -> list[str]:
    """Who works on a run, and what it lacks."""
    from shoal.run.console import clock
    from shoal.run.swaps import say_swaps

    notes = [
        f"{w['stage']} by process {w['pid']} on {w['host']} for {clock(w['seconds'])}" for w in row.get("running", ())
    ]
    if row.get("died") and not notes:
        notes.append("whoever worked on it was killed; the same command goes on")
    notes += filter(None, [say_swaps(row)])
    gaps = [f"{start}-{stop}" for start, stop in row.get("missing", ())]
    if gaps:
        more = f" and {len(gaps) - MANY_GAPS} more" if len(gaps) > MANY_GAPS else ""
        notes.append(f"missing: frames {', '.join(gaps[:MANY_GAPS])}{more}")
    return notes + ([f"damaged: {row['why'].splitlines()[0]}"] if "why" in row else [])
