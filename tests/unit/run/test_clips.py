from __future__ import annotations

import numpy as np
import pytest

from shoal.config.stitch import StitchConfig
from shoal.run.clips import certainty, worst_moments
from shoal.types import DECISION_KINDS, DECISION_REASONS, Decisions

NAN = float("nan")


def decisions(*rows: tuple[str, str, int, int, float, float, float]) -> Decisions:
    """(kind, reason, frame, gap, cost, margin, probability), by frame."""
    kind, reason, frame, gap, cost, margin, probability = zip(*rows, strict=True)
    n = np.arange(len(rows))
    return Decisions(
        [DECISION_KINDS.index(k) for k in kind], frame, n, n + 1, gap, cost, margin, probability,
        [DECISION_REASONS.index(r) for r in reason], (0, 1000),
    )  # fmt: skip


ROWS = decisions(
    ("cut", "crossing", 100, 0, 0.2, 0.05, NAN), ("join", "motion", 101, 0, -3, NAN, NAN),
    ("cut", "ambiguous", 130, 0, 0.2, 0.3, NAN), ("join", "count", 400, 12, 30, NAN, NAN),
    ("start", "leftover", 500, 0, NAN, NAN, NAN), ("join", "motion", 600, 1, 2, 0.9, 0.02),
)  # fmt: skip


def test_least_certain_first():
    found = certainty(ROWS, StitchConfig(appear_cost=8))
    assert np.argsort(found, kind="stable").tolist() == [3, 5, 0, 2, 1, 4]
    assert found[5] == np.float32(0.02), "a probability wins over a margin"
    assert found[1] > 1 and np.isinf(found[4])


def test_the_same_moment_is_not_shown_twice():
    moments = worst_moments(ROWS, 10, apart=50, config=StitchConfig(appear_cost=8))
    assert [m.frame for m in moments] == [400, 600, 100, 500]
    assert len(worst_moments(ROWS, 10, apart=5, config=StitchConfig(appear_cost=8))) == 5
    assert [m.frame for m in worst_moments(ROWS, 1, apart=1, config=StitchConfig(appear_cost=8))] == [400]


@pytest.mark.parametrize(
    ("place", "note"),
    [
        (0, "join at 400: count, unseen for 12 frames, cost 30.0"),
        (1, "join at 600: motion, unseen for a frame, probability 0.02"),
        (2, "cut at 100: crossing, margin 0.05"),
        (3, "start at 500: leftover"),
    ],
)
def test_a_moment_says_why(place, note):
    moment = worst_moments(ROWS, 4, apart=50, config=StitchConfig(appear_cost=8))[place]
    assert moment.note == note and len(moment.tracklets) == 2
