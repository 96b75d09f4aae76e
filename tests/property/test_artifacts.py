"""Saving and loading any table gives the same table, and the same bytes again."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.io.artifacts import load_table, save_table
from shoal.types import Appearance, Decisions, Detections, Evidence, Poses, Regions, Tracks


@st.composite
def tables(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from([Poses, Tracks, Detections, Decisions, Appearance, Evidence, Regions]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    start, m, k = draw(st.integers(0, 10**6)), draw(st.integers(0, 12)), draw(st.integers(1, 5))
    span = (start, start + draw(st.integers(1, 5000)))
    frame = np.sort(rng.integers(*span, m))
    item = np.array([np.sum(frame[:i] == f) for i, f in enumerate(frame)])
    floats = rng.choice([0.0, -0.0, 1.5, np.nan, np.inf, 1e-40], size=(m, k, 2))
    poses = Poses(frame, item, floats, rng.random((m, k)), rng.random(m), span)
    if kind is Poses:
        return poses
    if kind is Tracks:
        return Tracks(poses, rng.integers(-1, 4, m))
    if kind is Detections:
        ints = np.zeros(m)
        return Detections(
            frame, item, rng.integers(0, 100, m), floats[:, 0], rng.random(m), frame, ints, ints, ints, rng.random(m),
            rng.random((m, k)), span,
        )  # fmt: skip
    if kind is Decisions:
        values = [rng.integers(0, 4, m) for _ in range(3)]
        return Decisions(
            values[0], frame, values[1], values[2], *(rng.random(m) for _ in range(4)), np.zeros(m), span
        )  # fmt: skip
    if kind is Appearance:
        return Appearance(frame, item, rng.random((m, k, 3)), draw(st.text(max_size=5)), span)
    if kind is Evidence:
        return Evidence(rng.random((m, 3)), rng.random(m), 2.0, -1.0)
    return Regions(frame, floats[:, 0], rng.random(m))


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        elif dataclasses.is_dataclass(x):
            assert_same(x, y)
        else:
            assert x == y


@settings(max_examples=150, deadline=None)
@given(tables())
def test_save_load_identity(table: Any):
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "1.npz", Path(folder) / "2.npz"
        save_table(first, table)
        loaded = load_table(first, type(table))
        assert_same(table, loaded)
        save_table(second, loaded)
        assert first.read_bytes() == second.read_bytes()
