"""``prefetch`` and ``ordered_map``: the only concurrency primitives.

Both are bounded, keep order, raise the producer's error in the consumer and, when the consumer stops
early, join their threads before they return.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(iterable: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Read ahead in a thread of its own, at most ``depth`` items.

    The thread starts with the first ``next`` and ends when the items do, when the producer raises, or
    when the consumer closes or drops this iterator; a generator that is read is closed in that thread.

    Args:
        iterable: what is read; only that thread touches it.
        depth: items that may wait, at least 1.

    >>> list(prefetch(range(3), depth=2))
    [0, 1, 2]
    """
    if depth < 1:
        raise ValueError(f"prefetch: expected depth >= 1, got {depth}")
    waiting: deque[T] = deque()
    changed = threading.Condition()
    error: list[BaseException] = []
    is_stopped = is_finished = False

    def produce() -> None:
        nonlocal is_finished
        source = iter(iterable)
        try:
            for item in source:
                with changed:
                    changed.wait_for(lambda: len(waiting) < depth or is_stopped)
                    if is_stopped:
                        break
                    waiting.append(item)
                    changed.notify_all()
            close = getattr(source, "close", None)
            if close is not None:
                close()
        except BaseException as raised:  # whatever it is, it belongs to the consumer
            error.append(raised)
        with changed:
            is_finished = True
            changed.notify_all()

    thread = threading.Thread(target=produce, name="shoal-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: waiting or is_finished)
                if not waiting:
                    break
                item = waiting.popleft()
                changed.notify_all()
            yield item
    finally:
        with changed:
            is_stopped = True
            waiting.clear()
            changed.notify_all()
        thread.join()
    if error:
        raise error[0]


def ordered_map(fn: Callable[[T], R], items: Iterable[T], workers: int) -> Generator[R, None, None]:
    """``map`` in threads: results in the order of the items, at most ``2 * workers`` under way.

    ``items`` is read in the consumer's thread. An error of ``fn`` is raised in its item's turn.

    >>> list(ordered_map(str, range(3), workers=2))
    ['0', '1', '2']
    """
    if workers < 1:
        raise ValueError(f"ordered_map: expected workers >= 1, got {workers}")
    under_way: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="shoal-map")
    try:
        for item in items:
            under_way.append(pool.submit(fn, item))
            if len(under_way) >= 2 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
