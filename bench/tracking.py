"""The tracking issue's figures, bar by bar (the peers of C are not here yet).

    scripts/bench tracking [--quick] [--only BARS] [--json FILE]

A  purity of tracklets
B  speed of assembly, association and stitching, one core, compilation excluded
C  quality by motion and build alone: simulated detections of scenes lab and zebra, and real animals (needs SHOAL_DATA)
D  probabilities of decisions, swaps expected without truth (bench/tracking_certainty.py; the curves are fitted by
   bench/fit_certainty.py on seeds 100-117)
E  any number of animals, none, empty videos: always an answer (bench/tracking_cases.py)
F  reflections (bench/tracking_reflections.py)
G  the same answer for any chunks and any order of animals; edits under any settings (bench/tracking_cases.py)

Seeds 0-4 are for tuning, 10-19 are reported. The simulated detections are named by their hash.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
from command import real_data
from foundation import Bar, _bar, run_bars
from numpy import ndarray
from tracking_cases import bar_e, bar_g
from tracking_certainty import bar_d
from tracking_reflections import bar_f, owners, read_slp
from tracking_speed import association_speed

from shoal.config.assemble import AssembleConfig
from shoal.config.associate import AssociateConfig
from shoal.config.stitch import StitchConfig
from shoal.io.dlc.results import read_tracks
from shoal.stages.assemble import assemble
from shoal.stages.associate import associate
from shoal.stages.metrics import score_tracks
from shoal.stages.stitch import stitch
from shoal.synthetic.dataset import make_truth
from shoal.synthetic.noise import load_noise, noisy_detections
from shoal.synthetic.scenes import SCENES
from shoal.synthetic.truth import Truth, ignore_regions, visible_tracks
from shoal.types import Detections, Poses, Tracks

N_FRAMES, QUICK_FRAMES = 3600, 600
MAX_FOREIGN = 5  # frames of a second animal in a tracklet


class Case(NamedTuple):
    """A simulated video: truth, detections, animals, tracklets, tracks, and seconds of each stage."""

    truth: Truth
    detections: Detections
    poses: Poses
    tracklets: Tracks
    tracks: Tracks
    seconds: dict[str, float]


@cache
def case(scene: str, seed: int, n_frames: int) -> Case:
    """Make and track one video."""
    truth = make_truth(SCENES[scene], seed=seed, n_frames=n_frames)
    seen = noisy_detections(truth, seed=seed)
    edges, k = np.array(load_noise().edges), truth.skeleton.n_keypoints
    seconds: dict[str, float] = {}

    def timed(name: str, call: Any) -> Any:
        began = time.perf_counter()
        found = call()
        seconds[name] = time.perf_counter() - began
        return found

    poses, _ = timed("assemble", lambda: assemble(seen, edges, AssembleConfig(), n_keypoints=k))
    tracklets, _ = timed("associate", lambda: associate(poses, AssociateConfig()))
    count = StitchConfig(n_animals=len(truth.names), count="exact")
    tracks, _ = timed("stitch", lambda: stitch(tracklets, None, count))
    named = np.where(tracks.track < len(truth.names), tracks.track, -1)  # the others are leftovers
    return Case(truth, seen, poses, tracklets, Tracks(poses, named), seconds)


def _cases(args: argparse.Namespace) -> list[tuple[str, int, Case]]:
    if args.quick:
        return [("lab", 10, case("lab", 10, QUICK_FRAMES))]
    found = []
    for scene in ("lab", "zebra"):
        for seed in range(10, 20):
            found.append((scene, seed, case(scene, seed, N_FRAMES)))
            print(scene, seed, file=sys.stderr, flush=True)
    return found


def bar_a(work: Path, args: argparse.Namespace) -> Bar:
    """Rows of the majority animal; tracklets with a second animal for more than 5 frames; their length."""
    figure: dict[str, Any] = {}
    lengths: dict[str, list[ndarray]] = {}
    for scene, seed, one in _cases(args):
        pure, mixed, length = purity(one)
        figure[f"{scene} {seed}"] = {"purity": pure, "mixed": mixed, "median length": float(np.median(length))}
        lengths.setdefault(scene, []).append(length)
    worst = min(f["purity"] for f in figure.values())
    mixed = sum(f["mixed"] for f in figure.values())
    median = {scene: float(np.median(np.concatenate(each))) for scene, each in lengths.items()}
    by_row = {
        scene: float(np.median(np.repeat(n, n))) for scene, each in lengths.items() for n in [np.concatenate(each)]
    }
    found = {"worst": worst, "mixed": mixed, "median length": median, "median over rows": by_row, "each": figure}
    holds = worst >= 0.999 and mixed == 0 and median["lab"] >= 50
    return _bar(
        found,
        ">= .999 of rows, no tracklet with a second animal for more than 5 frames, median >= 50 (lab)",
        holds=holds,
    )


def purity(one: Case) -> tuple[float, int, ndarray]:
    """Share of fish rows that are their tracklet's majority fish; mixed tracklets; rows per tracklet of a fish."""
    kind, who = owners(one.truth, one.poses)
    rows = (one.tracklets.track >= 0) & (kind == 0)
    votes = np.zeros((one.tracklets.n_tracks, len(one.truth.names)), np.int64)
    np.add.at(votes, (one.tracklets.track[rows], who[rows]), 1)
    second = np.sort(votes, axis=1)[:, -2] if votes.shape[1] > 1 else np.zeros(len(votes), np.int64)
    total = np.bincount(one.tracklets.track[one.tracklets.track >= 0], minlength=len(votes))
    pure = votes.max(axis=1).sum() / max(votes.sum(), 1)
    return round(float(pure), 5), int((second > MAX_FOREIGN).sum()), total[votes.sum(axis=1) > total / 2]


def bar_b(work: Path, args: argparse.Namespace) -> Bar:
    """Frames per second and core on a simulated lab scene; association by number of animals and frames."""
    case("lab", 0, 200)  # compiles
    one = case("lab", 10, QUICK_FRAMES if args.quick else N_FRAMES)
    n = one.truth.span[1] - one.truth.span[0]
    per_s = {name: round(n / s, 1) for name, s in one.seconds.items()}
    per_frame = {"peaks": round(len(one.detections) / n, 1), "limbs": round(len(one.detections.edge) / n, 1)}
    figure = {"frames_per_s": per_s, "per frame": per_frame, "stitch_seconds": round(one.seconds["stitch"], 2)}
    figure["association"] = association = association_speed(quick=args.quick)
    ten = association["frames/s by animals"][10]
    holds = per_s["assemble"] >= 2000 and min(per_s["associate"], ten) >= 15000
    return _bar(
        figure,
        "assembly >= 2,000, association >= 15,000 frames/s and core; an hour stitched <= 10 s",
        holds=holds and association["cold compile, CPU seconds"] <= 10,
    )


def bar_c(work: Path, args: argparse.Namespace) -> Bar:
    """Identity switches per fish-hour, IDF1, HOTA per scene; identity changes on real animals."""
    figure: dict[str, Any] = {}
    for scene, seed, one in _cases(args):
        seen = one.detections
        print(scene, seed, "scored", file=sys.stderr, flush=True)
        scores = score_tracks(
            visible_tracks(one.truth), one.tracks, ignore=ignore_regions(one.truth), fps=one.truth.fps
        )
        columns = (
            seen.frame,
            seen.keypoint,
            seen.xy,
            seen.confidence,
            seen.edge,
            seen.source,
            seen.target,
            seen.affinity,
        )
        figure.setdefault(scene, []).append({
            "seed": seed, "detections": hashlib.sha256(b"".join(c.tobytes() for c in columns)).hexdigest()[:12],
            "switches per fish-hour": round(scores["switches_per_animal_hour"], 1), "IDF1": round(scores["IDF1"], 4),
            "HOTA": round(scores["HOTA"], 4),
        })  # fmt: skip
    mean = {
        scene: {name: round(float(np.mean([run[name] for run in runs])), 4) for name in list(runs[0])[2:]}
        for scene, runs in figure.items()
    }
    real = real_animals()
    target = (
        "switches per fish-hour under half of DLC's and under the others' (not run yet); zebrafish8_a <= 2 changes, "
        "flies_courtship_clip 0, flies_pair_fragments 27 tracks to 2"
    )
    return _bar({"mean": mean, "runs": figure, "real": real, "peers": "not run"}, target, holds=False)


def real_animals() -> dict[str, Any]:
    """Identity changes where true positions are given and who is who is hidden; tracks made of fragments."""
    found: dict[str, Any] = {}
    fish = read_tracks(real_data("zebrafish8_a") / "pseudo_tracks.h5")[0]
    flies = read_slp(real_data("flies_courtship_clip") / "clip.slp")
    for name, truth, n in (("zebrafish8_a", fish, 8), ("flies_courtship_clip", flies, 2)):
        tracklets, _ = associate(truth.poses, AssociateConfig())
        tracks, _ = stitch(tracklets, None, StitchConfig(n_animals=n, count="exact"))
        found[name] = {"tracklets": tracklets.n_tracks, "changes": changes(truth.track, tracks.track, n)}
    raw = read_slp(real_data("flies_pair_fragments") / "predictions.slp")
    tracks, _ = stitch(raw, None, StitchConfig(n_animals=2, count="exact"))
    inside = tracks.track < 2
    found["flies_pair_fragments"] = {
        "tracks": raw.n_tracks,
        "animals": 2,
        "rows in them": round(float(inside.mean()), 4),
    }
    return found


def changes(true: ndarray, track: ndarray, n: int) -> int:
    """How often the track of a true animal changes, rows in order of frame; leftovers are not counted."""
    total = 0
    for animal in np.unique(true[true >= 0]):
        mine = track[(true == animal) & (track >= 0) & (track < n)]
        total += int((np.diff(mine) != 0).sum())
    return total


BARS = {"A": bar_a, "B": bar_b, "C": bar_c, "D": bar_d, "E": bar_e, "F": bar_f, "G": bar_g}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short video per bar")
    parser.add_argument("--only", type=lambda bars: bars.upper().split(","), default=list(BARS))
    parser.add_argument("--peers", action="store_true", help="no peer is run here yet")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--work", type=Path, help="keep what is made here")
    return run_bars(BARS, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
