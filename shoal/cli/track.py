"""``shoal track``: poses to tracks again, with other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import Animals, AsJson, ConfigFile, Overrides, Quiet, Reflections, Reid, Verbose, with_options
from shoal.cli.session import report, session


def track(
    runs: Annotated[list[Path], typer.Argument(help="run folders (VIDEO.shoal)")],
    animals: Animals = None,
    reid: Reid = None,
    reflections: Reflections = "",
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Track again from stored poses, without the network; only what changed settings touch is redone."""
    from shoal.run.batch import for_each, raise_failures
    from shoal.run.steps import change_config, track

    chosen = [f"classify.reflections={reflections}"] if reflections else []

    def one(run: Path) -> Path:
        settings = change_config(run, config, [*chosen, *with_options(overrides, animals, reid)])
        return track(run, settings, on_progress=on_progress)

    with session(verbose=verbose, quiet=quiet) as on_progress:
        done = for_each(runs, one)
    words = ["shoal", "render", *done.results[:1]] if done.results else ()
    report({"runs": done.results, "failures": done.failures}, as_json=as_json, next_command=words)
    raise_failures(done)
