"""What DLC's network saw: ``<base>_full.pickle``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped
from numpy import ndarray

from shoal.errors import ProjectError
from shoal.io.dlc.meta import frame_key, frame_number, key_width, why
from shoal.io.dlc.pickles import read_pickle, write_pickle
from shoal.io.dlc.pose_table import split_points
from shoal.io.dlc.results import make_poses, number_within
from shoal.types import Detections, Poses, Span


@dataclass(frozen=True, eq=False)
class Full:
    """Content of a ``_full.pickle``.

    Attributes:
        keypoints: names of multi-animal keypoints.
        unique_names: names of keypoints that exist once.
        edges: (E, 2) limbs of the costs; none in files of the PyTorch engine.
        detections: every keypoint seen, as peaks; limbs where the file has costs.
        unique: keypoints that exist once, best one of each frame.
        poses: animals, where the file holds assembled ones (PyTorch engine); None = raw peaks (TensorFlow engine).
    """

    keypoints: tuple[str, ...]
    unique_names: tuple[str, ...]
    edges: Int64[ndarray, "E 2"]
    detections: Detections
    unique: Poses
    poses: Poses | None


def write_full(
    path: Path,
    animals: Poses | Detections,
    *,
    keypoints: Sequence[str],
    n_frames: int,
    n_individuals: int,
    unique: Poses | None = None,
    unique_names: Sequence[str] = (),
    edges: Int64[ndarray, "E 2"] | None = None,
    identity: Float64[ndarray, "M K I"] | None = None,
) -> None:
    """Write ``_full.pickle``.

    Args:
        path: of the file.
        animals: Poses are written as the PyTorch engine does: row a of every keypoint is animal a, -1 in the rows of
            absent animals. Detections are written as the TensorFlow engine does: all peaks, with costs.
        keypoints: names.
        n_frames: of the video; frames without animals are written too.
        n_individuals: rows per frame; animals beyond are left out.
        unique: keypoints that exist once.
        unique_names: their names.
        edges: (E, 2) limbs; for Detections.
        identity: score of each individual at each keypoint, rows as in ``animals``; for Poses.
    """
    edges = np.zeros((0, 2), np.int64) if edges is None else np.asarray(edges, np.int64)
    width, names = key_width(n_frames), [*keypoints, *unique_names]
    is_raw = isinstance(animals, Detections)
    metadata = {
        "nms radius": None, "minimal confidence": None, "sigma": 1,
        "PAFgraph": edges.tolist() if is_raw else None,
        "PAFinds": np.arange(len(edges)) if is_raw else np.zeros(0, np.int64),
        "all_joints": [[i] for i in range(len(names))], "all_joints_names": names,
        "nframes": int(n_frames), "key_str_width": width,
    }  # fmt: skip
    content: dict[str, Any] = {"metadata": metadata}
    singles = _dense(unique, len(unique_names), n_frames)
    for frame in range(n_frames):
        once = singles[frame]
        if isinstance(animals, Detections):
            entry = _raw_frame(animals, frame, len(keypoints), edges)
        else:
            entry = _assembled_frame(animals, frame, n_individuals, identity)
        entry["coordinates"][0].extend(once[k : k + 1, :2] for k in range(len(once)))
        entry["confidence"].extend(once[k : k + 1, 2:] for k in range(len(once)))
        if "identity" in entry:
            entry["identity"].extend(np.full((1, n_individuals), -1.0) for _ in once)
        content[frame_key(frame, width)] = entry
    write_pickle(path, content)


def _dense(unique: Poses | None, n: int, n_frames: int) -> Float32[ndarray, "F U 3"]:
    """Unique keypoints of every frame, -1 where nothing was seen."""
    out = np.full((n_frames, n, 3), -1.0, np.float32)
    if unique is not None and n:
        rows = np.flatnonzero(unique.frame < n_frames)[::-1]  # the first of two wins
        out[unique.frame[rows]] = np.concatenate([unique.xy[rows], unique.confidence[rows][..., None]], axis=2)
        out[np.isnan(out).any(axis=2)] = -1.0
    return out


def _assembled_frame(
    poses: Poses, frame: int, n_individuals: int, identity: Float64[ndarray, "M K I"] | None
) -> dict[str, Any]:
    start, stop = np.searchsorted(poses.frame, [frame, frame + 1]).tolist()
    stop = min(stop, start + n_individuals)
    xy = np.full((n_individuals, poses.n_keypoints, 2), -1.0, np.float32)
    confidence = np.full((n_individuals, poses.n_keypoints, 1), -1.0, np.float32)
    xy[: stop - start] = poses.xy[start:stop]
    missing = np.isnan(poses.xy[start:stop, :, 0])
    confidence[: stop - start, :, 0] = np.where(missing, np.nan, poses.confidence[start:stop])
    k = range(poses.n_keypoints)
    entry: dict[str, Any] = {
        "coordinates": ([xy[:, i].copy() for i in k],),
        "confidence": [confidence[:, i].copy() for i in k],
        "costs": None,
    }
    if identity is not None:
        scores = np.full((n_individuals, poses.n_keypoints, identity.shape[2]), -1.0)
        scores[: stop - start] = identity[start:stop]
        entry["identity"] = [scores[:, i].copy() for i in k]
    return entry


def _raw_frame(detections: Detections, frame: int, n_keypoints: int, edges: Int64[ndarray, "E 2"]) -> dict[str, Any]:
    start, stop = np.searchsorted(detections.frame, [frame, frame + 1]).tolist()
    keypoint = detections.keypoint[start:stop]
    of = [np.flatnonzero(keypoint == k) for k in range(n_keypoints)]
    place = np.zeros(int(detections.number[start:stop].max(initial=-1)) + 1, np.int64)  # peak number -> row of its list
    for rows in of:
        place[detections.number[start:stop][rows]] = np.arange(len(rows))
    xy = detections.xy[start:stop]
    confidence = detections.confidence[start:stop].astype(np.float32)
    costs: dict[int, dict[str, ndarray]] = {}
    first, last = np.searchsorted(detections.limb_frame, [frame, frame + 1]).tolist()
    for e, (a, b) in enumerate(edges.tolist()):
        if not (len(of[a]) and len(of[b])):
            continue
        affinity = np.zeros((len(of[a]), len(of[b])), np.float32)
        rows = np.flatnonzero(detections.edge[first:last] == e) + first
        affinity[place[detections.source[rows]], place[detections.target[rows]]] = detections.affinity[rows]
        distance = np.linalg.norm(xy[of[a]][:, None] - xy[of[b]][None], axis=2)
        costs[e] = {"m1": affinity, "distance": distance.astype(np.float32)}
    return {
        "coordinates": ([xy[rows] for rows in of],),
        "confidence": [confidence[rows][:, None] for rows in of],
        "costs": costs,
    }


def read_full(path: Path, *, unique: Sequence[str] = ()) -> Full:
    """Read a ``_full.pickle``: assembled animals (PyTorch engine, also its early releases) or raw peaks with costs.

    Args:
        path: of the file.
        unique: names of keypoints that exist once; the file does not say. Without names, those at the end that have
            one row where the others have several are taken for such.

    Raises:
        ProjectError: not such a file.
    """
    content = read_pickle(path)
    try:
        metadata = content["metadata"]
        names = tuple(str(name) for name in metadata["all_joints_names"])
        found = {number: entry for key, entry in content.items() if (number := frame_number(key)) is not None}
        if not set(unique) <= set(names):
            raise ValueError(f"no keypoint {', '.join(sorted(set(unique) - set(names)))}")
        points = {frame: _points(found[frame], len(names)) for frame in sorted(found)}
        costs = [found[frame].get("costs") for frame in points]
        if not unique and not any(isinstance(c, Mapping) for c in costs):
            unique = _once(names, list(points.values()))
        keypoints = tuple(name for name in names if name not in set(unique))
        edges = _edges(metadata.get("PAFgraph"), len(keypoints))
        n_frames = max([int(metadata.get("nframes") or 0), *(number + 1 for number in found)])
        span = (0, n_frames)
        n = len(keypoints)
        is_raw = any(isinstance(c, Mapping) for c in costs) or any(
            len({len(p) for p in points[frame][:n]}) > 1 for frame in points
        )
        poses = None if is_raw else _poses(points, n, span)
        detections = _detections(points, found, edges, n, span)
        singles = _singles(points, n, len(names), span)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise ProjectError(f"expected a _full.pickle of DeepLabCut, got {why(error)}\nwhere: {path}") from error
    return Full(keypoints, tuple(name for name in names if name in set(unique)), edges, detections, singles, poses)


def _once(names: Sequence[str], points: Sequence[Sequence[ndarray]]) -> tuple[str, ...]:
    """Names at the end with one row in every frame, where the first keypoint has several."""
    counts = np.array([[len(rows) for rows in frame] for frame in points if len(frame)], np.int64)
    if not counts.size or counts.shape[1] != len(names) or (counts[:, 0] <= 1).any():
        return ()
    n = len(names)
    while n > 1 and (counts[:, n - 1] == 1).all():
        n -= 1
    return tuple(names[n:])


def _edges(graph: Any, n_keypoints: int) -> Int64[ndarray, "E 2"]:
    edges = np.asarray(graph if graph is not None else [], np.int64).reshape(-1, 2)
    if edges.size and (edges.min() < 0 or edges.max() >= n_keypoints):
        raise ValueError(f"a graph of other keypoints than the {n_keypoints} named")
    return edges


def _points(entry: Mapping[str, Any], n: int) -> list[Float64[ndarray, "N 3"]]:
    """(x, y, confidence) per keypoint; of confidences with three columns (early PyTorch releases) the first."""
    if not entry:
        return [np.zeros((0, 3))] * n
    coordinates, confidence = entry["coordinates"], entry["confidence"]
    if isinstance(coordinates, tuple) and len(coordinates) == 1:
        coordinates = coordinates[0]
    if len(coordinates) == 0:
        return [np.zeros((0, 3))] * n
    if len(coordinates) != n or len(confidence) != n:
        raise ValueError(f"{len(coordinates)} keypoints where {n} are named")
    found = []
    for xy, score in zip(coordinates, confidence, strict=True):
        xy, score = np.asarray(xy, np.float64).reshape(-1, 2), np.asarray(score, np.float64)
        score = score.reshape(len(xy), -1)[:, :1] if len(xy) else np.zeros((0, 1))
        found.append(np.concatenate([xy, score], axis=1))
    return found


def _poses(points: Mapping[int, list[ndarray]], n: int, span: Span) -> Poses:
    frames = [frame for frame, p in points.items() if n and len(p[0])]
    if not frames:
        return Poses.empty(span, n)
    values = np.concatenate([np.stack(points[frame][:n], axis=1) for frame in frames])
    frame = np.repeat(frames, [len(points[frame][0]) for frame in frames])
    xy, confidence = split_points(values)
    seen = (~np.isnan(xy[..., 0])).any(axis=1)
    return make_poses(frame[seen], xy[seen], confidence[seen], span)


def _singles(points: Mapping[int, list[ndarray]], n: int, n_all: int, span: Span) -> Poses:
    """The best candidate of each unique keypoint."""
    out = np.full((len(points), n_all - n, 3), -1.0)
    for i, candidates in enumerate(points.values()):
        for k, found in enumerate(candidates[n:]):
            if len(found) and not np.isnan(found[:, 2]).all():
                out[i, k] = found[int(np.nanargmax(found[:, 2]))]
    xy, confidence = split_points(out)
    seen = (~np.isnan(xy[..., 0])).any(axis=1)
    frame = np.array(list(points), np.int64)[seen]
    return make_poses(frame, xy[seen], confidence[seen], span)


def _detections(
    points: Mapping[int, list[ndarray]],
    found: Mapping[int, Mapping[str, Any]],
    edges: Int64[ndarray, "E 2"],
    n: int,
    span: Span,
) -> Detections:
    """All present points as peaks, numbered by keypoint, then row; costs as limbs."""
    frames: list[ndarray] = []
    keypoints, values, scores = [], [], []
    limbs: list[tuple[ndarray, ...]] = []
    for frame, candidates in points.items():
        kept = [np.flatnonzero(~np.isnan(split_points(p)[0][:, 0])) for p in candidates[:n]]
        first = np.cumsum([0, *(len(rows) for rows in kept)])
        frames.append(np.full(first[-1], frame, np.int64))
        keypoints.append(np.repeat(np.arange(n), [len(rows) for rows in kept]))
        values += [p[rows] for p, rows in zip(candidates[:n], kept, strict=True)]
        scores += _identities(found[frame].get("identity"), candidates[:n], kept)
        limbs += _limbs(frame, found[frame].get("costs"), edges, candidates, kept, first)
    frame = np.concatenate(frames) if frames else np.zeros(0, np.int64)
    points_ = np.concatenate(values) if values else np.zeros((0, 3))
    limb = [np.concatenate(column) for column in zip(*limbs, strict=True)] if limbs else [np.zeros(0)] * 5
    n_named = max((s.shape[1] for s in scores), default=0)
    identity = np.concatenate([s for s in scores if s.shape[1] == n_named] or [np.zeros((0, 0))])
    if len(identity) != len(frame):
        identity = np.zeros((len(frame), 0))
    confidence = np.nan_to_num(points_[:, 2], nan=1.0)
    return Detections(
        frame, number_within(frame), np.concatenate(keypoints) if keypoints else np.zeros(0), points_[:, :2],
        confidence, limb[0], limb[1], limb[2], limb[3], limb[4], identity, span,
    )  # fmt: skip


def _identities(
    identity: Any, candidates: Sequence[Shaped[ndarray, "N 3"]], kept: Sequence[Int64[ndarray, "n"]]
) -> list[Float64[ndarray, "n I"]]:
    if identity is None:
        return [np.zeros((len(rows), 0)) for rows in kept]
    scores = [np.asarray(s, np.float64) for s in identity[: len(kept)]]
    return [
        s.reshape(len(p), -1)[rows] if len(p) else np.zeros((0, s.shape[-1] if s.ndim > 1 else 0))
        for s, p, rows in zip(scores, candidates, kept, strict=True)
    ]


def _limbs(
    frame: int,
    costs: Any,
    edges: Int64[ndarray, "E 2"],
    candidates: Sequence[Shaped[ndarray, "N 3"]],
    kept: Sequence[Int64[ndarray, "n"]],
    first: Int64[ndarray, "K1"],
) -> list[tuple[ndarray, ...]]:
    """Rows (frame, edge, source, target, affinity) of a frame's cost matrices."""
    rows: list[tuple[ndarray, ...]] = []
    for key in sorted(costs or ()):
        edge = int(key)
        if not 0 <= edge < len(edges):
            raise ValueError(f"costs of limb {edge}, but {len(edges)} limbs")
        a, b = edges[edge].tolist()
        matrix = np.asarray(costs[key]["m1"], np.float64)
        if matrix.size == 0:
            continue
        if matrix.shape != (len(candidates[a]), len(candidates[b])):
            raise ValueError(f"costs of shape {matrix.shape}, but {len(candidates[a])} and {len(candidates[b])} peaks")
        matrix = matrix[np.ix_(kept[a], kept[b])]
        source, target = np.nonzero(matrix > 0)
        n = len(source)
        rows.append((np.full(n, frame), np.full(n, edge), source + first[a], target + first[b], matrix[source, target]))
    return rows
