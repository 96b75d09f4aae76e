"""Processor seconds that the tracking figures of a long video take, beside TrackEval on the same similarities.

python bench/metrics_speed.py [--frames 100000] [--animals 10]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from metrics_peer import run_trackeval

from shoal.stages.metrics import compare_frames, ignore_regions, pose_similarity, score_tracks, tracking_scores
from shoal.types import Poses, Tracks, select

N_KEYPOINTS, LENGTH = 9, 80.0


def swimmers(n_frames: int, n: int, rng: np.random.Generator) -> tuple[Tracks, Tracks]:
    """Straight fish that walk at random and cross; 5 % missed, 3 % unlabelled, a new track name every 5,000 frames."""
    walk = np.cumsum(rng.normal(0, 4, (n_frames, n, 2)), 0) + rng.uniform(0, 1600, (n, 2))
    centre = np.abs(walk % 1600 - 800)
    heading = np.cumsum(rng.normal(0, 0.1, (n_frames, n)), 0)
    along = np.linspace(-LENGTH / 2, LENGTH / 2, N_KEYPOINTS)[:, None]
    xy = centre[:, :, None] + along * np.stack([np.cos(heading), np.sin(heading)], -1)[:, :, None]
    frame, track = np.repeat(np.arange(n_frames), n), np.tile(np.arange(n), n_frames)
    one = np.ones((len(frame), N_KEYPOINTS))
    truth = Poses(frame, track, xy.reshape(-1, N_KEYPOINTS, 2), one, one[:, 0], (0, n_frames))
    noisy = Poses(frame, track, truth.xy + rng.normal(0, 2, truth.xy.shape), one, one[:, 0], (0, n_frames))
    predicted = Tracks(noisy, track + n * (frame // 5000))
    return select(Tracks(truth, track), rng.random(len(frame)) > 0.03), select(predicted, rng.random(len(frame)) > 0.05)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--frames", type=int, default=100_000)
    arguments.add_argument("--animals", type=int, default=10)
    options = arguments.parse_args()
    truth, predicted = swimmers(options.frames, options.animals, np.random.default_rng(0))
    start = time.process_time()
    regions = ignore_regions(truth)
    middle = time.process_time()
    score_tracks(truth, predicted, ignore=regions, fps=30)
    print(f"from poses: ignore_regions {middle - start:.1f} s, score_tracks {time.process_time() - middle:.1f} s")
    case: dict[str, list] = {"truth": [], "predicted": [], "similarity": []}
    for f in range(options.frames):
        a, b = (slice(*np.searchsorted(t.poses.frame, (f, f + 1))) for t in (truth, predicted))
        case["truth"].append(truth.track[a].tolist())
        case["predicted"].append(predicted.track[b].tolist())
        case["similarity"].append(pose_similarity(truth.poses.xy[a], predicted.poses.xy[b], LENGTH))
    start = time.process_time()
    found = tracking_scores(compare_frames(case["truth"], case["predicted"], case["similarity"]))
    middle = time.process_time()
    peer = run_trackeval(case)
    seconds = middle - start, time.process_time() - middle
    print(
        f"from similarities: shoal {seconds[0]:.1f} s, TrackEval {seconds[1]:.1f} s ({seconds[1] / seconds[0]:.1f} x)"
    )
    print(f"largest difference {max(abs(found[k] - v) for k, v in peer.items()):.1e}")


if __name__ == "__main__":
    main()
