"""``shoal evaluate``: how good a network's poses, or a run's tracks, are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import AsJson, ConfigFile, Overrides, Quiet, Verbose
from shoal.cli.session import report, session


def evaluate(
    target: Annotated[
        Path, typer.Argument(metavar="PROJECT|RUN", help="project whose model is judged, or a run folder (--tracks)")
    ],
    name: Annotated[str, typer.Option("--name", help="of the model; default: the one trained last")] = "",
    tracks: Annotated[
        Path | None, typer.Option("--tracks", metavar="FILE", help="true tracks (h5, csv) to judge the run's against")
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="draw test images; with --tracks: who was taken for whom, when")
    ] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Measure poses on labelled frames that were not trained on, or tracks against true ones."""
    from shoal.config.run import load_config
    from shoal.run.evaluation import evaluate, evaluate_tracks, format_scores

    with session(verbose=verbose, quiet=quiet) as on_progress:
        if tracks is not None:
            found, words = evaluate_tracks(target, tracks, plot=plot), ["render", target]
        else:
            settings = load_config(config, overrides or ()) if config or overrides else None
            found = evaluate(target, name=name, config=settings, plot=plot, on_progress=on_progress)
            words = ["analyze", found["model"], "VIDEO"]
    report(found, as_json=as_json, text=format_scores(found), next_command=["shoal", *words])
