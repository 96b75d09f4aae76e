from __future__ import annotations

import threading
import time

import pytest

from shoal.io.stream import ordered_map, prefetch


def _threads() -> int:
    return sum(t.name.startswith("shoal-") for t in threading.enumerate())


def test_prefetch_keeps_order_and_joins():
    assert list(prefetch(iter(range(100)), depth=3)) == list(range(100))
    assert _threads() == 0


def test_prefetch_is_bounded():
    produced = []

    def source():
        for i in range(50):
            produced.append(i)
            yield i

    reader = prefetch(source(), depth=4)
    assert next(reader) == 0
    time.sleep(0.05)
    assert len(produced) <= 1 + 4 + 1  # taken, waiting, in the producer's hand
    reader.close()
    assert _threads() == 0


def test_prefetch_raises_the_producers_error_after_its_items():
    def source():
        yield 1
        raise KeyError("lost")

    reader = prefetch(source(), depth=2)
    assert next(reader) == 1
    with pytest.raises(KeyError, match="lost"):
        next(reader)
    assert _threads() == 0


def test_prefetch_early_stop_closes_the_source():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    reader = prefetch(source(), depth=1)
    next(reader)
    reader.close()
    assert closed.is_set() and _threads() == 0


def test_prefetch_refuses_a_depth_of_zero():
    with pytest.raises(ValueError, match="depth"):
        next(prefetch([], depth=0))


def test_ordered_map_keeps_order_with_uneven_work():
    def slow_first(i: int) -> int:
        time.sleep(0.02 if i == 0 else 0)
        return i * i

    assert list(ordered_map(slow_first, range(20), workers=4)) == [i * i for i in range(20)]
    assert _threads() == 0


def test_ordered_map_raises_in_turn_and_joins():
    def fail_at_3(i: int) -> int:
        if i == 3:
            raise RuntimeError("three")
        return i

    results = ordered_map(fail_at_3, range(10), workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="three"):
        next(results)
    assert _threads() == 0


def test_ordered_map_is_bounded_and_stops_early():
    taken = []

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    results = ordered_map(lambda i: i, items(), workers=2)
    next(results)
    assert len(taken) <= 5
    results.close()
    assert _threads() == 0
