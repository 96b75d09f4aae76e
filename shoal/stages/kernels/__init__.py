"""Numba kernels: positional arrays only, imported lazily by the stage that needs them.

Compiled code is cached in the user's cache folder, so that a read-only installation works and
nothing is written beside the source.

Kernels are written so that they compile fast: ``np.empty`` and a loop instead of ``np.full``, ``np.ones``,
``np.arange``, ``np.searchsorted``, each of which numba compiles anew.
"""

import os
import sys
import tempfile
from pathlib import Path

from numba import config


def _cache_folder() -> Path:
    """The user's cache folder for compiled kernels; a temporary one where it cannot be written."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", home / ".cache"))
    folder = base / "shoal" / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="shoal-kernels-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="shoal-kernels-"))


if not getattr(config, "CACHE_DIR", ""):  # the environment variable NUMBA_CACHE_DIR wins
    setattr(config, "CACHE_DIR", str(_cache_folder()))  # noqa: B010  (numba's settings are not typed)
