"""Animals and tracklets in DLC's pickles: ``<base>_assemblies.pickle`` and ``<base>_el.pickle`` (``_bx``, ``_sk``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int32
from numpy import ndarray

from shoal.errors import ProjectError
from shoal.io.dlc.meta import frame_key, frame_number, key_width, why
from shoal.io.dlc.pickles import read_pickle, write_pickle
from shoal.io.dlc.pose_table import split_points
from shoal.io.dlc.results import make_poses
from shoal.types import Poses, Span, Tracks

SINGLE, HEADER = "single", "header"
SUFFIXES = {"ellipse": "_el", "box": "_bx", "skeleton": "_sk", "transformer": "_el_tr"}
"""Track method -> suffix of its files; ``transformer`` = tracks joined by looks, too, from ``ellipse`` tracklets."""
_COORDS = ("x", "y", "likelihood")


@dataclass(frozen=True, eq=False)
class Assemblies:
    """Content of an ``_assemblies.pickle``.

    Attributes:
        poses: animals.
        unique: keypoints that exist once.
        identity: (M, K) number of the individual that each keypoint looks like, -1 = not said.
        affinity: (M, K) strength of the assembly where the file has that column; None = it has not.
    """

    poses: Poses
    unique: Poses
    identity: Int32[ndarray, "M K"]
    affinity: Float32[ndarray, "M K"] | None = None


@dataclass(frozen=True, eq=False)
class Tracklets:
    """Content of a tracklet pickle.

    Attributes:
        tracklets: numbered in the order of the file's numbers, from 0 without gaps.
        unique: keypoints that exist once.
        identity: (M, K) as in ``Assemblies``.
        keypoints: names.
        unique_names: names of keypoints that exist once.
        scorer: DLC's name of the network.
        numbers: the file's number of each tracklet.
    """

    tracklets: Tracks
    unique: Poses
    identity: Int32[ndarray, "M K"]
    keypoints: tuple[str, ...]
    unique_names: tuple[str, ...]
    scorer: str
    numbers: tuple[int, ...]


def write_assemblies(
    path: Path,
    poses: Poses,
    *,
    n_frames: int,
    unique: Poses | None = None,
    identity: Int32[ndarray, "M K"] | None = None,
    affinity: Float32[ndarray, "M K"] | None = None,
) -> None:
    """Write ``_assemblies.pickle``: an array (animals, K, 4) of x, y, confidence, individual for every frame.

    Args:
        path: of the file.
        poses: animals.
        n_frames: of the video.
        unique: keypoints that exist once.
        identity: individual that each keypoint looks like; None = -1.
        affinity: a fifth column.
    """
    values = _rows(poses, identity, affinity)
    starts = np.searchsorted(poses.frame, np.arange(n_frames + 1)).tolist()
    content: dict[Any, Any] = {SINGLE: _singles_out(unique)}
    content |= {frame: values[starts[frame] : starts[frame + 1]] for frame in range(n_frames)}
    write_pickle(path, content)


@contextmanager
def _reading(what: str, path: Path) -> Iterator[None]:
    """Content that is not as expected is the file's fault."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise ProjectError(f"expected {what} of DeepLabCut, got {why(error)}\nwhere: {path}") from error


def _seen_poses(values: ndarray, frame: ndarray, span: tuple[int, int]) -> tuple[Poses, ndarray]:
    """Rows (N, K, 4 or 5) of DLC that have a keypoint at all, and which rows those are."""
    xy, confidence = split_points(values[..., :3])
    seen = np.asarray((~np.isnan(xy[..., 0])).any(axis=1))
    return make_poses(frame[seen], xy[seen], confidence[seen], span), seen


def read_assemblies(path: Path, *, n_frames: int = 0) -> Assemblies:
    """Read an ``_assemblies.pickle`` of any engine.

    Args:
        path: of the file.
        n_frames: of the video; 0 = up to the last frame with a key.

    Raises:
        ProjectError: not such a file.
    """
    content = read_pickle(path)
    with _reading("an _assemblies.pickle", path):
        frames = {number: rows for key, rows in content.items() if (number := frame_number(key)) is not None}
        if not frames and SINGLE not in content:
            raise ValueError("no frame in it")
        span = (0, max([n_frames, *(frame + 1 for frame in frames)]))
        parts = {frame: _animals(frames[frame]) for frame in sorted(frames) if len(frames[frame])}
        values, frame = _stack(list(parts.values())), np.repeat(list(parts), [len(p) for p in parts.values()])
        poses, seen = _seen_poses(values, frame.astype(np.int64), span)
        affinity = values[seen, :, 4].astype(np.float32) if values.shape[2] > 4 else None
        unique = _singles_in(content.get(SINGLE), span)
    return Assemblies(poses, unique, _whole(values[seen]), affinity)


def write_tracklets(
    path: Path,
    tracklets: Tracks,
    *,
    keypoints: Sequence[str],
    scorer: str,
    n_frames: int,
    unique: Poses | None = None,
    unique_names: Sequence[str] = (),
    identity: Int32[ndarray, "M K"] | None = None,
) -> None:
    """Write ``_el.pickle``: for every tracklet an array (K, 4) per frame.

    Args:
        path: of the file.
        tracklets: rows of no tracklet are left out.
        keypoints: names.
        scorer: first level of the header.
        n_frames: of the video: width of the frame keys.
        unique: keypoints that exist once.
        unique_names: their names.
        identity: as in ``write_assemblies``.

    Raises:
        ValueError: a tracklet has two rows in one frame.
    """
    values, width = _rows(tracklets.poses, identity, None), key_width(n_frames)
    content: dict[Any, Any] = {HEADER: _header(scorer, [*keypoints, *unique_names])}
    if unique_names:
        content[SINGLE] = _singles_out(unique)
    for frame, number, row in zip(tracklets.poses.frame.tolist(), tracklets.track.tolist(), values, strict=True):
        if number < 0:
            continue
        rows = content.setdefault(np.int64(number), {})
        key = frame_key(frame, width)
        if key in rows:
            raise ValueError("write_tracklets: expected at most one row per tracklet and frame, got two")
        rows[key] = row
    write_pickle(path, content)


def read_tracklets(path: Path, *, n_frames: int = 0) -> Tracklets:
    """Read a tracklet pickle (``_el``, ``_bx``, ``_sk``), with frame keys in either form.

    Args:
        path: of the file.
        n_frames: of the video; 0 = up to the last frame of a tracklet.

    Raises:
        ProjectError: not such a file.
    """
    content = read_pickle(path)
    with _reading("a tracklet pickle", path):
        names, scorer = _names(content[HEADER])
        numbers = sorted(key for key in content if isinstance(key, int | np.integer))
        rows = [
            (_frame(key), i, np.asarray(values, np.float64))
            for i, number in enumerate(numbers)
            for key, values in content[number].items()
        ]
        rows = sorted(rows, key=lambda row: row[:2])
        frame, track = (np.array([row[i] for row in rows], np.int64) for i in range(2))
        if len({row[:2] for row in rows}) < len(rows):
            raise ValueError("a tracklet that is twice in a frame")
        values = _stack([row[2][None] for row in rows]) if rows else np.zeros((0, len(names), 4))
        if values.shape[1] > len(names):
            raise ValueError(f"{values.shape[1]} keypoints where {len(names)} are named")
        span = (0, max(n_frames, int(frame.max(initial=-1)) + 1))
        poses, seen = _seen_poses(values, frame, span)
        unique = _singles_in(content.get(SINGLE), span)
    n = values.shape[1]
    whole = tuple(int(number) for number in numbers)
    return Tracklets(Tracks(poses, track[seen]), unique, _whole(values[seen]), names[:n], names[n:], scorer, whole)


def _frame(key: Any) -> int:
    number = frame_number(key)
    if number is None:
        raise ValueError(f"a row of {key!r}, which is no frame")
    return number


def _rows(
    poses: Poses, identity: Int32[ndarray, "M K"] | None, affinity: Float32[ndarray, "M K"] | None
) -> Float32[ndarray, "M K C"]:
    """x, y, confidence, individual[, affinity]; NaN where a keypoint is missing."""
    named = np.full(poses.confidence.shape, -1.0) if identity is None else identity
    columns = [poses.xy[..., 0], poses.xy[..., 1], poses.confidence, named]
    if affinity is not None:
        columns.append(affinity)
    values = np.stack(columns, axis=2).astype(np.float32)
    values[np.isnan(poses.xy[..., 0]), :3] = np.nan
    return values


def _animals(rows: Any) -> Float64[ndarray, "n K C"]:
    """Animals of a frame: one array, or a list of arrays."""
    values = np.asarray(rows if isinstance(rows, ndarray) else np.stack([np.asarray(row) for row in rows]), np.float64)
    if values.ndim != 3 or values.shape[2] < 3:
        raise ValueError(f"animals of shape {values.shape}")
    return values


def _stack(parts: list[Float64[ndarray, "n K C"]]) -> Float64[ndarray, "M K C"]:
    if not parts:
        return np.zeros((0, 0, 4))
    if any(part.shape[1:] != parts[0].shape[1:] for part in parts):
        raise ValueError("animals of different shapes")
    values = np.concatenate(parts)
    if values.shape[2] < 3 or values.ndim != 3:
        raise ValueError(f"animals of shape {values.shape[1:]}")
    return values


def _whole(values: Float64[ndarray, "M K C"]) -> Int32[ndarray, "M K"]:
    """The individual of each keypoint; without that column -1."""
    if values.shape[2] < 4:
        return np.full(values.shape[:2], -1, np.int32)
    named = values[..., 3]
    return np.where(np.isfinite(named) & (np.abs(named) < 1e6), named, -1).astype(np.int32)


def _singles_out(unique: Poses | None) -> dict[int, Float32[ndarray, "U 3"]]:
    if unique is None:
        return {}
    values = _rows(unique, None, None)[..., :3]
    return {int(frame): row for frame, row in zip(unique.frame, values, strict=True)}


def _singles_in(content: Any, span: Span) -> Poses:
    """Unique keypoints: {frame: (U, 3)}."""
    if not content:
        return Poses.empty(span, 0)
    rows = sorted(((_frame(key), np.asarray(row, np.float64)) for key, row in content.items()), key=lambda row: row[0])
    values = _stack([row[None] for _, row in rows])
    frame = np.array([frame for frame, _ in rows], np.int64)
    xy, confidence = split_points(values[..., :3])
    seen = (~np.isnan(xy[..., 0])).any(axis=1) & (frame < span[1])
    return make_poses(frame[seen], xy[seen], confidence[seen], span)


def _header(scorer: str, names: Sequence[str]) -> pd.MultiIndex:
    """The columns of a data frame; as objects, because the strings of pandas 3 do not open in pandas 2 (DLC's)."""
    levels: list[Mapping[Any, int] | Any] = [
        pd.Index(list(dict.fromkeys(level)), dtype=object) for level in ([scorer], names, _COORDS)
    ]
    at = {name: i for i, name in enumerate(dict.fromkeys(names))}
    codes = [
        np.zeros(3 * len(names), np.int64),
        np.repeat([at[name] for name in names], 3),
        np.tile(np.arange(3), len(names)),
    ]
    return pd.MultiIndex(levels=levels, codes=codes, names=["scorer", "bodyparts", "coords"])


def _names(header: Any) -> tuple[tuple[str, ...], str]:
    """Names of keypoints and of the network, from the header's (scorer, bodypart, coordinate)."""
    if not isinstance(header, list) or any(not isinstance(entry, tuple) or len(entry) < 3 for entry in header):
        raise ValueError("a header without scorer, bodyparts and coords")
    names = tuple(dict.fromkeys(str(entry[-2]) for entry in header))
    return names, str(header[0][0]) if header else ""
