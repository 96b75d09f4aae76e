"""Numba kernels: positional arrays (or named tuples of arrays) only, imported lazily by the stage that needs them.

Compiled code is cached in the user's cache folder, so that a read-only installation works and
nothing is written beside the source.

Kernels are written so that they compile fast: ``np.empty`` and a loop instead of ``np.full``, ``np.ones``,
``np.arange``, ``np.searchsorted``, each of which numba compiles anew.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from numba import config, njit


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

_FAST: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inner = njit(cache=True, nogil=True, error_model="numpy", **_FAST)
"""For kernels that only kernels call: without what makes them callable from Python they compile faster."""
