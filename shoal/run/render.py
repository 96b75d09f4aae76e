"""Tracks or detections drawn on the video: decode, draw and encode at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from shoal.config.render import RenderConfig
from shoal.errors import InputError
from shoal.io.overlay import Draw, Image, detection_drawer, draw_clock, see_through, track_drawer, unique_drawer
from shoal.io.stream import ordered_map, prefetch
from shoal.io.video import VideoInfo, VideoWriter, read_images
from shoal.run.folder import (
    ModelCard,
    find_video,
    plan_spans,
    read_animals,
    read_card,
    read_config,
    read_spans,
)
from shoal.types import Detections, OnProgress, Poses, Span, no_progress

AHEAD = 8  # frames decoded ahead, and drawn but not encoded


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
        frames: (first, after the last); None = all.
        dest: folder of the result; None = ``export/`` of the run folder.
        on_progress: called with ("render", frames done, frames).

    Returns:
        The file.

    Raises:
        VideoError: the video is not found.
        ArtifactError: not tracked yet.
    """
    run_dir = Path(run_dir)
    card = read_card(run_dir)
    config = config or read_config(run_dir).render
    info = find_video(run_dir, video)
    start, stop = frames or (0, info.n_frames)
    start, stop = max(start, 0), min(stop, info.n_frames)
    if start >= stop:
        raise InputError(f"expected frames within 0-{info.n_frames}, got {frames}\nwhere: {info.path}")
    name = {"tracks": "labeled", "detections": "full"}[config.what]
    target = Path(dest or run_dir / "export") / f"{info.path.stem}_{name}.mp4"
    draw = see_through(_span_drawer(run_dir, config, card, info), config.alpha)
    draw_video(info, target, draw, config, frames=(start, stop), on_progress=on_progress)
    return target


def draw_video(
    info: VideoInfo,
    target: Path,
    draw: Draw,
    config: RenderConfig,
    *,
    frames: Span,
    only: Sequence[int] | None = None,
    on_progress: OnProgress = no_progress,
) -> None:
    """Decode in one thread, draw in another, encode in this one (x264 has threads of its own).

    Frames that cannot be read last longer in the picture before them. With ``only``, the video consists of these
    frames, one after the other.
    """
    start, stop = frames
    place = {number: i for i, number in enumerate(range(start, stop))}
    if only is not None:
        place = {number: i for i, number in enumerate(sorted({n for n in only if start <= n < stop}))}

    def drawn(item: tuple[int, Image]) -> tuple[int, Image]:
        number, image = item
        draw(image, number)
        if config.clock:
            draw_clock(image, number, float(info.fps))
        return item

    first, last = min(place, default=start), max(place, default=start) + 1
    chosen = (item for item in read_images(info, start=first, stop=last) if item[0] in place)
    images = prefetch(chosen, AHEAD)
    pictures = ordered_map(drawn, images, workers=1)
    with (
        contextlib.closing(images),
        contextlib.closing(pictures),
        VideoWriter(target, fps=Fraction(info.fps), preset=config.preset, crf=config.crf) as writer,
    ):
        for number, image in pictures:
            writer.write(image, place[number])
            on_progress("render", place[number] + 1, len(place))


def _span_drawer(run_dir: Path, config: RenderConfig, card: ModelCard, info: VideoInfo) -> Draw:
    """A drawer that holds the tables of one span at a time."""
    all_spans = plan_spans(run_dir)
    size = (info.width, info.height)
    edges = card.skeleton.edges if len(card.skeleton.edges) else card.edges
    held: dict[Span, list[Draw]] = {}

    def load(span: Span) -> list[Draw]:
        if config.what == "detections":
            detections = read_spans(run_dir, "detections", Detections, start=span[0], stop=span[1])
            drawers = [detection_drawer(detections, config, skeleton=card.skeleton, size=size)]
        else:
            tracks = read_animals(run_dir, start=max(0, span[0] - config.trail), stop=span[1])
            drawers = [
                track_drawer(tracks, config, skeleton=card.skeleton, edges=edges, names=card.individuals, size=size)
            ]
        if card.skeleton.unique:
            unique = read_spans(run_dir, "unique", Poses, start=span[0], stop=span[1])
            drawers.append(unique_drawer(unique, config, skeleton=card.skeleton, size=size))
        return drawers

    def draw(image: Image, frame: int) -> None:
        span = all_spans[frame // all_spans[0][1]]
        if span not in held:
            held.clear()
            held[span] = load(span)
        for drawer in held[span]:
            drawer(image, frame)

    return draw
