"""Backbone features of animals, ``<base>_bpt_features.pickle``: DLC's shelf, as dbm.dumb's three files."""

from __future__ import annotations

import dbm.dumb
import io
import pickle
import shelve
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from shoal.errors import ProjectError, ResourceError
from shoal.io.dlc.meta import frame_key, frame_number, key_width, why
from shoal.io.dlc.pickles import unpickle

ENDINGS = (".dat", ".dir", ".bak")
METADATA = "metadata"
Frame = tuple[int, Float32[ndarray, "n K 2"], Float32[ndarray, "n K C"]]


def write_features(
    path: Path, frames: Iterable[Frame], *, n_frames: int, n_bytes: int, metadata: Mapping[str, Any]
) -> None:
    """Write frames one by one, whole or not at all.

    Args:
        path: of the shelf, without the endings of its files.
        frames: number, positions (px, from the corner of what was analyzed), features; 0 where there is no keypoint.
        n_frames: of the video: width of the keys.
        n_bytes: about what is written.
        metadata: as in ``_full.pickle``.

    Raises:
        ResourceError: the disk cannot hold it.
    """
    free = shutil.disk_usage(path.parent).free
    if free < n_bytes:
        raise ResourceError(
            f"expected {n_bytes / 1e9:.1f} GB on the disk for features, got {free / 1e9:.1f} GB\nwhere: {path}",
            hint="features of fewer frames are written with all_frames=False",
        )
    aside, width = path.with_name(f".{path.name}.part"), key_width(n_frames)
    try:
        with shelve.Shelf(cast(Any, dbm.dumb.open(str(aside), "n")), protocol=4) as shelf:
            shelf[METADATA] = dict(metadata)
            for number, xy, features in frames:
                shelf[frame_key(number, width)] = {
                    "coordinates": xy.astype(np.float32), "features": features.astype(np.float64)
                }  # fmt: skip
        _file(aside, ".bak").write_bytes(_file(aside, ".dir").read_bytes())
        for ending in ENDINGS:
            _file(aside, ending).replace(_file(path, ending))
    finally:
        for ending in ENDINGS:
            _file(aside, ending).unlink(missing_ok=True)


def read_features(path: Path) -> Iterator[tuple[int, Float32[ndarray, "n K 2"], Float64[ndarray, "n K C"]]]:
    """Frames of a shelf in order: number, positions, features.

    Raises:
        ProjectError: not such files.
    """
    if not _file(path, ".dir").is_file():
        raise ProjectError(
            f"expected {path.name} with {', '.join(ENDINGS)}, found none\nwhere: {path.parent}",
            hint="create_tracking_dataset writes it",
        )
    try:
        with dbm.dumb.open(str(path), "r") as opened:
            shelf = cast(Any, opened)
            numbers = {number: key for key in list(shelf.keys()) if (number := frame_number(key.decode())) is not None}
            for number in sorted(numbers):
                content = unpickle(io.BytesIO(shelf[numbers[number]]))
                yield number, np.asarray(content["coordinates"]), np.asarray(content["features"])
    except (OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise ProjectError(f"expected features of DeepLabCut, got {why(error)}\nwhere: {path}") from error


def _file(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
