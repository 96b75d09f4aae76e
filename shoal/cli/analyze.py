"""``shoal analyze``: videos to tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import Animals, AsJson, ConfigFile, Dest, Overrides, Quiet, Verbose, with_animals
from shoal.cli.session import report, session


def analyze(
    model: Annotated[Path, typer.Argument(help="folder or file of a model, or the project it was trained in")],
    videos: Annotated[list[Path], typer.Argument(help="videos, or folders of videos")],
    dest: Dest = None,
    animals: Animals = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="do everything again")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Find and track the animals of VIDEOS. The same command goes on where it was stopped.

    Results go to VIDEO.shoal beside each video, or into --dest. A video that fails does not stop the others.
    """
    from shoal.config.run import load_config
    from shoal.run.batch import analyze_videos, raise_failures

    settings = load_config(config, with_animals(overrides, animals))
    with session(verbose=verbose, quiet=quiet) as on_progress:
        done = analyze_videos(videos, model, config=settings, dest=dest, overwrite=fresh, on_progress=on_progress)
    words = ["shoal", "render", *done.results[:1]] if done.results else ()
    report({"runs": done.results, "failures": done.failures}, as_json=as_json, next_command=words)
    raise_failures(done)
