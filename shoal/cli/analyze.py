"""``shoal analyze``: videos to tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import Animals, AsJson, ConfigFile, Dest, Gallery, Overrides, Quiet, Reid, Verbose, with_options
from shoal.cli.session import report, session


def analyze(
    model: Annotated[Path, typer.Argument(help="folder or file of a model, or the project it was trained in")],
    videos: Annotated[list[Path], typer.Argument(help="videos, or folders of videos")],
    dest: Dest = None,
    animals: Animals = None,
    reid: Reid = None,
    gallery: Gallery = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="look into folders of folders")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", "--fresh", help="do everything again")] = False,
    start: Annotated[str, typer.Option("--start", metavar="PLACE", help="first frame, or its time: 90s, 1:30")] = "",
    stop: Annotated[str, typer.Option("--stop", metavar="PLACE", help="after the last frame, or its time")] = "",
    every: Annotated[int | None, typer.Option("--every", min=1, help="look at every N-th frame only")] = None,
    cropping: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option("--cropping", metavar="X1 X2 Y1 Y2", help="look at this part of the picture only, px"),
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Find and track the animals of VIDEOS. The same command goes on where it was stopped.

    Results go to VIDEO.shoal beside each video, or into --dest; those of a part (--start, --stop, --every, --cropping)
    to a folder of their own, as VIDEO.frames900-1800.shoal. A video that fails does not stop the others.
    """
    from shoal.config.run import load_config
    from shoal.run.batch import analyze_videos, raise_failures, summarize
    from shoal.run.videos import expand_videos

    part = {"start": start, "stop": stop, "every": every, "crop": list(cropping) if cropping else None}
    chosen = [f"predict.{name}={value}" for name, value in part.items() if value]
    settings = load_config(config, [*chosen, *with_options(overrides, animals, reid, gallery)])
    with session(verbose=verbose, quiet=quiet) as on_progress:
        files = expand_videos(videos, is_recursive=recursive)
        done = analyze_videos(files, model, config=settings, dest=dest, overwrite=overwrite, on_progress=on_progress)
    words = ["shoal", "render", *done.results[:1]] if done.results else ()
    text = summarize(done.results) if len(done.results) > 1 else ""
    report({"runs": done.results, "failures": done.failures}, as_json=as_json, text=text, next_command=words)
    raise_failures(done)
