"""Swaps expected, in figures and in words."""

from __future__ import annotations

import numpy as np

from shoal.io.artifacts import write_entry
from shoal.run.swaps import count_swaps, say_swaps, swaps_of
from shoal.types import DECISION_KINDS, Decisions


def joins(*probability):
    n = len(probability)
    none = np.zeros(n)
    kind = np.full(n, DECISION_KINDS.index("join"))
    return Decisions(kind, np.arange(n), none, none, none, none, none, np.array(probability), none, (0, n))


def test_a_video_twice_as_long_has_half_as_many_per_hour():
    one, two = count_swaps(joins(0.5, 0.5, 0.1), 60.0), count_swaps(joins(0.5, 0.5, 0.1), 120.0)
    assert one["swaps"] == two["swaps"] and one["swaps"][1] <= one["swaps"][0] <= one["swaps"][2]
    np.testing.assert_allclose(one["swaps_per_hour"], 2 * np.array(two["swaps_per_hour"]), rtol=0.01)


def test_nothing_is_said_where_nothing_is_known(tmp_path):
    assert count_swaps(joins(np.nan), 60.0) == {} and say_swaps({"tracks": 3}) == ""
    assert swaps_of(tmp_path) == ""


def test_a_run_says_how_many_swaps_to_expect(tmp_path):
    counts = {"swaps": [2.0, 0.0, 5.0], "swaps_per_hour": [120.0, 0.0, 300.0]}
    write_entry(tmp_path, "stitch", fingerprint="x", outputs=[], inputs={}, seconds=1.0, counts=counts)
    assert swaps_of(tmp_path) == ("about 120 identity swaps per hour expected (90 %: 0 to 300), 2 in this video")
