"""``shoal check``: what shoal understands of a project, of a file, or of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shoal.cli.options import AsJson
from shoal.cli.session import session


def check(
    project: Annotated[
        Path | None,
        typer.Argument(help="DeepLabCut project, run folder, or any file of either; without it: this machine"),
    ] = None,
    decode: Annotated[bool, typer.Option("--decode", help="decode every image, not only its header")] = False,
    settings: Annotated[bool, typer.Option("--settings", help="list every setting with its default")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what shoal understands of PROJECT, its faults and suspicious folders; or say what a file contains."""
    console = Console(soft_wrap=False, width=None if Console().is_terminal else 140, highlight=False)
    if settings:
        _show(console, list_settings(), as_json, _print_settings)
    elif project is None:
        from shoal.run.machine import check_machine

        with session():
            machine = check_machine()
        _show(console, machine, as_json, _print_machine)
    else:
        from shoal.run.check import check_path

        with session():
            understood = check_path(project, decode=decode)
        printer = _print_file if "file" in understood else _print_project
        _show(console, understood | {"given": str(project)}, as_json, printer)


def list_settings() -> list[dict[str, Any]]:
    """Every setting: key, default, what it means."""
    from pydantic import BaseModel

    from shoal.config.run import RunConfig

    rows: list[dict[str, Any]] = []

    def collect(model: type[BaseModel], prefix: str) -> None:
        for name, info in model.model_fields.items():
            kind = info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                collect(kind, f"{prefix}{name}.")
            else:
                rows.append({"key": prefix + name, "default": info.default, "meaning": info.description or ""})

    collect(RunConfig, "")
    return rows


def _show(console: Console, found: Any, as_json: bool, printer: Any) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=2, default=str))
    else:
        printer(console, found)


def _print_settings(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table("setting", "default", "meaning")
    for row in rows:
        table.add_row(row["key"], escape(str(row["default"])), escape(row["meaning"]))
    console.print(table)
    console.print("\nnext: shoal train PROJECT --set KEY=VALUE", markup=False)


def _print_machine(console: Console, found: dict[str, Any]) -> None:
    torch, threads, memory = found["torch"], found["threads"], found["memory_gib"]
    table = Table(show_header=False)
    table.add_row("shoal", found["shoal"])
    table.add_row("Python", f"{found['python']} on {found['platform']}")
    table.add_row("torch", f"{torch.get('version', 'none')}, built for CUDA {torch['cuda_build'] or 'none'}")
    table.add_row("NVIDIA driver", found["driver"]["version"] or "none")
    for gpu in torch.get("gpus", ()):
        table.add_row("GPU", f"{gpu['name']}, {gpu['memory_gib']} GiB, compute {gpu['compute']}")
    if not torch.get("gpus"):
        table.add_row("GPU", "Apple (mps)" if torch.get("mps_available") else "none: shoal runs on the CPU")
    table.add_row(
        "CPU", f"{threads['usable']} of {threads['cores']} cores usable, torch threads {torch.get('threads')}"
    )
    table.add_row("memory", f"{memory['free']} of {memory['total']} GiB free")
    for kind, names in found["codecs"].items():
        table.add_row(f"video, {kind}", ", ".join(name for name, there in names.items() if there) or "nothing")
    table.add_row("packages", ", ".join(f"{name} {version}" for name, version in found["packages"].items()))
    console.print(table)
    for misfit in found["misfits"]:
        console.print(f"does not fit: {misfit}", markup=False)
    if not found["misfits"]:
        console.print("everything fits")
    console.print("\nnext: shoal check PROJECT", markup=False)


def _print_file(console: Console, found: dict[str, Any]) -> None:
    console.print(f"{found['file']}: {found['kind']}", markup=False, soft_wrap=True)
    for line in found["says"]:
        console.print(f"  {line}", markup=False, soft_wrap=True)


def _print_project(console: Console, found: dict[str, Any]) -> None:
    _print_understood(console, found)
    _print_shuffles(console, found)
    _print_problems(console, found["problems"])
    _print_folders(console, found["folders"])
    from shoal.run.check import SUSPICIOUS

    odd = [f["folder"] for f in found["folders"] if f["score"] >= SUSPICIOUS]
    project = _quoted(found["given"])
    if odd:
        console.print(
            f"\n{len(odd)} of {len(found['folders'])} folders look wrong; look at their images, then leave them out:"
        )
        options = " ".join(f"--exclude {_quoted(name)}" for name in odd)
        console.print(f"next: shoal dataset {project} {options}", markup=False, soft_wrap=True)
    else:
        console.print(f"\nnext: shoal dataset {project}", markup=False, soft_wrap=True)


def _print_understood(console: Console, found: dict[str, Any]) -> None:
    kind = "multi-animal" if found["multi_animal"] else "single-animal"
    table = Table(show_header=False)
    rows = {
        "project": f"{found['task']}, {kind}, labelled by {found['scorer']}, {found['date']}",
        "engine": found["engine"],
        "folder": found["root"],
        "videos": f"{len(found['videos'])} found" + "".join(f"\n{video}" for video in found["videos"]),
        "labels": f"{found['images']} images in {len(found['folders'])} folders, {found['animals']} animals, "
        f"{found['images_without_animals']} images without any",
        "individuals": f"{len(found['individuals'])}: {', '.join(found['individuals'])}"
        + (" (the same animals in every video)" if found["identity"] else ""),
        "keypoints": f"{len(found['keypoints'])}: {', '.join(found['keypoints'])}",
        "unique keypoints": ", ".join(found["unique_keypoints"]),
        "limbs": f"{len(found['limbs'])}: " + ", ".join("-".join(pair) for pair in found["limbs"]),
        "left and right": ", ".join("/".join(pair) for pair in found["mirror_pairs"]) or "no pairs found in the names",
        "left out": ", ".join(found["excluded"]),
    }
    for name, text in rows.items():
        if text:
            table.add_row(name, escape(text))
    console.print(table)


def _print_shuffles(console: Console, found: dict[str, Any]) -> None:
    if found["shuffles"]:
        table = Table("shuffle", "engine", "train", "test", "snapshots", "notes", title="shuffles")
        for s in found["shuffles"]:
            snapshots = f"{len(s['snapshots'])}, last {s['snapshots'][-1]}" if s["snapshots"] else "none"
            table.add_row(
                str(s["index"]), s["engine"], str(s["train"]), str(s["test"]), snapshots, "; ".join(s["notes"])
            )
        console.print(table)
    console.print(f"DeepLabCut's next shuffle: {found['next_shuffle']}")


def _print_problems(console: Console, problems: list[dict[str, Any]]) -> None:
    if not problems:
        console.print("no problems found")
        return
    table = Table("where", "what", "", title=f"{len(problems)} problems")
    for problem in problems:
        table.add_row(escape(problem["where"]), escape(problem["what"]), "left out" if problem["skipped"] else "")
    console.print(table)


def _print_folders(console: Console, folders: list[dict[str, Any]]) -> None:
    table = Table(
        "folder", "suspicion", "images", "animals", "size", "why", title="labels, most suspicious folders first"
    )
    for f in folders:
        size = "" if f["relative_size"] is None else f"{f['relative_size']:.2f}"
        why = "; ".join(f["reasons"])
        table.add_row(escape(f["folder"]), f"{f['score']:.2f}", str(f["images"]), str(f["animals"]), size, escape(why))
    console.print(table)
    if len(folders) < 3:
        console.print("fewer than 3 folders: there are no others to compare a folder with")


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
