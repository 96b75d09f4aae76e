"""How many identity swaps a run must be expected to hold, in figures and in words; no truth is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoal.io.artifacts import read_entry
from shoal.stages.certainty import expect_swaps
from shoal.types import Decisions

SECONDS = 3600.0


def count_swaps(joins: Decisions, seconds: float) -> dict[str, list[float]]:
    """For the manifest: ``swaps`` and ``swaps_per_hour``, each expected and the limits of its 90 % interval.

    Args:
        joins: from ``stitch``.
        seconds: of the video.

    Returns:
        nothing where joins have no probability.

    >>> count_swaps(Decisions.empty((0, 9)), 60.0)
    {'swaps': [0.0, 0.0, 0.0], 'swaps_per_hour': [0.0, 0.0, 0.0]}
    """
    found = expect_swaps(joins)
    if found is None or seconds <= 0:
        return {}
    return {
        "swaps": [round(n, 2) for n in found], "swaps_per_hour": [round(n * SECONDS / seconds, 2) for n in found],
    }  # fmt: skip


def say_swaps(counts: Mapping[str, Any]) -> str:
    """What the counts of a run's stitching say, in words; empty where they say nothing.

    >>> say_swaps({"swaps": [0.31, 0, 1], "swaps_per_hour": [3.1, 0.0, 10.0]})
    'about 3 identity swaps per hour expected (90 %: 0 to 10), 0.3 in this video'
    """
    if "swaps_per_hour" not in counts:
        return ""
    mean, low, high = map(_short, counts["swaps_per_hour"])
    here = _short(counts["swaps"][0])
    return f"about {mean} identity swaps per hour expected (90 %: {low} to {high}), {here} in this video"


def swaps_of(run_dir: Path) -> str:
    """The same of a run folder."""
    entry = read_entry(Path(run_dir), "stitch")
    return say_swaps(entry["counts"]) if entry else ""


def _short(n: float) -> str:
    return f"{n:.0f}" if n >= 1 or n == 0 else f"{n:.1g}"
