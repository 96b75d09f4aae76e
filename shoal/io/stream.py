"""``prefetch`` (of one source or a chain of them) and ``ordered_map``: the only concurrency primitives.

All are bounded, keep order, raise the producer's error in the consumer and, when the consumer stops
early, join their threads before they return.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

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
    return prefetch_chain([iterable], workers=1, depth=depth)


def prefetch_chain(sources: Iterable[Iterable[T]], workers: int, depth: int) -> Generator[T, None, None]:
    """The items of all sources, one source after the other; ``workers`` sources are read at the same time.

    Args:
        sources: taken in the consumer's thread; each is read by one thread only, see ``prefetch``.
        workers: sources under way, at least 1.
        depth: items of each source that may wait, at least 1.

    >>> list(prefetch_chain([range(2), range(2, 4)], workers=2, depth=1))
    [0, 1, 2, 3]
    """
    if workers < 1 or depth < 1:
        raise ValueError(f"prefetch: expected workers and depth >= 1, got {workers} and {depth}")
    running: deque[_Reader[T]] = deque()
    left = iter(sources)
    try:
        while True:
            for source in itertools.islice(left, workers - len(running)):
                running.append(_Reader(source, depth))
            if not running:
                return
            yield from running[0].items()
            running.popleft()
    finally:
        for reader in running:
            reader.stop()
        for reader in running:
            reader.thread.join()


class _Reader(Generic[T]):
    """A thread that reads one iterable, and the items that wait."""

    def __init__(self, source: Iterable[T], depth: int) -> None:
        self._source, self._depth = source, depth
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._is_stopped = self._is_finished = False
        self.thread = threading.Thread(target=self._produce, name="shoal-prefetch", daemon=True)
        self.thread.start()

    def items(self) -> Generator[T, None, None]:
        """What was read, in order, then the producer's error if there was one."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_finished)
                if not self._waiting:
                    break
                item = self._waiting.popleft()
                self._changed.notify_all()
            yield item
        self.thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ask the thread to end; what waits is dropped."""
        with self._changed:
            self._is_stopped = True
            self._waiting.clear()
            self._changed.notify_all()

    def _produce(self) -> None:
        source = iter(self._source)
        try:
            for item in source:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._waiting) < self._depth or self._is_stopped)
                    if self._is_stopped:
                        break
                    self._waiting.append(item)
                    self._changed.notify_all()
            close = getattr(source, "close", None)
            if close is not None:
                close()
        except BaseException as raised:  # whatever it is, it belongs to the consumer
            self._error = raised
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()


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
