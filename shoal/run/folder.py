"""The run folder of one video: finding it, what it is about, its tables."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from shoal.config.run import RunConfig, load_config, save_config
from shoal.errors import ArtifactError, VideoError
from shoal.io.artifacts import json_bytes, load_table, read_json, span_name, write_atomic, write_json, write_once
from shoal.io.video import VideoInfo, probe
from shoal.run.plan import Part, part_name, spans
from shoal.types import Poses, Skeleton, Span, TrackInfo, Tracks, column, concatenate

log = logging.getLogger(__name__)

SUFFIX = ".shoal"
TRACK_INFO = "track_info.npz"
CLAIMS_TRIED = 20
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ModelCard:
    """What a run folder needs to know about the network that made it.

    Attributes:
        name: of the model.
        sha: hash of its weights.
        skeleton: keypoints and limbs.
        edges: (E, 2) limbs that it scores.
        individuals: names in the project.
        device: kind of device that it ran on; results differ in the last digits between kinds.
        runtime: what computed it, e.g. openvino-bf16; results differ a little between runtimes.
        file: hash of the file that it was read from, which can be compared without loading it; empty = not known.
    """

    name: str
    sha: str
    skeleton: Skeleton
    edges: Int64[ndarray, "E 2"]
    individuals: tuple[str, ...]
    device: str = "cpu"
    runtime: str = ""
    file: str = ""


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


def find_folder(info: VideoInfo, dest: Path | None = None, part: str = "") -> Path:
    """The run folder of a video, existing or not yet.

    ``<stem><part>.shoal`` beside the video or in ``dest``; with 8 hex of the video's identity in the name where
    another video has that folder. ``part`` is the whole video's if empty, see ``plan.part_name``.
    """
    parent = info.path.parent if dest is None else Path(dest)
    plain = parent / f"{info.path.stem}{part}{SUFFIX}"
    if _owner(plain) in (None, info.identity):
        return plain
    return parent / f"{info.path.stem}-{info.identity[:8]}{part}{SUFFIX}"


def claim_folder(info: VideoInfo, dest: Path | None = None, part: str = "") -> Path:
    """As ``find_folder``, and the folder is there and this video's, whoever else looks for one at this moment.

    Raises:
        OSError: it cannot be made.
    """
    for _ in range(CLAIMS_TRIED):
        folder = find_folder(info, dest, part)
        if _owner(folder) == info.identity:
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        if write_once(folder / "video.json", json_bytes(_about(info, []))):
            return folder
        if _owner(folder) is None:  # not written yet, or damaged
            time.sleep(0.05)
    write_video(folder, info, [])
    return folder


def folders_of(info: VideoInfo, dest: Path | None = None) -> list[Path]:
    """The run folders of a video and of its parts, the whole video's first."""
    parent = info.path.parent if dest is None else Path(dest)
    names = (f"{info.path.stem}{suffix}" for suffix in ("", f"-{info.identity[:8]}"))
    found = [path for name in names for path in (parent / f"{name}{SUFFIX}", *sorted(_parts(parent, name)))]
    return [path for path in found if _owner(path) == info.identity]


def _parts(parent: Path, name: str) -> Iterator[Path]:
    """Folders of parts by their names, which may have any character in them."""
    for path in parent.iterdir() if parent.is_dir() else ():
        if path.name.startswith(f"{name}.") and path.suffix == SUFFIX and path.name != f"{name}{SUFFIX}":
            yield path


def _owner(run_dir: Path) -> str | None:
    """Identity of the video that a folder belongs to, None = of none."""
    try:
        return read_json(run_dir / "video.json")["identity"]
    except (ArtifactError, KeyError, TypeError):
        return None


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
    write_json(run_dir / "video.json", _about(info, bad_frames), make_parents=False)


def _about(info: VideoInfo, bad_frames: list[int]) -> dict[str, Any]:
    return {
        "path": str(info.path), "identity": info.identity, "timestamps_digest": info.digest,
        "width": info.width, "height": info.height, "fps": str(info.fps), "fps_source": info.fps_source,
        "is_variable": info.is_variable, "start_time": info.start_time, "n_frames": info.n_frames,
        "codec": info.codec, "bad_frames": bad_frames,
    }  # fmt: skip


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
        "runtime": card.runtime, "file": card.file,
        "edges": card.edges.tolist(), "keypoints": list(skeleton.keypoints), "unique": list(skeleton.unique),
        "limbs": skeleton.edges.tolist(), "mirror": np.asarray(skeleton.mirror).tolist(),
    }  # fmt: skip
    write_json(run_dir / "model.json", about, make_parents=False)


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
            about.get("file", ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"expected a model's description, got: {error}\nwhere: {run_dir / 'model.json'}") from error


def write_config(run_dir: Path, config: RunConfig) -> None:
    """Write the full resolved ``run.yaml``."""
    write_atomic(run_dir / "run.yaml", lambda path: save_config(config, path), make_parents=False)


def read_config(run_dir: Path) -> RunConfig:
    """The settings that the folder was made with."""
    path = run_dir / "run.yaml"
    if not path.is_file():
        return load_config()
    stat = path.stat()
    return _read_config(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _read_config(path: Path, mtime_ns: int, size: int) -> RunConfig:
    """Cached per state of the file: YAML takes 20 ms, and every span is read with the settings."""
    return load_config(path)


def write_plan(run_dir: Path, info: VideoInfo, chunk_frames: int, part: Part) -> None:
    """Write ``plan.json``; a part is named only where it is not the whole video."""
    ends = [end for _, end in spans(part, chunk_frames, info.index.keyframes)]
    n_frames = info.n_frames
    plan: dict[str, Any] = {"n_frames": n_frames, "chunk_frames": chunk_frames, "ends": ends}
    if part != Part(0, n_frames):
        plan |= {"start": part.start, "stop": part.stop, "every": part.every}
    write_json(run_dir / "plan.json", plan, make_parents=False)


def read_plan(run_dir: Path) -> tuple[Part, int]:
    """The frames that ``plan.json`` fixed, and how many of the video's are in a chunk.

    Raises:
        ArtifactError: missing or damaged.
    """
    plan = read_json(run_dir / "plan.json")
    try:
        part = Part(int(plan.get("start", 0)), int(plan.get("stop", plan["n_frames"])), int(plan.get("every", 1)))
        return part, int(plan["chunk_frames"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"expected a plan, got: {error}\nwhere: {run_dir / 'plan.json'}") from error


def read_part(run_dir: Path) -> Part:
    """The frames that a run looks at."""
    return read_plan(run_dir)[0]


def base_name(run_dir: Path) -> str:
    """What names of files made from a run begin with: the video's name, and which part of it."""
    about, crop = open_folder(run_dir), read_config(run_dir).predict.crop
    return Path(about["path"]).stem + part_name(read_part(run_dir), about["n_frames"], crop)


def plan_spans(run_dir: Path) -> tuple[Span, ...]:
    """The spans that ``plan.json`` fixed.

    Raises:
        ArtifactError: missing or damaged.
    """
    part, chunk_frames = read_plan(run_dir)
    ends = read_json(run_dir / "plan.json").get("ends")
    if not ends:
        return spans(part, chunk_frames)
    return tuple(itertools.pairwise([part.start, *ends]))


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


def each_span(run_dir: Path, *, kind: str = "tracks") -> Iterator[Tracks]:
    """Tracks (or ``kind="tracklets"``) span by span, one in memory at a time."""
    for start, stop in plan_spans(run_dir):
        yield read_tracks(run_dir, kind=kind, start=start, stop=stop)


def read_animals(run_dir: Path, *, start: int = 0, stop: int | None = None) -> Tracks:
    """Tracks as results show them: reflections, and leftovers beyond a known number of animals, belong to no track."""
    tracks = read_tracks(run_dir, start=start, stop=stop)
    n_animals, info = read_config(run_dir).stitch.n_animals, read_info(run_dir)
    is_named = np.r_[np.isin(np.arange(tracks.n_tracks), info.track[info.kind > 0], invert=True), False]
    is_named[n_animals or tracks.n_tracks :] = False
    return Tracks(tracks.poses, np.where(is_named[tracks.track], tracks.track, -1))


def read_info(run_dir: Path) -> TrackInfo:
    """What each track is; none of them is said to be anything in folders of before there were reflections."""
    path = run_dir / TRACK_INFO
    return load_table(path, TrackInfo) if path.is_file() else TrackInfo(*(np.zeros(0) for _ in range(6)))


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
