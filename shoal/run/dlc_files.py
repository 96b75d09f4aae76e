"""DLC's result files of one video: written from a run folder, and read whoever wrote them.

All files of a video share a base name, ``<video stem><scorer>``. A run folder remembers the digest of what was written
from it, so that a file which somebody else wrote or changed since is seen as such and taken as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from shoal.errors import ArtifactError, InputError, ProjectError
from shoal.io.artifacts import file_digest, read_entry, read_json, write_atomic, write_json
from shoal.io.dlc.detections import read_full, write_full
from shoal.io.dlc.meta import Meta, read_meta, write_meta
from shoal.io.dlc.pose_table import row_frames
from shoal.io.dlc.results import (
    POSES_KEY,
    TRACKS_KEY,
    number_within,
    read_tracks_file,
    write_track_parts,
)
from shoal.io.dlc.tracklets import SUFFIXES, read_assemblies, read_tracklets, write_assemblies, write_tracklets
from shoal.run.edits import column_names
from shoal.run.folder import (
    ModelCard,
    TrackColumn,
    base_name,
    each_span,
    fps_of,
    open_folder,
    plan_spans,
    read_card,
    read_config,
    read_info,
    read_plan,
    read_spans,
    read_tracks,
)
from shoal.run.kinds import kinds_table
from shoal.run.names import names_table
from shoal.run.plan import Part, spans
from shoal.run.smoothing import smooth_run
from shoal.stages.classify import REFLECTION
from shoal.types import Poses, Skeleton, Span, Tracks, select

log = logging.getLogger(__name__)

EXPORT_BYTES = 4e9
"""Of one table: DLC's file has a column per track and a row per frame."""
PICKLE_FRAMES = 200_000
"""A pickle is one dictionary, made at once: beyond this many frames it takes gigabytes."""
REMEMBERED = "exports.json"
Kind = Literal["full", "meta", "assemblies", "poses", "tracklets", "tracks", "smoothed"]


@dataclass(frozen=True, eq=False)
class DlcResult:
    """Poses, tracklets or tracks of a video, and what their columns mean.

    Attributes:
        table: Poses for ``what="poses"``, else Tracks; positions in the uncropped frame.
        unique: keypoints that exist once.
        skeleton: names of keypoints; no limbs.
        names: one per track of stitched tracks, else the individuals as far as known.
        scorer: DLC's name of the network.
        identity: (M, K) individual that each keypoint looks like, -1 = not said; None = the file has no such column.
        path: where it was read.
        origin: corner of the part that was analyzed, which positions in the files count from.
    """

    table: Poses | Tracks
    unique: Poses
    skeleton: Skeleton
    names: tuple[str, ...]
    scorer: str
    identity: ndarray | None
    path: Path
    origin: tuple[int, int] = (0, 0)


def dlc_file(base: Path, kind: Kind, *, method: str = "ellipse", filtered: bool = False) -> Path:
    """Name of a result file.

    >>> dlc_file(Path("vidDLC_x"), "tracks").name
    'vidDLC_x_el.h5'

    Raises:
        InputError: an unknown track method.
    """
    if method not in SUFFIXES:
        raise InputError(f"expected a track method of {', '.join(SUFFIXES)}, got '{method}'")
    suffix = {
        "full": "_full.pickle", "meta": "_meta.pickle", "assemblies": "_assemblies.pickle", "poses": ".h5",
        "tracklets": f"{SUFFIXES[method]}.pickle", "tracks": f"{SUFFIXES[method]}{'_filtered' * filtered}.h5",
        "smoothed": f"{SUFFIXES[method]}_smoothed.h5",
    }[kind]  # fmt: skip
    return Path(f"{base}{suffix}")


def write_dlc_files(
    run_dir: Path,
    *,
    base: str = "",
    scorer: str = "",
    dest: Path | None = None,
    what: Sequence[Kind] = ("full", "meta", "assemblies", "tracklets", "tracks"),
    method: str = "ellipse",
    csv: bool = False,
    names: Sequence[str] = (),
    reflections: str = "mark",
) -> tuple[Path, ...]:
    """Write a run's tables in DLC's files.

    Args:
        run_dir: a run folder; ``tracklets`` and ``tracks`` need it tracked.
        base: name that all files begin with; empty = the video's stem and which part of it.
        scorer: first column level; empty = ``shoal_<model>``, or the name of DLC's snapshot.
        dest: folder; None = ``export/`` of the run folder.
        what: which files; ``poses`` is ``<base>.h5``, ``smoothed`` ``<base>_el_smoothed.h5``.
        method: names the tracklet and track files.
        csv: csv twins of h5 files.
        names: of animals, for the columns of tracks; empty = the project's individuals.
        reflections: ``mark`` gives their tracks the columns that the animals leave free, and writes
            ``<base>_el_kinds.json`` beside a file that has any; ``keep`` without that; ``drop`` leaves them out.

    Returns:
        The files.

    Raises:
        ArtifactError: not a run folder, or not tracked yet.
        InputError: an unknown track method.
    """
    run_dir = Path(run_dir)
    about, card = open_folder(run_dir), read_card(run_dir)
    stem = Path(dest or run_dir / "export") / (base or base_name(run_dir))
    scorer = scorer or _scorer(card)
    crop = read_config(run_dir).predict.crop
    writers: dict[Path, Callable[[Path], Any]] = {}
    number = _exported_tracks(run_dir, card, reflections) if "tracks" in what else np.full(1, -1)
    unique: Poses | None = None
    if {"full", "assemblies", "tracklets"} & set(what):
        unique = _unique(run_dir, card, crop)
    poses = Poses.empty((0, 0), card.skeleton.n_keypoints)
    if {"full", "assemblies", "tracklets"} & set(what) and about["n_frames"] > PICKLE_FRAMES:
        log.warning(
            "%s: DeepLabCut's pickles of %d frames are made in memory as a whole (gigabytes); the h5 and csv files "
            "are not and say the same of the tracks", run_dir.name, about["n_frames"],
        )  # fmt: skip
    if {"full", "assemblies"} & set(what):  # a pickle is made at once
        poses = _from_crop(_best(read_spans(run_dir, "poses", Poses), card), crop)
    for kind in what:
        path = dlc_file(stem, kind, method=method)
        if kind == "full":
            writers[path] = lambda aside: write_full(
                aside, poses, keypoints=card.skeleton.keypoints, n_frames=about["n_frames"],
                n_individuals=len(card.individuals), unique=unique, unique_names=card.skeleton.unique,
            )  # fmt: skip
        elif kind == "meta":
            writers[path] = lambda aside: write_meta(aside, _meta(run_dir, card, scorer))
        elif kind == "assemblies":
            writers[path] = lambda aside: write_assemblies(aside, poses, n_frames=about["n_frames"], unique=unique)
        elif kind == "tracklets":
            writers[path] = lambda aside: write_tracklets(
                aside, _tracks_from_crop(read_tracks(run_dir, kind="tracklets"), crop),
                keypoints=card.skeleton.keypoints, scorer=scorer, n_frames=about["n_frames"], unique=unique,
                unique_names=card.skeleton.unique,
            )  # fmt: skip
        for twin in [path, path.with_name(f"{path.name[:-3]}.csv")] if csv else [path]:
            if kind == "poses":
                writers[twin] = lambda aside: _write_run_poses(aside, run_dir, card, scorer)
            elif kind == "smoothed":
                writers[twin] = lambda aside: _write_run_tracks(
                    aside, run_dir, card, scorer=scorer, names=names or card.individuals, is_smooth=True,
                    number=_exported_tracks(run_dir, card, "drop"),
                )  # fmt: skip
            elif kind == "tracks":
                writers[twin] = lambda aside: _write_run_tracks(
                    aside, run_dir, card, scorer=scorer, names=names or card.individuals, number=number
                )
    if "tracks" in what:
        path = dlc_file(stem, "tracks", method=method)
        columns = column_names(run_dir, number, names or card.individuals)
        shown = {c: columns[number[c]] for c in range(len(number)) if number[c] >= 0}
        beside = {"kinds.json": kinds_table(run_dir, shown) if reflections == "mark" else b""}
        beside["names.csv"] = names_table(run_dir, shown)
        for ending, content in beside.items():
            if content:
                writers[path.with_name(f"{path.stem}_{ending}")] = partial(_write_bytes, content)
    files = sorted(writers, key=lambda path: path.suffix in (".csv", ".json"))
    for path in files:
        if path.is_file() and not is_ours(run_dir, path, unknown=True):
            log.warning("%s: replaces %s, which somebody changed since", run_dir.name, path)
        write_atomic(path, writers[path])
        for leftover in path.parent.glob(f".{escape(path.stem)}.*.partial{path.suffix}"):  # of exports that were killed
            leftover.unlink(missing_ok=True)
    remember(run_dir, files)
    if {"full", "assemblies", "poses"} & set(what):
        _log_left_out(run_dir, card)
    return tuple(files)


def _scorer(card: ModelCard) -> str:
    """First column level of a network's results: DLC's own name for DLC's snapshots."""
    return card.name if card.name.startswith("DLC_") else f"shoal_{card.name}"


def _best(poses: Poses, card: ModelCard) -> Poses:
    """Animals for which DLC has a column, best first."""
    return select(poses, poses.item < len(card.individuals))


def _log_left_out(run_dir: Path, card: ModelCard) -> None:
    n_left_out = sum(
        int((read_spans(run_dir, "poses", Poses, start=start, stop=stop).item >= len(card.individuals)).sum())
        for start, stop in plan_spans(run_dir)
    )
    if n_left_out:
        log.info(
            "%s: %d animals beyond %d per frame are left out of DeepLabCut's files",
            run_dir.name, n_left_out, len(card.individuals),
        )  # fmt: skip


def _meta(run_dir: Path, card: ModelCard, scorer: str) -> Meta:
    about = open_folder(run_dir)
    entries = [read_entry(run_dir, "predict", span) for span in plan_spans(run_dir)]
    crop = read_config(run_dir).predict.crop
    size = (crop[1] - crop[0], crop[3] - crop[2]) if crop else (about["width"], about["height"])
    return Meta(
        scorer=scorer, n_frames=about["n_frames"], fps=float(fps_of(about)), size=size, cropping=crop,
        individuals=card.individuals, keypoints=card.skeleton.keypoints, unique=card.skeleton.unique,
        stopped=sum(entry["seconds"] for entry in entries if entry), model={"shoal model": card.name},
    )  # fmt: skip


def _write_run_poses(path: Path, run_dir: Path, card: ModelCard, scorer: str) -> None:
    """Animals span by span, the n-th of a frame in the n-th individual's columns."""
    crop = read_config(run_dir).predict.crop

    def parts() -> Iterator[tuple[Tracks, Poses | None]]:
        yield from _before(run_dir, card)
        for start, stop in plan_spans(run_dir):
            poses = _from_crop(_best(read_spans(run_dir, "poses", Poses, start=start, stop=stop), card), crop)
            yield Tracks(poses, number_within(poses.frame)), _unique(run_dir, card, crop, start, stop)

    names = card.individuals
    write_track_parts(path, parts(), skeleton=card.skeleton, individuals=names, scorer=scorer, key=POSES_KEY)


def _before(run_dir: Path, card: ModelCard) -> Iterator[tuple[Tracks, None]]:
    """Nobody in the frames before those that a run looked at: rows of DLC's tables count from the video's first."""
    part, chunk_frames = read_plan(run_dir)
    for span in spans(Part(0, part.start), chunk_frames):
        yield Tracks.empty(span, card.skeleton.n_keypoints), None


def _unique(
    run_dir: Path, card: ModelCard, crop: tuple[int, int, int, int] | None, start: int = 0, stop: int | None = None
) -> Poses | None:
    if not card.skeleton.unique:
        return None
    return _from_crop(read_spans(run_dir, "unique", Poses, start=start, stop=stop), crop)


def _write_run_tracks(
    path: Path, run_dir: Path, card: ModelCard, *, scorer: str, names: Sequence[str], number: Int64[ndarray, "C"],
    is_smooth: bool = False,
) -> None:  # fmt: skip
    """Tracks span by span: only one span is in memory."""
    crop = read_config(run_dir).predict.crop

    def parts() -> Iterator[tuple[Tracks, Poses | None]]:
        yield from _before(run_dir, card)
        for tracks in (found.tracks for found in smooth_run(run_dir)) if is_smooth else each_span(run_dir):
            track = np.where(tracks.track >= 0, number[tracks.track], -1)
            unique = _unique(run_dir, card, crop, *tracks.span)
            yield _tracks_from_crop(Tracks(tracks.poses, track), crop), unique

    individuals = column_names(run_dir, number, names)
    write_track_parts(path, parts(), skeleton=card.skeleton, individuals=individuals, scorer=scorer, key=TRACKS_KEY)


def _from_crop(poses: Poses, crop: tuple[int, int, int, int] | None) -> Poses:
    """Positions in the frame -> positions in the part that was analyzed, which DLC's files have."""
    return shifted(poses, (-crop[0], -crop[2])) if crop else poses


def _tracks_from_crop(tracks: Tracks, crop: tuple[int, int, int, int] | None) -> Tracks:
    return Tracks(_from_crop(tracks.poses, crop), tracks.track)


def shifted(poses: Poses, by: tuple[int, int]) -> Poses:
    """Poses moved by whole pixels."""
    return replace(poses, xy=poses.xy + np.array(by, np.float32)) if by != (0, 0) else poses


def _exported_tracks(run_dir: Path, card: ModelCard, reflections: str = "mark") -> Int64[ndarray, "C"]:
    """Column of each track, -1 = none: animals, then reflections, as many as were asked for.

    Of very many tracks only the longest fit into a table.
    """
    n_animals, all_spans = read_config(run_dir).stitch.n_animals, plan_spans(run_dir)
    length = np.zeros(0, np.int64)
    for start, stop in all_spans:
        track = read_spans(run_dir, "tracks", TrackColumn, start=start, stop=stop).track
        here = np.bincount(track[track >= 0], minlength=len(length))
        here[: len(length)] += length
        length = here
    info = read_info(run_dir)
    reflected = np.isin(np.arange(len(length)), info.track[info.kind == REFLECTION])
    animals, images = np.flatnonzero(~reflected & (length > 0))[: n_animals or None], np.flatnonzero(reflected)
    longest = images[np.argsort(-length[images], kind="stable")]
    free = n_animals - len(animals) if n_animals else len(images)
    chosen = np.r_[animals, np.sort(longest[: max(free, 0)])] if reflections != "drop" else animals
    n_frames = all_spans[-1][1]
    n_kept = max(1, int(EXPORT_BYTES / max(n_frames * card.skeleton.n_keypoints * 3 * 8, 1)))
    number = np.full(max(len(length), 1), -1)
    if len(chosen) <= n_kept:
        number[chosen] = np.arange(len(chosen))
        return number
    kept = np.sort(np.argsort(-length[chosen], kind="stable")[:n_kept])
    number[chosen[kept]] = np.arange(len(kept))
    log.warning(
        "%s: a table of %d tracks would be too large; the %d longest are exported (--animals N says how many)",
        run_dir.name, len(chosen), len(kept),
    )  # fmt: skip
    return number


def _write_bytes(content: bytes, aside: Path) -> None:
    aside.write_bytes(content)


def remember(run_dir: Path, files: Sequence[Path]) -> None:
    """Note the digests of files that were written from a run folder."""
    write_json(run_dir / REMEMBERED, _remembered(run_dir) | {path.name: file_digest(path) for path in files})


def is_ours(run_dir: Path, path: Path, *, unknown: bool = False) -> bool:
    """Whether a file is still as it was written from this run folder; ``unknown`` = the answer if it never was."""
    noted = _remembered(run_dir).get(path.name)
    if noted is None or not path.is_file():
        return unknown
    return noted == file_digest(path)


def _remembered(run_dir: Path) -> dict[str, str]:
    try:
        noted = read_json(run_dir / REMEMBERED)
    except ArtifactError:
        return {}
    return noted if isinstance(noted, dict) else {}


def read_dlc_files(
    base: Path,
    what: Literal["poses", "tracklets", "tracks"] = "tracks",
    *,
    method: str = "ellipse",
    filtered: bool = False,
    run_dir: Path | None = None,
    frames: Span | None = None,
) -> DlcResult:
    """Read poses, tracklets or tracks of a video, whoever wrote them.

    Args:
        base: folder and base name of the files, ``<folder>/<video stem><scorer>``.
        what: ``poses`` are read from ``_assemblies.pickle``, else ``_full.pickle``, else ``<base>.h5``.
        method: of the tracklets and tracks.
        filtered: the filtered tracks.
        run_dir: a run folder that may have written the file: if so, and unchanged since, its own tables are read.
        frames: of tracks, (first, after the last): what is outside may be left out; None = all.

    Raises:
        ProjectError: no such file, or damaged.
    """
    base = Path(base)
    if what == "poses":
        candidates = [dlc_file(base, kind) for kind in ("assemblies", "full", "poses")]
    else:
        path = dlc_file(base, what, method=method, filtered=filtered)
        candidates = [path, *([path.with_suffix(".csv")] if what == "tracks" else [])]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        step = {"poses": "analyze_videos", "tracklets": "convert_detections2tracklets", "tracks": "stitch_tracklets"}
        raise ProjectError(
            f"expected {' or '.join(path.name for path in candidates)}, found none\nwhere: {base.parent}",
            hint="the filtered tracks come from filterpredictions" if filtered else f"it comes from {step[what]}",
        )
    if run_dir is not None and not filtered and (run_dir / "video.json").is_file():
        if is_ours(run_dir, found):
            return _of_run(run_dir, what, found)
        log.info("%s was written or changed by somebody else: taken as it is", found.name)
    meta_file = dlc_file(base, "meta")
    meta = read_meta(meta_file) if meta_file.is_file() else None
    if what == "tracks":
        result = _read_tracks(found, meta, frames)
    else:
        result = _read_poses(found, meta) if what == "poses" else _read_tracklets(found, meta)
    return _moved(result, meta.origin if meta else (0, 0))


def _of_run(run_dir: Path, what: str, path: Path) -> DlcResult:
    card = read_card(run_dir)
    names = card.individuals
    table: Poses | Tracks
    if what == "poses":
        table = read_spans(run_dir, "poses", Poses)
    else:
        table = read_tracks(run_dir, kind="tracklets" if what == "tracklets" else "tracks")
        if what == "tracks":
            number = _exported_tracks(run_dir, card)
            names = column_names(run_dir, number, names)
            table = Tracks(table.poses, np.where(table.track >= 0, number[table.track], -1))
    unique = Poses.empty(table.span, 0)
    if card.skeleton.unique:
        unique = read_spans(run_dir, "unique", Poses)
    return DlcResult(table, unique, card.skeleton, names, _scorer(card), None, path)


def _read_tracks(path: Path, meta: Meta | None, frames: Span | None = None) -> DlcResult:
    rows = None
    if frames is not None and (known := row_frames(path)) is not None:
        rows = tuple(np.searchsorted(known, frames).tolist())
    content = read_tracks_file(path, rows=rows)
    n_frames = max(content.tracks.span[1], meta.n_frames if meta else 0)
    table = Tracks(replace(content.tracks.poses, span=(0, n_frames)), content.tracks.track)
    unique = replace(content.unique, span=(0, n_frames))
    return DlcResult(table, unique, content.skeleton, content.names, content.scorer, None, path)


def _read_poses(path: Path, meta: Meta | None) -> DlcResult:
    keypoints, names = (meta.keypoints, meta.unique) if meta else ((), ())
    individuals, scorer = (meta.individuals, meta.scorer) if meta else ((), "")
    identity = None
    if path.name.endswith("_assemblies.pickle"):
        content = read_assemblies(path, n_frames=meta.n_frames if meta else 0)
        poses, unique, identity = content.poses, content.unique, content.identity
        full = Path(f"{str(path)[: -len('_assemblies.pickle')]}_full.pickle")
        if not keypoints and full.is_file():
            keypoints = read_full(full).keypoints[: poses.n_keypoints or None]
    elif path.suffix == ".pickle":
        full_content = read_full(path, unique=names)
        if full_content.poses is None:
            raise ProjectError(
                f"expected assembled animals, got raw peaks of the TensorFlow engine\nwhere: {path}",
                hint="its _assemblies.pickle is needed beside it",
            )
        poses, unique, keypoints = full_content.poses, full_content.unique, full_content.keypoints
    else:
        h5 = _read_tracks(path, meta)
        assert isinstance(h5.table, Tracks)
        return replace(h5, table=h5.table.poses, names=individuals or h5.names)
    if not len(poses):
        poses = Poses.empty(poses.span, len(keypoints))
    keypoints = keypoints or tuple(f"keypoint{i + 1}" for i in range(poses.n_keypoints))
    names = names or tuple(f"unique{i + 1}" for i in range(unique.n_keypoints))
    if len(keypoints) != poses.n_keypoints:
        raise ProjectError(
            f"expected {len(keypoints)} keypoints ({', '.join(keypoints)}), got {poses.n_keypoints}\nwhere: {path}"
        )
    return DlcResult(poses, unique, Skeleton(keypoints, unique=names), individuals, scorer, identity, path)


def _read_tracklets(path: Path, meta: Meta | None) -> DlcResult:
    content = read_tracklets(path, n_frames=meta.n_frames if meta else 0)
    keypoints, names = content.keypoints, content.unique_names
    table = content.tracklets
    if not len(table):  # then the arrays do not tell how many of the header's names are unique
        keypoints = meta.keypoints if meta and meta.keypoints else (*keypoints, *names)
        names = meta.unique if meta else ()
        table = Tracks.empty(table.span, len(keypoints))
    skeleton = Skeleton(keypoints, unique=names)
    individuals = meta.individuals if meta else ()
    return DlcResult(table, content.unique, skeleton, individuals, content.scorer, content.identity, path)


def _moved(result: DlcResult, origin: tuple[int, int]) -> DlcResult:
    """Positions in the cropped part -> positions in the frame."""
    table = result.table
    table = Tracks(shifted(table.poses, origin), table.track) if isinstance(table, Tracks) else shifted(table, origin)
    return replace(result, table=table, unique=shifted(result.unique, origin), origin=origin)
