"""Whatever begins, batches, threads or splits the reading: the same pictures with the same numbers."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shoal.io import decoding, video
from shoal.io.decoding import stretches
from shoal.io.video import probe, read_frames, read_images

film = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("numbered.py"))))


@pytest.fixture(params=list(film.ODD), scope="module")
def odd(request, tmp_path_factory) -> tuple[str, Path]:
    return request.param, film.ODD[request.param](tmp_path_factory.mktemp("odd"))


@pytest.fixture
def short_stretches(monkeypatch) -> None:
    monkeypatch.setattr(video, "STRETCH_FRAMES", 8)
    monkeypatch.setitem(stretches.__kwdefaults__, "shortest", 8)


def pictures(path: Path, **how: Any) -> dict[int, str]:
    """Digest of each frame's pixels."""
    found = {}
    for batch in read_frames(path, **how):
        found |= {n: hashlib.sha256(i).hexdigest() for n, i in zip(batch.frame.tolist(), batch.images, strict=True)}
    return found


def test_numbers_and_pixels_do_not_depend_on_batch_chunk_workers_or_threads(odd, short_stretches, monkeypatch):
    _, path = odd
    monkeypatch.setattr(decoding, "DECODE_THREADS", 1)
    plain = pictures(path)
    assert len(plain) >= 35
    for batch, chunk, workers, threads in ((1, 16, 2, 1), (7, 64, 3, 2), (8, 0, 1, 2), (5, 9, 1, 4), (8, 32, 4, 1)):
        monkeypatch.setattr(decoding, "DECODE_THREADS", threads)
        borders = range(0, 60, chunk) if chunk else ()
        assert pictures(path, batch=batch, borders=borders, workers=workers) == plain, (batch, chunk, workers, threads)


def test_pixels_do_not_depend_on_where_reading_begins(odd, short_stretches):
    _, path = odd
    plain = pictures(path)
    for start in (1, 11, 12, 13, 24, 37, 50):
        for workers in (1, 2):
            assert pictures(path, start=start, workers=workers) == {n: p for n, p in plain.items() if n >= start}
    for every, start in ((7, 3), (25, 0), (13, 20)):
        chosen = {n: p for n, p in plain.items() if n >= start and (n - start) % every == 0}
        for workers in (1, 3):
            assert pictures(path, start=start, every=every, workers=workers) == chosen


def test_each_picture_shows_its_number(odd):
    name, path = odd
    frames, shown = film.numbers_in(path, workers=2)
    assert frames == sorted(set(frames))
    if "damaged" not in name:
        assert frames == shown == list(range(probe(path).n_frames - (name == "truncated")))


def test_a_header_that_miscounts_is_not_believed(tmp_path, caplog):
    assert probe(film.ODD["wrong count"](tmp_path)).n_frames == 60
    assert "the header says 99 frames, the file has 60" in caplog.text


@pytest.mark.parametrize("start", [12, 14, 24, 30, 36])
def test_a_stream_that_is_refreshed_bit_by_bit_lost_frames_after_a_seek(tmp_path, start):
    """What x264's intra-refresh calls keyframes gives no picture before a whole round of refreshing."""
    path = film.ODD["refreshed bit by bit"](tmp_path)
    assert film.numbers_in(path, start=start, stop=start + 6) == (list(range(start, start + 6)),) * 2


def test_stretches_begin_at_keyframes(tmp_path):
    info = probe(film.encode(tmp_path / "plain.mp4", film.N, g="12", bf="2", sc_threshold="0"))
    assert stretches(info.path, info.index, (5, 60), shortest=8) == ((5, 24), (24, 36), (36, 48), (48, 60))
    assert stretches(info.path, info.index, (5, 40), shortest=30) == ((5, 36), (36, 40))


@pytest.mark.parametrize("name", ["no times", "refreshed bit by bit"])
def test_what_cannot_be_entered_is_read_in_one(tmp_path, name):
    info = probe(film.ODD[name](tmp_path))
    assert stretches(info.path, info.index, (0, 60), shortest=8) == ((0, 60),)


def test_frames_that_wait_are_bounded(tmp_path, short_stretches, monkeypatch):
    info = probe(film.ODD["plain"](tmp_path))
    made = []

    def counted(*args, **how):
        for item in decode(*args, **how):
            made.append(item[0])
            yield item

    decode = video.decode
    monkeypatch.setattr(video, "decode", counted)
    monkeypatch.setattr(video, "HELD_BYTES", 0)
    images = read_images(info, workers=3)
    next(images)
    images.close()
    assert len(made) <= 1 + 3 * (video.SHORTEST_QUEUE + 1)


def test_images_are_ones_own(tmp_path):
    info = probe(film.ODD["plain"](tmp_path))
    images = [image for _, image in read_images(info, stop=3)]
    images[0][:] = 0
    assert images[1].max() > 100 and all(image.flags.writeable and image.flags.c_contiguous for image in images)
    assert np.ptp(images[0]) == 0
