"""Videos whose every frame shows its own number as bars, so a wrong frame is seen as a wrong number."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from shoal.io.video import read_frames

BITS, BAR, SIDE = 9, 10, 32


def picture(number: int, *, width: int = BITS * BAR + 6, height: int = SIDE) -> np.ndarray:
    image = np.full((height, width, 3), 16, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            image[:, bit * BAR + 2 : bit * BAR + 8] = 235
    return image


def number_in(image: np.ndarray) -> int:
    return sum(int(image[:, bit * BAR + 3 : bit * BAR + 7].mean() > 128) << bit for bit in range(BITS))


def numbers_in(path: Path, **where: int) -> tuple[list[int], list[int]]:
    frames: list[int] = []
    shown: list[int] = []
    for batch in read_frames(path, **where):
        frames += batch.frame.tolist()
        shown += [number_in(image) for image in batch.images]
    return frames, shown


def encode(
    path: Path, stamps: list[int], *, codec: str = "libx264", pix_fmt: str = "yuv420p", rate: int = 25, **options: str
) -> Path:
    """Frame i, showing i, with presentation time stamps[i] / rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = BITS * BAR + 6, SIDE, pix_fmt
        stream.codec_context.time_base = Fraction(1, rate)
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = stamp, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def remux(source: Path, target: Path, restamp, *, format: str | None = None, **options: str) -> Path:
    """Copy packets; ``restamp(i, packet)`` changes the i-th in decoding order, or returns False to drop it."""
    with av.open(str(source)) as reader, av.open(str(target), "w", format=format, options=options) as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for i, packet in enumerate(reader.demux(video=0)):
            if packet.size == 0 or restamp(i, packet) is False:
                continue
            packet.stream = stream
            writer.mux(packet)
    return target


def damage(path: Path, packets: tuple[int, ...], *, seed: int = 0) -> Path:
    """Random bytes in the middle of some packets, in the order of the file."""
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    with av.open(str(path)) as container:
        where = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for number in packets:
        position, size = where[number]
        begin = position + size // 3 + 4
        data[begin : position + size] = rng.integers(0, 256, position + size - begin, np.uint8).tobytes()
    path.write_bytes(data)
    return path


def repeated(folder: Path) -> Path:
    """Frames 10 and 11, and 24 and 25 (a keyframe), share a time."""
    stamps: list[int] = []

    def repeat(i, packet):
        stamps.append(packet.pts)
        if i in (11, 25):
            packet.pts = packet.dts = stamps[-2]

    return remux(encode(folder / "once.mkv", N, g="25", bf="0"), folder / "twice.mkv", repeat)


def early(folder: Path) -> Path:
    """B-frames, and times that begin below zero."""

    def earlier(i, packet):
        packet.pts, packet.dts = packet.pts - 40000, packet.dts - 40000

    plain = encode(folder / "plain.mp4", N, g="12", bf="3")
    return remux(plain, folder / "negative.ts", earlier, avoid_negative_ts="disabled")


def cut(folder: Path) -> Path:
    """The last group of pictures ends in the middle."""
    path = remux(encode(folder / "whole.mp4", N, g="12"), folder / "cut.mp4", lambda i, p: None, movflags="+faststart")
    with av.open(str(path)) as container:
        end = sorted(p.pos for p in container.demux(video=0) if p.size)[43] + 20
    path.write_bytes(path.read_bytes()[:end])
    return path


def miscounted(folder: Path) -> Path:
    """The header promises 99 frames."""
    path = encode(folder / "promised.avi", N, codec="mpeg4", g="9")
    data = bytearray(path.read_bytes())
    length = data.index(b"strh") + 40
    data[length : length + 4] = (99).to_bytes(4, "little")
    path.write_bytes(data)
    return path


def raw(folder: Path) -> Path:
    """No timestamps at all."""
    plain = encode(folder / "timed.mp4", N, g="12", bf="0")
    return remux(plain, folder / "raw.h264", lambda i, p: None, format="h264")


N = list(range(60))
OPEN = "open-gop=1:b-adapt=0:scenecut=0"
ODD: dict[str, Callable[[Path], Path]] = {
    "plain": lambda folder: encode(folder / "plain.mp4", N, g="12", bf="3"),
    "variable rate": lambda folder: encode(
        folder / "vfr.mkv", np.cumsum(np.random.default_rng(0).integers(1, 9, 60)).tolist(), g="12", bf="2"
    ),
    "negative start": early,
    "repeated times": repeated,
    "truncated": cut,
    "wrong count": miscounted,
    "no times": raw,
    "open groups": lambda folder: encode(folder / "open.mp4", N, g="12", bf="3", **{"x264-params": OPEN}),
    "refreshed bit by bit": lambda folder: encode(
        folder / "refresh.mp4", N, g="12", bf="0", **{"x264-params": "intra-refresh=1"}
    ),
    "all keyframes, damaged": lambda folder: damage(
        encode(folder / "damaged.avi", N, codec="mjpeg", pix_fmt="yuvj420p"), (20, 21)
    ),
    "damaged": lambda folder: damage(encode(folder / "damaged.mp4", N, g="12", bf="3"), (3, 17, 30)),
    "damaged keyframes": lambda folder: damage(
        encode(folder / "keys.mp4", N, g="12", bf="0", sc_threshold="0"), (12, 24, 36, 50)
    ),
    "damaged mpeg4": lambda folder: damage(encode(folder / "old.avi", N, codec="mpeg4", g="12"), (7, 30)),
    "damaged hevc": lambda folder: damage(
        encode(folder / "hevc.mp4", N, codec="libx265", g="12", **{"x265-params": "log-level=none"}), (9, 26)
    ),
}
"""What cameras, converters and bad disks make; each builder takes a folder."""
