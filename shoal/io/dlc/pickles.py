"""DLC's pickles, read without running what they may contain."""

from __future__ import annotations

import importlib
import io
import pickle
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

import numpy as np

from shoal.errors import ProjectError
from shoal.io.artifacts import write_atomic

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
    """Admits numpy arrays and plain containers; some foreign classes become the plain values they carry."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("__builtin__", "builtins")
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        package, _, last = module.rpartition(".")
        if package in ("numpy.core", "numpy._core") and (last, name) in _NUMPY:
            return getattr(importlib.import_module(f"{_CORE}.{last}"), name)
        stand_in = _stand_in(module, name)
        if stand_in is None:
            raise pickle.UnpicklingError(f"holds {module}.{name}, which is not plain data")
        return stand_in


_CORE = "numpy._core" if hasattr(np, "_core") else "numpy.core"


def _encode(text: str, codec: str = "utf-8") -> bytes:
    """``codecs.encode`` without the codecs that unpack or run things."""
    if codec not in _CODECS:
        raise pickle.UnpicklingError(f"holds text in codec {codec!r}")
    return text.encode(codec)


class _Float(float):
    """A number of ruamel.yaml without its notation."""

    def __setstate__(self, state: Any) -> None:
        """How the number was written in its YAML file does not matter."""


class _Int(int):
    """As ``_Float``."""

    def __setstate__(self, state: Any) -> None:
        """As ``_Float``."""


class _Text(str):
    """As ``_Float``."""

    def __setstate__(self, state: Any) -> None:
        """As ``_Float``."""


class _Kind:
    """Stands for a class of pandas in the arguments of what builds it; does nothing itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"holds a changed {self.name}, which is not plain data")


class _Strings:
    """Stands for an array of strings of pandas 3: keeps the numpy array in its state."""

    values: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.values = next((part for part in state if isinstance(part, np.ndarray)), ())


def _stand_in(module: str, name: str) -> Any:
    """What takes the place of a class that result files of DLC carry; None = refused."""
    top = module.partition(".")[0]
    if top == "deeplabcut":  # enums: pickled as their class called with their value
        return _only_value
    if top == "pathlib" and name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path"):
        return _windows_path if "Windows" in name else _posix_path
    if module.startswith("ruamel.yaml.scalar"):
        return {"ScalarFloat": _Float, "ScalarInt": _Int, "ScalarBoolean": _Int}.get(name, _yaml_text(name))
    if top == "pandas":
        return _PANDAS.get(name)
    return None


def _yaml_text(name: str) -> type | None:
    return _Text if name.endswith("String") else None


def _only_value(*values: Any) -> Any:
    if len(values) != 1 or not isinstance(values[0], str | int | float | bool | tuple | list | dict | None):
        raise pickle.UnpicklingError("holds an object of deeplabcut that is no plain value")
    return values[0]


def _posix_path(*parts: str) -> str:
    return str(PurePosixPath(*parts))


def _windows_path(*parts: str) -> str:
    return str(PureWindowsPath(*parts))


def _new_index(kind: Any, content: dict[str, Any]) -> list[Any]:
    """A pandas index as the list of its entries, a multi-index as a list of tuples."""
    if not isinstance(kind, _Kind) or not isinstance(content, dict):
        raise pickle.UnpicklingError("holds an index of pandas in an unknown form")
    if kind.name == "Index":
        data = content.get("data", ())
        return list(data.values if isinstance(data, _Strings) else data)
    levels, codes = content["levels"], content.get("codes", content.get("labels"))
    if codes is None or len(levels) != len(codes):
        raise pickle.UnpicklingError("holds a multi-index of pandas in an unknown form")
    columns = [[level[code] for code in np.asarray(at).tolist()] for level, at in zip(levels, codes, strict=True)]
    return list(zip(*columns, strict=True))


def _nothing(*arguments: Any) -> None:
    """Takes the place of a description that is not needed."""


def _strings(*arguments: Any) -> _Strings:
    return _Strings()


_PANDAS: dict[str, Any] = {
    "_new_Index": _new_index,
    "Index": _Kind("Index"),
    "MultiIndex": _Kind("MultiIndex"),
    "FrozenList": list,
    "StringArray": _Kind("StringArray"),
    "StringArrayNumpySemantics": _Kind("StringArray"),
    "StringDtype": _nothing,
    "__pyx_unpickle_NDArrayBacked": _strings,
}


def read_pickle(path: Path) -> Any:
    """Load a pickle of numpy arrays, numbers, text and plain containers.

    What DLC's result files hold beside these comes as plain values, without DLC or pandas: paths and enums as text,
    an index of pandas as a list, a multi-index as a list of tuples.

    Raises:
        ProjectError: unreadable, or it holds anything else.
    """
    try:
        with path.open("rb") as file:
            return unpickle(file)
    # a damaged pickle raises almost anything
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ProjectError(f"expected a pickle of plain data, got: {reason}\nwhere: {path}") from error


def unpickle(file: IO[bytes]) -> Any:
    """One pickle of plain data from an open file, as ``read_pickle``; a damaged one raises almost anything."""
    return _Unpickler(file).load()


def write_pickle(path: Path, content: Any) -> None:
    """Write what ``read_pickle`` reads; whole or not at all.

    Raises:
        OSError: the folder cannot be written to.
    """

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            pickle.dump(content, file, protocol=4)  # 5 adds nothing here, and Python 3.7 (old DLC) reads 4

    write_atomic(path, write)


class _Outline:
    """Stands for a tensor of a torch file: its shape, never its values."""

    def __init__(self, *arguments: Any) -> None:
        shape = arguments[2] if len(arguments) > 2 and isinstance(arguments[2], tuple) else ()
        self.shape = tuple(int(n) for n in shape)


class _TorchUnpickler(_Unpickler):
    """Reads the structure of a torch file: names, numbers and the shapes of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return _Outline if name == "_rebuild_tensor_v2" else _first
        if module == "torch":  # kinds of storage and dtypes
            return _Kind(name)
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        return None


def _first(value: Any, *others: Any) -> Any:
    return value


def read_torch_outline(path: Path) -> Any:
    """What a torch file (zip) holds, without torch and without its arrays: tensors become objects with a ``shape``.

    Raises:
        ProjectError: not a torch file, or it holds more than tensors and plain data.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl")
            return _TorchUnpickler(io.BytesIO(archive.read(name))).load()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ProjectError(f"expected a torch file of plain data, got: {reason}\nwhere: {path}") from error
