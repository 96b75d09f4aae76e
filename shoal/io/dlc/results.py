"""Tracks and predictions in DLC's files: ``<base>_el.h5``, ``<base>.h5`` and their csv."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.errors import ProjectError
from shoal.io.dlc.pose_table import SINGLE, PoseTable, read_pose_table, write_pose_table
from shoal.types import Poses, Skeleton, Tracks

logger = logging.getLogger(__name__)

_COORDS = ("x", "y", "likelihood")


def write_tracks(
    path: Path,
    tracks: Tracks,
    *,
    skeleton: Skeleton,
    names: Sequence[str],
    scorer: str,
    unique: Poses | None = None,
) -> None:
    """Write tracks as DLC's ``_el.h5`` (key ``tracks``), or as its csv by the suffix.

    Args:
        path: ``.h5`` or ``.csv``.
        tracks: track ``c`` becomes individual ``names[c]``; tracks beyond the names become
            ``individual<c + 1>``; names beyond the tracks get empty columns; unassigned rows are left out.
        skeleton: gives the names of keypoints.
        names: of individuals.
        scorer: first column level.
        unique: unique keypoints, at most one row a frame; None = none seen.

    Raises:
        ValueError: a track has two rows in one frame.
    """
    individuals = [*names, *(f"individual{c + 1}" for c in range(len(names), tracks.n_tracks))]
    rows = np.flatnonzero(tracks.track >= 0)
    values = _spread(tracks.poses, rows, tracks.track[rows].astype(np.int64), len(individuals))
    _write(path, values, skeleton=skeleton, individuals=individuals, scorer=scorer, unique=unique, key="tracks")


def write_poses(
    path: Path,
    poses: Poses,
    *,
    skeleton: Skeleton,
    individuals: Sequence[str],
    scorer: str,
    unique: Poses | None = None,
) -> None:
    """Write assembled animals as DLC's ``<base>.h5`` (key ``df_with_missing``), or as its csv.

    The n-th animal of a frame stands in the n-th individual's columns, so names mean nothing here, as in
    DLC. Animals beyond the individuals have no column and are left out (logged).

    Args:
        path: ``.h5`` or ``.csv``.
        poses: animals.
        skeleton: gives the names of keypoints.
        individuals: column names.
        scorer: first column level.
        unique: unique keypoints, at most one row a frame.
    """
    _, start, count = np.unique(poses.frame, return_index=True, return_counts=True)
    place = np.arange(len(poses)) - np.repeat(start, count)
    rows = np.flatnonzero(place < len(individuals))
    if len(rows) < len(poses):
        logger.warning("%s: %d animals beyond %d columns left out", path.name, len(poses) - len(rows), len(individuals))
    values = _spread(poses, rows, place[rows], len(individuals))
    _write(path, values, skeleton=skeleton, individuals=individuals, scorer=scorer, unique=unique, key=None)


def read_tracks(path: Path, skeleton: Skeleton | None = None) -> tuple[Tracks, tuple[str, ...]]:
    """Read any tracks file of DLC (h5 or csv, with or without likelihood or individuals).

    Args:
        path: the file.
        skeleton: order of keypoints; None = the file's order.

    Returns:
        Tracks over frames 0 to the last row's, and one name per track. Individual ``single`` is left out,
        individuals that are never seen keep their name and number. ``item`` counts within each frame.

    Raises:
        ProjectError: unreadable, or rows that are no frame numbers.
    """
    try:
        table = read_pose_table(path)
        frame = np.array([int(row[-1]) for row in table.index], np.int64)
    except (OSError, ValueError) as error:
        raise ProjectError(f"expected a DeepLabCut tracks file, got: {error}\nwhere: {path}") from error
    if len(frame) and (frame.min() < 0 or len(np.unique(frame)) < len(frame)):
        raise ProjectError(f"expected one row per frame number, got repeated or negative ones\nwhere: {path}")
    scorer = table.columns[0][0] if table.columns else ""
    individuals = [name for name in table.names("individuals", scorer=scorer) if name != SINGLE]
    parts = skeleton.keypoints if skeleton else _keypoints(table, scorer, individuals)
    values = table.gather(scorer, individuals=individuals, bodyparts=parts, coords=_COORDS)
    names = tuple(name or "individual_1" for name in individuals)
    return _tracks(values, frame), names


def _keypoints(table: PoseTable, scorer: str, individuals: Sequence[str]) -> tuple[str, ...]:
    kept = set(individuals)
    return tuple(dict.fromkeys(c[2] for c in table.columns if c[0] == scorer and c[1] in kept))


def _tracks(values: Float64[ndarray, "R I K 3"], frame: Int64[ndarray, "R"]) -> Tracks:
    span = (0, int(frame.max()) + 1 if len(frame) else 0)
    xy, confidence = values[..., :2], values[..., 2]
    # DLC marks missing animals by -1 in all three
    seen = ~np.isnan(xy).any(axis=-1) & ~((xy == -1).all(axis=-1) & ~(confidence >= 0))
    confidence = np.where(seen, np.where(np.isnan(confidence), 1.0, confidence), 0.0)
    xy = np.where(seen[..., None], xy, np.nan)
    values_order = np.argsort(frame, kind="stable")
    xy, confidence, seen, frame = xy[values_order], confidence[values_order], seen[values_order], frame[values_order]
    row, track = np.nonzero(seen.any(axis=2))
    if not len(row):
        return Tracks.empty(span, values.shape[2])
    item = np.concatenate([np.arange(n) for n in np.unique(row, return_counts=True)[1]])
    n_seen = seen[row, track].sum(axis=1)
    score = confidence[row, track].sum(axis=1) / n_seen
    poses = Poses(frame[row], item, xy[row, track], confidence[row, track], np.clip(score, 0, 1), span)
    return Tracks(poses, track)


def _spread(poses: Poses, rows: Int64[ndarray, "R"], place: Int64[ndarray, "R"], n: int) -> Float64[ndarray, "F n K 3"]:
    """Animal rows into a dense (frame, place) array, NaN elsewhere; frames from 0 to the end of the span."""
    frame = poses.frame[rows]
    key = frame * max(n, 1) + place
    if len(np.unique(key)) < len(key):
        raise ValueError("write_tracks: expected at most one row per track and frame, got two")
    values = np.full((poses.span[1], n, poses.n_keypoints, 3), np.nan)
    values[frame, place, :, :2] = poses.xy[rows]
    values[frame, place, :, 2] = np.where(np.isnan(poses.xy[rows, :, 0]), np.nan, poses.confidence[rows])
    return values


def _write(
    path: Path,
    values: Float64[ndarray, "F I K 3"],
    *,
    skeleton: Skeleton,
    individuals: Sequence[str],
    scorer: str,
    unique: Poses | None,
    key: str | None,
) -> None:
    n_frames = len(values)
    columns = [(scorer, i, k, c) for i in individuals for k in skeleton.keypoints for c in _COORDS]
    flat = values.reshape(n_frames, len(columns))
    if skeleton.unique:
        single = np.full((n_frames, 1, len(skeleton.unique), 3), np.nan)
        if unique is not None:
            rows = np.flatnonzero(unique.frame < n_frames)
            seen = _spread(unique, rows, np.zeros(len(rows), np.int64), 1)[:n_frames]
            single[: len(seen)] = seen
        flat = np.column_stack([flat, single.reshape(n_frames, 3 * len(skeleton.unique))])
        columns += [(scorer, SINGLE, k, c) for k in skeleton.unique for c in _COORDS]
    index = tuple((str(i),) for i in range(n_frames))
    table = PoseTable(tuple(columns), index, flat)
    write_pose_table(path, table, key=key or "df_with_missing", layout="table")
