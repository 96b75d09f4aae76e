"""Write docs/reference/ and ARCHITECTURE.md's module list from the code; ``--check`` only says if they are current."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from shoal.cli.app import app
from shoal.config.run import RunConfig

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"


def config_page() -> str:
    """Every setting: key, default, meaning."""
    lines = ["# Settings", "", "Defaults < `--config run.yaml` < `--set key=value`. Made by `scripts/reference.py`."]
    lines.append("")
    for section, info in RunConfig.model_fields.items():
        model = info.annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)
        lines += [f"## {section}", "", inspect.getdoc(model) or "", "", "| key | default | meaning |", "|---|---|---|"]
        lines += [*_settings(model, f"{section}."), ""]
    return "\n".join(lines)


def _settings(model: type[BaseModel], prefix: str) -> list[str]:
    lines: list[str] = []
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            lines += _settings(info.annotation, f"{prefix}{name}.")
            continue
        value = str(info.default) if info.default not in ("", ()) else "(empty)"
        lines.append(f"| `{prefix}{name}` | {value} | {(info.description or '').replace('|', '/')} |")
    return lines


def cli_page() -> str:
    """Every command with its arguments and options."""
    group: Any = typer.main.get_command(app)
    codes = "0 done, 1 a bug, 2 input, 3 run folder, 4 machine, 5 some items failed"
    lines = ["# Commands", "", f"Made by `scripts/reference.py`. Exit codes: {codes}.", ""]
    for name, command in group.commands.items():
        lines += [f"## shoal {name}", "", inspect.cleandoc(command.help or ""), "", "| | |", "|---|---|"]
        for parameter in command.params:
            if not parameter.opts[0].startswith("-"):
                lines.append(f"| `{parameter.name.upper()}` | {parameter.help or ''} |")
            elif parameter.name != "help":
                flags = ", ".join(f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts))
                lines.append(f"| {flags} | {(parameter.help or '').replace('|', '/')} |")
        lines.append("")
    return "\n".join(lines)


def architecture_page() -> str:
    """ARCHITECTURE.md with its module list made of the modules' own first lines."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    lines = ["```", "shoal/"]
    for path in sorted((ROOT / "shoal").rglob("*.py"), key=lambda p: (p.parent.parts, p.name)):
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0].replace("``", "")
        name = str(path.relative_to(ROOT / "shoal"))
        if path.name != "__init__.py":
            lines.append(f"  {name:32}{first}")
    block = "\n".join([*lines, "```"])
    return re.sub(r"(## 2. Layout\n\n)```.*?```", lambda found: found[1] + block, text, flags=re.S)


def main() -> int:
    """Write, or compare with ``--check``."""
    stale = []
    pages = (
        (FOLDER / "config.md", config_page()),
        (FOLDER / "cli.md", cli_page()),
        (ROOT / "ARCHITECTURE.md", architecture_page()),
    )
    for path, text in pages:
        if not path.exists() or path.read_text() != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(text)
    print(f"{'out of date' if '--check' in sys.argv else 'written'}: {', '.join(stale)}" if stale else "up to date")
    return bool(stale and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
