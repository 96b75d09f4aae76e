"""Frame-exact video reading and H.264 writing.

Frame ``i`` is the i-th presentation timestamp of the file. The timestamps of all packets are read once
(no decoding), so header counts, which are often wrong in remuxed camera files, are never believed.
Reading from any start seeks to a keyframe before it, decodes from there and names each decoded frame by
its timestamp, so a frame that cannot be decoded is missing from the output and shifts nothing.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import itertools
import logging
import math
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy import ndarray

from shoal.config.predict import seconds_of
from shoal.errors import ArtifactError, ResourceError, VideoError
from shoal.io.artifacts import load_table, save_table, write_failure
from shoal.io.decoding import STRETCH_FRAMES, decode_frames, decode_packets, stretches
from shoal.io.packets import PacketIndex, open_container, read_index, read_packets
from shoal.io.stream import prefetch_chain
from shoal.types import FrameBatch, Span

log = logging.getLogger(__name__)

MEBIBYTE = 1 << 20
REMEMBERED_FROM = 256 * MEBIBYTE  # files from this size on are read through once, not once per command
HELD_BYTES = 1 << 29  # frames that wait while stretches are decoded side by side
SHORTEST_QUEUE = 4
ORDER_CHECK_FRAMES = 32  # more than H.264's largest reordering depth (16)


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What is known about a video without decoding it.

    Attributes:
        path: the file.
        width: of a decoded frame, px, after rotation.
        height: of a decoded frame, px, after rotation.
        fps: frames per second; the mean if the rate varies.
        fps_source: ``timestamps``, or ``header`` where there are none.
        is_variable: True if frames are not evenly spaced.
        n_frames: frames found in the file (not the header's count).
        start_time: of the first frame, seconds.
        codec: its name.
        rotation: quarter turns, counter-clockwise, that the file asks for.
        index: timestamps.
        digest: hash of all timestamps and of the time base.
        identity: hash of size, first, middle and last MiB and ``digest``; never of names or dates.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    fps_source: str
    is_variable: bool
    n_frames: int
    start_time: float
    codec: str
    rotation: int
    index: PacketIndex
    digest: str
    identity: str


def probe(path: Path) -> VideoInfo:
    """Find all frames of a video and decode the first.

    Raises:
        VideoError: the file is missing, empty, not a video, or no frame of it can be decoded.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoError(f"expected a video file, found none\nwhere: {path}", hint="check the path")
    stat = path.stat()
    if stat.st_size == 0:
        raise VideoError(f"expected a video, got an empty file\nwhere: {path}", hint="copy the file again")
    return _probe(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=16)
def _probe(path: Path, size: int, mtime_ns: int) -> VideoInfo:
    """Cached per state of the file: the packets of a day of video take minutes to read."""
    content = _content_hash(path, size)
    with open_container(path) as container:
        stream = container.streams.video[0]
        header_rate, header_frames = stream.average_rate or stream.base_rate, stream.frames
        codec = stream.codec_context.name
        index = (
            _remembered_index(container, stream, content) if size >= REMEMBERED_FROM else read_index(container, stream)
        )
    if not len(index.pts):
        raise VideoError(f"expected frames, got a video without any\nwhere: {path}", hint="the recording failed")
    if header_frames and header_frames != len(index.pts):
        log.warning("%s: the header says %d frames, the file has %d", path.name, header_frames, len(index.pts))
    first, index = _check_order(path, index)
    rotation = int(getattr(first, "rotation", 0)) // 90 % 4
    height, width = (first.height, first.width) if rotation % 2 == 0 else (first.width, first.height)
    fps, source, is_variable = _frame_rate(index, header_rate)
    digest = hashlib.sha256(index.pts.tobytes() + str(index.tick).encode()).hexdigest()[:16]
    start = float(index.pts[0] * index.tick) if index.is_timed else 0.0
    return VideoInfo(
        path=path, width=width, height=height, fps=fps, fps_source=source, is_variable=is_variable,
        n_frames=len(index.pts), start_time=start, codec=codec, rotation=rotation, index=index, digest=digest,
        identity=hashlib.sha256(f"{content} {digest}".encode()).hexdigest()[:32],
    )  # fmt: skip


def count_frames(path: Path) -> int:
    """Frames that a file lists, readable or not; 0 for a recording without any.

    Raises:
        VideoError: it is not a video.
    """
    with open_container(Path(path)) as container:
        return len(read_index(container, container.streams.video[0]).pts)


def promised_frames(path: Path) -> int:
    """Frames by a file's header, which reads nothing else of it and may be wrong; 0 = it does not say.

    Raises:
        VideoError: it is not a video.
    """
    with open_container(Path(path)) as container:
        stream = container.streams.video[0]
        if stream.frames:
            return stream.frames
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        return round((seconds or (container.duration or 0) / av.time_base) * float(stream.average_rate or 0))


def frame_at(info: VideoInfo, place: int | str) -> int:
    """The frame that is meant: its number, or the first one at a time (``90s``, ``1:30``) after the first frame.

    Raises:
        ValueError: neither.
    """
    if isinstance(place, int):
        return place
    seconds = Fraction(seconds_of(place)).limit_denominator(10**6)
    if not info.index.is_timed:
        return math.ceil(seconds * info.fps)
    return int(np.searchsorted(info.index.pts, int(info.index.pts[0]) + math.ceil(seconds / info.index.tick)))


def read_frames(
    path: Path,
    *,
    start: int = 0,
    stop: int | None = None,
    every: int = 1,
    batch: int = 8,
    borders: Sequence[int] = (),
    workers: int = 1,
) -> Generator[FrameBatch, None, None]:
    """Decode frames ``start`` to ``stop`` (exclusive) as RGB, exactly.

    Frames that cannot be decoded are missing from the batches' ``frame`` columns. (One parameter more than usual:
    these are a range, a shape and a number of threads, and a class for them would say no more.)

    Args:
        path: the video.
        start: first frame.
        stop: after the last frame; None = the end.
        every: ``start`` and every n-th frame after it.
        batch: frames per batch; the last may be smaller.
        borders: frames that batches do not reach across, ascending.
        workers: stretches of the video that are decoded side by side; the frames do not depend on it.

    Raises:
        VideoError: see ``probe``.

    >>> from shoal.io.video import VideoWriter  # doctest: +SKIP
    >>> next(read_frames(Path("clip.mp4"), start=10)).frame  # doctest: +SKIP
    array([10, 11, 12, 13, 14, 15, 16, 17])
    """
    numbers: list[int] = []
    images: list[ndarray] = []
    border = 0
    with contextlib.closing(_views(probe(path), start, stop, every, workers)) as views:
        for number, image in views:
            passed = bisect.bisect_right(borders, number)
            if numbers and (len(numbers) == batch or passed != border):
                yield FrameBatch(np.array(numbers), np.stack(images))
                numbers, images = [], []
            border = passed
            numbers.append(number)
            images.append(image)
    if numbers:
        yield FrameBatch(np.array(numbers), np.stack(images))


def read_images(
    info: VideoInfo, *, start: int = 0, stop: int | None = None, every: int = 1, workers: int = 1
) -> Generator[tuple[int, ndarray], None, None]:
    """Frame numbers and (H, W, 3) uint8 RGB images of one's own, ascending; see ``read_frames``."""
    with contextlib.closing(_views(info, start, stop, every, workers)) as views:
        for number, image in views:
            yield number, np.array(image)


def decode(
    info: VideoInfo, *, start: int = 0, stop: int | None = None, threads: int = 0
) -> Generator[tuple[int, av.VideoFrame], None, None]:
    """Decoded frames with their numbers, ascending, in the file's own pixel format and not rotated.

    Args:
        info: the video.
        start: first frame.
        stop: after the last frame; None = the end.
        threads: of the decoder; 0 = as many as it makes use of.

    Raises:
        VideoError: the file cannot be opened.
    """
    stop = info.n_frames if stop is None else min(stop, info.n_frames)
    return decode_frames(info.path, info.index, start=start, stop=stop, threads=threads)


def _views(
    info: VideoInfo, start: int, stop: int | None, every: int, workers: int
) -> Generator[tuple[int, ndarray], None, None]:
    """Numbers and RGB images, which are the converter's own memory, of every ``every``-th frame."""
    to_rgb = VideoReformatter()
    with contextlib.closing(_pictures(info, start, stop, every, workers)) as pictures:
        for number, picture in pictures:
            yield number, _rgb(picture, info, to_rgb)


def _pictures(
    info: VideoInfo, start: int, stop: int | None, every: int, workers: int
) -> Generator[tuple[int, av.VideoFrame], None, None]:
    """Every ``every``-th decoded frame. What waits is as decoded: half as large as RGB, and converting is cheap."""
    stop = info.n_frames if stop is None else min(stop, info.n_frames)
    is_split = (workers > 1 or every >= STRETCH_FRAMES) and stop - start > STRETCH_FRAMES
    pieces = stretches(info.path, info.index, (start, stop)) if is_split else ((start, stop),)
    workers = min(workers, len(pieces))
    threads = 1 if workers > 1 else 0
    sources = (_chosen(info, piece, start, every, threads) for piece in pieces)
    if workers == 1:
        for source in sources:
            with contextlib.closing(source):
                yield from source
        return
    depth = max(SHORTEST_QUEUE, HELD_BYTES // (2 * info.width * info.height * workers))
    with contextlib.closing(prefetch_chain(sources, workers, depth)) as pictures:
        yield from pictures


def _chosen(
    info: VideoInfo, piece: Span, first: int, every: int, threads: int
) -> Generator[tuple[int, av.VideoFrame], None, None]:
    """Those of one stretch: ``first``, ``first + every`` and so on, as far as they lie in it."""
    begin = piece[0] + (first - piece[0]) % every
    end = piece[1] - (piece[1] - 1 - first) % every
    with contextlib.closing(decode(info, start=begin, stop=end, threads=threads)) as frames:
        yield from (item for item in frames if (item[0] - first) % every == 0)


def _check_order(path: Path, index: PacketIndex) -> tuple[av.VideoFrame, PacketIndex]:
    """The first readable frame, and the index, not timed where the decoder disagrees with timestamps."""
    first: av.VideoFrame | None = None
    stamps: list[int | None] = []
    with open_container(path) as container:
        for frame in decode_packets(read_packets(container, container.streams.video[0])):
            if frame.is_corrupt:
                continue
            first = first or frame
            stamps.append(frame.pts)
            if len(stamps) == ORDER_CHECK_FRAMES:
                break
    if first is None:
        raise VideoError(
            f"expected frames, got a video of which none can be decoded\nwhere: {path}",
            hint="play it in a video player; if that fails too, the file is damaged",
        )
    known = [stamp for stamp in stamps if stamp is not None]
    if index.is_timed and (len(known) < len(stamps) or any(a > b for a, b in itertools.pairwise(known))):
        log.warning("%s: timestamps contradict the order of frames; frames are counted instead", path.name)
        index = PacketIndex(index.pts, index.key_pts, index.key_dts, index.time_base, is_timed=False)
    return first, index


def _frame_rate(index: PacketIndex, header: Fraction | None) -> tuple[Fraction, str, bool]:
    """(fps, source, is variable): the header's rate where the timestamps agree with it within 0.1 %."""
    n = len(index.pts)
    ticks = int(index.pts[-1] - index.pts[0])
    if not index.is_timed or n < 2 or ticks <= 0:
        return Fraction(header or 25), "header", False
    measured = Fraction(n - 1) / (ticks * index.tick)
    steps = np.diff(index.pts)
    is_variable = bool((np.abs(steps - ticks / (n - 1)) > max(1.0, 0.1 * ticks / (n - 1))).any())
    if header and abs(measured / header - 1) < Fraction(1, 1000):
        return Fraction(header), "timestamps", is_variable
    return measured.limit_denominator(1001), "timestamps", is_variable


def _content_hash(path: Path, size: int) -> str:
    """Hash of a file's size and of its first, middle and last MiB."""
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for offset in (0, max(0, size // 2 - MEBIBYTE // 2), max(0, size - MEBIBYTE)):
            file.seek(offset)
            found.update(file.read(MEBIBYTE))
    return found.hexdigest()[:32]


def _remembered_index(container: Any, stream: Any, content: str) -> PacketIndex:
    """The packet index from the user's cache, or read and put there: a day of video takes minutes to read."""
    file = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "shoal" / "videos" / f"{content}.npz"
    try:
        return load_table(file, PacketIndex)
    except ArtifactError:
        index = read_index(container, stream)
    with contextlib.suppress(OSError, ResourceError):  # a full or read-only cache costs time only
        file.parent.parent.mkdir(parents=True, exist_ok=True)
        save_table(file, index)
    return index


def _rgb(frame: av.VideoFrame, info: VideoInfo, reformatter: VideoReformatter) -> ndarray:
    """(H, W, 3) view of a converted frame's own memory: the one copy is made by who needs it."""
    width, height = (info.width, info.height) if info.rotation % 2 == 0 else (info.height, info.width)
    picture = reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
    plane: Any = picture.planes[0]  # a buffer, which its type does not say
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, : 3 * width]
    image = rows.reshape(height, width, 3)
    return image if info.rotation == 0 else np.rot90(image, info.rotation)


class VideoWriter:
    """H.264 file (yuv420p, which every player shows), complete or not there at all.

    Odd sizes are padded by one row or column. Written aside and renamed on a clean exit; a full disk is a
    ``ResourceError``, as everywhere (``artifacts.write_failure``).

    Args:
        path: the file to write.
        fps: frames per second.
        preset: x264's speed.
        crf: x264's quality, smaller is better; not used with ``bit_rate``.
        bit_rate: bits per second; 0 = by quality.
        threads: of the encoder; 0 = all.

    >>> with VideoWriter(Path("out.mp4"), fps=25) as writer:  # doctest: +SKIP
    ...     writer.write(np.zeros((48, 64, 3), np.uint8))
    """

    def __init__(
        self, path: Path, *, fps: Fraction | float, preset: str = "veryfast", crf: int = 20, bit_rate: int = 0,
        threads: int = 0,
    ) -> None:  # fmt: skip
        self.path = Path(path)
        self.n_frames = 0
        self._aside = self.path.with_name(f".{self.path.stem}.partial{self.path.suffix or '.mp4'}")
        self._fps = Fraction(fps).limit_denominator(100_000)
        self._options = {"preset": preset} | ({} if bit_rate else {"crf": str(crf)})
        self._bit_rate, self._threads = bit_rate, threads
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._aside), "w", format="mp4", options={"movflags": "+faststart"})
        except OSError as error:
            raise VideoError(f"expected a folder to write a video to, got: {error}\nwhere: {self.path}") from error
        return self

    def write(self, frame: ndarray, number: int | None = None) -> None:
        """Append one (H, W, 3) uint8 RGB frame; ``number`` leaves a gap where frames are missing."""
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        planes = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YUV_I420)  # ten times faster than swscale
        picture = av.VideoFrame.from_ndarray(np.asarray(planes, np.uint8), format="yuv420p")
        picture.colorspace, picture.color_range = Colorspace.SMPTE170M, ColorRange.MPEG  # what OpenCV's formula is
        self.write_picture(picture, number)

    def write_picture(self, picture: av.VideoFrame, number: int | None = None) -> None:
        """Append one yuv420p picture of even size, with no conversion."""
        stream = self._stream or self._add_stream(picture)
        picture.pts = self.n_frames if number is None else number
        picture.time_base = 1 / self._fps
        self.n_frames = picture.pts + 1
        try:
            self._container.mux(stream.encode(picture))
        except OSError as error:
            raise write_failure(self.path, error) from error

    def _add_stream(self, picture: av.VideoFrame) -> Any:
        stream = self._container.add_stream("libx264", rate=self._fps, options=self._options)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / self._fps
        context.colorspace, context.color_range = picture.colorspace, picture.color_range
        context.thread_count = self._threads
        if self._bit_rate:
            stream.bit_rate = self._bit_rate
        self._stream = stream
        return stream

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: object) -> None:
        stream = self._stream
        try:
            if stream is not None and kind is None:
                self._container.mux(stream.encode(None))
                self._container.close()
                self._aside.replace(self.path)
                return
            if stream is not None:
                with contextlib.suppress(OSError):  # what is wrong is known
                    self._container.close()
        except OSError as error:
            raise write_failure(self.path, error) from error
        finally:
            with contextlib.suppress(OSError):
                self._aside.unlink(missing_ok=True)
        if kind is None:
            raise VideoError(f"expected frames to write, got none\nwhere: {self.path}")
