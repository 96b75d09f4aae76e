"""The run folder of one video: finding it, what it is about, its tables."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from shoal.config.run import RunConfig, load_config, save_config
from shoal.errors import ArtifactError, VideoError
from shoal.io.artifacts import load_table, read_json, span_name, write_atomic, write_json
from shoal.io.video import VideoInfo, probe
from shoal.run.plan import spans
from shoal.types import Poses, Skeleton, Span, Tracks, column, concatenate

log = logging.getLogger(__name__)

SUFFIX = ".shoal"
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ModelCard:
    """What a run folder needs to know about the network that made it.

    Attributes:
        name: of the model.
        sha: hash of its file.
        skeleton: keypoints and limbs.
        edges: (E, 2) limbs that it scores.
        individuals: names in the project.
        device: kind of device that it ran on; results differ in the last digits between kinds.
        runtime: what computed it, e.g. openvino-bf16; results differ a little between runtimes.
    """

    name: str
    sha: str
    skeleton: Skeleton
    edges: Int64[ndarray, "E 2"]
    individuals: tuple[str, ...]
    device: str = "cpu"
    runtime: str = ""


@dataclass(frozen=True, eq=False)
class TrackColumn:
    """The ``track`` column of one span, aligned with the rows of its pose file.

    Attributes:
        track: (M,) track of each animal row, -1 = unassigned.
        span: frames covered.
    """

    track: Int32[ndarray, "M"]
    span: Span

    def __post_init__(self) -> None:
        column(self, "track", np.int32, None)
        object.__setattr__(self, "span", tuple(self.span))


def find_folder(info: VideoInfo, dest: Path | None = None) -> Path:
    """The run folder of a video, existing or not yet.

    ``<stem>.shoal`` beside the video or in ``dest``; with 8 hex of the video's identity in the name where
    another video has that folder.
    """
    parent = info.path.parent if dest is None else Path(dest)
    plain = parent / f"{info.path.stem}{SUFFIX}"
    try:
        owner = read_json(plain / "video.json")["identity"]
    except (ArtifactError, KeyError, TypeError):
        return plain
    return plain if owner == info.identity else parent / f"{info.path.stem}-{info.identity[:8]}{SUFFIX}"


def open_folder(run_dir: Path) -> dict[str, Any]:
    """What ``video.json`` says.

    Raises:
        ArtifactError: not a run folder.
    """
    run_dir = Path(run_dir)
    if not (run_dir / "video.json").is_file():
        raise ArtifactError(
            f"expected a run folder (<video>{SUFFIX}), got one without video.json\nwhere: {run_dir}",
            hint="`shoal analyze VIDEO` makes one",
        )
    return read_json(run_dir / "video.json")


def write_video(run_dir: Path, info: VideoInfo, bad_frames: list[int]) -> None:
    """Write ``video.json``; the path helps people and ``render``, identity decides."""
    about = {
        "path": str(info.path), "identity": info.identity, "timestamps_digest": info.digest,
        "width": info.width, "height": info.height, "fps": str(info.fps), "fps_source": info.fps_source,
        "is_variable": info.is_variable, "start_time": info.start_time, "n_frames": info.n_frames,
        "codec": info.codec, "bad_frames": bad_frames,
    }  # fmt: skip
    write_json(run_dir / "video.json", about)


def find_video(run_dir: Path, video: Path | None = None) -> VideoInfo:
    """The video of a run folder: as given, where it was, or beside the folder.

    Raises:
        VideoError: not found, or another video.
    """
    about = open_folder(run_dir)
    recorded = Path(about["path"])
    candidates = [video] if video else [recorded, Path(run_dir).parent / recorded.name]
    for candidate in candidates:
        if candidate.is_file():
            info = probe(candidate)
            if info.identity == about["identity"]:
                return info
            log.warning("%s is not the video of %s", candidate, Path(run_dir).name)
    raise VideoError(
        f"expected the video of this run, found none of: {', '.join(map(str, candidates))}\nwhere: {run_dir}",
        hint="--video PATH says where it is now",
    )


def write_card(run_dir: Path, card: ModelCard) -> None:
    """Write ``model.json``."""
    skeleton = card.skeleton
    about = {
        "name": card.name, "sha": card.sha, "individuals": list(card.individuals), "device": card.device,
        "runtime": card.runtime,
        "edges": card.edges.tolist(), "keypoints": list(skeleton.keypoints), "unique": list(skeleton.unique),
        "limbs": skeleton.edges.tolist(), "mirror": np.asarray(skeleton.mirror).tolist(),
    }  # fmt: skip
    write_json(run_dir / "model.json", about)


def read_card(run_dir: Path) -> ModelCard:
    """Read ``model.json``.

    Raises:
        ArtifactError: missing or damaged.
    """
    about = read_json(run_dir / "model.json")
    try:
        limbs = np.array(about["limbs"], np.int64).reshape(-1, 2)
        mirror = np.array(about["mirror"], np.int64)
        skeleton = Skeleton(tuple(about["keypoints"]), limbs, mirror, tuple(about["unique"]))
        edges = np.array(about["edges"], np.int64).reshape(-1, 2)
        return ModelCard(
            about["name"],
            about["sha"],
            skeleton,
            edges,
            tuple(about["individuals"]),
            about.get("device", "cpu"),
            about.get("runtime", ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"expected a model's description, got: {error}\nwhere: {run_dir / 'model.json'}") from error


def write_config(run_dir: Path, config: RunConfig) -> None:
    """Write the full resolved ``run.yaml``."""
    write_atomic(run_dir / "run.yaml", lambda path: save_config(config, path))


def read_config(run_dir: Path) -> RunConfig:
    """The settings that the folder was made with."""
    path = run_dir / "run.yaml"
    return load_config(path if path.is_file() else None)


def plan_spans(run_dir: Path) -> tuple[Span, ...]:
    """The spans that ``plan.json`` fixed.

    Raises:
        ArtifactError: missing or damaged.
    """
    plan = read_json(run_dir / "plan.json")
    try:
        return spans(int(plan["n_frames"]), int(plan["chunk_frames"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"expected a plan, got: {error}\nwhere: {run_dir / 'plan.json'}") from error


def table_path(run_dir: Path, kind: str, span: Span) -> Path:
    """File of one span of a table, e.g. ``poses/000000000-000004096.npz``."""
    return run_dir / kind / f"{span_name(span)}.npz"


def read_spans(run_dir: Path, kind: str, table: type[T], *, start: int = 0, stop: int | None = None) -> T:
    """The spans of a table that touch frames ``start`` to ``stop``, as one table.

    Raises:
        ArtifactError: a span is missing.
    """
    wanted = [s for s in plan_spans(run_dir) if s[1] > start and (stop is None or s[0] < stop)]
    parts = [_read_span(run_dir, kind, table, span) for span in wanted]
    if not parts:
        raise ArtifactError(f"expected frames {start}-{stop}, which the run does not have\nwhere: {run_dir}")
    return concatenate(parts)


def read_tracks(run_dir: Path, *, kind: str = "tracks", start: int = 0, stop: int | None = None) -> Tracks:
    """Tracks (or ``kind="tracklets"``) of the spans that touch frames ``start`` to ``stop``."""
    poses = read_spans(run_dir, "poses", Poses, start=start, stop=stop)
    return Tracks(poses, read_spans(run_dir, kind, TrackColumn, start=start, stop=stop).track)


def read_animals(run_dir: Path, *, start: int = 0, stop: int | None = None) -> Tracks:
    """Tracks as results show them: leftovers beyond a known number of animals belong to no track."""
    tracks = read_tracks(run_dir, start=start, stop=stop)
    n_animals = read_config(run_dir).stitch.n_animals
    if not n_animals:
        return tracks
    return Tracks(tracks.poses, np.where(tracks.track < n_animals, tracks.track, -1))


def _read_span(run_dir: Path, kind: str, table: type[T], span: Span) -> T:
    try:
        return load_table(table_path(run_dir, kind, span), table)
    except ArtifactError as error:
        raise ArtifactError(
            error.message, hint=error.hint or f"`shoal analyze` again finishes {run_dir.name}"
        ) from error


def fps_of(about: dict[str, Any]) -> Fraction:
    """Frame rate in ``video.json``."""
    return Fraction(about["fps"])
