"""The ``shoal`` command. Commands import what they need when they run, so that ``--help`` is instant."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from shoal import __version__
from shoal.cli.analyze import analyze
from shoal.cli.check import check
from shoal.cli.dataset import dataset
from shoal.cli.demo import demo
from shoal.cli.edit import edit
from shoal.cli.evaluate import evaluate
from shoal.cli.export import export
from shoal.cli.reid import reid
from shoal.cli.render import render
from shoal.cli.run import run
from shoal.cli.session import print_error
from shoal.cli.status import status
from shoal.cli.track import track
from shoal.cli.train import train
from shoal.errors import ResourceError, ShoalError
from shoal.run.console import keep_kernels

app = typer.Typer(
    name="shoal",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def shoal(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Multi-animal pose estimation and tracking for DeepLabCut projects.

    The usual order: check, dataset, train, evaluate, analyze, render, export. `shoal run` does all of it.
    """


PROJECT, VIDEO, ALL = "A project", "Videos", "All at once"
for command, panel in (
    (check, PROJECT), (dataset, PROJECT), (train, PROJECT), (evaluate, PROJECT),
    (analyze, VIDEO), (edit, VIDEO), (track, VIDEO), (reid, VIDEO), (render, VIDEO), (export, VIDEO), (status, VIDEO),
    (run, ALL), (demo, ALL),
):  # fmt: skip
    app.command(rich_help_panel=panel)(command)


def main() -> None:
    """Entry point: runs the command and turns shoal's errors into one line and an exit code."""
    keep_kernels()
    try:
        app()
    except ShoalError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `shoal ... | head`
        sys.stdout = None
        sys.exit(0)
    except OSError as error:
        print_error(ResourceError(f"{error.strerror or error}\nwhere: {error.filename or 'unknown'}"))
        sys.exit(ResourceError.exit_code)


if __name__ == "__main__":
    main()
