"""Fit the curves that turn what is known of a decision into its probability (shoal/stages/certainty_table.py).

    python bench/fit_certainty.py [--seeds 100-117] [--frames 3600]

Simulated videos of all scenes, seeds that nothing is reported on, each stitched with the true count of animals and with
an unknown one, and again with animals that come in or leave. One additive logistic model per kind of decision: a
piecewise linear curve per figure, knots at quantiles, steps between knots kept small by a penalty that was chosen by
the log loss on the last third of the seeds.
"""

from __future__ import annotations

import argparse
import pprint
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import tracking_certainty as bench
from numpy import ndarray
from scipy.optimize import minimize
from scipy.special import expit, logit

import shoal.stages.certainty as certainty
from shoal.config.stitch import StitchConfig
from shoal.stages.stitch import stitch

TABLE = Path(certainty.__file__).with_name("certainty_table.py")
QUANTILES = (0.01, 0.04, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.96, 0.99)
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
Curves = dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
Videos = list[tuple[bench.Video, int]]
Rows = dict[str, list[tuple[ndarray, ndarray, int]]]


def hats(x: ndarray, knots: ndarray) -> ndarray:
    """(n, K) weights of the knots in linear interpolation."""
    return np.stack([np.interp(x, knots, one) for one in np.eye(len(knots))], axis=1)


def fit(value: ndarray, right: ndarray, names: tuple[str, ...], penalty: float) -> tuple[float, Curves]:
    """Curves of one kind of decision."""
    knots = [np.unique(np.quantile(column, QUANTILES).round(3)) for column in value.T]
    design = np.hstack([hats(column, k) for column, k in zip(value.T, knots, strict=True)])
    begin = np.r_[0, np.cumsum([len(k) for k in knots])]
    rough = np.zeros((design.shape[1], design.shape[1]))
    for a, b in pairwise(begin):
        step = np.diff(np.eye(b - a), axis=0)
        rough[a:b, a:b] = step.T @ step + 0.01 * np.eye(b - a)

    def loss(w: ndarray) -> tuple[float, ndarray]:
        odds = w[0] + design @ w[1:]
        slope = expit(odds) - right
        total = np.logaddexp(0, odds).sum() - right @ odds + 0.5 * penalty * w[1:] @ rough @ w[1:]
        return float(total), np.r_[slope.sum(), design.T @ slope + penalty * rough @ w[1:]]

    base = np.clip(right.mean(), 0.01, 0.99)
    start = np.r_[np.log(base / (1 - base)), np.zeros(design.shape[1])]
    w = np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000}).x)
    parts = zip(names, knots, begin[:-1] + 1, begin[1:] + 1, strict=True)
    curves = {name: (tuple(k.tolist()), tuple(w[a:b].round(4).tolist())) for name, k, a, b in parts}
    return round(float(w[0]), 4), curves


def apply(model: tuple[float, Curves], value: ndarray) -> ndarray:
    odds = model[0] + sum(np.interp(column, *curve) for column, curve in zip(value.T, model[1].values(), strict=True))
    return expit(odds)


def recorded(video: bench.Video, config: StitchConfig) -> dict[str, tuple[ndarray, ndarray]]:
    """What the decisions about a video were judged by, by kind, and whether they are right."""
    seen: dict[str, certainty.Described] = {}
    nodes: list[certainty.Nodes] = []
    plain = certainty.describe

    def describe(paths: list[list[int]], known: certainty.Known, max_gap: int) -> dict[str, certainty.Described]:
        seen.update(plain(paths, known, max_gap))
        nodes.append(known.nodes)
        return seen

    certainty.describe = describe
    try:
        tracks, decisions = stitch(video.tracklets, None, config)
    finally:
        certainty.describe = plain
    right = bench.judge(video, tracks, decisions)
    place = np.r_[nodes[0].number, -1]
    found: dict[str, tuple[ndarray, ndarray]] = {}
    kinds = np.array(certainty.kinds_of(decisions))
    for kind, (step, value) in seen.items():
        mine = np.flatnonzero(kinds == kind)
        truth = dict(
            zip(
                zip(decisions.source[mine].tolist(), decisions.target[mine].tolist(), strict=True),
                right[mine],
                strict=True,
            )
        )
        true = np.array([truth.get((int(place[i]), int(place[j])), np.nan) for i, j in step])
        known = np.isfinite(true)
        found[kind] = value[known], true[known]
    return found


def gather(videos: Videos) -> Rows:
    """What decisions of all videos were judged by, and whether they are right, by kind."""
    rows: Rows = {kind: [] for kind in certainty.FEATURES}
    for video, seed in videos:
        changing = bench.without(video, np.random.default_rng(seed))
        exact, most = (StitchConfig(n_animals=video.n_fish, count=count) for count in ("exact", "at-most"))
        any_count = StitchConfig()
        for one, config in ((video, exact), (video, any_count), (changing, most), (changing, any_count)):
            for kind, (value, right) in recorded(one, config).items():
                rows[kind].append((value, right, seed))
        print(video.name, seed, "described", file=sys.stderr, flush=True)
    return rows


def exact_count(video: bench.Video) -> StitchConfig:
    return StitchConfig(n_animals=video.n_fish, count="exact")


def swap_ratio(videos: Videos) -> tuple[float, float]:
    """Swaps per wrong join expected; relative standard deviation of a video's mean beyond that of a Poisson number."""
    runs = [bench.judged(video, seed, exact_count(video)) for video, seed in videos]
    true = np.array([float(run.swaps.is_swap.sum()) for run in runs])
    wrong = np.array([run.expected[0] / certainty.SWAPS_PER_WRONG_JOIN for run in runs])
    ratio = float(true.sum() / wrong.sum())
    mean = wrong * ratio
    extra = ((true - mean) ** 2 - mean) / mean**2  # method of moments, each video the same weight
    return round(ratio, 3), round(float(np.sqrt(max(np.mean(extra), 0.01))), 3)


def looks_odds(videos: Videos) -> tuple[float, float]:
    """Offset and factor of the log odds of joins where looks were weighed."""
    certainty.LOOKS = (0.0, 1.0)
    runs = [bench.judged(video, seed, exact_count(video), bench.looks(video, seed)) for video, seed in videos]
    p, true = bench.pooled(runs, bench.JOINS)
    odds = logit(np.clip(p, 1e-6, 1 - 1e-6))

    def loss(w: ndarray) -> float:
        return float((np.logaddexp(0, w[0] + w[1] * odds) - true * (w[0] + w[1] * odds)).sum())

    found = np.asarray(minimize(loss, np.array([0.0, 1.0])).x)
    return round(float(found[0]), 3), round(float(found[1]), 3)


def write(table: dict[str, tuple[float, Curves]], ratio: float, spread: float, looks: tuple[float, float]) -> None:
    text = pprint.pformat(table, width=116, compact=True, sort_dicts=False)
    TABLE.write_text(
        '"""Curves of ``certainty.py``, made by ``python bench/fit_certainty.py``: not to be edited.\n\n'
        "SWAPS_PER_WRONG_JOIN: true swaps per wrong join expected. SPREAD: its relative standard deviation by video.\n"
        "LOOKS: offset and factor of the log odds of joins where looks were weighed.\n"
        "TABLE: of each kind of decision the log odds that every figure adds to: an offset, knots and values.\n"
        '"""\n\nfrom __future__ import annotations\n\n'
        f"LOOKS = {looks}\n"
        f"SWAPS_PER_WRONG_JOIN, SPREAD = {ratio}, {spread}\n"
        "TABLE: dict[str, tuple[float, dict[str, tuple[tuple[float, ...], tuple[float, ...]]]]] = "
        f"{text}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="100-117", help="first-last")
    parser.add_argument("--frames", type=int, default=bench.N_FRAMES)
    args = parser.parse_args()
    first, last = map(int, args.seeds.split("-"))
    seeds = range(first, last + 1)
    flat = ((0.0,), (0.0,))  # figures may be other ones than those of the last fit
    certainty.TABLE = {kind: (0.0, dict.fromkeys(names, flat)) for kind, names in certainty.FEATURES.items()}
    videos = [(bench.make(scene, seed, args.frames), seed) for seed in seeds for scene in bench.SCENES_TESTED]
    rows = gather(videos)
    later = first + (2 * len(seeds)) // 3
    table: dict[str, tuple[float, Curves]] = {}
    for kind, names in certainty.FEATURES.items():
        value, right = (np.concatenate([one[k] for one in rows[kind]]) for k in (0, 1))
        seed = np.concatenate([np.full(len(one[0]), one[2]) for one in rows[kind]])
        early = seed < later
        tried = {
            p: bench.log_loss(right[~early], apply(fit(value[early], right[early], names, p), value[~early]))
            for p in PENALTIES
        }
        best = min(tried, key=lambda p: tried[p])
        table[kind] = fit(value, right, names, best)
        base = bench.log_loss(right[~early], np.full((~early).sum(), right[early].mean()))
        print(
            f"{kind}: {len(right)} decisions, {right.mean():.3f} right, penalty {best}, log loss on later seeds "
            f"{tried[best]:.4f}, base {base:.4f}"
        )
    certainty.TABLE = table
    certainty.SWAPS_PER_WRONG_JOIN = 1.0
    ratio, spread = swap_ratio(videos)
    print("swaps per wrong join", ratio, "spread", spread)
    found = looks_odds(videos)
    print("looks", found)
    write(table, ratio, spread, found)


if __name__ == "__main__":
    main()
