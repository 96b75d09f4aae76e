"""What is to be done: pure functions over frame ranges."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shoal.types import Decisions, Poses, Span

CHUNK_SECONDS = 60.0  # a kill loses at most about this much work
SMALLEST, LARGEST = 64, 4096


def chunk_size(frames_per_second: float) -> int:
    """Frames per chunk file: a minute's work at this speed, as a power of two.

    >>> chunk_size(1.0), chunk_size(20.0), chunk_size(1e4)
    (64, 1024, 4096)
    """
    frames = max(frames_per_second * CHUNK_SECONDS, 1.0)
    return int(min(max(2 ** math.floor(math.log2(frames)), SMALLEST), LARGEST))


@dataclass(frozen=True)
class Part:
    """Which frames of a video a run looks at.

    Attributes:
        start: the first.
        stop: after the last.
        every: ``start`` and every n-th frame after it.
    """

    start: int
    stop: int
    every: int = 1


def part_name(part: Part, n_frames: int, crop: tuple[int, int, int, int] | None = None) -> str:
    """What a run folder of a part of a video is called between the video's name and the suffix; empty = the whole.

    >>> part_name(Part(0, 900), 900), part_name(Part(90, 900, 10), 900), part_name(Part(0, 900), 900, (0, 64, 8, 40))
    ('', '.frames90-900.every10', '.crop0-64-8-40')
    """
    range_ = "" if (part.start, part.stop) == (0, n_frames) else f".frames{part.start}-{part.stop}"
    every = "" if part.every == 1 else f".every{part.every}"
    return range_ + every + ("" if crop is None else f".crop{'-'.join(map(str, crop))}")


def spans(part: Part, chunk_frames: int, keyframes: Sequence[int] = ()) -> tuple[Span, ...]:
    """Frame ranges of the chunk files.

    Args:
        part: what is looked at.
        chunk_frames: the most frames of a chunk; without keyframes chunks end at multiples of this, wherever the part
            begins.
        keyframes: where decoding can begin, ascending: a chunk ends at the last one in its second half, if there is
            one. What begins there after a stop has nothing to decode before it.

    >>> spans(Part(0, 150), 64)
    ((0, 64), (64, 128), (128, 150))
    >>> spans(Part(100, 150), 64)
    ((100, 128), (128, 150))
    >>> spans(Part(0, 150), 64, [0, 40, 60, 130])
    ((0, 60), (60, 124), (124, 150))
    """
    borders = [part.start - part.start % chunk_frames]
    while borders[-1] < part.stop:
        end = borders[-1] + chunk_frames
        key = max(keyframes[: bisect.bisect_right(keyframes, end)][-1:], default=0)
        borders.append(key if max(part.start, end - chunk_frames // 2) < key else end)
    return tuple((max(begin, part.start), min(end, part.stop)) for begin, end in itertools.pairwise(borders))


def looked_at(part: Part, span: Span) -> range:
    """The frames of a span that are looked at.

    >>> list(looked_at(Part(3, 30, 4), (8, 16)))
    [11, 15]
    """
    begin = max(span[0], part.start)
    return range(begin + (part.start - begin) % part.every, min(span[1], part.stop), part.every)


def by_look(poses: Poses, part: Part) -> Poses:
    """Poses with frames counted as those that were looked at: what lies between them was not missed.

    >>> none = Poses.empty((8, 16), 2)
    >>> by_look(none, Part(3, 30, 4)).span, by_look(none, Part(3, 30)).span
    ((2, 4), (8, 16))
    """
    if part.every == 1:
        return poses
    seen = looked_at(part, (part.start, poses.span[0])), looked_at(part, (part.start, poses.span[1]))
    return replace(poses, frame=(poses.frame - part.start) // part.every, span=(len(seen[0]), len(seen[1])))


def by_frame(decisions: Decisions, part: Part) -> Decisions:
    """Decisions about poses counted ``by_look``, in the video's own frames again."""
    if part.every == 1:
        return decisions
    frame = part.start + decisions.frame * part.every
    is_link = (decisions.source >= 0) & (decisions.target >= 0)
    gap = np.where(is_link, (decisions.gap + 1) * part.every - 1, decisions.gap)
    return replace(decisions, frame=frame, gap=gap, span=(part.start, part.stop))


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
