"""DLC's pickles, read without running what they may contain."""

from __future__ import annotations

import importlib
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import ProjectError

# names under which numpy 1 and 2 pickle arrays and scalars; the functions moved, the meaning did not
_NUMPY = {("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer")}
_PLAIN: dict[tuple[str, str], Any] = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "bytearray"): bytearray,
    ("builtins", "complex"): complex,
    ("builtins", "slice"): slice,
    ("builtins", "range"): range,
    ("builtins", "list"): list,
    ("builtins", "dict"): dict,
    ("builtins", "tuple"): tuple,
    ("builtins", "int"): int,
    ("builtins", "float"): float,
    ("builtins", "str"): str,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
_CODECS = ("latin1", "latin-1", "utf-8", "utf8", "ascii")


class _Unpickler(pickle.Unpickler):
    """Admits numpy arrays and plain containers, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("__builtin__", "builtins")
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        package, _, last = module.rpartition(".")
        if package in ("numpy.core", "numpy._core") and (last, name) in _NUMPY:
            return getattr(importlib.import_module(f"{_CORE}.{last}"), name)
        raise pickle.UnpicklingError(f"holds {module}.{name}, which is not plain data")


_CORE = "numpy._core" if hasattr(np, "_core") else "numpy.core"


def _encode(text: str, codec: str = "utf-8") -> bytes:
    """``codecs.encode`` without the codecs that unpack or run things."""
    if codec not in _CODECS:
        raise pickle.UnpicklingError(f"holds text in codec {codec!r}")
    return text.encode(codec)


def read_pickle(path: Path) -> Any:
    """Load a pickle of numpy arrays, numbers, text and plain containers.

    Raises:
        ProjectError: unreadable, or it holds anything else.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file).load()
    # a damaged pickle raises almost anything
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ProjectError(f"expected a pickle of plain data, got: {reason}\nwhere: {path}") from error
