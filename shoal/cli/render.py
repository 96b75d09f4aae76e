"""``shoal render``: tracks or detections drawn on the video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import AsJson, ConfigFile, Dest, Overrides, Quiet, Verbose
from shoal.cli.session import report, session


def render(
    runs: Annotated[list[Path], typer.Argument(help="run folders (VIDEO.shoal)")],
    detections: Annotated[bool, typer.Option("--detections", help="draw every peak instead of tracks")] = False,
    start: Annotated[int, typer.Option("--start", min=0, help="first frame")] = 0,
    stop: Annotated[int | None, typer.Option("--stop", min=1, help="after the last frame (default: the end)")] = None,
    at: Annotated[
        str,
        typer.Option("--at", metavar="MOMENTS", help="clips around frames or times (1200,90s,0:02:30), or worst[:N]"),
    ] = "",
    around: Annotated[float, typer.Option("--around", min=0, help="seconds before and after a moment")] = 2.0,
    join: Annotated[bool, typer.Option("--join", help="all clips in one file, in order of time")] = False,
    video: Annotated[Path | None, typer.Option("--video", help="the video, if it was moved")] = None,
    plots: Annotated[bool, typer.Option("--plots", help="also timeline.png and trajectories.png")] = False,
    dest: Dest = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Make a labelled video of each run (VIDEO.shoal/export/*_labeled.mp4), or short clips of it (--at).

    --at worst shows where a run is least certain who is who, the worst first; what was decided there is written into
    the clip, and a ring is drawn around the animals in question.
    """
    from shoal.run.batch import for_each, raise_failures, render_run
    from shoal.run.clips import Clips

    what = [*(overrides or ()), *(["render.what=detections"] if detections else [])]
    with session(verbose=verbose, quiet=quiet) as on_progress:

        def one(run: Path) -> list[Path]:
            clips = Clips(at, around, join) if at else None
            return render_run(
                run, config, what, video=video, part=(start, stop), dest=dest, clips=clips, plots=plots,
                on_progress=on_progress,
            )  # fmt: skip

        done = for_each(runs, one)
    files = [file for files in done.results for file in files]
    report({"files": files, "failures": done.failures}, as_json=as_json, next_command=["shoal", "export", *runs])
    raise_failures(done)
