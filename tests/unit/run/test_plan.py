from __future__ import annotations

import itertools

import numpy as np
import pytest

from shoal.run.plan import Part, adjoining, by_frame, by_look, chunk_size, looked_at, missing, spans
from shoal.types import DECISION_KINDS, Decisions, Poses


@pytest.mark.parametrize(
    ("speed", "frames"), [(0.0, 64), (1.0, 64), (2.2, 128), (17.0, 512), (18.0, 1024), (1e9, 4096)]
)
def test_a_chunk_is_at_most_a_minutes_work(speed, frames):
    assert chunk_size(speed) == frames


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_spans_cover_every_frame_once(n):
    covered = [frame for span in spans(Part(0, n), 64) for frame in range(*span)]
    assert covered == list(range(n))


@pytest.mark.parametrize("keys", [range(0, 1000, 250), range(0, 1000, 12), [0, 33, 64, 65, 900], []])
@pytest.mark.parametrize("part", [Part(0, 1000), Part(100, 777), Part(250, 251), Part(249, 600, 7)])
def test_chunks_end_at_keyframes_where_they_can(part, keys):
    all_spans, near = spans(part, 64, keys), set(keys)
    assert [frame for span in all_spans for frame in range(*span)] == list(range(part.start, part.stop))
    assert all(0 < stop - start <= 64 for start, stop in all_spans)
    for start, stop in all_spans[1:-1]:
        assert stop - start > 32 and (stop in near or not any(key in near for key in range(start + 33, start + 65)))


def test_missing_and_adjoining():
    all_spans = spans(Part(0, 320), 64)
    todo = missing(all_spans, lambda span: span[0] in (64, 256))
    assert todo == ((0, 64), (128, 192), (192, 256))
    assert adjoining(todo) == (((0, 64),), ((128, 192), (192, 256)))
    assert adjoining(()) == ()


@pytest.mark.parametrize("part", [Part(0, 200, 7), Part(63, 130), Part(64, 65, 3), Part(100, 199, 64), Part(5, 6)])
def test_parts_are_looked_at_frame_by_frame_once(part):
    all_spans = spans(part, 64)
    looked = [frame for span in all_spans for frame in looked_at(part, span)]
    assert looked == list(range(part.start, part.stop, part.every))
    assert all(a[1] == b[0] and a[1] % 64 == 0 for a, b in itertools.pairwise(all_spans))


def test_frames_that_were_not_looked_at_are_not_gaps():
    part = Part(100, 130, 10)
    frame = np.array([100, 110, 120])
    poses = Poses(frame, 0 * frame, np.zeros((3, 1, 2)), np.ones((3, 1)), np.ones(3), (100, 130))
    counted = by_look(poses, part)
    assert counted.frame.tolist() == [0, 1, 2] and counted.span == (0, 3)
    kinds = [DECISION_KINDS.index(kind) for kind in ("start", "join")]
    nothing = np.full(2, np.nan)
    made = Decisions(kinds, [1, 2], [-1, 0], [1, 1], [0, 1], nothing, nothing, nothing, [0, 0], (0, 3))
    again = by_frame(made, part)
    assert (again.frame.tolist(), again.gap.tolist(), again.span) == ([110, 120], [0, 19], (100, 130))
