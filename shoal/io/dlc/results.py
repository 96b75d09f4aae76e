"""Tracks and predictions in DLC's files: ``<base>_el.h5``, ``<base>.h5`` and their csv."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.errors import ProjectError
from shoal.io.dlc.pose_table import SINGLE, PoseTable, read_pose_table, split_points, write_pose_parts
from shoal.types import Poses, Skeleton, Span, Tracks, select

_COORDS = ("x", "y", "likelihood")
TRACKS_KEY, POSES_KEY = "tracks", "df_with_missing"
PIECE_VALUES = 1 << 20


def write_tracks(
    path: Path,
    tracks: Tracks,
    *,
    skeleton: Skeleton,
    names: Sequence[str],
    scorer: str,
    unique: Poses | None = None,
    key: str = TRACKS_KEY,
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
        key: of the h5: ``df_with_missing`` in ``_el_filtered.h5``.

    Raises:
        ValueError: a track has two rows in one frame.
    """
    parts = [(tracks, unique)]
    individuals = name_tracks(names, tracks.n_tracks)
    write_track_parts(path, parts, skeleton=skeleton, individuals=individuals, scorer=scorer, key=key)


def write_track_parts(
    path: Path,
    parts: Iterable[tuple[Tracks, Poses | None]],
    *,
    skeleton: Skeleton,
    individuals: Sequence[str],
    scorer: str,
    key: str = TRACKS_KEY,
) -> None:
    """As ``write_tracks``, of a video that comes in adjoining spans: only one is in memory.

    Args:
        path: ``.h5`` or ``.csv``.
        parts: tracks and unique keypoints of each span; tracks beyond the individuals are left out.
        skeleton: gives the names of keypoints.
        individuals: one name per track.
        scorer: first column level.
        key: of the h5.

    Raises:
        ValueError: a track has two rows in one frame.
    """

    def tables() -> Iterator[PoseTable]:
        for i, (tracks, unique) in enumerate(parts):
            known = np.flatnonzero((tracks.track >= 0) & (tracks.track < len(individuals)))
            named = select(tracks, known)
            for piece in _pieces((0 if i == 0 else tracks.span[0], tracks.span[1]), n_columns):
                yield _pose_table(
                    named, piece, skeleton=skeleton, individuals=individuals, scorer=scorer, unique=unique
                )

    n_columns = 3 * (len(individuals) * skeleton.n_keypoints + len(skeleton.unique))
    write_pose_parts(path, tables(), key=key)


def _pieces(span: Span, n_columns: int) -> Iterator[Span]:
    """Rows whose dense copies, here and in pandas, stay small however many columns there are."""
    step = max(1, PIECE_VALUES // max(n_columns, 1))
    for start in range(span[0], max(span[1], span[0] + 1), step):
        yield start, min(start + step, span[1])


def name_tracks(names: Sequence[str], n_tracks: int) -> tuple[str, ...]:
    """Names of tracks: those given, then ``individual<c + 1>``.

    >>> name_tracks(["ann"], 2)
    ('ann', 'individual2')
    """
    return (*names, *(f"individual{c + 1}" for c in range(len(names), n_tracks)))


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
    DLC. Animals beyond the individuals have no column and are left out (the caller knows the run's name and says so).

    Args:
        path: ``.h5`` or ``.csv``.
        poses: animals.
        skeleton: gives the names of keypoints.
        individuals: column names.
        scorer: first column level.
        unique: unique keypoints, at most one row a frame.
    """
    tracks = Tracks(poses, number_within(poses.frame))
    write_track_parts(
        path, [(tracks, unique)], skeleton=skeleton, individuals=individuals, scorer=scorer, key=POSES_KEY
    )


def number_within(frame: Int64[ndarray, "M"]) -> Int64[ndarray, "M"]:
    """0, 1, 2, ... within each run of equal numbers of a sorted column.

    >>> number_within(np.array([3, 3, 5])).tolist()
    [0, 1, 0]
    """
    return np.arange(len(frame)) - np.searchsorted(frame, frame)


@dataclass(frozen=True, eq=False)
class TracksFile:
    """All that a tracks file says.

    Attributes:
        tracks: over frames 0 to the last row's; ``item`` counts within each frame.
        names: one per track; individuals that are never seen keep their name and number.
        unique: what stands under ``single``, one row per frame where anything of it was seen.
        skeleton: names of keypoints; no limbs.
        scorer: first column level.
    """

    tracks: Tracks
    names: tuple[str, ...]
    unique: Poses
    skeleton: Skeleton
    scorer: str


def read_tracks(path: Path, skeleton: Skeleton | None = None) -> tuple[Tracks, tuple[str, ...]]:
    """Tracks and names of ``read_tracks_file``."""
    content = read_tracks_file(path, skeleton)
    return content.tracks, content.names


def read_tracks_file(
    path: Path, skeleton: Skeleton | None = None, *, rows: tuple[int, int] | None = None
) -> TracksFile:
    """Read any tracks file of DLC (h5 or csv, with or without likelihood or individuals).

    Args:
        path: the file.
        skeleton: order of keypoints; None = the file's order.
        rows: of an h5 file (first, after the last); None = all.

    Raises:
        ProjectError: unreadable, or rows that are no frame numbers.
    """
    try:
        table = read_pose_table(path, rows)
        frame = np.array([int(row[-1]) for row in table.index], np.int64)
    except (OSError, ValueError) as error:
        raise ProjectError(f"expected a DeepLabCut tracks file, got: {error}\nwhere: {path}") from error
    if len(frame) and (frame.min() < 0 or len(np.unique(frame)) < len(frame)):
        raise ProjectError(f"expected one row per frame number, got repeated or negative ones\nwhere: {path}")
    scorer = table.columns[0][0] if table.columns else ""
    individuals = [name for name in table.names("individuals", scorer=scorer) if name != SINGLE]
    parts = skeleton.keypoints if skeleton else _keypoints(table, scorer, individuals)
    once = skeleton.unique if skeleton else _keypoints(table, scorer, [SINGLE])
    values = table.gather(scorer, individuals=individuals, bodyparts=parts, coords=_COORDS)
    single = table.gather(scorer, individuals=[SINGLE], bodyparts=once, coords=_COORDS)
    names = tuple(name or "individual_1" for name in individuals)
    edges = skeleton.edges if skeleton else np.zeros((0, 2), np.int64)
    return TracksFile(
        _tracks(values, frame), names, _tracks(single, frame).poses, Skeleton(parts, edges, unique=once), scorer
    )


def _keypoints(table: PoseTable, scorer: str, individuals: Sequence[str]) -> tuple[str, ...]:
    kept = set(individuals)
    return tuple(dict.fromkeys(c[2] for c in table.columns if c[0] == scorer and c[1] in kept))


def _tracks(values: Float64[ndarray, "R I K 3"], frame: Int64[ndarray, "R"]) -> Tracks:
    span = (0, int(frame.max()) + 1 if len(frame) else 0)
    order = np.argsort(frame, kind="stable")
    xy, confidence = split_points(values[order])
    row, track = np.nonzero((~np.isnan(xy[..., 0])).any(axis=2))
    if not len(row):
        return Tracks.empty(span, values.shape[2])
    return Tracks(make_poses(frame[order][row], xy[row, track], confidence[row, track], span), track)


def make_poses(
    frame: Int64[ndarray, "M"], xy: Float64[ndarray, "M K 2"], confidence: Float64[ndarray, "M K"], span: Span
) -> Poses:
    """Animals of a foreign file: items are counted within frames, the score is the mean over seen keypoints."""
    n_seen = np.maximum((~np.isnan(xy[..., 0])).sum(axis=1), 1)
    score = np.clip(confidence.sum(axis=1) / n_seen, 0, 1)
    return Poses(frame, number_within(np.asarray(frame)), xy, confidence, score, span)


def _spread(poses: Poses, place: Int64[ndarray, "M"], n: int, span: Span) -> Float64[ndarray, "F n K 3"]:
    """Animal rows into a dense (frame, place) array of the frames of ``span``, NaN elsewhere."""
    rows = slice(*np.searchsorted(poses.frame, span).tolist())
    frame, place = poses.frame[rows] - span[0], place[rows]
    key = frame * max(n, 1) + place
    if len(np.unique(key)) < len(key):
        raise ValueError("write_tracks: expected at most one row per track and frame, got two")
    values = np.full((span[1] - span[0], n, poses.n_keypoints, 3), np.nan)
    values[frame, place, :, :2] = poses.xy[rows]
    values[frame, place, :, 2] = np.where(np.isnan(poses.xy[rows, :, 0]), np.nan, poses.confidence[rows])
    return values


def _pose_table(
    tracks: Tracks,
    span: Span,
    *,
    skeleton: Skeleton,
    individuals: Sequence[str],
    scorer: str,
    unique: Poses | None,
) -> PoseTable:
    n_frames = span[1] - span[0]
    columns = [(scorer, i, k, c) for i in individuals for k in skeleton.keypoints for c in _COORDS]
    values = _spread(tracks.poses, tracks.track.astype(np.int64), len(individuals), span)
    flat = values.reshape(n_frames, len(columns))
    if skeleton.unique:
        once = unique if unique is not None else Poses.empty(span, len(skeleton.unique))
        single = _spread(once, np.zeros(len(once), np.int64), 1, span)
        flat = np.column_stack([flat, single.reshape(n_frames, 3 * len(skeleton.unique))])
        columns += [(scorer, SINGLE, k, c) for k in skeleton.unique for c in _COORDS]
    index = tuple((str(frame),) for frame in range(*span))
    return PoseTable(tuple(columns), index, flat)
