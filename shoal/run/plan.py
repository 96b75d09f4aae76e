"""What is to be done: pure functions over frame ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from shoal.types import Span

CHUNK_SECONDS = 60.0  # a kill loses at most about this much work
SMALLEST, LARGEST = 64, 4096


def chunk_size(frames_per_second: float) -> int:
    """Frames per chunk file: a minute's work at this speed, as a power of two.

    >>> chunk_size(1.0), chunk_size(20.0), chunk_size(1e4)
    (64, 1024, 4096)
    """
    frames = max(frames_per_second * CHUNK_SECONDS, 1.0)
    return int(min(max(2 ** math.floor(math.log2(frames)), SMALLEST), LARGEST))


def spans(n_frames: int, chunk_frames: int) -> tuple[Span, ...]:
    """Frame ranges of the chunk files.

    >>> spans(150, 64)
    ((0, 64), (64, 128), (128, 150))
    """
    return tuple((start, min(start + chunk_frames, n_frames)) for start in range(0, n_frames, chunk_frames))


def missing(all_spans: Sequence[Span], is_done: Callable[[Span], bool]) -> tuple[Span, ...]:
    """The spans still to be worked on."""
    return tuple(span for span in all_spans if not is_done(span))


def adjoining(some_spans: Sequence[Span]) -> tuple[tuple[Span, ...], ...]:
    """Spans grouped into gapless stretches, each of which one reader can go through without seeking.

    >>> adjoining([(0, 64), (64, 128), (192, 256)])
    (((0, 64), (64, 128)), ((192, 256),))
    """
    groups: list[list[Span]] = []
    for span in some_spans:
        if groups and groups[-1][-1][1] == span[0]:
            groups[-1].append(span)
        else:
            groups.append([span])
    return tuple(tuple(group) for group in groups)
