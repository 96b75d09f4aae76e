"""``shoal demo``: the whole way on rendered fish whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import AsJson, Overrides, Quiet, Verbose
from shoal.cli.session import report, session


def demo(
    dest: Annotated[Path, typer.Option("--dest", metavar="DIR", help="folder for everything")] = Path("demo-output"),
    seed: Annotated[int, typer.Option("--seed", help="other fish, other tank")] = 0,
    small: Annotated[bool, typer.Option("--quick", help="a minute: every step, too small to be any good")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Render an aquarium, train, evaluate, track a new video, draw it, and compare with the truth (minutes)."""
    from shoal.config.run import load_config
    from shoal.run.demo import demo, demo_settings, format_demo

    settings = load_config(overrides=[*demo_settings(quick=small), *(overrides or ())])
    with session(verbose=verbose, quiet=quiet) as on_progress:
        found = demo(dest, seed=seed, config=settings, quick=small, on_progress=on_progress)
    report(found, as_json=as_json, text=format_demo(found), next_command=["shoal", "status", dest])
