"""``shoal train``: a network from a project's labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import AsJson, ConfigFile, Overrides, Quiet, Verbose
from shoal.cli.session import report, session


def train(
    project: Annotated[Path, typer.Argument(help="DeepLabCut project folder or its config.yaml")],
    name: Annotated[str, typer.Option("--name", help="of the model: PROJECT/shoal/models/NAME")] = "pose",
    fresh: Annotated[bool, typer.Option("--fresh", help="start again, replacing the model of that name")] = False,
    trial: Annotated[
        bool, typer.Option("--try", help="only measure: images/s, memory and hours of the whole training")
    ] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train a pose network. The same command goes on with a training that was stopped."""
    from shoal.config.run import load_config
    from shoal.run.models import describe_training, estimate_training, train

    settings = load_config(config, overrides or ())
    with session(verbose=verbose, quiet=quiet) as on_progress:
        if trial:
            found = estimate_training(project, config=settings, on_progress=on_progress)
        else:
            found = train(project, name=name, config=settings, fresh=fresh, on_progress=on_progress)
    words = ["train", project] if trial else ["evaluate", project, *(["--name", name] if name != "pose" else [])]
    report(found, as_json=as_json, text=describe_training(found), next_command=["shoal", *words])
