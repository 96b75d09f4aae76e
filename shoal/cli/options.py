"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="settings, as saved in run.yaml")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="one setting, e.g. stitch.max_gap=30 (repeatable)"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="say more")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="warnings and errors only")]
Dest = Annotated[Path | None, typer.Option("--dest", metavar="DIR", help="write there")]
Animals = Annotated[
    int | None, typer.Option("--animals", min=1, help="so many animals are in the video (default: not known)")
]


Reflections = Annotated[
    str,
    typer.Option(
        "--reflections",
        metavar="keep|mark|drop",
        help="in glass walls: keep = animals like others; mark = tracked apart, never named; drop = in no track",
    ),
]

Reid = Annotated[
    bool | None,
    typer.Option(
        "--reid/--no-reid",
        help="tell animals apart by their looks, too: learned from the video itself, in about a minute",
        show_default=False,
    ),
]

Gallery = Annotated[
    Path | None,
    typer.Option("--gallery", metavar="DIR", help="name tracks by their looks: animals known by `shoal reid enroll`"),
]


def with_options(
    overrides: list[str] | None, animals: int | None, reid: bool | None = None, gallery: Path | None = None
) -> list[str]:
    """``--animals``, ``--reid`` and ``--gallery`` as the settings they stand for; an explicit ``--set`` wins."""
    chosen = [f"stitch.n_animals={animals}", "stitch.count=exact"] if animals else []
    chosen += [] if reid is None else [f"reid.use={str(reid).lower()}"]
    chosen += [f"reid.gallery={gallery.resolve()}"] if gallery else []
    return [*chosen, *(overrides or ())]
