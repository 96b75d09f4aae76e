"""What the commands do to one video: analyze, track, export. Each can be repeated at any time."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from shoal.config.assemble import suit_dlc
from shoal.config.classify import Reflections
from shoal.config.predict import PredictConfig
from shoal.config.run import RunConfig, load_config
from shoal.errors import ArtifactError, InputError, Stopped
from shoal.io.artifacts import (
    drop_entry,
    is_done,
    load_table,
    read_entry,
    remove_partial,
    save_table,
    write_entry,
    write_failure,
)
from shoal.io.stopping import stop_requests
from shoal.io.video import VideoInfo, frame_at, probe
from shoal.run.edits import apply_edits, edits_print, write_names
from shoal.run.engine import Engine, load_engine
from shoal.run.folder import (
    TRACK_INFO,
    TrackColumn,
    claim_folder,
    fps_of,
    open_folder,
    plan_spans,
    read_card,
    read_config,
    read_info,
    read_part,
    read_spans,
    table_path,
    write_card,
    write_config,
    write_plan,
    write_video,
)
from shoal.run.kinds import classify_run, stitch_kinds, track_prints
from shoal.run.names import name_run, names_print
from shoal.run.plan import Part, by_frame, by_look, chunk_size, looked_at, missing, part_name, spans
from shoal.run.predict import Prints, fingerprints, measure_speed, peak_cap, predict, reassemble
from shoal.run.reid import read_evidence, reid_run
from shoal.run.running import working
from shoal.run.swaps import count_swaps, say_swaps
from shoal.stages import associate as associating
from shoal.stages import stitch as stitching
from shoal.stages.certainty import bridge
from shoal.types import Decisions, OnProgress, Poses, Span, Tracks, no_progress

log = logging.getLogger(__name__)

HALFWAY = ".associate.partial.npz"
HALFWAY_S = 20.0  # of association that a kill costs at most
TABLES = ("detections", "unique", "poses", "appearance", "crops", "tracklets", "tracks", "manifest")


@dataclass(frozen=True, eq=False)
class Halfway:
    """The tracker where it was when this was written.

    Attributes:
        expected: fingerprint of the association.
        stop: frame after the last span that it has seen, whose tracklets are on the disk.
        state: the tracker; its settings are those of the fingerprint.
    """

    expected: str
    stop: int
    state: associating.State


def analyze(
    video: Path,
    model: Path | Engine,
    *,
    config: RunConfig | None = None,
    dest: Path | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Find and track the animals of a video; goes on where an earlier run was stopped.

    A part of the video (``predict.start``, ``stop``, ``every``, ``crop``) has a run folder of its own.

    Args:
        video: the file.
        model: a trained network: its file, its folder, or loaded.
        config: settings; None = defaults.
        dest: where the run folder goes; None = beside the video.
        overwrite: do everything again.
        on_progress: called with ("analyze", frames done, frames).

    Returns:
        The run folder.

    Raises:
        VideoError: the video cannot be read.
        CheckpointError: the model cannot be read.
        InputError: no such part, or a place that cannot be written to.
        Stopped: a signal came; the chunk under way was finished.
    """
    config = config or load_config()
    info = probe(Path(video))
    engine = model if isinstance(model, Engine) else load_engine(Path(model), config)
    # as a number: otherwise tracking again with another count of animals would ask for another analysis
    part = find_part(info, config.predict)
    resolved = {"max_peaks": peak_cap(config, engine.card), "start": part.start, "stop": part.stop}
    config = config.model_copy(update={"predict": config.predict.model_copy(update=resolved)})
    if engine.is_dlc:
        config = config.model_copy(update={"assemble": suit_dlc(config.assemble)})
    run_dir = _claim(info, dest, part_name(part, info.n_frames, config.predict.crop))
    engine = engine.ready_for(info, "" if overwrite else _runtime_of(run_dir, engine))
    if overwrite:
        for name in TABLES:
            shutil.rmtree(run_dir / name, ignore_errors=True)
    all_spans = _prepare(run_dir, info, engine, config, part, is_new=overwrite)
    with working(run_dir, "analyze"), stop_requests("the current chunk") as should_stop:
        is_complete = predict(run_dir, info, engine, config=config, on_progress=on_progress, should_stop=should_stop)
    prints = fingerprints(info.identity, engine.card, config, part)
    if not is_complete:
        left = len(_unfinished(run_dir, prints, all_spans))
        raise Stopped(
            f"stopped as asked; {len(all_spans) - left} of {len(all_spans)} chunks are done\nwhere: {run_dir}",
            hint="the same command goes on from here", signal_name=should_stop(),
        )  # fmt: skip
    _record_bad_frames(run_dir, info, all_spans)
    track(run_dir, config, on_progress=on_progress)
    remove_partial(run_dir)
    _log_summary(run_dir, all_spans)
    return run_dir


def track(run_dir: Path, config: RunConfig | None = None, *, on_progress: OnProgress = no_progress) -> Path:
    """Poses -> tracklets -> tracks; only what changed settings make necessary.

    Args:
        run_dir: an analyzed run folder.
        config: settings; None = those the folder was made with.
        on_progress: called with ("crops" or "reid", done, total) where appearance is used.

    Returns:
        The run folder.

    Raises:
        ArtifactError: not a run folder, or the analysis is not finished.
    """
    run_dir = Path(run_dir)
    about, card, all_spans = open_folder(run_dir), read_card(run_dir), plan_spans(run_dir)
    if config is None:
        config = read_config(run_dir)
    prints = fingerprints(about["identity"], card, config, read_part(run_dir))
    reassemble(run_dir, card=card, config=config, prints=prints, all_spans=all_spans)
    unfinished = _unfinished(run_dir, prints, all_spans)
    if unfinished:
        raise ArtifactError(
            f"expected {len(all_spans)} analyzed chunks, {len(unfinished)} are missing or were made with other settings"
            f"\nwhere: {run_dir}",
            hint=f"`shoal analyze {about['path']}` finishes it",
        )
    write_config(run_dir, config)
    linked, _, _, joined = track_prints(config, prints.assemble, edits_print(run_dir))
    named = names_print(config, joined)
    is_tracked = is_done(run_dir, "associate", linked) and is_done(run_dir, "stitch", joined)
    if is_tracked and (not named or is_done(run_dir, "names", named)):
        return run_dir
    with working(run_dir, "track"):
        if not is_tracked:
            _track(run_dir, config, all_spans, prints, on_progress)
        if named:
            name_run(run_dir, config, named, on_progress=on_progress)
    return run_dir


def _track(
    run_dir: Path, config: RunConfig, all_spans: Sequence[Span], prints: Prints, on_progress: OnProgress
) -> None:
    """What of tracking is not done."""
    linked, known, looks, joined = track_prints(config, prints.assemble, edits_print(run_dir))
    if not is_done(run_dir, "associate", linked):
        _associate(run_dir, config, all_spans, linked, prints)
    if not is_done(run_dir, "classify", known):
        classify_run(run_dir, config, known, linked)
    if looks and not is_done(run_dir, "reid", looks):
        reid_run(run_dir, config, looks, known, on_progress=on_progress)
    _stitch(run_dir, config, all_spans, joined, known)


def change_config(run_dir: Path, file: Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Settings of a run folder (or of ``file``) with some of them changed.

    Raises:
        ConfigError: an unknown key or a wrong value.
        ArtifactError: not a run folder.
    """
    open_folder(run_dir)
    return load_config(file or run_dir / "run.yaml", overrides)


def export(
    run_dir: Path,
    *,
    dest: Path | None = None,
    format: str = "dlc",
    csv: bool = False,
    pickles: bool = False,
    beside_video: bool = False,
    reflections: str = "mark",
    smooth: bool = False,
) -> tuple[Path, ...]:
    """Write poses and tracks as DeepLabCut's files: ``<stem>.h5`` and ``<stem>_el.h5``.

    Args:
        run_dir: a tracked run folder.
        dest: folder for the files; None = ``export/`` of the run folder.
        format: ``dlc`` is the only one so far.
        csv: write csv files as well.
        pickles: write ``_full``, ``_meta``, ``_assemblies`` and ``_el`` pickles as well.
        beside_video: write beside the video, where DeepLabCut looks for them.
        reflections: ``mark`` writes their tracks after the animals', as far as there are names, and a file that says
            which they are; ``keep`` without that file; ``drop`` leaves them out.
        smooth: write smoothed tracks as well, gaps filled: ``<stem>_el_smoothed.h5``; with standard deviations they lie
            in ``smooth/`` of the run folder.

    Returns:
        The files.

    Raises:
        ArtifactError: not tracked yet.
        InputError: unknown format.
    """
    from shoal.run.dlc_files import Kind, write_dlc_files

    if format != "dlc":
        raise InputError(f"expected format dlc, got '{format}'")
    if reflections not in get_args(Reflections):
        raise InputError(f"expected reflections {', '.join(get_args(Reflections))}, got '{reflections}'")
    run_dir = Path(run_dir)
    folder = Path(open_folder(run_dir)["path"]).parent if beside_video else dest
    smoothed: tuple[Kind, ...] = ("smoothed",) if smooth else ()
    more: tuple[Kind, ...] = ("full", "meta", "assemblies", "tracklets") if pickles else ()
    what: tuple[Kind, ...] = ("poses", "tracks", *smoothed, *more)
    return write_dlc_files(run_dir, dest=folder, what=what, csv=csv, reflections=reflections)


def find_part(info: VideoInfo, config: PredictConfig) -> Part:
    """The frames that the settings mean.

    Raises:
        InputError: the video has none of them.
    """
    start = frame_at(info, config.start)
    stop = info.n_frames if config.stop is None else min(frame_at(info, config.stop), info.n_frames)
    if start >= stop:
        raise InputError(
            f"expected a part of frames 0-{info.n_frames}, got {config.start} to {config.stop or 'the end'} "
            f"(frames {start}-{stop})\nwhere: {info.path}",
            hint="--start and --stop take frames (2700) or times (90s, 1:30, 1:02:30)",
        )
    return Part(start, stop, config.every)


def _runtime_of(run_dir: Path, engine: Engine) -> str:
    """What computed the chunks that a run of this network has already; empty = nothing."""
    try:
        card = read_card(run_dir)
    except ArtifactError:
        return ""
    return card.runtime if card.sha == engine.card.sha else ""


def _claim(info: VideoInfo, dest: Path | None, name: str) -> Path:
    try:
        folder = claim_folder(info, dest, name)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission to write", str(folder))
        return folder
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise write_failure(Path(error.filename or (dest or info.path.parent) / "video.json"), error) from error
        raise InputError(
            f"expected a folder that can be written to, got: {error}\nwhere: {dest or info.path.parent}",
            hint="--dest DIR puts the results elsewhere",
        ) from error


def _prepare(
    run_dir: Path, info: VideoInfo, engine: Engine, config: RunConfig, part: Part, *, is_new: bool
) -> tuple[Span, ...]:
    """Write what describes the run; the plan is fixed at the first start."""
    write_video(run_dir, info, [])
    write_card(run_dir, engine.card)
    write_config(run_dir, config)
    if is_new or not (run_dir / "plan.json").is_file():
        frames = config.predict.chunk_frames
        if not frames:
            speed = measure_speed(info, engine.detect, config, part) if info.n_frames > 64 else 1.0
            frames = chunk_size(speed) * part.every
        write_plan(run_dir, info, frames, part)
    planned = plan_spans(run_dir)
    if config.predict.chunk_frames and planned != spans(part, config.predict.chunk_frames, info.index.keyframes):
        log.warning("%s: its plan stays as it was; predict.chunk_frames has no effect", run_dir.name)
    return planned


def _unfinished(run_dir: Path, prints: Prints, all_spans: Sequence[Span]) -> tuple[Span, ...]:
    return missing(all_spans, lambda span: is_done(run_dir, "assemble", prints.assemble, span))


def _record_bad_frames(run_dir: Path, info: VideoInfo, all_spans: Sequence[Span]) -> None:
    """Gather the unreadable frames of all chunks in ``video.json``."""
    bad: list[int] = []
    for span in all_spans:
        entry = read_entry(run_dir, "predict", span)
        bad += entry["counts"]["bad_frames"] if entry else []
    if bad:
        log.warning("%s: %d frames cannot be read and stay empty", info.path.name, len(bad))
    write_video(run_dir, info, bad)


def _log_summary(run_dir: Path, all_spans: Sequence[Span]) -> None:
    """What a person would ask next."""
    seen = [entry for span in all_spans if (entry := read_entry(run_dir, "predict", span))]
    poses = [entry for span in all_spans if (entry := read_entry(run_dir, "assemble", span))]
    stitched = read_entry(run_dir, "stitch")
    frames, capped = (sum(entry["counts"][name] for entry in seen) for name in ("frames", "capped"))
    seconds = sum(entry["seconds"] for entry in seen)
    animals = sum(entry["counts"]["animals"] for entry in poses)
    counts = stitched["counts"] if stitched else {}
    log.info(
        "%s: %d frames at %.1f frames/s, %.2f animals per frame, %d tracks%s",
        run_dir.name, frames, frames / max(seconds, 1e-3), animals / max(frames, 1), counts.get("tracks", 0),
        f" ({counts['leftovers']} tracklets fit none of them)" if counts.get("leftovers") else "",
    )  # fmt: skip
    if words := say_swaps(counts):
        log.info("%s: %s", run_dir.name, words)
    if capped:
        log.warning(
            "%s: %d times a keypoint had more peaks in a frame than are kept (predict.max_peaks); "
            "is the network trained long enough?", run_dir.name, capped,
        )  # fmt: skip


def _associate(run_dir: Path, config: RunConfig, all_spans: Sequence[Span], expected: str, prints: Prints) -> None:
    """Tracklets span by span."""
    began, part = time.perf_counter(), read_part(run_dir)
    begun = _halfway(run_dir, config, expected)
    state = begun.state if begun else associating.start(config.associate, read_card(run_dir).skeleton.n_keypoints)
    outputs, noted = list[Path](), began
    drop_entry(run_dir, "associate")
    for span in all_spans:
        if begun and span[1] <= begun.stop:
            outputs.append(table_path(run_dir, "tracklets", span))
            continue
        poses = read_spans(run_dir, "poses", Poses, start=span[0], stop=span[1])
        state, track = associating.follow(state, by_look(poses, part))
        outputs.append(_save_column(run_dir, "tracklets", TrackColumn(track, span)))
        if time.perf_counter() - noted > HALFWAY_S:
            save_table(run_dir / HALFWAY, Halfway(expected, span[1], state))
            noted = time.perf_counter()
    cuts = by_frame(associating.cuts(state, _looks(part)), part)
    outputs.append(run_dir / "cuts.npz")
    save_table(outputs[-1], cuts)
    write_entry(
        run_dir, "associate", fingerprint=expected, outputs=outputs, inputs={"assemble": prints.assemble},
        seconds=time.perf_counter() - began, counts={"tracklets": state.n_started, "cuts": len(cuts)},
    )  # fmt: skip
    (run_dir / HALFWAY).unlink(missing_ok=True)


def _halfway(run_dir: Path, config: RunConfig, expected: str) -> Halfway | None:
    """What an association that was killed left of itself, if these settings made it."""
    try:
        found = load_table(run_dir / HALFWAY, Halfway)
    except ArtifactError:
        return None
    if found.expected != expected:  # whose tracklets are written over now
        (run_dir / HALFWAY).unlink()
        return None
    log.info("%s: tracklets go on at frame %d", run_dir.name, found.stop)
    return replace(found, state=replace(found.state, config=config.associate))


def _stitch(run_dir: Path, config: RunConfig, all_spans: Sequence[Span], expected: str, known: str) -> None:
    """Tracks from what two passes over the tracklets say; then their numbers span by span."""
    began, part = time.perf_counter(), read_part(run_dir)
    edited = apply_edits(run_dir)

    def tracklets_by_look() -> Iterator[Tracks]:
        for tracklets in edited.tracklets(run_dir):
            yield Tracks(by_look(tracklets.poses, part), tracklets.track)

    evidence = read_evidence(run_dir, config)
    number, joins = stitch_kinds(
        run_dir, config, tracklets_by_look,
        lambda parts, counted: stitching.solve(parts, evidence, counted, links=edited.links), links=edited.links,
    )  # fmt: skip
    joins = by_frame(joins, part)
    outputs: list[Path] = [run_dir / TRACK_INFO, *write_names(run_dir, edited, number)]
    for span, tracklets in zip(all_spans, edited.tracklets(run_dir), strict=True):
        column = TrackColumn(stitching.relabel(tracklets, number).track, span)
        outputs.append(_save_column(run_dir, "tracks", column))
    outputs.append(run_dir / "decisions.npz")
    save_table(outputs[-1], _merge(bridge(load_table(run_dir / "cuts.npz", Decisions), joins), joins))
    info = read_info(run_dir)
    found = np.setdiff1d(number[number >= 0], info.track[info.kind > 0])  # reflections are neither
    # a number beyond the animals that there are at most is a tracklet that fits none of them
    limit = config.stitch.n_animals if config.stitch.count != "unknown" and config.stitch.n_animals else len(number)
    counts = {"tracks": int((found < limit).sum()), "leftovers": int((found >= limit).sum()), "decisions": len(joins)}
    counts |= count_swaps(joins, (part.stop - part.start) / float(fps_of(open_folder(run_dir))))
    said = {"edits": len(edited.kept), "edits_left_out": edited.left_out} if edited.kept or edited.left_out else {}
    for n, why in edited.left_out:
        log.warning("%s: edit %d is left out: %s", run_dir.name, n, why)
    write_entry(
        run_dir, "stitch", fingerprint=expected, outputs=outputs, inputs={"classify": known},
        seconds=time.perf_counter() - began, counts=counts | said,
    )  # fmt: skip


def _looks(part: Part) -> Span:
    """The span of a part as ``by_look`` counts it."""
    return (part.start, part.stop) if part.every == 1 else (0, len(looked_at(part, (part.start, part.stop))))


def _save_column(run_dir: Path, kind: str, column: TrackColumn) -> Path:
    path = table_path(run_dir, kind, column.span)
    save_table(path, column)
    return path


def _merge(a: Decisions, b: Decisions) -> Decisions:
    """Decisions of two stages, by frame."""
    names = ("kind", "frame", "source", "target", "gap", "cost", "margin", "probability", "reason")
    joined = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in names}
    order = np.argsort(joined["frame"], kind="stable")
    return Decisions(**{name: values[order] for name, values in joined.items()}, span=a.span)
