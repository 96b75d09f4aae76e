"""Decoding from anywhere in a video without losing count, and the same pictures wherever it begins.

Where data are damaged a decoder guesses, and its guess depends on what it decoded before and on its threads. So it is
told not to guess; where it fails, the stretch from one keyframe to the next is decoded again by a decoder of its own
with one thread that begins at that keyframe, and that one may guess.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from shoal.io.packets import PacketIndex, open_container, read_packets
from shoal.types import Span

log = logging.getLogger(__name__)

DECODE_THREADS = min(4, os.cpu_count() or 1)  # of one file; the pictures do not depend on it
STRETCH_FRAMES = 64  # opening a file and finding a place in it costs as much as decoding a few frames
ENTRIES_TRIED = 4  # keyframes in a row: rarely is more than one damaged, and in x264's intra-refresh none will do


def decode_frames(
    path: Path, index: PacketIndex, *, start: int, stop: int, threads: int = 0
) -> Generator[tuple[int, av.VideoFrame], None, None]:
    """Readable frames ``start`` to ``stop`` with their numbers, ascending; ``threads`` 0 = ``DECODE_THREADS``.

    Raises:
        VideoError: the file cannot be opened.
        ResourceError: the drive that it is on is lost.
    """
    last = start - 1
    while index.is_timed and last + 1 < stop:
        with _entered(path, index, last + 1, threads, is_strict=True) as (frames, counted):
            for number, frame in _numbered(index, frames, counted, (last + 1, stop)):
                if number > last + 1:  # what is missing may be decodable with a guess
                    break
                last = number
                yield number, frame
        if last + 1 >= stop:
            return
        end = _next_entry(path, index, last + 1, stop)
        log.debug("%s: frames %d-%d have damaged data", path.name, last + 1, end)
        with _entered(path, index, last + 1, 1, is_strict=False) as (frames, counted):
            yield from _numbered(index, frames, counted, (last + 1, end))
        last = end - 1
    if not index.is_timed:
        with _entered(path, index, 0, threads, is_strict=False) as (frames, counted):
            yield from _numbered(index, frames, counted, (start, stop))


def stretches(path: Path, index: PacketIndex, span: Span, *, shortest: int = STRETCH_FRAMES) -> tuple[Span, ...]:
    """Parts of a range that can be decoded side by side: each but the first begins at a keyframe.

    One part where the file cannot be entered in the middle: without timestamps, or if the decoder does not begin at
    what the file calls a keyframe.
    """
    borders = [span[0]]
    for key in index.keyframes:
        if key - borders[-1] >= shortest and key < span[1]:
            borders.append(key)
    if len(borders) > 1 and not _is_entry(path, index, borders[1]):
        borders = borders[:1]
    return tuple(itertools.pairwise([*borders, span[1]]))


def frame_number(index: PacketIndex, frame: av.VideoFrame, counted: int) -> tuple[int | None, int]:
    """Number of a decoded frame, and the state for the next: the highest number given so far."""
    if not index.is_timed:
        return counted + 1, counted + 1
    if frame.pts is None:
        return None, counted
    low, high = (int(np.searchsorted(index.pts, frame.pts, side=side)) for side in ("left", "right"))
    if low == high:  # a timestamp that no packet has
        return None, counted
    number = min(max(low, counted + 1), high - 1) if counted < high else low
    return number, max(number, counted)


def decode_packets(packets: Iterable[av.Packet], *, is_strict: bool = False) -> Iterator[av.VideoFrame]:
    """All frames that the packets give; damaged ones give none, or end it if ``is_strict``."""
    for packet in packets:
        try:
            yield from packet.decode()
        except FFmpegError as error:
            log.debug("packet at %s not decoded: %s", packet.pts, error)
            if is_strict:
                return


def _numbered(
    index: PacketIndex, frames: Iterator[av.VideoFrame], counted: int, span: Span
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames of a span with their numbers, ascending; ``counted`` is the number of the frame before the first."""
    last = span[0] - 1
    for frame in frames:
        number, counted = frame_number(index, frame, counted)
        if number is None or number <= last or frame.is_corrupt:
            continue
        if number >= span[1]:
            return
        last = number
        yield number, frame
        if number == span[1] - 1:
            return


def _next_entry(path: Path, index: PacketIndex, number: int, stop: int) -> int:
    """The first keyframe after frame ``number`` that decoding can begin at, or ``stop``."""
    keys = [key for key in index.keyframes if number < key < stop]
    for key in keys[:ENTRIES_TRIED]:
        if _is_entry(path, index, key):
            return key
    return stop


def _is_entry(path: Path, index: PacketIndex, number: int) -> bool:
    """Whether decoding can begin at this very frame."""
    with _entered(path, index, number, 1, is_strict=False) as (_, counted):
        return counted == number - 1


@contextmanager
def _entered(
    path: Path, index: PacketIndex, start: int, threads: int, *, is_strict: bool
) -> Iterator[tuple[Iterator[av.VideoFrame], int]]:
    """Frames of a file from the nearest place to ``start``, and the number of the frame before the first of them.

    Yields:
        From a keyframe at or before ``start``, or, with -1, from the beginning of the file.
    """
    with open_container(path) as container:
        _open_decoder(container, threads, is_strict)
        found = _seek(container, index, start, is_strict)
        if found is not None:
            yield found
            return
    with open_container(path) as container:  # one that was never moved
        _open_decoder(container, threads, is_strict)
        yield decode_packets(read_packets(container, container.streams.video[0]), is_strict=is_strict), -1


def _open_decoder(container: Any, threads: int, is_strict: bool) -> None:
    """Settings of the decoder, which cannot change later."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = threads or DECODE_THREADS
    if is_strict:
        stream.codec_context.options = {"err_detect": "explode"}


def _seek(
    container: Any, index: PacketIndex, start: int, is_strict: bool
) -> tuple[Iterator[av.VideoFrame], int] | None:
    """Frames from a keyframe at or before frame ``start``, and the number of the frame before them.

    A keyframe counts only if the decoder gives it: a damaged one, and those of streams that are refreshed bit by bit
    (x264's intra-refresh), do not suffice to begin with. None = read the file from its beginning, opened afresh.
    """
    if start == 0 or not index.is_timed:
        return None
    position = int(np.searchsorted(index.key_pts, index.pts[start], side="right")) - 1
    if position < 1:
        return None
    # The decoder must see the file's head: old x264 streams (4:4:4) say only there which encoder's bugs to expect.
    next(decode_packets(read_packets(container, container.streams.video[0])), None)
    for tried in itertools.count():
        if position <= 0:
            return None
        found = _begin_at(container, index, position, is_strict)
        if found is not None:
            return found
        position -= 2 ** max(0, tried - ENTRIES_TRIED)  # formats without an index land roughly, so further and further
    return None


def _begin_at(
    container: Any, index: PacketIndex, position: int, is_strict: bool
) -> tuple[Iterator[av.VideoFrame], int] | None:
    """Frames from the ``position``-th keyframe on; None if it cannot be reached or is not what the decoder gives."""
    key = index.key_pts[position]
    stream = container.streams.video[0]
    packets: Iterator[av.Packet] = iter(())
    first: av.Packet | None = None
    # mp4 with B-frames is entered a keyframe too early by decoding time, transport streams too late by showing time
    for time in (key, index.key_dts[position]):
        try:
            container.seek(int(time), stream=stream, backward=True)
        except FFmpegError:  # a format that cannot seek
            return None
        packets = read_packets(container, stream)
        first = next(packets, None)
        if first is not None and first.pts == key:
            break
    if first is None or first.pts is None or first.pts > key:
        return None
    frames = decode_packets(itertools.chain([first], packets), is_strict=is_strict)
    begin = next((frame for frame in frames if frame.pts is not None and frame.pts >= key), None)
    if begin is None or begin.pts != key or begin.is_corrupt:
        return None
    return itertools.chain([begin], frames), int(np.searchsorted(index.pts, key)) - 1
