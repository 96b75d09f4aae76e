"""The streaming loop: video -> detections -> poses, one chunk file of each per span.

A reader thread decodes ahead, others (``Engine.workers``) run the network, another one assembles and saves.
A span is done when its manifest entry says so; whatever a killed run left half-way is done again.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float16
from numpy import ndarray

from shoal.config.predict import PredictConfig
from shoal.config.run import RunConfig
from shoal.io.artifacts import fingerprint, is_done, load_table, read_entry, save_table, write_entry
from shoal.io.stream import ordered_map, prefetch
from shoal.io.video import VideoInfo, read_frames
from shoal.run.engine import Detect, Engine
from shoal.run.folder import ModelCard, table_path
from shoal.run.plan import adjoining, missing
from shoal.stages import assemble as assembling
from shoal.stages import sampling
from shoal.types import Appearance, Detections, OnProgress, Poses, Span, concatenate, no_progress

log = logging.getLogger(__name__)

VERSION = 2
READ_AHEAD = 4  # batches: smooths over keyframes without holding much memory


@dataclass(frozen=True, eq=False)
class Chunk:
    """What the network saw in one span, not yet assembled."""

    span: Span
    detections: Detections
    unique: Poses
    features: Float16[ndarray, "P D"]
    bad_frames: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Prints:
    """Fingerprints of the two stages of the stream."""

    predict: str
    assemble: str


def fingerprints(info_identity: str, card: ModelCard, config: RunConfig) -> Prints:
    """Fingerprints of ``predict`` (network) and ``assemble`` (poses and samples); batch sizes do not count."""
    settings = config.predict.model_dump(
        mode="json", exclude={"batch_size", "chunk_frames", "max_peaks", "runtime", "precision"}
    )
    settings |= {"device": card.device, "runtime": card.runtime}  # which is what the settings came to
    settings |= {"feature_size": config.sample.feature_size, "cap": peak_cap(config, card)}
    predict = fingerprint("predict", VERSION, settings, checkpoint=card.sha, video=info_identity)
    version = assembling.VERSION * 1000 + sampling.VERSION
    assemble = fingerprint("assemble", version, [config.assemble, config.sample], inputs=[predict])
    return Prints(predict, assemble)


def peak_cap(config: RunConfig, card: ModelCard) -> int:
    """Most peaks kept per keypoint and frame, as ``models.decode`` caps them."""
    n_animals = config.stitch.n_animals or len(card.individuals)
    return config.predict.max_peaks or 3 * n_animals + 10


def measure_speed(info: VideoInfo, detect: Detect, config: PredictConfig, *, seconds: float = 3.0) -> float:
    """Frames per second of reading and detecting, from the first frames of the video."""
    n, started = 0, 0.0
    batches = read_frames(info.path, batch=config.batch_size)
    with contextlib.closing(batches):
        for i, batch in enumerate(batches):
            detect(batch)
            if i == 0:  # the first batch pays for warming up
                started = time.perf_counter()
                continue
            n += len(batch.frame)
            if time.perf_counter() - started > seconds:
                break
    return n / max(time.perf_counter() - started, 1e-6) if n else float("inf")


def predict(
    run_dir: Path,
    info: VideoInfo,
    engine: Engine,
    *,
    config: RunConfig,
    all_spans: Sequence[Span],
    on_progress: OnProgress = no_progress,
    should_stop: Callable[[], object] = lambda: False,
) -> bool:
    """Write detections, poses, unique keypoints and appearance of all spans that lack them.

    Returns:
        False if ``should_stop`` ended it before the last span.
    """
    card = engine.card
    prints = fingerprints(info.identity, card, config)
    reassemble(run_dir, card=card, config=config, prints=prints, all_spans=all_spans)
    todo = missing(all_spans, lambda span: is_done(run_dir, "predict", prints.predict, span))
    done = info.n_frames - sum(stop - start for start, stop in todo)
    stale = sum(read_entry(run_dir, "predict", span) is not None for span in todo)
    if stale:
        log.warning("%s: %d chunks are of another network or other settings and made again", run_dir.name, stale)
    if todo and done:
        log.info("%s: going on with %d of %d chunks", info.path.name, len(todo), len(all_spans))
    on_progress("analyze", done, info.n_frames)

    def count(n: int) -> None:
        nonlocal done
        done += n
        on_progress("analyze", done, info.n_frames)

    def finish(chunk: Chunk) -> Span:
        save_chunk(run_dir, chunk, card=card, config=config, prints=prints)
        return chunk.span

    saved = []
    chunks = _detect_chunks(info, engine, config=config, todo=todo, count=count, should_stop=should_stop)
    with contextlib.closing(chunks):
        for span in ordered_map(finish, chunks, workers=1):
            saved.append(span)
    return len(saved) == len(todo)


def _detect_chunks(
    info: VideoInfo,
    engine: Engine,
    *,
    config: RunConfig,
    todo: Sequence[Span],
    count: Callable[[int], None],
    should_stop: Callable[[], object],
) -> Generator[Chunk, None, None]:
    """Run the network over the missing spans, with one pass of the decoder per gapless stretch."""
    for stretch in adjoining(todo):
        start, stop = stretch[0][0], stretch[-1][1]
        chunk_frames = stretch[0][1] - stretch[0][0]  # only the video's last span is shorter
        batches = prefetch(
            read_frames(info.path, start=start, stop=stop, batch=config.predict.batch_size, chunk=chunk_frames),
            READ_AHEAD,
        )
        seen = ordered_map(lambda batch: (batch.frame, engine.detect(batch)), batches, workers=engine.workers)
        with contextlib.closing(batches), contextlib.closing(seen):
            waiting = next(seen, None)
            for span in stretch:
                began, parts, frames = time.perf_counter(), [], []
                while waiting is not None and waiting[0][0] < span[1]:
                    parts.append(waiting[1])
                    frames += waiting[0].tolist()
                    count(len(waiting[0]))
                    waiting = next(seen, None)
                bad = tuple(sorted(set(range(*span)) - set(frames)))
                count(len(bad))
                seconds = time.perf_counter() - began
                feature_size = config.sample.feature_size
                yield _join(span, parts, card=engine.card, feature_size=feature_size, bad=bad, seconds=seconds)
                if should_stop():
                    return


def _join(
    span: Span,
    parts: Sequence[tuple[Detections, Poses, ndarray]],
    *,
    card: ModelCard,
    feature_size: int,
    bad: tuple[int, ...],
    seconds: float,
) -> Chunk:
    """Batches -> one chunk; frames that were not read stay empty."""
    detections: list[Detections] = []
    unique: list[Poses] = []
    begin = span[0]
    for i, (found, once, _) in enumerate(parts):
        end = span[1] if i == len(parts) - 1 else found.span[1]
        detections.append(replace(found, span=(begin, end)))
        unique.append(replace(once, span=(begin, end)))
        begin = end
    if not parts:
        none = np.zeros((0, feature_size), np.float16)
        return Chunk(
            span, Detections.empty(span), Poses.empty(span, len(card.skeleton.unique)), none,
            bad, seconds,
        )  # fmt: skip
    features = np.concatenate([part[2] for part in parts])
    return Chunk(span, concatenate(detections), concatenate(unique), features, bad, seconds)


def save_chunk(run_dir: Path, chunk: Chunk, *, card: ModelCard, config: RunConfig, prints: Prints) -> None:
    """Assemble one chunk and write its files, manifest entries last."""
    span = chunk.span
    outputs = [table_path(run_dir, "detections", span)]
    save_table(outputs[0], chunk.detections)
    if card.skeleton.unique:
        outputs.append(table_path(run_dir, "unique", span))
        save_table(outputs[1], chunk.unique)
    counts = {
        "frames": span[1] - span[0] - len(chunk.bad_frames),
        "bad_frames": list(chunk.bad_frames),
        "peaks": len(chunk.detections),
        "limbs": len(chunk.detections.limb_frame),
        "capped": _n_capped(chunk.detections, peak_cap(config, card)),
    }
    write_entry(
        run_dir, "predict", span=span, fingerprint=prints.predict, outputs=outputs, seconds=chunk.seconds, counts=counts
    )
    _assemble_chunk(run_dir, chunk.detections, chunk.features, card=card, config=config, prints=prints)


def reassemble(run_dir: Path, *, card: ModelCard, config: RunConfig, prints: Prints, all_spans: Sequence[Span]) -> None:
    """Poses again from stored detections, without the network, where only the settings of assembly changed."""
    stale = [
        span
        for span in all_spans
        if is_done(run_dir, "predict", prints.predict, span) and not is_done(run_dir, "assemble", prints.assemble, span)
    ]
    for span in stale:
        detections = load_table(table_path(run_dir, "detections", span), Detections)
        _assemble_chunk(run_dir, detections, None, card=card, config=config, prints=prints)
    if stale:
        log.warning(
            "%s: %d chunks assembled again; appearance needs the network: analyze with --fresh to have it",
            run_dir.name, len(stale),
        )  # fmt: skip


def _assemble_chunk(
    run_dir: Path,
    detections: Detections,
    features: Float16[ndarray, "P D"] | None,
    *,
    card: ModelCard,
    config: RunConfig,
    prints: Prints,
) -> None:
    began = time.perf_counter()
    span = detections.span
    poses, rows = assembling.assemble(detections, card.edges, config.assemble, n_keypoints=card.skeleton.n_keypoints)
    outputs = [table_path(run_dir, "poses", span)]
    save_table(outputs[0], poses)
    stored = table_path(run_dir, "appearance", span)
    counts = {"animals": len(poses)}
    if features is not None:
        appearance = _appearance(poses, rows, features, card=card, config=config)
        save_table(stored, appearance)
        outputs.append(stored)
        counts["samples"] = len(appearance)
    else:
        stored.unlink(missing_ok=True)
    write_entry(
        run_dir, "assemble", span=span, fingerprint=prints.assemble, outputs=outputs,
        inputs={"predict": prints.predict}, seconds=time.perf_counter() - began, counts=counts,
    )  # fmt: skip


def _appearance(
    poses: Poses, rows: ndarray, features: Float16[ndarray, "P D"], *, card: ModelCard, config: RunConfig
) -> Appearance:
    """Features of the animals worth keeping, joined by peak row; NaN where a keypoint is missing."""
    keep = sampling.worth_keeping(poses, config.sample)
    wanted = rows[keep]
    values = np.full((*wanted.shape, features.shape[1]), np.nan, np.float16)
    values[wanted >= 0] = features[wanted[wanted >= 0]]
    space = sampling.space_name(card.sha, features.shape[1])
    return Appearance(poses.frame[keep], poses.item[keep], values, space, poses.span)


def _n_capped(detections: Detections, cap: int) -> int:
    """How often a keypoint of a frame had as many peaks as are kept."""
    if not len(detections):
        return 0
    group = detections.frame * 128 + detections.keypoint
    return int((np.unique(group, return_counts=True)[1] >= cap).sum())
