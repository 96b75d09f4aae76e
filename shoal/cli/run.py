"""``shoal run``: a project and videos in, everything out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import Animals, AsJson, ConfigFile, Dest, Gallery, Overrides, Quiet, Reid, Verbose, with_options
from shoal.cli.session import report, session


def run(
    project: Annotated[Path, typer.Argument(help="DeepLabCut project folder or its config.yaml")],
    videos: Annotated[
        list[Path] | None, typer.Argument(help="videos, or folders of videos; default: the project's own")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="of the model")] = "pose",
    dest: Dest = None,
    animals: Animals = None,
    reid: Reid = None,
    gallery: Gallery = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train if needed, evaluate, then analyze, export and render all VIDEOS.

    What is done already is not done again, so the same command goes on where it was stopped.
    """
    from shoal.config.run import load_config
    from shoal.run.batch import raise_failures, run_all
    from shoal.run.evaluation import format_scores

    settings = load_config(config, with_options(overrides, animals, reid, gallery))
    with session(verbose=verbose, quiet=quiet) as on_progress:
        found, done = run_all(project, videos or [], name=name, config=settings, dest=dest, on_progress=on_progress)
    words = ["shoal", "status", *found["runs"]]
    report(found, as_json=as_json, text=format_scores(found["evaluation"]), next_command=words)
    raise_failures(done)
