"""``shoal dataset``: which labels train, which test, which folders are left out."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shoal.cli.options import AsJson, ConfigFile, Overrides
from shoal.cli.session import session


def dataset(
    project: Annotated[Path, typer.Argument(help="DeepLabCut project folder or its config.yaml")],
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="leave this labeled-data folder out from now on (repeatable)")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", help="take this folder off the list again (repeatable)")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show the split that training will use, and choose which labeled-data folders are left out.

    The choice is kept in PROJECT/shoal/exclude.txt; config.yaml is never written.
    """
    from shoal.config.run import load_config
    from shoal.io.dlc.exclude import change_excluded
    from shoal.io.dlc.project import read_project
    from shoal.training.split import split_project

    settings = load_config(config, overrides or ())
    with session():
        change_excluded(project, add=exclude or (), remove=include or ())
        found = read_project(project, exclude=settings.dataset.exclude)
        train, test = split_project(found, settings)
    part = {int(row): "train" for row in train} | {int(row): "test" for row in test}
    report: dict[str, Any] = {
        "root": str(found.root),
        "split": settings.dataset.split,
        "train_fraction": settings.dataset.train_fraction,
        "seed": settings.dataset.seed,
        "train": len(train),
        "test": len(test),
        "excluded": list(found.excluded),
        "skipped": sum(p.skipped for p in found.problems),
        "images": [
            {
                "folder": label.video,
                "image": label.image.name,
                "animals": len(label.xy),
                "part": part.get(row, "unused"),
            }
            for row, label in enumerate(found.labels)
        ],
    }
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        words = ["shoal", "train", str(project), *(["--config", str(config)] if config else [])]
        for override in overrides or ():
            words += ["--set", override]
        print_dataset(report, next_command=shlex.join(words))


def print_dataset(report: dict[str, Any], *, next_command: str) -> None:
    """One row per folder, then what is left out and what to do next."""
    console = Console(width=None if Console().is_terminal else 140, highlight=False)
    table = Table("folder", "train", "test", "unused", "animals", title=f"split: {report['split']}")
    counts: dict[str, dict[str, int]] = {}
    for image in report["images"]:
        row = counts.setdefault(image["folder"], {"train": 0, "test": 0, "unused": 0, "animals": 0})
        row[image["part"]] += 1
        row["animals"] += image["animals"]
    for folder, row in counts.items():
        table.add_row(escape(folder), *(str(row[key]) for key in ("train", "test", "unused", "animals")))
    console.print(table)
    console.print(f"{report['train']} images to train on, {report['test']} to test on (seed {report['seed']})")
    console.print(f"left out on request: {', '.join(report['excluded']) or 'nothing'}", markup=False)
    if report["skipped"]:
        console.print(f"{report['skipped']} items left out for a fault or on request: see `shoal check`", markup=False)
    console.print(f"\nnext: {next_command}", markup=False, soft_wrap=True)
