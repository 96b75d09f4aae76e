"""``shoal reid``: animals known by name from video to video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shoal.cli.options import AsJson, Gallery, Quiet, Verbose, with_options
from shoal.cli.session import report, session


def reid(
    what: Annotated[str, typer.Argument(help="enroll, apply, list, forget")],
    words: Annotated[list[str] | None, typer.Argument(help="run folders (VIDEO.shoal); forget: names")] = None,
    gallery: Gallery = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="TRACK=NAME", help="enroll: what to call one of the tracks")
    ] = None,
    known: Annotated[
        float | None, typer.Option("--known", min=0.001, max=0.999, help="apply: share of animals known (0.9)")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Know animals again in other videos, by their looks.

    enroll RUN --gallery DIR: the tracks of a checked run become known by their names. apply RUN... --gallery DIR: names
    tracks of other videos, "unknown" among the answers; nothing is learned for that. list and forget NAME: the gallery.
    """
    from shoal.errors import InputError
    from shoal.run.batch import raise_failures

    doing = {"enroll": _enroll, "apply": _apply, "list": _list, "forget": _forget}
    with session(verbose=verbose, quiet=quiet) as on_progress:
        if what not in doing:
            raise InputError(f"expected {', '.join(doing)}, got '{what}'")
        if gallery is None and what != "apply":
            raise InputError(f"expected --gallery DIR for {what}, got none", hint="any folder: enroll makes it")
        found, text = doing[what](list(words or ()), gallery, {"names": name or [], "known": known}, on_progress)
    failed = found.pop("batch", None)
    report(found, as_json=as_json, text=text)
    if failed is not None:
        raise_failures(failed)


def _enroll(words: list[str], gallery: Path, options: dict[str, Any], on_progress: Any) -> tuple[dict[str, Any], str]:
    from shoal.errors import InputError
    from shoal.run.enrolment import enroll

    if len(words) != 1:
        raise InputError(f"expected enroll RUN, got {len(words)} folders")
    pairs = [text.partition("=") for text in options["names"]]
    wrong = ["".join(pair) for pair in pairs if not pair[0] or not pair[2]]
    if wrong:
        raise InputError(f"expected --name TRACK=NAME, got {', '.join(wrong)}")
    found = enroll(Path(words[0]), gallery, names={a: b for a, _, b in pairs}, on_progress=on_progress)
    text = _described(found)
    if found["left_out"]:
        text += f"\nnot enrolled, too little seen of them: {', '.join(found['left_out'])}"
    return found, text


def _apply(
    words: list[str], gallery: Path | None, options: dict[str, Any], on_progress: Any
) -> tuple[dict[str, Any], str]:
    from shoal.errors import InputError
    from shoal.run.batch import for_each
    from shoal.run.names import describe_names
    from shoal.run.steps import change_config, track

    if not words:
        raise InputError("expected apply RUN..., got no folder")
    chosen = with_options(None, None, gallery=gallery)
    chosen += [f"reid.known={options['known']}"] if options["known"] else []
    done = for_each(
        [Path(word) for word in words],
        lambda run: track(run, change_config(run, None, chosen), on_progress=on_progress),
    )
    said = {str(run): describe_names(Path(run)) for run in done.results}
    text = "\n".join(f"{Path(run).name}:\n" + "\n".join(f"  {line}" for line in lines) for run, lines in said.items())
    return {"runs": done.results, "failures": done.failures, "names": said, "batch": done}, text


def _list(words: list[str], gallery: Path, options: dict[str, Any], on_progress: Any) -> tuple[dict[str, Any], str]:
    from shoal.run.gallery import list_gallery

    about = list_gallery(gallery)
    return about, _described(about)


def _forget(words: list[str], gallery: Path, options: dict[str, Any], on_progress: Any) -> tuple[dict[str, Any], str]:
    from shoal.run.gallery import forget, list_gallery

    about = list_gallery(gallery)
    for word in words:
        about = forget(gallery, word, on_progress=on_progress)
    return about, _described(about)


def _described(about: dict[str, Any]) -> str:
    """A gallery in words."""
    lines = [f"{len(about['names'])} animals: {', '.join(about['names'])}"]
    for entry in about["enrolments"]:
        crops = ", ".join(f"{name} {n}" for name, n in entry["crops"].items())
        lines.append(f"  {entry['video']} (enrolled {entry['when'][:10]}), crops: {crops}")
    return "\n".join(lines)
