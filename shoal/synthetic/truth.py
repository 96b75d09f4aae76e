"""Exact ground truth of a rendered video, and its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int64
from numpy import ndarray

from shoal.errors import ArtifactError
from shoal.synthetic.scenes import SKELETON
from shoal.types import Poses, Regions, Skeleton, Span, Tracks, body_length, column, select

_VERSION = 1


@dataclass(frozen=True, eq=False)
class Crossings:
    """Touching bodies: one row per pair and uninterrupted touch. N rows, sorted by first frame.

    Attributes:
        first: (N,) first frame of the touch.
        stop: (N,) first frame after it.
        a: (N,) fish with the smaller number.
        b: (N,) the other fish.
    """

    first: Int64[ndarray, "N"]
    stop: Int64[ndarray, "N"]
    a: Int16[ndarray, "N"]
    b: Int16[ndarray, "N"]

    def __post_init__(self) -> None:
        column(self, "first", np.int64, None)
        for name, dtype in (("stop", np.int64), ("a", np.int16), ("b", np.int16)):
            column(self, name, dtype, len(self.first))

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True, eq=False)
class Truth:
    """All that is true of a rendered video. M = frames x fish rows, sorted by (frame, fish).

    Attributes:
        tracks: the fish, one row per fish and frame (also where nothing of it can be seen); ``track`` and
            ``item`` are the fish's number; ``xy`` is NaN where a keypoint cannot be seen.
        full_xy: (M, K, 2) positions even where hidden or outside of the picture.
        hidden: (M,) True where the shelter covers the whole fish.
        covered: (M, K) True where a higher swimming fish's body covers a keypoint.
        reflections: seen in the glass, one row per image of which a keypoint can be seen; ``track`` is
            wall number * fish + fish number. A keypoint keeps its name, so left and right are mirrored.
        crossings: touches of bodies.
        names: of the fish, ``fish1`` ...
        reflection_names: by ``reflections.track``, ``reflection1`` ...
        lengths: (N,) body lengths, px.
        skeleton: keypoints.
        fps: frames per second.
        size: width, height of the frame.
    """

    tracks: Tracks
    full_xy: Float32[ndarray, "M K 2"]
    hidden: Bool[ndarray, "M"]
    covered: Bool[ndarray, "M K"]
    reflections: Tracks
    crossings: Crossings
    names: tuple[str, ...]
    reflection_names: tuple[str, ...]
    lengths: Float32[ndarray, "N"]
    skeleton: Skeleton
    fps: float
    size: tuple[int, int]

    def __post_init__(self) -> None:
        m, k = self.tracks.poses.xy.shape[:2]
        column(self, "full_xy", np.float32, m, k, 2)
        column(self, "hidden", np.bool_, m)
        column(self, "covered", np.bool_, m, k)
        column(self, "lengths", np.float32, len(self.names))

    @property
    def span(self) -> Span:
        """Frames covered."""
        return self.tracks.span


def visible_tracks(truth: Truth, *, min_keypoints: int = 2) -> Tracks:
    """The rows of the fish of which at least ``min_keypoints`` can be seen."""
    seen = np.isfinite(truth.tracks.poses.xy).all(-1).sum(1)
    return select(truth.tracks, seen >= min_keypoints)


def ignore_regions(truth: Truth, *, min_keypoints: int = 2) -> Regions:
    """Where fish are that ``visible_tracks`` leaves out, one body length around their middle."""
    seen = np.isfinite(truth.tracks.poses.xy).all(-1).sum(1)
    rows = seen < min_keypoints
    radius = np.full(int(rows.sum()), body_length(truth.full_xy))
    return Regions(truth.tracks.poses.frame[rows], truth.full_xy[rows].mean(1), radius)


def runs(touches: Bool[ndarray, "F N N"], *, first_frame: int = 0) -> Crossings:
    """Touches per frame -> one row per uninterrupted touch."""
    n = touches.shape[1]
    a, b = np.triu_indices(n, 1)
    on = np.pad(touches[:, a, b].astype(np.int8), ((1, 1), (0, 0)))
    change = np.diff(on, axis=0).T  # (pair, F + 1): transposed so that nonzero runs pair by pair
    pair, start = np.nonzero(change == 1)
    stop = np.nonzero(change == -1)[1]
    order = np.lexsort((pair, start))
    return Crossings(start[order] + first_frame, stop[order] + first_frame, a[pair][order], b[pair][order])


def make_poses(frame: ndarray, item: ndarray, xy: ndarray, span: Span) -> Poses:
    """True poses: confidence 1 where a keypoint is seen, 0 where it is not."""
    seen = np.isfinite(xy).all(-1)
    return Poses(frame, item, xy, np.asarray(seen, np.float32), seen.mean(-1), span)


def truth_path(video: Path) -> Path:
    """Where the truth of a video lies."""
    return video.with_suffix(".truth.npz")


def save_truth(path: Path, truth: Truth) -> None:
    """Write npz; the same truth gives the same bytes."""
    columns = {
        "version": np.array(_VERSION),
        "span": np.array(truth.span),
        "xy": truth.tracks.poses.xy,
        "full_xy": truth.full_xy,
        "hidden": truth.hidden,
        "covered": np.packbits(truth.covered),
        "reflection_frame": truth.reflections.poses.frame,
        "reflection_item": truth.reflections.poses.item,
        "reflection_track": truth.reflections.track,
        "reflection_xy": truth.reflections.poses.xy,
        "crossings": np.stack([truth.crossings.first, truth.crossings.stop, truth.crossings.a, truth.crossings.b]),
        "names": np.array(truth.names),
        "reflection_names": np.array(truth.reflection_names, dtype="U32"),
        "lengths": truth.lengths,
        "fps": np.array(truth.fps),
        "size": np.array(truth.size),
    }
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("wb") as file:
        np.savez(file, **columns)
    aside.replace(path)


def truth_of(video: Path) -> Truth:
    """Read the truth beside a video.

    Args:
        video: the file that ``make_video`` wrote.

    Raises:
        ArtifactError: there is none, or of another version.
    """
    path = truth_path(Path(video))
    if not path.is_file():
        raise ArtifactError(f"expected ground truth beside the video, found none\nwhere: {path}",
                            hint="only videos made by shoal.synthetic have it")  # fmt: skip
    with np.load(path) as data:
        if int(data["version"]) != _VERSION:
            raise ArtifactError(f"expected truth of version {_VERSION}, got {int(data['version'])}\nwhere: {path}",
                                hint="make the video again")  # fmt: skip
        columns = {name: data[name] for name in data.files}
    return _from_columns(columns)


def _from_columns(data: dict[str, ndarray]) -> Truth:
    names = tuple(str(n) for n in data["names"])
    span = (int(data["span"][0]), int(data["span"][1]))
    frame, fish = _grid(span, len(names))
    reflected = make_poses(data["reflection_frame"], data["reflection_item"], data["reflection_xy"], span)
    k = data["xy"].shape[1]
    return Truth(
        tracks=Tracks(make_poses(frame, fish, data["xy"], span), fish),
        full_xy=data["full_xy"],
        hidden=data["hidden"],
        covered=np.unpackbits(data["covered"], count=len(frame) * k).reshape(-1, k).astype(bool),
        reflections=Tracks(reflected, data["reflection_track"]),
        crossings=Crossings(*data["crossings"]),
        names=names,
        reflection_names=tuple(str(n) for n in data["reflection_names"]),
        lengths=data["lengths"],
        skeleton=SKELETON,
        fps=float(data["fps"]),
        size=(int(data["size"][0]), int(data["size"][1])),
    )


def _grid(span: Span, n_fish: int) -> tuple[Int64[ndarray, "M"], Int64[ndarray, "M"]]:
    """Frame and fish of each row."""
    n_frames = span[1] - span[0]
    return np.repeat(np.arange(*span), n_fish), np.tile(np.arange(n_fish), n_frames)


def assemble_truth(parts: Sequence[dict[str, ndarray]], *, span: Span, lengths: ndarray, n_walls: int,
                   fps: float, size: tuple[int, int]) -> Truth:  # fmt: skip
    """Chunks of ``dataset._observe`` -> one Truth."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    n = len(lengths)
    frame, fish = _grid(span, n)
    frames, walls, fishes = np.nonzero(np.isfinite(joined["reflected"]).all(-1).any(-1))
    track = walls * n + fishes
    starts = np.searchsorted(frames, np.arange(*span))
    reflected = make_poses(
        frames, np.arange(len(frames)) - starts[frames], joined["reflected"][frames, walls, fishes], span
    )
    flat = {
        name: joined[name].reshape(len(frame), *joined[name].shape[2:])
        for name in ("xy", "full_xy", "hidden", "covered")
    }
    return Truth(
        tracks=Tracks(make_poses(frame, fish, flat["xy"], span), fish),
        full_xy=flat["full_xy"],
        hidden=flat["hidden"],
        covered=flat["covered"],
        reflections=Tracks(reflected, track),
        crossings=runs(joined["touches"]),
        names=tuple(f"fish{i + 1}" for i in range(n)),
        reflection_names=tuple(f"reflection{i + 1}" for i in range(n * n_walls)),
        lengths=lengths,
        skeleton=SKELETON,
        fps=fps,
        size=size,
    )
