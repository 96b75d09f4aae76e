"""Bars E and G of the tracking issue: random cases, counted (called by bench/tracking.py).

E: any video and any count of animals gives an output and a reason, never an exception. G: the answer does not depend on
chunks or on the order of animals in a frame, and edits mean the same animals under any settings.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from foundation import Bar, _bar
from scipy.signal import lfilter

from shoal.config.associate import AssociateConfig
from shoal.config.stitch import StitchConfig
from shoal.stages.associate import associate, cuts, follow, start
from shoal.stages.constraints import gather
from shoal.stages.stitch import VIDEO_EDGE, relabel, solve, stitch
from shoal.types import Edit, Poses, Tracks, select

TESTS = Path(__file__).parents[1] / "tests" / "property"
COUNTS = ("exact", "at-most", "unknown")


def load(name: str) -> ModuleType:
    """A module of property tests, whose makers and checks are used here with other seeds."""
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def counted(cases: dict[str, Callable[[int], None]], n: int) -> dict[str, dict[str, Any]]:
    """Each case with ``n`` seeds: how many went well, and the first that did not."""
    figure: dict[str, dict[str, Any]] = {}
    for name, run in cases.items():
        bad: list[str] = []
        for seed in range(n):
            try:
                run(seed)
            except Exception as error:  # this is what is counted
                bad.append(f"seed {seed}: {type(error).__name__}: {error}".split("\n")[0])
        figure[name] = {"cases": n, "failed": len(bad), "first": bad[0] if bad else ""}
        print(name, figure[name], file=sys.stderr, flush=True)
    return figure


def bar_e(work: Path, args: argparse.Namespace) -> Bar:
    """Too many, too few, zero, unknown animals; one leaves and another enters; empty frames and empty videos."""
    made = load("test_tracking_stages")

    def answer(poses: Poses, seed: int, n_animals: int) -> None:
        rng = np.random.default_rng(seed)
        tracklets, refused = associate(poses, AssociateConfig())
        config = StitchConfig(n_animals=max(n_animals, 0), count=COUNTS[seed % 3], min_length=int(rng.integers(1, 12)))
        tracks, decisions = stitch(tracklets, None, config)
        made.check_tracks(tracks, tracklets, config)
        assert refused.span == decisions.span == poses.span
        spoken = set(decisions.source.tolist()) | set(decisions.target.tolist())
        start, stop = poses.span
        for t in set(range(tracklets.n_tracks)) - spoken:  # no decision: it must be there from beginning to end
            there = poses.frame[tracklets.track == t]
            assert there.min() < start + VIDEO_EDGE and there.max() >= stop - VIDEO_EDGE, f"tracklet {t}: no reason"

    def count_of(delta: int) -> Callable[[int], None]:
        def run(seed: int) -> None:
            poses = made.some_poses(np.random.default_rng(seed))
            n = int(np.bincount(poses.frame).max(initial=0))
            answer(poses, seed, n + delta)

        return run

    def zero(seed: int) -> None:
        answer(made.some_poses(np.random.default_rng(seed)), seed, 0)

    def handover(seed: int) -> None:
        """One leaves and another enters, with nobody, one or both there in between."""
        rng = np.random.default_rng(seed)
        n, gap = 60, int(rng.integers(-10, 20))
        there = np.zeros((n + 40, 2), np.bool_)
        there[:30, 0], there[max(30 + gap, 1) :, 1] = True, True
        xy = np.cumsum(rng.normal(0, 3, (n + 40, 2, 2)), 0) + rng.uniform(0, 300, (2, 2))
        frame, animal = np.nonzero(there)
        item = np.concatenate([np.arange(c) for c in np.bincount(frame, minlength=n + 40)])
        body = np.stack([np.linspace(-20, 20, 4), np.zeros(4)], 1)
        points = xy[frame, animal][:, None] + body
        answer(Poses(frame, item, points, np.ones((len(frame), 4)), np.ones(len(frame)), (0, n + 40)), seed, 1)

    def empty(seed: int) -> None:
        rng = np.random.default_rng(seed)
        answer(Poses.empty((0, int(rng.integers(0, 50))), int(rng.integers(1, 6))), seed, int(rng.integers(0, 5)))

    def gaps(seed: int) -> None:
        poses = made.some_poses(np.random.default_rng(seed))
        answer(select(poses, poses.frame % 5 == seed % 5), seed, 2)

    cases = {
        "too many": count_of(3), "too few": count_of(-2), "as many": count_of(0), "zero or unknown": zero,
        "one leaves, another enters": handover, "no animal in any frame": empty, "empty frames": gaps,
    }  # fmt: skip
    figure = counted(cases, 30 if args.quick else 300)
    target = "an output with a reason for every tracklet, no exception, in all cases"
    return _bar(figure, target, holds=not any(found["failed"] for found in figure.values()))


def bar_g(work: Path, args: argparse.Namespace) -> Bar:
    """Any chunking, any order of animals, edits under any settings of the tracker."""
    made, edits = load("test_tracking_stages"), load("test_edits")

    def chunks(seed: int) -> None:
        rng = np.random.default_rng(seed)
        poses, config = made.some_poses(rng), made.config_of(rng)
        tracklets, refused = associate(poses, AssociateConfig())
        state, parts = start(AssociateConfig(), poses.n_keypoints), []
        for part in made.cut_into_spans(poses, rng):
            state, track = follow(state, part)
            parts.append(Tracks(part, track))
        assert [t for part in parts for t in part.track.tolist()] == tracklets.track.tolist()
        assert made.bytes_of(cuts(state, poses.span)) == made.bytes_of(refused)
        whole, expected = stitch(tracklets, None, config)
        number, decisions = solve(lambda: parts, None, config)
        assert [t for part in parts for t in relabel(part, number).track.tolist()] == whole.track.tolist()
        assert made.bytes_of(decisions) == made.bytes_of(expected)

    def order(seed: int) -> None:
        rng = np.random.default_rng(seed)
        poses = made.some_poses(rng)
        config = made.config_of(rng)
        other, at = made.shuffled(poses, rng)
        one, two = (stitch(associate(table, AssociateConfig())[0], None, config)[0] for table in (poses, other))
        assert made.same_partition(two.track, one.track[at])

    def edited(seed: int) -> None:
        rng = np.random.default_rng(seed)
        poses = made.some_poses(rng)
        constraints, _ = gather(edits.some_edits(poses, rng, int(rng.integers(1, 9))))
        for tracker in edits.trackers(rng):
            tracklets, _ = associate(poses, tracker)
            tracks, _ = stitch(tracklets, None, made.config_of(rng), constraints=constraints)
            edits.check_constraints(tracks, constraints)

    cases = {"any chunks": chunks, "any order in a frame": order, "edits under any settings": edited}
    figure = counted(cases, 50 if args.quick else 500)
    long = {"hour with 50 edits": resolve(4000 if args.quick else 108_000, 50)}
    target = "equal answers in all cases; rows that edits call one animal on one track, those of two on two; <= 10 s"
    holds = not any(found["failed"] for found in figure.values()) and all(one["seconds"] <= 10 for one in long.values())
    return _bar(figure | long, target, holds=holds)


def resolve(n_frames: int, n_edits: int, n: int = 10) -> dict[str, Any]:
    """Seconds that joining takes with edits that each say of two far rows that they are one animal, which is true.

    Animals wander in a square; each is seen in stretches of 700 frames on average (exponential), with gaps of up to 29.
    """
    rng = np.random.default_rng(0)
    walk = np.cumsum(lfilter([1.0], [1.0, -0.95], rng.normal(0, 0.9, (n_frames, n, 2)), axis=0), axis=0)
    centre = 60 + np.abs((walk + rng.uniform(0, 1000, (n, 2))) % 2000 - 1000)
    body = np.stack([np.linspace(-30, 30, 9), np.zeros(9)], axis=1)
    xy = (centre[:, :, None] + body + rng.normal(0, 1, (n_frames, n, 9, 2))).reshape(-1, 9, 2).astype(np.float32)
    piece, pieces = np.full((n_frames, n), -1), 0
    for animal in range(n):
        at = 0
        while at < n_frames:
            length = int(rng.exponential(700)) + 12
            piece[at : at + length, animal] = pieces
            at, pieces = at + length + int(rng.integers(1, 30)), pieces + 1
    frame, item = np.repeat(np.arange(n_frames), n), np.tile(np.arange(n), n_frames)
    poses = Poses(frame, item, xy, np.ones(xy.shape[:2]), np.full(len(xy), 0.8), (0, n_frames))
    tracklets, seen = Tracks(poses, piece.ravel()), np.flatnonzero(piece.ravel() >= 0)
    config = StitchConfig(n_animals=n, count="exact")
    picked = [rng.choice(seen[item[seen] == animal], 2) for animal in rng.integers(0, n, n_edits)]
    edits = [Edit("same", ((int(frame[a]), int(item[a])), (int(frame[b]), int(item[b])))) for a, b in picked]
    constraints, _ = gather(edits)
    found: dict[str, Any] = {"tracklets": pieces}
    for name, said in (("without", None), ("with", constraints)):
        began = time.perf_counter()
        track = stitch(tracklets, None, config, constraints=said)[0].track
        found["seconds" if said else "seconds without"] = round(time.perf_counter() - began, 1)
        own = [np.bincount(track[seen][item[seen] == animal]).max() for animal in range(n)]
        found[f"rows on their animal's track, {name}"] = round(sum(own) / len(seen), 4)
    return found
