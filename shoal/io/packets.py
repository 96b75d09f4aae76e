"""The packets of a video file: which frames there are."""

from __future__ import annotations

import errno
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

from shoal.errors import ResourceError, VideoError

log = logging.getLogger(__name__)

LOST = {
    errno.EIO, errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT,
    errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH,
}  # fmt: skip
"""What a drive that is gone, or a server that does not answer, may look like."""
BLOCK = 1 << 22


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

    @property
    def keyframes(self) -> list[int]:
        """Numbers of the frames that the file says decoding can begin at, ascending; none without timestamps."""
        return np.searchsorted(self.pts, self.key_pts).tolist() if self.is_timed else []


def open_container(path: Path) -> Any:
    """Open a video file.

    Raises:
        VideoError: it is not one.
        ResourceError: the drive that it is on is lost.
    """
    try:
        container = av.open(str(path))
    except (FFmpegError, OSError, ValueError) as error:
        raise_if_lost(path, error)
        raise VideoError(
            f"expected a video, got a file that cannot be opened as one ({error})\nwhere: {path}",
            hint="an interrupted recording has no index; remux it, or leave it out",
        ) from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"expected a video, got a file without a picture stream\nwhere: {path}")
    return container


def raise_if_lost(path: Path, error: Exception) -> None:
    """Tell a lost drive from damaged data: FFmpeg calls both an input/output error, so all of the file is read.

    Raises:
        ResourceError: the file cannot be read.
    """
    if not isinstance(error, OSError) or error.errno not in LOST:
        return
    try:
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):  # from the drive, not from memory
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while file.read(BLOCK):
                pass
    except OSError as cause:
        raise ResourceError(
            f"cannot read {path.name}: {cause.strerror or cause}\nwhere: {path.parent}",
            hint="connect the drive again, then the same command goes on where it stopped",
        ) from error


def read_packets(container: Any, stream: Any, level: int = logging.DEBUG) -> Iterator[av.Packet]:
    """The packets of a stream up to its end, or to where the file's data end it; that is logged at ``level``.

    Raises:
        ResourceError: the drive is lost.
    """
    packets = container.demux(stream)
    for number in itertools.count():
        try:
            packet = next(packets, None)
        except FFmpegError as error:
            raise_if_lost(Path(container.name), error)
            log.log(level, "%s ends after %d packets: %s", Path(container.name).name, number, error)
            return
        if packet is None:
            return
        yield packet


def read_index(container: Any, stream: Any) -> PacketIndex:
    """Read all packets of a stream, decoding none.

    Raises:
        ResourceError: the drive is lost.
    """
    pts: list[int] = []
    keys: list[tuple[int, int]] = []
    is_timed = True
    for packet in read_packets(container, stream, logging.WARNING):
        if packet.size == 0 or packet.is_discard:  # the end; or decoded but never shown (edit lists)
            continue
        if packet.pts is None:
            is_timed = False
        pts.append(packet.pts if packet.pts is not None else len(pts))
        if packet.is_keyframe and packet.pts is not None:
            keys.append((packet.pts, packet.dts if packet.dts is not None else packet.pts))
    sorted_pts = np.sort(np.array(pts if is_timed else range(len(pts)), np.int64))
    table = np.array(sorted(keys), np.int64).reshape(-1, 2)
    if len(table):  # a keyframe whose timestamp repeats cannot tell which of the frames it is
        first = np.searchsorted(sorted_pts, table[:, 0], side="left")
        table = table[np.searchsorted(sorted_pts, table[:, 0], side="right") - first == 1]
    tick = Fraction(stream.time_base or 1)
    return PacketIndex(sorted_pts, table[:, 0], table[:, 1], (tick.numerator, tick.denominator), is_timed)
