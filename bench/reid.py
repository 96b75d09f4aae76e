"""Figures of re-identification, with their targets.

    scripts/bench reid [--quick] [--only BARS] [--seeds N] [--work DIR] [--json FILE]

A  ten rendered fish, half of them out of sight at any time (scene shelter, ten minutes): IDF1 of tracks joined by
   motion, with looks, and of the same tracklets each given to its true fish
B  eight real fish (zebrafish8_a). named: what tells fish apart is learned and fish enrolled by name on frames 0-189,
   then every 50-frame piece after frame 270 is named by its looks alone, no motion and no exclusion. chain (full run
   only): pose, tracklets and looks from shoal's own networks, trained on the 24 labelled frames (without looks: bar B
   of foundation)
C  eight rendered fish enrolled on one day and named fifteen days later (3 % grown, other light) without learning
   anything: all of them known, and three of them never enrolled. Names of the first day are the truth's, one per track.

--quick takes simulated detections for A and C, and shorter videos. --work DIR keeps networks, videos and runs, so that
a run that was stopped goes on. Bars D to H are not measured here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command import real_data
from reid_aquarium import another_day, network, shelter

from shoal.config.reid import ReidConfig
from shoal.io.crops import crop_mask, crop_points, cut_crops
from shoal.io.dlc.results import read_tracks
from shoal.io.video import read_frames
from shoal.stages.align import lay, template_of
from shoal.stages.looks import describe, group_means, learn_looks, shrink
from shoal.stages.sampling import worth_a_crop
from shoal.synthetic.scenes import SCENES
from shoal.types import Tracks, select

ENROLLED, TESTED, PIECE, MIN_CROPS = 190, 270, 50, 5  # frames; crops of a piece that is asked about
Bar = dict[str, Any]


def bar_a(work: Path, args: argparse.Namespace) -> Bar:
    """Fish that hide."""
    scene = SCENES["shelter"]
    if args.quick:
        model, n_frames, seeds = None, 240, range(10, 11)
    else:
        model, n_frames, seeds = network(work, scene, n_labelled=200), 18_000, range(10, 10 + args.seeds)
    runs = [shelter(work, seed, n_frames, model, scene) for seed in seeds]
    idf1, closed = [run["looks"]["IDF1"] for run in runs], [run["closed"] for run in runs]
    return {
        "figure": {"IDF1": round(float(np.mean(idf1)), 3), "worst": min(idf1), "closed": min(closed), "runs": runs},
        "target": "5 seeds: >= .80 of the gap closed, IDF1 >= .90, worst >= .80 (quick: it runs)",
        "holds": args.quick or (len(runs) >= 5 and min(closed) >= 0.8 and np.mean(idf1) >= 0.9 and min(idf1) >= 0.8),
    }


def bar_b(work: Path, args: argparse.Namespace) -> Bar:
    """Real fish known again by their looks."""
    figure: dict[str, Any] = {"named": name_pieces()}
    holds = figure["named"]["pieces"] >= 0.8 and figure["named"]["fish by vote"] == 8
    if not args.quick:
        from real_fish import run

        figure["chain"] = run(work / "looks", analysis=("--reid",))
        holds &= figure["chain"]["IDF1"] >= 0.95
    return {
        "figure": figure,
        "target": "named: >= .80 of pieces, 8 of 8 fish by vote; chain: IDF1 >= .95",
        "holds": bool(holds),
    }


def bar_c(work: Path, args: argparse.Namespace) -> Bar:
    """Fish known from another day, and strangers."""
    n_frames, seeds = (120, 1) if args.quick else (600, args.seeds)
    model = None if args.quick else network(work, SCENES["demo"], n_labelled=120)
    runs = [another_day(work, 510 + seed, n_frames, model, day=15, n_strangers=3) for seed in range(seeds)]

    def mean(case: str, what: str) -> float:
        return round(float(np.mean([run[case][what] for run in runs])), 3)

    figure = {
        "right": mean("all known", "right"), "strangers called unknown": mean("strangers", "strangers called unknown"),
        "known called unknown": mean("strangers", "known called unknown"), "AUROC": mean("strangers", "AUROC"),
    }  # fmt: skip
    holds = figure["right"] >= 0.9 and figure["strangers called unknown"] >= 0.9
    holds &= figure["known called unknown"] <= 0.05 and figure["AUROC"] >= 0.95 and len(runs) >= 5
    return {
        "figure": figure | {"runs": runs},
        "target": "5 seeds, by fish-frames: right >= .90; strangers unknown >= .90, known called unknown <= .05, "
        "AUROC >= .95 (quick: it runs)",
        "holds": bool(args.quick or holds),
    }


def name_pieces() -> dict[str, Any]:
    """Learn on the first frames, enrol there, name pieces of later ones."""
    folder, config = real_data("zebrafish8_a"), ReidConfig()
    truth, _ = read_tracks(folder / "pseudo_tracks.h5")
    template = template_of(truth.poses.xy.astype(np.float64))
    assert template is not None
    rows = select(truth, worth_a_crop(truth.poses, template, config))
    began = time.perf_counter()
    what = describe(shrink(_crops(folder / "test_A.avi", rows, template, config)))
    cut_s = time.perf_counter() - began
    frame, fish = rows.poses.frame, rows.track
    early, late = frame < ENROLLED, frame >= TESTED
    began = time.perf_counter()
    _, tracklet = np.unique(_unbroken(truth, rows)[early], return_inverse=True)
    looks = what @ learn_looks(what[early], tracklet)
    learn_s = time.perf_counter() - began
    known, early_fish = np.unique(fish[early], return_inverse=True)
    enrolled = group_means(looks[early], early_fish, len(known))
    usual = enrolled.mean(axis=0)
    enrolled = _unit(enrolled - usual)
    right = []
    for a in known:
        for start in range(TESTED, truth.span[1], PIECE):
            own = (fish == a) & (frame >= start) & (frame < start + PIECE)
            if own.sum() >= MIN_CROPS:
                right.append(known[(_unit(looks[own].mean(axis=0) - usual) @ enrolled.T).argmax()] == a)
    answer = known[(_unit(looks[late] - usual) @ enrolled.T).argmax(axis=1)]
    votes = [np.bincount(answer[fish[late] == a], minlength=9).argmax() == a for a in known]
    return {
        "pieces": round(float(np.mean(right)), 3), "of": len(right), "fish by vote": int(sum(votes)),
        "crops": round(float((answer == fish[late]).mean()), 3),
        "seconds": {"cut": round(cut_s, 1), "learn": round(learn_s, 1)},
    }  # fmt: skip


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def _crops(video: Path, rows: Tracks, template: np.ndarray, config: ReidConfig) -> np.ndarray:
    size = (config.height, config.width)
    points, mask = crop_points(template, size), crop_mask(template, size)
    image = np.zeros((len(rows), *size, 3), np.uint8)
    for batch in read_frames(video):
        for frame, picture in zip(batch.frame, batch.images, strict=True):
            own = np.flatnonzero(rows.poses.frame == frame)
            if len(own):
                image[own] = cut_crops(picture, lay(rows.poses.xy[own].astype(np.float64), template, points), mask)
    return image


def _unbroken(truth: Tracks, rows: Tracks) -> np.ndarray:
    """A number for each stretch of frames without a gap of each fish: tracklets that nobody had to guess."""
    number = np.zeros(len(rows), np.int64)
    for a in np.unique(truth.track):
        frame = truth.poses.frame[truth.track == a]
        stretch = np.cumsum(np.r_[0, np.diff(frame) > 1])
        own = rows.track == a
        number[own] = a * 10_000 + stretch[np.searchsorted(frame, rows.poses.frame[own])]
    return number


BARS = {"A": bar_a, "B": bar_b, "C": bar_c}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true", help="no peers are run yet")
    parser.add_argument("--only", default=",".join(BARS), help="bars, e.g. B")
    parser.add_argument("--seeds", type=int, default=5, help="of bars A and C in a full run")
    parser.add_argument("--work", type=Path, help="keep what is made there, and go on with it")
    parser.add_argument("--json", type=Path, help="write the figures there")
    args = parser.parse_args()
    found: dict[str, Bar] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only.split(","):
            began = time.perf_counter()
            work = (args.work or Path(folder)) / name
            work.mkdir(parents=True, exist_ok=True)
            found[name] = BARS[name](work, args)
            found[name] |= {"seconds": round(time.perf_counter() - began, 1), "threads": torch.get_num_threads()}
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0 if all(bar["holds"] for bar in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
