"""Tracks or detections drawn on the video: decode, draw and encode at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from shoal.config.render import RenderConfig
from shoal.errors import InputError
from shoal.io.canvas import Canvas, copy_picture, picture_canvas
from shoal.io.overlay import Draw, detection_drawer, draw_clock, track_drawer, unique_drawer
from shoal.io.stream import ordered_map, prefetch
from shoal.io.video import VideoInfo, VideoWriter, decode
from shoal.run.edits import read_names
from shoal.run.folder import (
    base_name,
    find_video,
    plan_spans,
    read_animals,
    read_card,
    read_config,
    read_part,
    read_spans,
)
from shoal.run.plan import looked_at
from shoal.types import Detections, OnProgress, Poses, Span, Tracks, no_progress, select

AHEAD = 8  # frames decoded ahead, and drawn but not encoded
WINDOW = 256  # frames whose shapes are made at a time: what is in memory does not grow with the video
PEAKS = ("frame", "number", "keypoint", "xy", "confidence", "identity")
JUMP = 250  # frames between wanted ones from which seeking is cheaper than decoding what is between


def render(
    run_dir: Path,
    *,
    config: RenderConfig | None = None,
    video: Path | None = None,
    frames: Span | None = None,
    dest: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Make ``<stem>_labeled.mp4`` (tracks) or ``<stem>_full.mp4`` (all detections).

    Args:
        run_dir: a tracked run folder.
        config: look and encoding; None = the folder's own.
        video: where the video is now, if it moved.
        frames: (first, after the last); None = all. Frames that the run did not look at are left out.
        dest: folder of the result; None = ``export/`` of the run folder.
        on_progress: called with ("render", frames done, frames).

    Returns:
        The file.

    Raises:
        VideoError: the video is not found.
        ArtifactError: not tracked yet.
    """
    run_dir = Path(run_dir)
    config = config or read_config(run_dir).render
    info = find_video(run_dir, video)
    part = read_part(run_dir)
    numbers = looked_at(part, frames or (part.start, part.stop))
    if not numbers:
        raise InputError(f"expected frames within {part.start}-{part.stop}, got {frames}\nwhere: {run_dir}")
    target = Path(dest or run_dir / "export") / f"{base_name(run_dir)}_{file_ending(config)}.mp4"
    draw_video(info, target, run_drawer(run_dir, config, info), config, frames=numbers, on_progress=on_progress)
    return target


def file_ending(config: RenderConfig) -> str:
    """What names of labelled videos end with, as DLC's do."""
    return {"tracks": "labeled", "detections": "full"}[config.what]


def draw_video(
    info: VideoInfo,
    target: Path,
    draw: Draw,
    config: RenderConfig,
    *,
    frames: Sequence[int],
    notes: Callable[[int], str] | None = None,
    on_progress: OnProgress = no_progress,
) -> None:
    """Decode in one thread, draw in another, encode in this one (x264 has threads of its own).

    Pictures stay as they were decoded; nothing is turned into RGB and back. Frames that cannot be read last longer in
    the picture before them.

    Args:
        info: the video.
        target: the file to write.
        draw: what is drawn on a frame.
        config: clock and encoding.
        frames: numbers of those that make up the result, one after the other, ascending.
        notes: what is written below the clock of a frame.
        on_progress: called with ("render", frames done, frames).

    Raises:
        VideoError: nothing to write, or no place for it.
    """
    places = frames if isinstance(frames, range) else {number: i for i, number in enumerate(frames)}
    place = places.index if isinstance(places, range) else places.__getitem__
    size, reformatter = (info.width, info.height), VideoReformatter()

    def drawn(item: tuple[int, av.VideoFrame]) -> tuple[int, av.VideoFrame]:
        number, picture = item[0], copy_picture(item[1], size, info.rotation, reformatter)
        canvas = picture_canvas(picture, size)
        draw(canvas, number)
        if config.clock:
            draw_clock(canvas, number, float(time_of(info, number)), notes(number) if notes else "")
        return number, picture

    decoded = prefetch(_wanted(info, frames, places), AHEAD)
    pictures = ordered_map(drawn, decoded, workers=1)
    with (
        contextlib.closing(decoded),
        contextlib.closing(pictures),
        VideoWriter(target, fps=Fraction(info.fps), preset=config.preset, crf=config.crf) as writer,
    ):
        for number, picture in pictures:
            writer.write_picture(picture, place(number))
            on_progress("render", place(number) + 1, len(frames))


def _wanted(info: VideoInfo, frames: Sequence[int], wanted: Container[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decoded frames of these numbers; what lies far between them is not decoded."""
    for first, last in _stretches(frames):
        yield from (item for item in decode(info, start=first, stop=last + 1) if item[0] in wanted)


def _stretches(frames: Sequence[int]) -> Iterator[Span]:
    """(first, last) of frames that lie less than ``JUMP`` apart; a range, which may be long, is not listed.

    >>> list(_stretches([1, 2, 9, 900, 901])), list(_stretches(range(3, 90_000)))
    ([(1, 9), (900, 901)], [(3, 89999)])
    """
    if isinstance(frames, range) and frames.step <= JUMP:
        yield from [(frames[0], frames[-1])] if frames else []
        return
    first = last = -1
    for number in frames:
        if last >= 0 and number - last > JUMP:
            yield first, last
            first = number
        first, last = (number if last < 0 else first), number
    if last >= 0:
        yield first, last


def time_of(info: VideoInfo, frame: int) -> Fraction:
    """Seconds from the first frame to this one; frames of a variable rate have times of their own."""
    if not info.index.is_timed:
        return frame / info.fps
    return int(info.index.pts[frame] - info.index.pts[0]) * info.index.tick


def by_windows(make: Callable[[Span], Sequence[Draw]]) -> Draw:
    """A drawer that holds what is drawn in ``WINDOW`` frames at a time; ``make`` makes it for a span."""
    held: dict[int, Sequence[Draw]] = {}

    def draw(canvas: Canvas, frame: int) -> None:
        number = frame // WINDOW
        if number not in held:
            held.clear()
            held[number] = make((number * WINDOW, (number + 1) * WINDOW))
        for drawer in held[number]:
            drawer(canvas, frame)

    return draw


def within(table: Any, span: Span) -> Any:
    """The rows of Poses or Tracks, the peaks of Detections, in a span."""
    frame = table.poses.frame if isinstance(table, Tracks) else table.frame
    rows = np.arange(*np.searchsorted(frame, span).tolist())
    if isinstance(table, Detections):  # limbs are not drawn
        return replace(table, **{name: getattr(table, name)[rows] for name in PEAKS})
    return select(table, rows)


def run_drawer(run_dir: Path, config: RenderConfig, info: VideoInfo) -> Draw:
    """What a run found, read span by span."""
    card, all_spans = read_card(run_dir), plan_spans(run_dir)
    size = (info.width, info.height)
    edges = card.skeleton.edges if len(card.skeleton.edges) else card.edges

    @lru_cache(maxsize=1)
    def read(start: int, stop: int) -> tuple[Any, Poses | None]:
        unique = read_spans(run_dir, "unique", Poses, start=start, stop=stop) if card.skeleton.unique else None
        if config.what == "detections":
            return read_spans(run_dir, "detections", Detections, start=start, stop=stop), unique
        return read_animals(run_dir, start=start, stop=stop), unique

    def make(span: Span) -> list[Draw]:
        reach = (max(0, span[0] - config.trail), span[1]) if config.what == "tracks" else span
        touched = [s for s in all_spans if s[1] > reach[0] and s[0] < reach[1]]
        if not touched:  # the run did not look here
            return []
        table, unique = read(touched[0][0], touched[-1][1])
        table = within(table, reach)
        if config.what == "detections":
            drawers = [detection_drawer(table, config, skeleton=card.skeleton, size=size)]
        else:
            drawers = [
                track_drawer(table, config, skeleton=card.skeleton, edges=edges, names=read_names(run_dir), size=size)
            ]
        if unique is not None:
            drawers.append(unique_drawer(within(unique, span), config, skeleton=card.skeleton, size=size))
        return drawers

    return by_windows(make)
