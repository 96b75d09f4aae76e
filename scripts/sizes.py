"""Fail on modules over 500 lines without a reason in the docstring, vague names and machine paths."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
VAGUE = {"utils", "util", "helpers", "helper", "core", "common", "base", "misc"}
MACHINE_PATH = re.compile(r"(?<![\w.~}$<>-])/(?:work|tmp|root|farm|home/[a-z]+\d*)/\w")


def main() -> int:
    """Print every fault; the exit code says whether there was one."""
    faults: list[str] = []
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        if not name or not path.is_file():
            continue
        if path.stem in VAGUE:
            faults.append(f"{name}: a name that attracts unrelated code")
        if path.stat().st_size > 2 * 2**20:
            faults.append(f"{name}: over 2 MiB")
        if path.suffix in {".png", ".jpg", ".npz", ".mp4", ".h5"}:
            continue
        text = path.read_text(errors="replace")
        lines = text.split("\n")
        is_module = name.startswith("shoal/") and path.suffix == ".py"
        if is_module and len(lines) > 500 and "over 500 lines" not in text:
            faults.append(f"{name}: {len(lines)} lines (split it, or say why 'over 500 lines' in its docstring)")
        if name != "scripts/sizes.py":
            faults += [f"{name}:{i}: path of a machine" for i, line in enumerate(lines, 1) if MACHINE_PATH.search(line)]
    print("\n".join(faults) or "sizes, names and paths are fine")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
