"""What the commands do to one video: analyze, track, export, status. Each can be repeated at any time."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shoal.config.assemble import suit_dlc
from shoal.config.run import RunConfig, load_config
from shoal.errors import ArtifactError, InputError, ShoalError, Stopped
from shoal.io.artifacts import (
    fingerprint,
    is_done,
    load_table,
    read_entry,
    remove_partial,
    save_table,
    write_entry,
    write_json,
)
from shoal.io.stopping import stop_requests
from shoal.io.video import VideoInfo, probe
from shoal.run.engine import Engine, load_engine
from shoal.run.folder import (
    TrackColumn,
    each_span,
    find_folder,
    open_folder,
    plan_spans,
    read_card,
    read_config,
    read_spans,
    read_tracks,
    table_path,
    write_card,
    write_config,
    write_video,
)
from shoal.run.plan import chunk_size, missing, spans
from shoal.run.predict import Prints, fingerprints, measure_speed, peak_cap, predict, reassemble
from shoal.stages import associate as associating
from shoal.stages import stitch as stitching
from shoal.types import Decisions, OnProgress, Poses, Span, no_progress

log = logging.getLogger(__name__)

TABLES = ("detections", "unique", "poses", "appearance", "tracklets", "tracks", "manifest")


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
        Stopped: a signal came; the chunk under way was finished.
    """
    config = config or load_config()
    info = probe(Path(video))
    engine = (model if isinstance(model, Engine) else load_engine(Path(model), config)).ready_for(info)
    # as a number: otherwise tracking again with another count of animals would ask for another analysis
    capped = config.predict.model_copy(update={"max_peaks": peak_cap(config, engine.card)})
    config = config.model_copy(update={"predict": capped})
    if engine.is_dlc:
        config = config.model_copy(update={"assemble": suit_dlc(config.assemble)})
    run_dir = find_folder(info, dest)
    if overwrite:
        for name in TABLES:
            shutil.rmtree(run_dir / name, ignore_errors=True)
    all_spans = _prepare(run_dir, info, engine, config, is_new=overwrite)
    with stop_requests("the current chunk") as should_stop:
        is_complete = predict(
            run_dir, info, engine, config=config, all_spans=all_spans, on_progress=on_progress, should_stop=should_stop,
        )  # fmt: skip
    prints = fingerprints(info.identity, engine.card, config)
    if not is_complete:
        left = len(_unfinished(run_dir, prints, all_spans))
        raise Stopped(
            f"stopped as asked; {len(all_spans) - left} of {len(all_spans)} chunks are done\nwhere: {run_dir}",
            hint="the same command goes on from here",
        )
    _record_bad_frames(run_dir, info, all_spans)
    track(run_dir, config)
    remove_partial(run_dir)
    _log_summary(run_dir, all_spans)
    return run_dir


def track(run_dir: Path, config: RunConfig | None = None) -> Path:
    """Poses -> tracklets -> tracks; only what changed settings make necessary.

    Args:
        run_dir: an analyzed run folder.
        config: settings; None = those the folder was made with.

    Returns:
        The run folder.

    Raises:
        ArtifactError: not a run folder, or the analysis is not finished.
    """
    run_dir = Path(run_dir)
    about, card, all_spans = open_folder(run_dir), read_card(run_dir), plan_spans(run_dir)
    if config is None:
        config = read_config(run_dir)
    prints = fingerprints(about["identity"], card, config)
    reassemble(run_dir, card=card, config=config, prints=prints, all_spans=all_spans)
    unfinished = _unfinished(run_dir, prints, all_spans)
    if unfinished:
        raise ArtifactError(
            f"expected {len(all_spans)} analyzed chunks, {len(unfinished)} are missing or were made with other settings"
            f"\nwhere: {run_dir}",
            hint=f"`shoal analyze {about['path']}` finishes it",
        )
    write_config(run_dir, config)
    linked = fingerprint("associate", associating.VERSION, config.associate, inputs=[prints.assemble])
    if not is_done(run_dir, "associate", linked):
        _associate(run_dir, config, all_spans, linked, prints)
    joined = fingerprint("stitch", stitching.VERSION, config.stitch, inputs=[linked])
    if not is_done(run_dir, "stitch", joined):
        _stitch(run_dir, config, all_spans, joined, linked)
    return run_dir


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
) -> tuple[Path, ...]:
    """Write poses and tracks as DeepLabCut's files: ``<stem>.h5`` and ``<stem>_el.h5``.

    Args:
        run_dir: a tracked run folder.
        dest: folder for the files; None = ``export/`` of the run folder.
        format: ``dlc`` is the only one so far.
        csv: write csv files as well.
        pickles: write ``_full``, ``_meta``, ``_assemblies`` and ``_el`` pickles as well.
        beside_video: write beside the video, where DeepLabCut looks for them.

    Returns:
        The files.

    Raises:
        ArtifactError: not tracked yet.
        InputError: unknown format.
    """
    from shoal.run.dlc_files import write_dlc_files

    if format != "dlc":
        raise InputError(f"expected format dlc, got '{format}'")
    run_dir = Path(run_dir)
    folder = Path(open_folder(run_dir)["path"]).parent if beside_video else dest
    more = ("full", "meta", "assemblies", "tracklets") if pickles else ()
    return write_dlc_files(run_dir, dest=folder, what=("poses", "tracks", *more), csv=csv)


def status(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """How far runs are: one row per run folder found in ``paths`` and their subfolders."""
    folders: list[Path] = []
    for path in map(Path, paths):
        if path.is_file():
            folders.append(find_folder(probe(path)))
        elif (path / "video.json").is_file():
            folders.append(path)
        elif path.is_dir():
            folders += sorted(found.parent for found in path.rglob("video.json"))
        else:
            raise InputError(f"expected a run folder or a folder that holds some, found nothing\nwhere: {path}")
    return [_status(folder) for folder in folders]


def _prepare(run_dir: Path, info: VideoInfo, engine: Engine, config: RunConfig, *, is_new: bool) -> tuple[Span, ...]:
    """Write what describes the run; the plan is fixed at the first start."""
    try:
        write_video(run_dir, info, [])
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written to, got: {error}\nwhere: {run_dir}",
            hint="--dest DIR puts the results elsewhere",
        ) from error
    write_card(run_dir, engine.card)
    write_config(run_dir, config)
    plan = run_dir / "plan.json"
    if is_new or not plan.is_file():
        frames = config.predict.chunk_frames
        if not frames:
            speed = measure_speed(info, engine.detect, config.predict) if info.n_frames > 64 else 1.0
            frames = chunk_size(speed)
        write_json(plan, {"n_frames": info.n_frames, "chunk_frames": frames})
    planned = plan_spans(run_dir)
    if config.predict.chunk_frames and planned != spans(info.n_frames, config.predict.chunk_frames):
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
    log.info(
        "%s: %d frames at %.1f frames/s, %.2f animals per frame, %d tracks",
        run_dir.name, frames, frames / max(seconds, 1e-3), animals / max(frames, 1),
        stitched["counts"]["tracks"] if stitched else 0,
    )  # fmt: skip
    if capped:
        log.warning(
            "%s: %d times a keypoint had more peaks in a frame than are kept (predict.max_peaks); "
            "is the network trained long enough?", run_dir.name, capped,
        )  # fmt: skip


def _associate(run_dir: Path, config: RunConfig, all_spans: Sequence[Span], expected: str, prints: Prints) -> None:
    """Tracklets span by span."""
    began = time.perf_counter()
    state, outputs = associating.start(config.associate, read_card(run_dir).skeleton.n_keypoints), list[Path]()
    for span in all_spans:
        poses = read_spans(run_dir, "poses", Poses, start=span[0], stop=span[1])
        state, track = associating.follow(state, poses)
        outputs.append(_save_column(run_dir, "tracklets", TrackColumn(track, span)))
    cuts = associating.cuts(state, (all_spans[0][0], all_spans[-1][1]))
    outputs.append(run_dir / "cuts.npz")
    save_table(outputs[-1], cuts)
    write_entry(
        run_dir, "associate", fingerprint=expected, outputs=outputs, inputs={"assemble": prints.assemble},
        seconds=time.perf_counter() - began, counts={"tracklets": state.n_started, "cuts": len(cuts)},
    )  # fmt: skip


def _stitch(run_dir: Path, config: RunConfig, all_spans: Sequence[Span], expected: str, linked: str) -> None:
    """Tracks from what two passes over the tracklets say; then their numbers span by span."""
    began = time.perf_counter()
    number, joins = stitching.solve(lambda: each_span(run_dir, kind="tracklets"), None, config.stitch)
    outputs: list[Path] = []
    for span in all_spans:
        tracklets = read_tracks(run_dir, kind="tracklets", start=span[0], stop=span[1])
        column = TrackColumn(stitching.relabel(tracklets, number).track, span)
        outputs.append(_save_column(run_dir, "tracks", column))
    outputs.append(run_dir / "decisions.npz")
    save_table(outputs[-1], _merge(load_table(run_dir / "cuts.npz", Decisions), joins))
    write_entry(
        run_dir, "stitch", fingerprint=expected, outputs=outputs, inputs={"associate": linked},
        seconds=time.perf_counter() - began,
        counts={"tracks": int(number.max(initial=-1)) + 1, "decisions": len(joins)},
    )  # fmt: skip


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


def _status(run_dir: Path) -> dict[str, Any]:
    about = open_folder(run_dir)
    row: dict[str, Any] = {"run": str(run_dir), "frames": about["n_frames"], "bad_frames": len(about["bad_frames"])}
    try:
        prints = fingerprints(about["identity"], read_card(run_dir), read_config(run_dir))
        all_spans = plan_spans(run_dir)
    except ShoalError as error:
        return row | {"state": "damaged", "why": error.message}
    left = _unfinished(run_dir, prints, all_spans)
    row |= {"chunks": len(all_spans), "chunks_done": len(all_spans) - len(left)}
    stitched = read_entry(run_dir, "stitch")
    seconds = [e["seconds"] for span in all_spans if (e := read_entry(run_dir, "predict", span))]
    row["seconds"] = round(sum(seconds), 1)
    row["state"] = "unfinished" if left else "tracked" if stitched else "analyzed"
    if stitched and not left:
        row["tracks"] = stitched["counts"]["tracks"]
    return row
