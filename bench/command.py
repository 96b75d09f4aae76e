"""Run the ``shoal`` command as a user would, from a measurement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SHOAL_DATA", ROOT.parent / "shared" / "data"))


def shoal(*args: str | Path) -> tuple[Any, float]:
    """``shoal ARGS --json`` -> (what it printed, wall seconds). Its log goes to this process's stderr."""
    command = [sys.executable, "-c", "from shoal.cli.app import main; main()", *map(str, args), "--json"]
    began = time.perf_counter()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"shoal {' '.join(map(str, args))} ended with {done.returncode}")
    return json.loads(done.stdout), seconds


def real_data(name: str) -> Path:
    """Folder of one real data set.

    Raises:
        FileNotFoundError: it is not on this machine; a figure cannot be made up.
    """
    if not (DATA / name).is_dir():
        raise FileNotFoundError(f"no real data at {DATA / name}; set SHOAL_DATA")
    return DATA / name
