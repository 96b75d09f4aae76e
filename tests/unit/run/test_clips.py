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
    ("start", "leftover", 500, 0, NAN, NAN, NAN), ("join", "motion", 600, 1, 2, 0.02, NAN),
)  # fmt: skip
LIKELY = decisions(
    ("cut", "crossing", 100, 0, 0.2, 0.01, NAN), ("join", "motion", 101, 0, -3, 0.0, 0.97),
    ("cut", "ambiguous", 300, 0, 0.2, 0.3, 0.6), ("join", "count", 400, 1, 30, 9.0, 0.1),
    ("start", "leftover", 500, 0, NAN, NAN, 0.01), ("join", "edit", 600, 1, 2, 0.9, 1.0),
)  # fmt: skip


def test_least_certain_first():
    found = certainty(ROWS, StitchConfig(appear_cost=8))
    assert np.argsort(found, kind="stable").tolist() == [3, 5, 0, 2, 1, 4]
    assert found[1] > 1 and np.isinf(found[4])


def test_probabilities_decide_where_there_are_any():
    found = certainty(LIKELY, StitchConfig(appear_cost=8))
    assert np.argsort(found, kind="stable").tolist() == [3, 2, 1, 5, 0, 4]
    assert np.isinf(found[[0, 4]]).all(), "a cut that nothing bridges, and a leftover, are asked about last"
    assert worst_moments(LIKELY, 1, apart=1, config=StitchConfig())[0].note == (
        "join at 400: count, unseen for a frame, probability 0.10"
    )


def test_what_edits_say_is_no_probability_of_its_own():
    rows = decisions(("join", "edit", 1, 0, 1, NAN, 1.0), ("join", "motion", 9, 0, 1, 0.5, NAN))
    assert certainty(rows, StitchConfig()).tolist()[1] == 0.5


def test_the_same_moment_is_not_shown_twice():
    moments = worst_moments(ROWS, 10, apart=50, config=StitchConfig(appear_cost=8))
    assert [m.frame for m in moments] == [400, 600, 100, 500]
    assert len(worst_moments(ROWS, 10, apart=5, config=StitchConfig(appear_cost=8))) == 5
    assert [m.frame for m in worst_moments(ROWS, 1, apart=1, config=StitchConfig(appear_cost=8))] == [400]


@pytest.mark.parametrize(
    ("place", "note"),
    [
        (0, "join at 400: count, unseen for 12 frames, cost 30.0"),
        (1, "join at 600: motion, unseen for a frame, margin 0.02"),
        (2, "cut at 100: crossing, margin 0.05"),
        (3, "start at 500: leftover"),
    ],
)
def test_a_moment_says_why(place, note):
    moment = worst_moments(ROWS, 4, apart=50, config=StitchConfig(appear_cost=8))[place]
    assert moment.note == note and len(moment.tracklets) == 2
