"""``shoal track``: poses to tracks again, with other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shoal.cli.options import (
    Animals,
    AsJson,
    ConfigFile,
    Gallery,
    Overrides,
    Quiet,
    Reflections,
    Reid,
    Verbose,
    with_options,
)
from shoal.cli.session import report, session


def track(
    runs: Annotated[list[Path], typer.Argument(help="run folders (VIDEO.shoal)")],
    animals: Animals = None,
    reid: Reid = None,
    gallery: Gallery = None,
    reflections: Reflections = "",
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Track again from stored poses, without the network; only what changed settings or edits touch is redone."""
    from shoal.run.batch import for_each, raise_failures
    from shoal.run.edits import edit_report
    from shoal.run.steps import change_config, track
    from shoal.run.swaps import swaps_of

    chosen = [f"classify.reflections={reflections}"] if reflections else []

    def one(run: Path) -> Path:
        settings = change_config(run, config, [*chosen, *with_options(overrides, animals, reid, gallery)])
        return track(run, settings, on_progress=on_progress)

    with session(verbose=verbose, quiet=quiet) as on_progress:
        done = for_each(runs, one)
    edits = [found for found in map(edit_report, done.results) if found["edits"] or found["left_out"]]
    swaps = [f"{run.name}: {words}" for run in done.results if (words := swaps_of(run))]
    words = ["shoal", "render", *done.results[:1]] if done.results else ()
    report(
        {"runs": done.results, "failures": done.failures, "edits": edits}, as_json=as_json,
        text="\n".join([*map(_say, edits), *swaps]), next_command=words,
    )  # fmt: skip
    raise_failures(done)


def _say(found: dict[str, Any]) -> str:
    """What became of a run's edits."""
    lines = [f"{Path(found['run']).name}: {found['edits']} edits kept, joined in {found['seconds']:.1f} s"]
    return "\n".join([*lines, *(f"  edit {number} is left out: {why}" for number, why in found["left_out"])])
