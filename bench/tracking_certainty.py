"""Bar D of tracking: are decisions as often right as they say (called by bench/tracking.py; real videos: SHOAL_DATA).

Simulated videos are assembled, associated, freed of reflections and duplicates and stitched with the number of animals
that there are, as ``shoal analyze`` does. What a tracklet truly is: the fish that most of its rows belong to.

join      right if source and target are the same fish (a tracklet that is as much one fish as another counts as both)
start     right if the fish was on no track before; end: if it is on none later
leftover  right if it is no fish, or one that a track shows in most of these frames already

A swap is one of ``stages/swaps.py``: the track that follows a fish changes to one that follows another fish, too. It is
found by a reviewed decision about one of its two tracks that lies within ``NEAR`` frames of it.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command import real_data
from foundation import Bar, _bar
from numpy import ndarray
from tracking_reflections import owners, read_slp

from shoal.config.assemble import AssembleConfig
from shoal.config.associate import AssociateConfig
from shoal.config.classify import ClassifyConfig
from shoal.config.stitch import StitchConfig
from shoal.io.dlc.results import read_tracks
from shoal.stages.assemble import assemble
from shoal.stages.associate import associate
from shoal.stages.certainty import expect_swaps, kinds_of
from shoal.stages.classify import ANIMAL, survey_kinds, tracklets_of
from shoal.stages.evidence import evidence_of_looks
from shoal.stages.stitch import stitch
from shoal.stages.swaps import Switches, follow_animals
from shoal.synthetic.dataset import make_truth
from shoal.synthetic.noise import load_noise, noisy_detections
from shoal.synthetic.scenes import SCENES, SKELETON
from shoal.synthetic.truth import ignore_regions, visible_tracks
from shoal.types import Decisions, Evidence, Poses, Regions, Tracks, select

SCENES_TESTED = ("lab", "zebra", "demo", "shelter")
SEEDS = range(10, 20)
N_FRAMES, QUICK_FRAMES = 3600, 900
NEAR = 15  # frames: half a second
REVIEWED = 0.1  # of all decisions
BOOTSTRAPS = 1000
MIDDLE = (0.02, 0.98)
LOOK_SIZE, LOOK_EVERY, LOOK_NOISE = 16, 10, (0.4, 1.6)
JOINS = ("join", "adjoin")
KINDS = (*JOINS, "start", "end", "leftover")


class Video(NamedTuple):
    """A simulated video: animals found, who each row is (fish, then reflection and nobody), its tracklets."""

    name: str
    n_fish: int
    poses: Poses
    who: ndarray
    tracklets: Tracks
    truth: Tracks
    ignore: Regions


class Judged(NamedTuple):
    """One video's decisions and the truth about them."""

    name: str
    seed: int
    kind: ndarray
    probability: ndarray
    right: ndarray
    frame: ndarray
    lost: ndarray
    track: ndarray
    swaps: Switches
    expected: tuple[float, float, float]


@cache
def make(scene: str, seed: int, n_frames: int) -> Video:
    """One video, up to the tracklets that are taken for animals."""
    truth = make_truth(SCENES[scene], seed=seed, n_frames=n_frames)
    seen = noisy_detections(truth, seed=seed)
    edges = np.array(load_noise().edges)
    poses, _ = assemble(seen, edges, AssembleConfig(), n_keypoints=truth.skeleton.n_keypoints)
    kind, who = owners(truth, poses)
    n = len(truth.names)
    who = np.where(kind == 0, who, np.where(kind == 1, n, n + 1))
    return Video(scene, n, poses, who, animals_of(poses), visible_tracks(truth), ignore_regions(truth))


def animals_of(poses: Poses) -> Tracks:
    """Tracklets without those taken for reflections and duplicates."""
    tracklets, _ = associate(poses, AssociateConfig())
    info, _ = survey_kinds(lambda: (tracklets,), np.asarray(SKELETON.mirror), ClassifyConfig())
    return tracklets_of(tracklets, info, (ANIMAL,))


def judge(video: Video, tracks: Tracks, decisions: Decisions) -> ndarray:
    """Whether each decision is right, by truth: 1, 0, or NaN where it is none that can be judged."""
    tracklet, n = video.tracklets.track, video.n_fish
    rows = np.flatnonzero(tracklet >= 0)
    votes = np.zeros((int(tracklet.max(initial=-1)) + 1, n + 2), np.int64)
    np.add.at(votes, (tracklet[rows], video.who[rows]), 1)
    most = (votes == votes.max(axis=1, keepdims=True)) & (votes > 0)
    fish = np.where(most[:, :n].any(axis=1), most.argmax(axis=1), n)
    first, last = np.full(len(votes), np.iinfo(np.int64).max), np.full(len(votes), -1)
    np.minimum.at(first, tracklet[rows], video.poses.frame[rows])
    np.maximum.at(last, tracklet[rows], video.poses.frame[rows])
    number = np.full(len(votes), -1)
    number[tracklet[rows]] = tracks.track[rows]
    kinds = np.array(kinds_of(decisions))
    left = np.zeros(len(votes), np.bool_)
    left[decisions.target[kinds == "leftover"]] = True
    on = (number >= 0) & ~left
    shown = np.zeros((n, video.poses.span[1]), np.bool_)
    held = rows[on[tracklet[rows]] & (fish[tracklet[rows]] < n)]
    shown[fish[tracklet[held]], video.poses.frame[held]] = True
    right = np.full(len(decisions), np.nan)
    for d, (kind, i, j) in enumerate(zip(kinds, decisions.source, decisions.target, strict=True)):
        if kind in JOINS:
            right[d] = (most[i, :n] & most[j, :n]).any()
        elif kind == "start":
            right[d] = fish[j] < n and not (on & (fish == fish[j]) & (last < first[j])).any()
        elif kind == "end":
            right[d] = fish[i] < n and not (on & (fish == fish[i]) & (first > last[i])).any()
        elif kind == "leftover":
            mine = rows[tracklet[rows] == j]
            right[d] = fish[j] >= n or shown[fish[j], video.poses.frame[mine]].mean() > 0.5
    return right


def looks(video: Video, seed: int) -> Evidence | None:
    """Simulated appearance: each fish a direction, each tracklet off it by as much as the video's, each look by more.

    Calibrated as real looks are; how well they tell fish apart differs from video to video.
    """
    rng, tracklet = np.random.default_rng(seed), video.tracklets.track.astype(np.int64)
    noise, n = rng.uniform(*LOOK_NOISE) / np.sqrt(LOOK_SIZE), int(tracklet.max(initial=-1)) + 1
    fish = rng.normal(size=(video.n_fish + 2, LOOK_SIZE))
    fish /= np.linalg.norm(fish, axis=1, keepdims=True)
    off = noise * rng.normal(size=(n, LOOK_SIZE))
    rows = np.flatnonzero((tracklet >= 0) & (video.poses.frame % LOOK_EVERY == 0))
    seen = fish[video.who[rows]] + off[tracklet[rows]] + 1.5 * noise * rng.normal(size=(len(rows), LOOK_SIZE))
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    first, last = np.full(n, np.iinfo(np.int64).max), np.full(n, -1)
    np.minimum.at(first, tracklet[tracklet >= 0], video.poses.frame[tracklet >= 0])
    np.maximum.at(last, tracklet[tracklet >= 0], video.poses.frame[tracklet >= 0])
    return evidence_of_looks(seen.astype(np.float32), tracklet[rows], first, last)


def judged(video: Video, seed: int, config: StitchConfig, evidence: Evidence | None = None) -> Judged:
    """Stitch a video and compare its decisions with the truth."""
    tracks, decisions = stitch(video.tracklets, evidence, config)
    right = judge(video, tracks, decisions)
    number = np.full(int(video.tracklets.track.max(initial=-1)) + 1, -1)
    there = video.tracklets.track >= 0
    number[video.tracklets.track[there]] = tracks.track[there]
    about = np.where(decisions.target >= 0, decisions.target, decisions.source)
    limit = config.n_animals if config.count == "exact" else tracks.n_tracks
    named = Tracks(tracks.poses, np.where(tracks.track < limit, tracks.track, -1))
    _, switches = follow_animals(video.truth, named, ignore=video.ignore)
    expected = expect_swaps(decisions)
    assert expected is not None
    known = np.isfinite(right)
    return Judged(
        video.name, seed, np.array(kinds_of(decisions))[known], decisions.probability[known].astype(float),
        right[known], decisions.frame[known], (decisions.frame - decisions.gap - 1)[known], number[about[known]],
        switches, expected,
    )  # fmt: skip


def area_under_curve(right: ndarray, probability: ndarray) -> float:
    """Chance that a right decision has a higher probability than a wrong one."""
    from scipy.stats import rankdata

    rank, n = rankdata(probability), int(right.sum())
    wrong = len(right) - n
    return float((rank[right == 1].sum() - n * (n + 1) / 2) / max(n * wrong, 1))


def calibration_error(right: ndarray, probability: ndarray, bins: int = 10) -> float:
    """Mean distance of probability and share that is right, in bins of equal count."""
    order = np.array_split(np.argsort(probability, kind="stable"), bins)
    return float(sum(len(o) * abs(right[o].mean() - probability[o].mean()) for o in order if len(o)) / len(right))


def log_loss(right: ndarray, probability: ndarray) -> float:
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return float(-np.mean(right * np.log(p) + (1 - right) * np.log(1 - p)))


def found_swaps(runs: list[Judged], *, apart: int = 0) -> tuple[int, int]:
    """How many true swaps lie near the least certain joins of each video, and how many there are.

    Joins are what ``shoal render --at worst:N`` goes through; a tracklet that was left out swaps nobody.

    Args:
        runs: videos.
        apart: joins within so many frames of one that is reviewed, about the same track, are not reviewed again.
    """
    found = total = 0
    for run in runs:
        joins = np.flatnonzero(np.isin(run.kind, JOINS))
        count, taken = int(len(joins) * REVIEWED), list[int]()
        for d in joins[np.argsort(run.probability[joins], kind="stable")].tolist():
            if len(taken) == count:
                break
            near = (run.lost[taken] - apart <= run.frame[d]) & (run.frame[taken] + apart >= run.lost[d])
            if not apart or not (near & (run.track[taken] == run.track[d])).any():
                taken.append(d)
        swaps = run.swaps
        for s in np.flatnonzero(swaps.is_swap):
            mine = (run.track[taken] == swaps.before[s]) | (run.track[taken] == swaps.after[s])
            near = (run.lost[taken] <= swaps.frame[s] + NEAR) & (run.frame[taken] >= swaps.lost[s] - NEAR)
            found, total = found + int((mine & near).any()), total + 1
    return found, total


def pooled(runs: list[Judged], kinds: tuple[str, ...]) -> tuple[ndarray, ndarray]:
    """Probability and truth of the decisions of some kinds."""
    chosen = [np.isin(run.kind, kinds) for run in runs]
    p = np.concatenate([run.probability[rows] for run, rows in zip(runs, chosen, strict=True)])
    return p, np.concatenate([run.right[rows] for run, rows in zip(runs, chosen, strict=True)])


def figures(runs: list[Judged], kinds: tuple[str, ...] = JOINS) -> dict[str, float]:
    """The figures of bar D of some videos together."""
    p, right = pooled(runs, kinds)
    middle = (p > MIDDLE[0]) & (p < MIDDLE[1])
    base = np.full(len(right), right.mean())
    found, total = found_swaps(runs)
    queue, _ = found_swaps(runs, apart=NEAR)
    return {
        "decisions": len(p), "in the middle": int(middle.sum()), "wrong": int((right == 0).sum()),
        "ECE, middle": calibration_error(right[middle], p[middle]) if middle.sum() > 10 else float("nan"),
        "ECE, all": calibration_error(right, p),
        "log loss less than base": 1 - log_loss(right, p) / log_loss(right, base),
        "AUROC": area_under_curve(right, p), "swaps": total, "found by least certain 10 %": found / max(total, 1),
        "found, one review per place": queue / max(total, 1),
    }  # fmt: skip


def intervals(runs: list[Judged], seed: int = 0) -> dict[str, list[float]]:
    """90 % intervals of the figures: seeds are drawn again, all scenes of a seed together."""
    rng, seeds = np.random.default_rng(seed), sorted({run.seed for run in runs})
    drawn: list[dict[str, float]] = []
    for _ in range(BOOTSTRAPS if len(seeds) > 2 else 0):
        some = rng.choice(seeds, len(seeds))
        drawn.append(_fast([run for s in some for run in runs if run.seed == s]))
    return {name: np.quantile([d[name] for d in drawn], (0.05, 0.95)).round(4).tolist() for name in (drawn or [{}])[0]}


_FOUND: dict[int, tuple[int, int, int]] = {}


def _fast(runs: list[Judged]) -> dict[str, float]:
    """``figures`` of a bootstrap sample: swaps are looked for once per video."""
    for run in runs:
        if id(run) not in _FOUND:
            _FOUND[id(run)] = (*found_swaps([run]), found_swaps([run], apart=NEAR)[0])
    p, right = pooled(runs, JOINS)
    middle = (p > MIDDLE[0]) & (p < MIDDLE[1])
    found, total, queue = np.sum([_FOUND[id(run)] for run in runs], axis=0)
    return {
        "ECE, middle": calibration_error(right[middle], p[middle]),
        "log loss less than base": 1 - log_loss(right, p) / log_loss(right, np.full(len(right), right.mean())),
        "AUROC": area_under_curve(right, p), "found by least certain 10 %": float(found / max(total, 1)),
        "found, one review per place": float(queue / max(total, 1)),
    }  # fmt: skip


def swaps_expected(runs: list[Judged]) -> dict[str, Any]:
    """Swaps expected per video against true ones."""
    rows = [
        {"video": f"{run.name} {run.seed}", "true": int(run.swaps.is_swap.sum()), "expected": round(run.expected[0], 1),
         "low": run.expected[1], "high": run.expected[2]} for run in runs
    ]  # fmt: skip
    true, low, high = (np.array([row[name] for row in rows]) for name in ("true", "low", "high"))
    return {
        "videos": len(rows), "covered": int(((true >= low) & (true <= high)).sum()),
        "narrower than 0 to 4 times the truth": int((high - low < 4 * np.maximum(true, 1)).sum()), "each": rows,
    }  # fmt: skip


def real_decisions() -> dict[str, Any]:
    """Real animals whose truth is known, unfitted: expected and true wrong joins, and where the wrong ones lie."""
    fish = read_tracks(real_data("zebrafish8_a") / "pseudo_tracks.h5")[0]
    flies = read_slp(real_data("flies_courtship_clip") / "clip.slp")
    found: dict[str, Any] = {}
    nowhere = Regions(np.zeros(0), np.zeros((0, 2)), np.zeros(0))
    for name, truth, n in (("zebrafish8_a", fish, 8), ("flies_courtship_clip", flies, 2)):
        tracklets, _ = associate(truth.poses, AssociateConfig())
        video = Video(name, n, truth.poses, np.where(truth.track >= 0, truth.track, n + 1), tracklets, truth, nowhere)
        run = judged(video, 0, StitchConfig(n_animals=n, count="exact"))
        joins = np.isin(run.kind, JOINS)
        p, right = run.probability[joins], run.right[joins]
        rank = np.argsort(np.argsort(p, kind="stable"))
        found[name] = {
            "joins": len(p), "wrong": int((right == 0).sum()), "wrong expected": round(float((1 - p).sum()), 2),
            "swaps": int(run.swaps.is_swap.sum()), "swaps expected": [round(x, 1) for x in run.expected],
            "probability and rank of the wrong ones": [
                (round(float(p[k]), 3), int(rank[k]) + 1) for k in np.flatnonzero(right == 0)
            ],
        }  # fmt: skip
    return found


def bar_d(work: Path, args: argparse.Namespace) -> Bar:
    """Honest certainty."""
    scenes, seeds = (("lab",), range(10, 12)) if args.quick else (SCENES_TESTED, SEEDS)
    runs, with_looks = list[Judged](), list[Judged]()
    for seed in seeds:
        for scene in scenes:
            video = make(scene, seed, QUICK_FRAMES if args.quick else N_FRAMES)
            config = StitchConfig(n_animals=video.n_fish, count="exact")
            runs.append(judged(video, seed, config))
            with_looks.append(judged(video, seed, config, looks(video, seed)))
            make.cache_clear()
            print(scene, seed, file=sys.stderr, flush=True)
    each = {scene: _rounded(figures([run for run in runs if run.name == scene])) for scene in scenes}
    whole, limits, expected = figures(runs), intervals(runs), swaps_expected(runs)
    per_scene = {scene: swaps_expected([run for run in runs if run.name == scene]) for scene in scenes}
    figure = {
        "joins": _rounded(whole), "all decisions": _rounded(figures(runs, KINDS)),
        "90 % intervals by seed": limits, "scenes": each,
        "swaps expected": {k: v for k, v in expected.items() if k != "each"}
        | {scene: {k: v for k, v in one.items() if k != "each"} for scene, one in per_scene.items()},
        "with simulated looks": _rounded(figures(with_looks))
        | {k: v for k, v in swaps_expected(with_looks).items() if k != "each"},
        "videos": expected["each"],
    }  # fmt: skip
    if not args.quick:
        figure["real"] = real_decisions()
    holds = (
        whole["in the middle"] >= 1500 and whole["ECE, middle"] <= 0.05 and whole["log loss less than base"] >= 0.3
        and whole["AUROC"] >= 0.9 and whole["swaps"] >= 40 and whole["found by least certain 10 %"] >= 0.8
        and limits["found by least certain 10 %"][0] >= 0.65 and expected["covered"] >= 0.8 * expected["videos"]
        and expected["narrower than 0 to 4 times the truth"] >= 0.8 * expected["videos"]
    ) if not args.quick else True  # fmt: skip
    target = (
        ">= 1,500 decisions with .02 < p < .98; adaptive ECE <= .05; log loss >= 30 % below the base rate's; AUROC >= "
        ".90; the least certain 10 % find >= 80 % of >= 40 swaps (lower limit >= .65); 90 % interval of swaps covers "
        "the truth in 16 of 20 videos, narrower than 0 to 4 times the truth"
    )
    return _bar(figure, target, holds=holds)


def _rounded(found: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in found.items()}


def without(video: Video, rng: np.random.Generator) -> Video:
    """The same video, but one or two animals come in or leave at the edge of the view: their other rows are gone."""
    poses, keep = video.poses, np.ones(len(video.poses), np.bool_)
    centre = np.nanmean(poses.xy, axis=1)
    low, high = np.nanquantile(centre, (0.01, 0.99), axis=0)
    at_edge = ((centre < low + 0.03 * (high - low)) | (centre > high - 0.03 * (high - low))).any(axis=1)
    for fish in rng.permutation(video.n_fish)[: rng.integers(1, 3)].tolist():
        moments = poses.frame[(video.who == fish) & at_edge]
        if len(moments):
            moment = rng.choice(moments)
            gone = poses.frame < moment if rng.random() < 0.5 else poses.frame > moment
            keep &= ~((video.who == fish) & gone)
    rest = select(poses, keep)
    return video._replace(poses=rest, who=video.who[keep], tracklets=animals_of(rest))
