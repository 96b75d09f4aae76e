"""Every frame of the test videos shows its own number as bars, so a wrong frame is seen as a wrong number."""

from __future__ import annotations

import os
import runpy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from shoal.errors import VideoError
from shoal.io import video
from shoal.io.video import VideoWriter, probe, read_frames

film = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("numbered.py"))))
BITS, BAR, SIDE = film.BITS, film.BAR, film.SIDE
picture, numbers_in, encode, remux = film.picture, film.numbers_in, film.encode, film.remux


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> Path:
    """120 frames with B-frames and a keyframe every 25."""
    path = tmp_path_factory.mktemp("video") / "numbered.mp4"
    return encode(path, list(range(120)), g="25", bf="3", preset="fast")


@pytest.mark.parametrize("start", [0, 1, 24, 25, 26, 74, 99, 100, 119])
def test_any_start_lands_exactly(numbered, start):
    frames, shown = numbers_in(numbered, start=start, stop=start + 12)
    assert frames == shown == list(range(start, min(start + 12, 120)))


def test_start_beyond_the_end_reads_nothing(numbered):
    assert list(read_frames(numbered, start=120)) == []


def test_batches_end_at_chunk_borders(numbered):
    sizes = [len(batch.frame) for batch in read_frames(numbered, batch=7, borders=(32, 40, 64), stop=66)]
    assert sizes == [7, 7, 7, 7, 4, 7, 1, 7, 7, 7, 3, 2]


def test_frame_rate_comes_from_timestamps(numbered, tmp_path):
    info = probe(numbered)
    assert (info.n_frames, info.width, info.height) == (120, BITS * BAR + 6, SIDE)
    assert (info.fps, info.is_variable) == (25, False)
    path = tmp_path / "ntsc.mp4"
    with VideoWriter(path, fps=Fraction(30000, 1001)) as writer:
        for i in range(10):
            writer.write(picture(i))
    assert probe(path).fps == Fraction(30000, 1001)


def test_variable_frame_rate(tmp_path):
    stamps = np.cumsum(np.random.default_rng(0).integers(1, 9, 80)).tolist()
    path = encode(tmp_path / "vfr.mkv", stamps, g="20", bf="2")
    assert probe(path).is_variable
    for start in (0, 19, 20, 41, 79):
        frames, shown = numbers_in(path, start=start, stop=start + 5)
        assert frames == shown == list(range(start, min(start + 5, 80)))


def test_negative_start(numbered, tmp_path):
    def earlier(i, packet):
        packet.pts, packet.dts = packet.pts - 40000, packet.dts - 40000

    path = remux(numbered, tmp_path / "negative.ts", earlier, avoid_negative_ts="disabled")
    info = probe(path)
    assert info.n_frames == 120 and info.start_time < 0
    for start in (0, 30, 100):
        frames, shown = numbers_in(path, start=start, stop=start + 4)
        assert frames == shown == list(range(start, start + 4))


def test_frames_hidden_by_an_edit_list_do_not_count(numbered, tmp_path):
    def trim(i, packet):  # mp4 hides what lies before zero
        shift = int(10 / 25 / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift

    path = remux(numbered, tmp_path / "trimmed.mp4", trim, avoid_negative_ts="disabled")
    n = probe(path).n_frames
    assert n < 120
    for start in (0, 7, 50):
        frames, shown = numbers_in(path, start=start, stop=start + 3)
        assert frames == list(range(start, start + 3))
        assert shown == [f + 120 - n for f in frames]


@pytest.mark.parametrize("start", [0, 9, 10, 11, 12, 24, 25, 26, 40])
def test_duplicated_timestamps(tmp_path, start):
    plain = encode(tmp_path / "plain.mkv", list(range(60)), g="25", bf="0")
    step: list[int] = []

    def repeat(i, packet):  # frames 10 and 11, and 24 and 25 (a keyframe), share a time
        step.append(packet.pts)
        if i in (11, 25):
            packet.pts = packet.dts = step[-2]

    path = remux(plain, tmp_path / "twice.mkv", repeat)
    assert probe(path).n_frames == 60
    frames, shown = numbers_in(path, start=start, stop=start + 8)
    assert frames == shown == list(range(start, start + 8))


def test_truncated_tail(tmp_path):
    whole = encode(tmp_path / "whole.mp4", list(range(120)), g="25", bf="2")
    path = remux(whole, tmp_path / "cut.mp4", lambda i, p: None, movflags="+faststart")
    with av.open(str(path)) as container:
        cut = sorted(p.pos for p in container.demux(video=0) if p.size)[80] + 20
    os.truncate(path, cut)
    info = probe(path)
    assert 75 <= info.n_frames <= 81
    frames, shown = numbers_in(path)
    assert frames == shown and len(frames) >= 75
    late, late_shown = numbers_in(path, start=60)
    assert late == late_shown == [f for f in frames if f >= 60]


def test_damaged_packets_are_missing_and_shift_nothing(tmp_path):
    path = encode(tmp_path / "damaged.avi", list(range(60)), codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for number in (20, 21):
        position, size = packets[number]
        data[position + 8 : position + size] = bytes(size - 8)
    path.write_bytes(data)
    assert probe(path).n_frames == 60
    frames, shown = numbers_in(path)
    assert frames == shown == [i for i in range(60) if i not in (20, 21)]
    assert numbers_in(path, start=21, stop=23) == ([22], [22])


def test_raw_stream_without_timestamps_is_counted(tmp_path):
    path = tmp_path / "raw.h264"
    remux(encode(tmp_path / "plain.mp4", list(range(70)), g="25", bf="0"), path, lambda i, p: None, format="h264")
    assert probe(path).n_frames == 70
    for start in (0, 30, 69):
        frames, shown = numbers_in(path, start=start, stop=start + 3)
        assert frames == shown == list(range(start, min(start + 3, 70)))


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("grey.mkv", "ffv1", "gray"),
        ("mpeg4.avi", "mpeg4", "yuv420p"),
        ("stream.ts", "libx264", "yuv420p"),
        ("full.mp4", "libx264", "yuv444p"),
        ("vp9.webm", "libvpx-vp9", "yuv420p"),
    ],
)
def test_formats(tmp_path, name, codec, pix_fmt):
    path = encode(tmp_path / name, list(range(50)), codec=codec, pix_fmt=pix_fmt, g="12")
    assert probe(path).n_frames == 50
    for start in (0, 11, 13, 40):
        frames, shown = numbers_in(path, start=start, stop=start + 4)
        assert frames == shown == list(range(start, start + 4))


def test_odd_sizes_are_padded(tmp_path):
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, fps=10, crf=10) as writer:
        writer.write(picture(5, width=97, height=33))
    info = probe(path)
    assert (info.width, info.height, info.n_frames) == (98, 34, 1)
    image = next(read_frames(path)).images[0]
    assert np.abs(image[:, 97].astype(int) - image[:, 96]).max() < 40


def test_colours_survive(tmp_path):
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]], np.uint8)
    path = tmp_path / "colours.mp4"
    with VideoWriter(path, fps=10, crf=5) as writer:
        writer.write(np.repeat(np.repeat(colours[None], 32, 0), 32, 1))
    image = next(read_frames(path)).images[0]
    assert np.abs(image[16, 16::32].astype(int) - colours).max() < 12


@pytest.mark.parametrize("turn", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_a_turned_camera_is_turned_back_as_opencv_does(tmp_path, turn):
    """DeepLabCut labels frames that OpenCV read, and OpenCV obeys the file's display matrix."""

    def matrix(a: int, b: int, c: int, d: int) -> bytes:
        return b"".join(
            v.to_bytes(4, "big", signed=True) for v in (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        )

    path = encode(tmp_path / "turned.mp4", list(range(8)), bf="0")
    data = path.read_bytes()
    track = data.index(b"tkhd")
    path.write_bytes(data[:track] + data[track:].replace(matrix(1, 0, 0, 1), matrix(*turn), 1))
    capture = cv2.VideoCapture(str(path))
    for _ in range(6):
        _, expected = capture.read()
    image = next(read_frames(path, start=5)).images[0]
    assert image.shape == expected.shape == ((SIDE, BITS * BAR + 6, 3) if turn[0] else (BITS * BAR + 6, SIDE, 3))
    assert (probe(path).width, probe(path).height) == (image.shape[1], image.shape[0])
    assert np.abs(image.astype(int) - expected[..., ::-1]).max() < 6


def test_identity_depends_on_content_only(numbered, tmp_path):
    copy = tmp_path / "renamed.mp4"
    copy.write_bytes(numbered.read_bytes())
    os.utime(copy, (1, 1))
    assert probe(copy).identity == probe(numbered).identity
    data = bytearray(numbered.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    assert probe(copy).identity != probe(numbered).identity


def test_a_long_video_is_read_through_once(numbered, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain = probe(numbered)
    monkeypatch.setattr(video, "REMEMBERED_FROM", 1)
    video._probe.cache_clear()
    assert probe(numbered).identity == plain.identity
    (kept,) = (tmp_path / "shoal" / "videos").iterdir()
    video._probe.cache_clear()
    monkeypatch.setattr(video, "read_index", None)
    again = probe(numbered)
    assert (again.identity, again.n_frames, again.fps) == (plain.identity, 120, 25)
    assert numbers_in(numbered, start=77, stop=80) == ([77, 78, 79], [77, 78, 79])
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(video, "REMEMBERED_FROM", 1)
    kept.write_bytes(b"damaged")
    video._probe.cache_clear()
    assert probe(numbered).identity == plain.identity


def test_writer_leaves_nothing_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", fps=10) as writer:
        writer.write(picture(0))
        raise RuntimeError
    with pytest.raises(VideoError, match="got none"), VideoWriter(tmp_path / "b.mp4", fps=10):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_one_clear_error(tmp_path):
    with pytest.raises(VideoError, match="found none"):
        probe(tmp_path / "missing.mp4")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(VideoError, match="empty file"):
        probe(empty)
    text = tmp_path / "text.mp4"
    text.write_text("not a video at all\n" * 100)
    with pytest.raises(VideoError, match="cannot be opened"):
        probe(text)
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="without a picture"):
        probe(sound)
    frameless = tmp_path / "frameless.avi"
    with av.open(str(frameless), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        container.start_encoding()
    with pytest.raises(VideoError):
        probe(frameless)


def test_one_frame(tmp_path):
    path = tmp_path / "one.mp4"
    with VideoWriter(path, fps=10) as writer:
        writer.write(picture(3))
    assert probe(path).n_frames == 1
    assert numbers_in(path) == ([0], [3])


@pytest.mark.data
def test_an_old_444_stream_decodes_after_seeking(shoal_data):
    """x264 before build 151 wrote 4:4:4 that decoders must know of from the stream's head; seeking skips the head."""
    path = shoal_data / "dlc_openfield" / "videos" / "m3v1mp4.mp4"
    straight = {int(batch.frame[0]): batch.images[0] for batch in read_frames(path, batch=1, stop=400)}
    for start in (190, 300, 366, 380):
        batch = next(read_frames(path, start=start, batch=4))
        assert batch.frame.tolist() == list(range(start, start + 4))
        assert all((image == straight[start + i]).all() for i, image in enumerate(batch.images))
