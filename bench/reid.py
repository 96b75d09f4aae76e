"""Figures of re-identification (what is built of it), with their targets.

    scripts/bench reid [--quick] [--only BARS] [--json FILE]

B  eight real fish (zebrafish8_a). named: looks are learned and fish enrolled by name on frames 0-189, then every
   50-frame piece after frame 270 is named by its looks alone, no motion and no exclusion. chain (full run only): pose,
   tracklets and looks from shoal's own networks, trained on the 24 labelled frames (without looks: bar B of foundation)

Bars A and C to H of the plan are not measured yet.
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

from shoal.config.reid import ReidConfig
from shoal.io.crops import crop_mask, crop_points, cut_crops
from shoal.io.dlc.results import read_tracks
from shoal.io.video import read_frames
from shoal.models.reid import encode
from shoal.stages.align import lay, template_of
from shoal.stages.sampling import worth_a_crop
from shoal.training.reid import learn_encoder
from shoal.types import Tracks, select

ENROLLED, TESTED, PIECE, MIN_CROPS = 190, 270, 50, 5  # frames; crops of a piece that is asked about
Bar = dict[str, Any]


def bar_b(work: Path, args: argparse.Namespace) -> Bar:
    """Real fish known again by their looks."""
    seeds = range(1 if args.quick else 5)
    named = [name_pieces(seed) for seed in seeds]
    figure: dict[str, Any] = {"named": named}
    holds = all(run["pieces"] >= 0.8 and run["fish by vote"] == 8 for run in named)
    if not args.quick:
        from real_fish import run

        figure["chain"] = run(work / "looks", analysis=("--reid",))
        holds &= figure["chain"]["IDF1"] >= 0.95
    return {
        "figure": figure,
        "target": "named: >= .80 of pieces, 8 of 8 fish by vote; chain: IDF1 >= .95",
        "holds": holds,
    }


def name_pieces(seed: int) -> dict[str, Any]:
    """Learn on the first frames, enrol there, name pieces of later ones."""
    folder = real_data("zebrafish8_a")
    truth, _ = read_tracks(folder / "pseudo_tracks.h5")
    config = ReidConfig(seed=seed)
    template = template_of(truth.poses.xy.astype(np.float64))
    rows = select(truth, worth_a_crop(truth.poses, template, config))
    began = time.perf_counter()
    image = _crops(folder / "test_A.avi", rows, template, config)
    cut_s = time.perf_counter() - began
    frame, fish = rows.poses.frame, rows.track
    early = frame < ENROLLED
    piece = _unbroken(truth, rows)[early]
    _, tracklet = np.unique(piece, return_inverse=True)
    first, last = (
        np.array([f(frame[early][tracklet == t]) for t in range(tracklet.max() + 1)]) for f in (np.min, np.max)
    )
    began = time.perf_counter()
    net, colour = learn_encoder(image[early], tracklet, first, last, config, torch.device("cpu"))
    train_s = time.perf_counter() - began
    vector = encode(net, torch.from_numpy(image), colour).numpy()
    fish_known = np.unique(fish)
    gallery = np.stack([vector[early & (fish == a)].mean(axis=0) for a in fish_known])
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    right = []
    for a in fish_known:
        for start in range(TESTED, truth.span[1], PIECE):
            own = (fish == a) & (frame >= start) & (frame < start + PIECE)
            if own.sum() >= MIN_CROPS:
                right.append(fish_known[(vector[own].mean(axis=0) @ gallery.T).argmax()] == a)
    late = frame >= TESTED
    answer = fish_known[(vector[late] @ gallery.T).argmax(axis=1)]
    votes = [np.bincount(answer[fish[late] == a], minlength=9).argmax() == a for a in fish_known]
    return {
        "seed": seed, "pieces": round(float(np.mean(right)), 3), "of": len(right), "fish by vote": int(sum(votes)),
        "crops": round(float((answer == fish[late]).mean()), 3),
        "seconds": {"cut": round(cut_s, 1), "learn": round(train_s, 1)},
    }  # fmt: skip


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


BARS = {"B": bar_b}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true", help="no peers are run yet")
    parser.add_argument("--only", default=",".join(BARS), help="bars, e.g. B")
    parser.add_argument("--json", type=Path, help="write the figures there")
    args = parser.parse_args()
    found: dict[str, Bar] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only.split(","):
            began = time.perf_counter()
            (Path(folder) / name).mkdir()
            found[name] = BARS[name](Path(folder) / name, args)
            found[name] |= {"seconds": round(time.perf_counter() - began, 1), "threads": torch.get_num_threads()}
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0 if all(bar["holds"] for bar in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
