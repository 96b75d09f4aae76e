"""Files of a run folder: tables as npz, JSON, the manifest, fingerprints.

Everything is written aside, flushed to disk and renamed, so a file is whole or absent. A stage is done
when its manifest entry, written last, carries the expected fingerprint. Equal tables give equal bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import math
import os
import platform
import shutil
import typing
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel

from shoal import __version__
from shoal.errors import ArtifactError, ResourceError
from shoal.types import Span

T = TypeVar("T")

ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold: bytes must not depend on the clock
ZIP_LEVEL = 1  # levels above cost several times the time for a few per cent
SCHEMA = "table"  # member that says what the others are; a text, so that numpy.load shows it
FORMAT = 1


WRITE_FAILURES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "a limit on the size of files is reached (ulimit -f)",
    errno.EIO: "not all of it could be written",
    errno.EROFS: "the folder has become read-only",
    errno.ENOENT: "the folder is gone",
    errno.ENOTDIR: "the folder is gone",
    errno.ESTALE: "the folder is gone",
    errno.ENODEV: "the folder is gone",
    errno.ENOTCONN: "the folder is gone",
}


def write_atomic(path: Path, content: bytes | Callable[[Path], None], *, make_parents: bool = True) -> None:
    """Write a file completely or not at all.

    Args:
        path: the file; its folder is made.
        content: the bytes, or a function that writes the file that it is given.
        make_parents: False = the folder's own parent must be there, so that the files of a drive that is lost in
            mid-work do not go on in a new folder of the same name.

    Raises:
        ResourceError: the disk is full, or the folder is gone or cannot be written to; what was there is untouched.
    """
    aside = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=make_parents, exist_ok=True)
        if callable(content):
            content(aside)
        else:
            aside.write_bytes(content)
        _flush(aside)
        aside.replace(path)
        _flush(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise write_failure(path, error) from error
        raise


def write_failure(path: Path, error: OSError) -> ResourceError:
    """What kept a file from being written, the room that is left there, and what to do."""
    reason = WRITE_FAILURES.get(error.errno or 0, error.strerror or str(error))
    there = next((folder for folder in path.parents if folder.is_dir()), Path("/"))
    try:
        room = f"{shutil.disk_usage(there).free / 1e6:,.0f} MB are free in {there}"
    except OSError:
        room = f"{there} does not answer"
    return ResourceError(
        f"cannot write {path.name}: {reason}\nwhere: {path.parent}",
        hint=f"{room}; make room there or connect the drive again, then the same command goes on where it stopped",
    )


def write_once(path: Path, content: bytes) -> bool:
    """Write a file completely where there is none; False if there is one, also if it appeared just now."""
    aside = path.with_name(f".{path.stem}.{os.getpid()}.claim{path.suffix}")
    aside.write_bytes(content)
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    except OSError:  # file systems without links
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def remove_partial(folder: Path) -> None:
    """Delete what killed writers left in a folder and below; only while nobody else writes there."""
    for leftover in folder.rglob(".*.partial*"):
        leftover.unlink(missing_ok=True)


def save_table(path: Path, table: Any) -> None:
    """Save a dataclass of arrays (nested ones too) as npz; equal tables give equal bytes.

    Anything that is neither array nor dataclass must be plain (numbers, strings, None, tuples of them). The folder is
    made, its parent must be there.

    >>> save_table(Path("tracks.npz"), tracks)  # doctest: +SKIP
    """
    arrays: dict[str, np.ndarray] = {}
    schema = {"format": FORMAT, "table": _flatten(table, "", arrays)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in {SCHEMA: np.array(json.dumps(schema, sort_keys=True)), **arrays}.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
            _add(archive, f"{name}.npy", member.getvalue())
    write_atomic(path, buffer.getvalue(), make_parents=False)


def load_table(path: Path, kind: type[T]) -> T:
    """Load what ``save_table`` saved.

    Raises:
        ArtifactError: the file is missing, damaged, or holds another type.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            schema = json.loads(str(_read_array(archive, SCHEMA)))
            if schema["table"]["type"] != kind.__name__:
                raise ArtifactError(f"expected a table {kind.__name__}, got {schema['table']['type']}\nwhere: {path}")
            return _build(schema["table"], kind, "", archive)
    except FileNotFoundError as error:
        raise ArtifactError(f"expected a table, found no file\nwhere: {path}") from error
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError, EOFError) as error:
        raise ArtifactError(
            f"expected a table {kind.__name__}, got a file that cannot be read ({error})\nwhere: {path}",
            hint="delete the file and its manifest entry, and run the command again",
        ) from error


def outline_table(path: Path) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Type of a saved table, and the shape of each column.

    Raises:
        ArtifactError: not a table of shoal.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            schema = json.loads(str(_read_array(archive, SCHEMA)))
            names = [n.removesuffix(".npy") for n in archive.namelist()]
            shapes = {name: _read_array(archive, name).shape for name in names if name != SCHEMA}
            return str(schema["table"]["type"]), shapes
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError, EOFError) as error:
        raise ArtifactError(
            f"expected a table of shoal, got a file that cannot be read ({error})\nwhere: {path}"
        ) from error


def write_json(path: Path, value: Any, *, make_parents: bool = True) -> None:
    """Write JSON with sorted keys, atomically; see ``json_ready`` and ``write_atomic``."""
    write_atomic(path, json_bytes(value), make_parents=make_parents)


def json_bytes(value: Any) -> bytes:
    """What ``write_json`` writes."""
    return (json.dumps(json_ready(value), indent=1, sort_keys=True) + "\n").encode()


def json_ready(value: Any) -> Any:
    """Plain values that every JSON reader takes: paths become text, numbers that are not finite null.

    >>> json_ready({"rmse": float("nan"), "files": (Path("a.h5"),)})
    {'rmse': None, 'files': ['a.h5']}
    """
    value = _plain(value)
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ArtifactError: missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ArtifactError(f"expected a file of a run folder, found none\nwhere: {path}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise ArtifactError(f"expected JSON, got: {error}\nwhere: {path}") from error


def fingerprint(
    stage: str,
    version: int,
    config: BaseModel | Mapping[str, Any] | Sequence[BaseModel] | None = None,
    *,
    inputs: Sequence[str] = (),
    checkpoint: str = "",
    video: str = "",
) -> str:
    """Hash of everything that a stage's output depends on; equal fingerprint = nothing to do.

    Args:
        stage: its name.
        version: the stage module's ``VERSION``.
        config: its settings, and nobody else's.
        inputs: fingerprints of the stages whose output it reads.
        checkpoint: hash of the model file.
        video: the video's identity.

    >>> fingerprint("stitch", 1, {"max_gap": 3}) == fingerprint("stitch", 1, {"max_gap": 4})
    False
    """
    parts = [stage, version, _plain(config), list(inputs), checkpoint, video]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def file_digest(path: Path) -> str:
    """Hash of a file's content, as used in fingerprints."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def span_name(span: Span) -> str:
    """Name of a span in file names.

    >>> span_name((0, 4096))
    '000000000-000004096'
    """
    return f"{span[0]:09d}-{span[1]:09d}"


def entry_path(run_dir: Path, stage: str, span: Span | None = None) -> Path:
    """Manifest entry of a stage, or of one span of it."""
    return run_dir / "manifest" / (f"{stage}-{span_name(span)}.json" if span else f"{stage}.json")


def write_entry(
    run_dir: Path,
    stage: str,
    *,
    fingerprint: str,
    outputs: Sequence[Path],
    span: Span | None = None,
    inputs: Mapping[str, str] | None = None,
    seconds: float = 0.0,
    counts: Mapping[str, Any] | None = None,
) -> None:
    """Record a stage as done; call after its outputs are written."""
    entry = {
        "stage": stage,
        "span": list(span) if span else None,
        "fingerprint": fingerprint,
        "inputs": dict(inputs or {}),
        "outputs": [path.relative_to(run_dir).as_posix() for path in outputs],
        "versions": {"shoal": __version__, "numpy": np.__version__, "python": platform.python_version()},
        "seconds": round(seconds, 3),
        "counts": dict(counts or {}),
        "host": platform.node(),
    }
    write_json(entry_path(run_dir, stage, span), entry, make_parents=False)


def drop_entry(run_dir: Path, stage: str, span: Span | None = None) -> None:
    """A stage is not done any more; call before its outputs are written over, or a kill leaves new ones as the old."""
    path = entry_path(run_dir, stage, span)
    if path.is_file():
        path.unlink()
        _flush(path.parent)


def read_entry(run_dir: Path, stage: str, span: Span | None = None) -> dict[str, Any] | None:
    """The manifest entry, None if there is none or it cannot be read (then the work is done again)."""
    try:
        entry = read_json(entry_path(run_dir, stage, span))
    except ArtifactError:
        return None
    return entry if isinstance(entry, dict) and "fingerprint" in entry else None


def is_done(run_dir: Path, stage: str, expected: str, span: Span | None = None) -> bool:
    """True if the entry has the expected fingerprint and its outputs exist."""
    entry = read_entry(run_dir, stage, span)
    if entry is None or entry["fingerprint"] != expected:
        return False
    return all((run_dir / output).is_file() for output in entry["outputs"])


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse to flush folders
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, ZIP_TIME)
    info.create_system = 3
    archive.writestr(info, content, compress_type=zipfile.ZIP_DEFLATED, compresslevel=ZIP_LEVEL)


def _flatten(table: Any, prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Schema of a dataclass: its plain fields, and how to find the others."""
    schema: dict[str, Any] = {"type": type(table).__name__, "arrays": [], "tables": {}, "plain": {}}
    for field in dataclasses.fields(table):
        value = getattr(table, field.name)
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise ValueError(f"save_table: expected plain values, got objects in column {prefix}{field.name}")
            arrays[prefix + field.name] = value
            schema["arrays"].append(field.name)
        elif dataclasses.is_dataclass(value):
            schema["tables"][field.name] = _flatten(value, f"{prefix}{field.name}.", arrays)
        else:
            schema["plain"][field.name] = _plain(value)
    return schema


def _build(schema: dict[str, Any], kind: type[T], prefix: str, archive: zipfile.ZipFile) -> T:
    values: dict[str, Any] = {}
    for name in schema["arrays"]:
        values[name] = _read_array(archive, prefix + name)
    for name, nested in schema["tables"].items():
        values[name] = _build(nested, _field_type(kind, name), f"{prefix}{name}.", archive)
    values.update((name, _tuples(value)) for name, value in schema["plain"].items())
    return kind(**values)


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)


def _field_type(kind: type, name: str) -> Any:
    hint = typing.get_type_hints(kind)[name]
    candidates = [hint, *typing.get_args(hint)]
    return next(c for c in candidates if isinstance(c, type) and dataclasses.is_dataclass(c))


def _plain(value: Any) -> Any:
    """Something that JSON can hold."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"expected a plain value, got {type(value).__name__}")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
