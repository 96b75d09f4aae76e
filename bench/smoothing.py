"""Smoothing and gap filling against the truth of rendered scenes.

    python bench/smoothing.py            seeds 10-14 of scenes lab and zebra, as docs/concepts/smoothing.md quotes it
    python bench/smoothing.py --quick    one short video
    python bench/smoothing.py --speed    an hour of ten animals

Tracks are true ones: the animals that assembly makes of noisy detections, each named after the fish it lies on, so that
only positions are measured. Gaps are those that detection leaves and, of --gap frames each, some that are cut out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tracking_reflections import make_poses, owners

from shoal.config.smooth import SmoothConfig
from shoal.stages.filter import filter_tracks
from shoal.stages.smooth import learn, smooth
from shoal.synthetic.truth import Truth
from shoal.types import Tracks, body_length, select

CUTS, CUT_FRAMES = 12, (3, 6, 12)  # per fish and thousand frames; how long
KINDS = ("visible", "hidden", "gap")


def true_tracks(truth: Truth, scene: str, seed: int, n_frames: int) -> tuple[Tracks, Tracks]:
    """Every fish's largest row of each frame, named after it; and the same with pieces cut out."""
    poses = make_poses(scene, seed, n_frames)[1]
    kind, who = owners(truth, poses)
    size = np.isfinite(poses.xy[..., 0]).sum(axis=1)
    order = np.lexsort((-size, who, poses.frame))
    key = poses.frame[order] * 1000 + who[order]
    best = np.sort(order[np.r_[True, np.diff(key) > 0] & (kind[order] == 0)])
    rows = Tracks(select(poses, best), who[best])
    rng = np.random.default_rng(seed)
    gone = np.zeros((len(truth.names), n_frames), bool)
    for fish in range(len(truth.names)):
        for start in rng.integers(0, n_frames, CUTS * n_frames // 1000):
            gone[fish, start : start + rng.choice(CUT_FRAMES)] = True
    return rows, select(rows, ~gone[rows.track, rows.poses.frame])


def errors(truth: Truth, seen: Tracks, table: Tracks, sd: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Rows (error x, error y, sd) by what was seen of the keypoint: itself, others of the animal, nothing."""
    n = len(truth.names)
    full = truth.full_xy.reshape(-1, n, *truth.full_xy.shape[1:])
    raw = np.full(full.shape, np.nan)
    raw[seen.poses.frame, seen.track] = np.where(seen.poses.confidence[..., None] >= 0.1, seen.poses.xy, np.nan)
    there = np.zeros(full.shape[:2], bool)
    there[seen.poses.frame, seen.track] = True
    out = {kind: [] for kind in KINDS}
    rows = table.track >= 0
    frame, track = table.poses.frame[rows], table.track[rows]
    off = table.poses.xy[rows] - full[frame, track]
    spread = np.zeros(off.shape[:2]) if sd is None else sd[rows]
    is_seen = np.isfinite(raw[frame, track, :, 0])
    for kind, which in (("visible", is_seen), ("hidden", ~is_seen & there[frame, track][:, None]),
                        ("gap", ~is_seen & ~there[frame, track][:, None])):  # fmt: skip
        pick = which & np.isfinite(off[..., 0])
        out[kind] = np.c_[off[pick], spread[pick]]
    return out


def straight_lines(tracks: Tracks, max_gap: int) -> Tracks:
    """Each keypoint's missing positions by straight lines in time, over the frames that the smoother fills."""
    from shoal.stages.smooth import _gather, _lay_out

    dense = _lay_out(tracks, SmoothConfig(max_gap=max_gap))
    xy = dense.xy.copy()
    for low, high in zip(dense.begin[:-1], dense.begin[1:], strict=True):
        for column in xy[low:high].reshape(high - low, -1).T:
            known = np.flatnonzero(np.isfinite(column))
            if len(known):
                inside = np.arange(known[0], known[-1] + 1)
                column[inside] = np.interp(inside, known, column[known])
    seen = np.isfinite(dense.xy[..., 0])
    return _gather(tracks, dense, xy, np.zeros(seen.shape), seen).tracks


def measure(scene: str, seed: int, n_frames: int) -> dict[str, Any]:
    """Errors of one video by method and kind, % of a body length."""
    truth, _ = make_poses(scene, seed, n_frames)
    _, cut = true_tracks(truth, scene, seed, n_frames)
    config = SmoothConfig()
    length = body_length(truth.full_xy)
    began = time.perf_counter()
    found = smooth(cut, config)
    seconds = time.perf_counter() - began
    ways = {
        "raw": errors(truth, cut, cut),
        "straight lines": errors(truth, cut, straight_lines(cut, config.max_gap)),
        "DLC median 5": errors(truth, cut, filter_tracks(cut)),
        "smooth": errors(truth, cut, found.tracks, found.sd),
    }
    out: dict[str, Any] = {"scene": scene, "seed": seed, "seconds": round(seconds, 2), "rows": len(cut)}
    for way, by_kind in ways.items():
        for kind, rows in by_kind.items():
            if len(rows):
                out[f"{way}, {kind}"] = summarize(rows, length, with_sd=way == "smooth")
    return out


def summarize(rows: np.ndarray, length: float, *, with_sd: bool) -> dict[str, float]:
    """Mean, median and 95 % error in % of a body length; share of coordinates within 1 and 1.64 stated deviations."""
    distance = 100 * np.linalg.norm(rows[:, :2], axis=1) / length
    out = {
        "n": len(rows), "mean": float(distance.mean()), "median": float(np.median(distance)),
        "p95": float(np.quantile(distance, 0.95)),
    }  # fmt: skip
    if with_sd:
        z = np.abs(rows[:, :2]) / np.maximum(rows[:, 2:], 1e-6)
        out |= {"within 1 sd": float((z < 1).mean()), "within 1.64 sd": float((z < 1.645).mean())}
        out["mean sd"] = float(100 * rows[:, 2].mean() / length)
    return {name: round(value, 3) for name, value in out.items()}


def speed() -> dict[str, float]:
    """Seconds for an hour (108,000 frames) of ten animals, kernels compiled before; ten minutes of truth, six times."""
    n_frames = 18_000
    truth, _ = make_poses("lab", 10, n_frames)
    _, cut = true_tracks(truth, "lab", 10, n_frames)
    smooth(select(cut, cut.poses.frame < 200), SmoothConfig())
    began = time.perf_counter()
    known = learn(cut, SmoothConfig())
    middle = time.perf_counter()
    for _ in range(6):
        smooth(cut, SmoothConfig(), learned=known)
    return {"rows": 6.0 * len(cut), "learn_s": middle - began, "smooth_s": time.perf_counter() - middle}


def main() -> int:
    """Measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=list(range(10, 15)))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.speed:
        print(json.dumps(speed(), indent=1))
        return 0
    cases = [("lab", 10)] if args.quick else [(scene, seed) for scene in ("lab", "zebra") for seed in args.seeds]
    runs = [measure(scene, seed, 400 if args.quick else 1800) for scene, seed in cases]
    found: dict[str, Any] = {"runs": runs}
    for scene in dict.fromkeys(scene for scene, _ in cases):
        own = [run for run in runs if run["scene"] == scene]
        for key in [name for name, value in own[0].items() if isinstance(value, dict)]:
            figures = [run[key] for run in own if key in run]
            weight = [f["n"] for f in figures]
            mean = {
                name: round(float(np.average([f[name] for f in figures], weights=weight)), 3) for name in figures[0]
            }
            found[f"{scene}: {key}"] = mean | {"n": sum(weight)}
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "runs"}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
