"""The streaming loop: video -> detections -> poses, one chunk file of each per span.

A reader thread decodes ahead, others (``Engine.workers``) run the network, another one assembles and saves.
A span is done when its manifest entry says so; whatever a killed run left half-way is done again.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float16
from numpy import ndarray

from shoal.config.compute import ComputeConfig
from shoal.config.run import RunConfig
from shoal.io.artifacts import drop_entry, fingerprint, is_done, load_table, read_entry, save_table, write_entry
from shoal.io.stream import ordered_map, prefetch
from shoal.io.video import VideoInfo, read_frames
from shoal.run.crops import CropPlan, crops_of, joined_crops, make_crop_plan, save_crops
from shoal.run.engine import Detect, Engine
from shoal.run.folder import ModelCard, plan_spans, read_part, table_path
from shoal.run.plan import Part, adjoining, by_look, looked_at, missing
from shoal.stages import assemble as assembling
from shoal.stages import sampling
from shoal.types import Appearance, Crops, Detections, FrameBatch, OnProgress, Poses, Span, concatenate, no_progress

log = logging.getLogger(__name__)

VERSION = 3
MOST_DECODERS = 4  # more would wait for the keyframes of long groups of pictures to come round
READ_AHEAD = 2  # batches, and one being decoded; a kill loses what waits


@dataclass(frozen=True, eq=False)
class Chunk:
    """What the network saw in one span, not yet assembled, and pictures of its animals where they are wanted."""

    span: Span
    detections: Detections
    unique: Poses
    features: Float16[ndarray, "P D"]
    crops: Crops | None = None
    n_frames: int = 0
    bad_frames: tuple[int, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Prints:
    """Fingerprints of the two stages of the stream."""

    predict: str
    assemble: str


def fingerprints(info_identity: str, card: ModelCard, config: RunConfig, part: Part | None = None) -> Prints:
    """Fingerprints of ``predict`` (network) and ``assemble`` (poses and samples); batch sizes do not count.

    Where a part begins and ends is in the names of its spans; only frames that are left out in between count here.
    """
    left_out = {"batch_size", "chunk_frames", "max_peaks", "runtime", "precision", "start", "stop", "every"}
    settings = config.predict.model_dump(mode="json", exclude=left_out)
    if part is not None and part.every > 1:
        settings |= {"every": part.every, "first": part.start % part.every}
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


def n_decoders(config: ComputeConfig) -> int:
    """Stretches of a video that are decoded side by side.

    One on two cores: there 2 took 4.8 ms a frame and one with threads of its own 4.3 (1296 x 972, a keyframe every 250
    frames), 3.4 and 3.6 with a keyframe every 30, for a sixth more work.
    """
    if config.decode_workers:
        return config.decode_workers
    from shoal.models.device import usable_cores

    return max(1, min(MOST_DECODERS, usable_cores() // 2))


def measure_speed(info: VideoInfo, detect: Detect, config: RunConfig, part: Part, *, seconds: float = 3.0) -> float:
    """Frames per second of reading and detecting, from the first frames of a part."""
    n, started = 0, 0.0
    batches = read_frames(
        info.path, start=part.start, stop=part.stop, every=part.every, batch=config.predict.batch_size,
        workers=n_decoders(config.compute),
    )  # fmt: skip
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
    on_progress: OnProgress = no_progress,
    should_stop: Callable[[], object] = lambda: False,
) -> bool:
    """Write detections, poses, unique keypoints and appearance of all planned spans that lack them.

    Returns:
        False if ``should_stop`` ended it before the last span.
    """
    card, part = engine.card, read_part(run_dir)
    prints, all_spans = fingerprints(info.identity, card, config, part), plan_spans(run_dir)
    reassemble(run_dir, card=card, config=config, prints=prints, all_spans=all_spans)
    todo = missing(all_spans, lambda span: is_done(run_dir, "predict", prints.predict, span))
    total = len(looked_at(part, (part.start, part.stop)))
    done = total - sum(len(looked_at(part, span)) for span in todo)
    stale = sum(read_entry(run_dir, "predict", span) is not None for span in todo)
    if stale:
        log.warning("%s: %d chunks are of another network or other settings and made again", run_dir.name, stale)
    if todo and done:
        log.info("%s: going on with %d of %d chunks", info.path.name, len(todo), len(all_spans))
    on_progress("analyze", done, total)

    def count(n: int) -> None:
        nonlocal done
        done += n
        on_progress("analyze", done, total)

    plan = _plan_crops(run_dir, info, engine, config) if todo and config.reid.use else None

    def finish(chunk: Chunk) -> Span:
        save_chunk(run_dir, chunk, plan, card=card, config=config, prints=prints)
        return chunk.span

    saved = []
    chunks = _detect_chunks(info, engine, plan, config=config, part=part, todo=todo, count=count)
    with contextlib.closing(chunks):
        for span in ordered_map(finish, _until(should_stop, chunks), workers=1):
            saved.append(span)
    return len(saved) == len(todo)


def _until(should_stop: Callable[[], object], chunks: Iterable[Chunk]) -> Generator[Chunk, None, None]:
    """Chunks up to the one after which a stop was asked for."""
    for chunk in chunks:
        yield chunk
        if should_stop():
            return


def _plan_crops(run_dir: Path, info: VideoInfo, engine: Engine, config: RunConfig) -> CropPlan | None:
    """What crops are cut, by the poses of a few frames."""

    def positions(frames: range) -> ndarray:
        batches = read_frames(
            info.path, start=frames.start, stop=frames.stop, every=frames.step, batch=config.predict.batch_size
        )
        none = np.zeros((0, engine.card.skeleton.n_keypoints, 2))
        return np.concatenate([none, *(_assembled(engine.detect(b)[0], engine.card, config).xy for b in batches)])

    return make_crop_plan(run_dir, config.reid, info, positions)


def _assembled(detections: Detections, card: ModelCard, config: RunConfig) -> Poses:
    """The animals of some frames; those of one do not depend on the others."""
    return assembling.assemble(detections, card.edges, config.assemble, n_keypoints=card.skeleton.n_keypoints)[0]


def _detect_chunks(
    info: VideoInfo,
    engine: Engine,
    plan: CropPlan | None,
    *,
    config: RunConfig,
    part: Part,
    todo: Sequence[Span],
    count: Callable[[int], None],
) -> Generator[Chunk, None, None]:
    """Run the network over the missing spans, with one pass of the decoder per gapless stretch."""

    def look(batch: FrameBatch) -> tuple[ndarray, tuple[Detections, Poses, ndarray], Crops | None]:
        seen = engine.detect(batch)
        if plan is None:
            return batch.frame, seen, None
        poses = _assembled(seen[0], engine.card, config)
        return batch.frame, seen, crops_of(plan, config.reid, batch.frame, batch.images, poses)

    for stretch in adjoining(todo):
        wanted = looked_at(part, (stretch[0][0], stretch[-1][1]))
        frames = read_frames(
            info.path, start=wanted.start, stop=wanted.stop, every=part.every, batch=config.predict.batch_size,
            borders=[end for _, end in stretch], workers=n_decoders(config.compute),
        )  # fmt: skip
        batches = prefetch(frames, READ_AHEAD)
        seen = ordered_map(look, batches, workers=engine.workers)
        with contextlib.closing(batches), contextlib.closing(seen):
            waiting = next(seen, None)
            for span in stretch:
                began, parts, found, crops = time.perf_counter(), [], set[int](), list[Crops]()
                while waiting is not None and waiting[0][0] < span[1]:
                    parts.append(waiting[1])
                    crops += [waiting[2]] if waiting[2] is not None else []
                    found.update(waiting[0].tolist())
                    count(len(waiting[0]))
                    waiting = next(seen, None)
                bad = tuple(frame for frame in looked_at(part, span) if frame not in found)
                count(len(bad))
                seconds = time.perf_counter() - began
                chunk = _join(span, parts, engine.card, config.sample.feature_size)
                cut = joined_crops(crops, span) if crops else None
                yield replace(chunk, n_frames=len(found), bad_frames=bad, seconds=seconds, crops=cut)


def _join(span: Span, parts: Sequence[tuple[Detections, Poses, ndarray]], card: ModelCard, feature_size: int) -> Chunk:
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
        return Chunk(span, Detections.empty(span), Poses.empty(span, len(card.skeleton.unique)), none)
    features = np.concatenate([part[2] for part in parts])
    return Chunk(span, concatenate(detections), concatenate(unique), features)


def save_chunk(
    run_dir: Path, chunk: Chunk, plan: CropPlan | None, *, card: ModelCard, config: RunConfig, prints: Prints
) -> None:
    """Assemble one chunk and write its files, manifest entries last."""
    span = chunk.span
    drop_entry(run_dir, "predict", span)
    outputs = [table_path(run_dir, "detections", span)]
    save_table(outputs[0], chunk.detections)
    if card.skeleton.unique:
        outputs.append(table_path(run_dir, "unique", span))
        save_table(outputs[1], chunk.unique)
    counts = {
        "frames": chunk.n_frames,
        "bad_frames": list(chunk.bad_frames),
        "peaks": len(chunk.detections),
        "limbs": len(chunk.detections.limb_frame),
        "capped": _n_capped(chunk.detections, peak_cap(config, card)),
    }
    # first, with the features that only the network gives: a chunk is detected when it is assembled too
    _assemble_chunk(run_dir, chunk.detections, chunk.features, card=card, config=config, prints=prints)
    if plan is not None and chunk.crops is not None:
        save_crops(run_dir, plan, chunk.crops)
    write_entry(
        run_dir, "predict", span=span, fingerprint=prints.predict, outputs=outputs, seconds=chunk.seconds, counts=counts
    )


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
            "%s: %d chunks assembled again; appearance needs the network: analyze with --overwrite to have it",
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
    drop_entry(run_dir, "assemble", span)
    poses, rows = assembling.assemble(detections, card.edges, config.assemble, n_keypoints=card.skeleton.n_keypoints)
    outputs = [table_path(run_dir, "poses", span)]
    save_table(outputs[0], poses)
    stored = table_path(run_dir, "appearance", span)
    counts = {"animals": len(poses)}
    if features is not None:
        appearance = _appearance(poses, rows, features, card=card, config=config, part=read_part(run_dir))
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
    poses: Poses, rows: ndarray, features: Float16[ndarray, "P D"], *, card: ModelCard, config: RunConfig, part: Part
) -> Appearance:
    """Features of the animals worth keeping, joined by peak row; NaN where a keypoint is missing."""
    keep = sampling.worth_keeping(by_look(poses, part), config.sample)
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
