from __future__ import annotations

import pytest

from shoal.run.plan import adjoining, chunk_size, missing, spans


@pytest.mark.parametrize(
    ("speed", "frames"), [(0.0, 64), (1.0, 64), (2.2, 128), (17.0, 512), (18.0, 1024), (1e9, 4096)]
)
def test_a_chunk_is_at_most_a_minutes_work(speed, frames):
    assert chunk_size(speed) == frames


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_spans_cover_every_frame_once(n):
    covered = [frame for span in spans(n, 64) for frame in range(*span)]
    assert covered == list(range(n))


def test_missing_and_adjoining():
    all_spans = spans(320, 64)
    todo = missing(all_spans, lambda span: span[0] in (64, 256))
    assert todo == ((0, 64), (128, 192), (192, 256))
    assert adjoining(todo) == (((0, 64),), ((128, 192), (192, 256)))
    assert adjoining(()) == ()
