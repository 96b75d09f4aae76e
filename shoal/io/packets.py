"""The packets of a video file: which frames there are, and decoding from anywhere without losing count."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Int64
from numpy import ndarray

from shoal.errors import VideoError

log = logging.getLogger(__name__)

DECODE_THREADS = min(4, os.cpu_count() or 1)  # of one file; the pictures do not depend on it


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """Where the frames of a file are. N frames, S keyframes.

    Attributes:
        pts: (N,) presentation timestamps in ``time_base``, ascending; may repeat.
        key_pts: (S,) timestamps of keyframes that can be seeked to, ascending.
        key_dts: (S,) their decoding timestamps.
        time_base: seconds per tick, as (numerator, denominator).
        is_timed: False where timestamps are missing or contradict the decoder's order; frames are
            then counted from the start of the file.
    """

    pts: Int64[ndarray, "N"]
    key_pts: Int64[ndarray, "S"]
    key_dts: Int64[ndarray, "S"]
    time_base: tuple[int, int]
    is_timed: bool

    @property
    def tick(self) -> Fraction:
        """Seconds per tick."""
        return Fraction(*self.time_base)


def decode_between(
    index: PacketIndex, source: tuple[Iterator[av.Packet], int], start: int, stop: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Readable frames ``start`` to ``stop`` of packets and the number before them (see ``seek``), ascending."""
    packets, counted = source
    last = start - 1
    for frame in decode_packets(packets):
        number, counted = frame_number(index, frame, counted)
        if number is None or number <= last or frame.is_corrupt:
            continue
        if number >= stop:
            return
        last = number
        yield number, frame
        if number == stop - 1:
            return


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


def decode_packets(packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
    """All frames that the packets give; damaged ones give none."""
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):  # an unreadable tail ends the video
            return
        try:
            yield from packet.decode()
        except FFmpegError as error:
            log.debug("packet at %s not decoded: %s", packet.pts, error)


def packets_of(container: Any) -> Iterator[av.Packet]:
    """Packets of the picture stream from where the container stands."""
    stream = container.streams.video[0]
    if not stream.codec_context.is_open:  # thread settings cannot change later
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = DECODE_THREADS
    return container.demux(stream)


def seek(container: Any, index: PacketIndex, start: int) -> tuple[Iterator[av.Packet], int] | None:
    """Packets from a keyframe at or before frame ``start``, and the number of the frame before them.

    None where the file must be read from its beginning, with a fresh container.
    """
    if start == 0 or not index.is_timed:
        return None
    position = int(np.searchsorted(index.key_pts, index.pts[start], side="right")) - 1
    if position < 1:
        return None
    # The decoder must see the file's head: old x264 streams (4:4:4) say only there which encoder's bugs to expect.
    next(decode_packets(packets_of(container)), None)
    step = 1
    while position > 0:
        try:
            container.seek(int(index.key_dts[position]), stream=container.streams.video[0], backward=True)
            packets = packets_of(container)
            first = next(packets, None)
        except FFmpegError:  # a format that cannot seek
            return None
        if first is not None and first.pts is not None and first.pts <= index.key_pts[position]:
            return itertools.chain([first], packets), int(np.searchsorted(index.pts, first.pts)) - 1
        position -= step  # landed after it: formats without an index seek roughly
        step *= 2
    return None


def open_container(path: Path) -> Any:
    """Open a video file.

    Raises:
        VideoError: it is not one.
    """
    try:
        container = av.open(str(path))
    except (FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"expected a video, got a file that cannot be opened as one ({error})\nwhere: {path}",
            hint="an interrupted recording has no index; remux it, or leave it out",
        ) from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"expected a video, got a file without a picture stream\nwhere: {path}")
    return container


def read_index(container: Any, stream: Any) -> PacketIndex:
    """Read all packets of a stream, decoding none."""
    pts: list[int] = []
    keys: list[tuple[int, int]] = []
    is_timed = True
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:  # the end; or decoded but never shown (edit lists)
                continue
            if packet.pts is None:
                is_timed = False
            pts.append(packet.pts if packet.pts is not None else len(pts))
            if packet.is_keyframe and packet.pts is not None:
                keys.append((packet.pts, packet.dts if packet.dts is not None else packet.pts))
    except FFmpegError as error:
        log.warning("the file ends after %d packets: %s", len(pts), error)
    sorted_pts = np.sort(np.array(pts if is_timed else range(len(pts)), np.int64))
    table = np.array(sorted(keys), np.int64).reshape(-1, 2)
    if len(table):  # a keyframe whose timestamp repeats cannot tell which of the frames it is
        first = np.searchsorted(sorted_pts, table[:, 0], side="left")
        table = table[np.searchsorted(sorted_pts, table[:, 0], side="right") - first == 1]
    tick = Fraction(stream.time_base or 1)
    return PacketIndex(sorted_pts, table[:, 0], table[:, 1], (tick.numerator, tick.denominator), is_timed)
