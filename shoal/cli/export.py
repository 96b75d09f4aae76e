"""``shoal export``: results in other programs' files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.options import AsJson, Dest, Quiet, Reflections, Verbose
from shoal.cli.session import report, session


def export(
    runs: Annotated[list[Path], typer.Argument(help="run folders (VIDEO.shoal); for onnx: models")],
    csv: Annotated[bool, typer.Option("--csv", help="csv files as well")] = False,
    pickles: Annotated[bool, typer.Option("--pickles", help="DeepLabCut's four pickles as well")] = False,
    beside_video: Annotated[bool, typer.Option("--beside-video", help="write beside the video, as DeepLabCut")] = False,
    format: Annotated[str, typer.Option("--format", help="dlc: DeepLabCut's h5; onnx: networks")] = "dlc",
    reflections: Reflections = "mark",
    smooth: Annotated[bool, typer.Option("--smooth", help="smoothed tracks, gaps filled, as well")] = False,
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="onnx: size of the frames, e.g. 1296x972")] = "",
    dest: Dest = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write tracks and poses as DeepLabCut's files, <video>_el.h5 and <video>.h5; or networks as ONNX files."""
    from shoal.run.batch import for_each, raise_failures
    from shoal.run.models import export_model
    from shoal.run.steps import export

    with session(verbose=verbose, quiet=quiet):
        look = {"format": format, "csv": csv, "pickles": pickles, "beside_video": beside_video}
        look |= {"reflections": reflections, "smooth": smooth}
        if format == "onnx":
            done = for_each(runs, lambda model: (export_model(model, size=size, dest=dest),))
        else:
            done = for_each(runs, lambda run: export(run, dest=dest, **look))
    files = [file for files in done.results for file in files]
    report(
        {"files": files, "failures": done.failures},
        as_json=as_json,
        next_command=() if format == "onnx" else ["shoal", "status", *runs],
    )
    raise_failures(done)
