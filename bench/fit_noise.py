"""Fit the noise table of ``shoal.synthetic.noise`` to a trained network on a rendered video that it has not seen.

    python bench/fit_noise.py --model MODEL.pt --video held-out.mp4 [--stop 500] --out shoal/synthetic/noise.json

The video needs its truth beside it (``make_video`` writes it).
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from shoal.synthetic.noise import LIMB_REACH, MIN_AFFINITY, NoiseTable, crowded, in_view, load_noise, save_noise
from shoal.synthetic.truth import Truth, truth_of
from shoal.types import Detections, body_length

MATCH = 0.2
"""A peak this near to a true keypoint (body lengths) is that keypoint."""

NOBODY = -1


def match(truth: Truth, seen: Detections, length: float) -> tuple[ndarray, ndarray, ndarray]:
    """Peaks to true keypoints, one to one per frame and keypoint.

    Returns:
        (P,) fish of each peak, fish + N for a reflection's, -1 for none; (F, N, K) row of the peak, -1 = missed;
        (R, K) the same for reflections.
    """
    n, k = len(truth.names), truth.skeleton.n_keypoints
    start, stop = seen.span
    full = truth.full_xy.reshape(-1, n, k, 2)[start - truth.span[0] : stop - truth.span[0]]
    target = np.where(
        in_view(truth).reshape(-1, n, k)[start - truth.span[0] : stop - truth.span[0], :, :, None], full, np.nan
    )
    poses = truth.reflections.poses
    owner = np.full(len(seen), NOBODY)
    found, mirrored = np.full(target.shape[:3], -1), np.full(poses.xy.shape[:2], -1)
    for frame in range(start, stop):
        rows = np.flatnonzero(seen.frame == frame)
        images = np.flatnonzero(poses.frame == frame)
        for keypoint in range(k):
            peaks = rows[seen.keypoint[rows] == keypoint]
            points = np.concatenate([target[frame - start, :, keypoint], poses.xy[images, keypoint]])
            if not len(peaks):
                continue
            cost = np.linalg.norm(points[:, None] - seen.xy[peaks][None], axis=-1) / length
            cost = np.where(cost < MATCH, cost, 10.0)  # NaN compares as False
            for a, p in zip(*linear_sum_assignment(cost), strict=True):
                if cost[a, p] >= MATCH:
                    continue
                owner[peaks[p]] = a if a < n else n + images[a - n]
                if a < n:
                    found[frame - start, a, keypoint] = peaks[p]
                else:
                    mirrored[images[a - n], keypoint] = peaks[p]
    return owner, found, mirrored


def fit_table(truth: Truth, seen: Detections, edges: ndarray, *, source: str, prior: NoiseTable) -> NoiseTable:
    """Rates of errors in detections of a video with truth.

    Args:
        truth: of the video.
        seen: detections of ``seen.span``, a part of it.
        edges: (E, 2) limbs of the network.
        source: what the table says about itself.
        prior: gives the figures of events that did not occur often enough (fewer than 30 times).
    """
    n, k = len(truth.names), truth.skeleton.n_keypoints
    start, stop = seen.span
    part = slice(start - truth.span[0], stop - truth.span[0])
    length = body_length(truth.full_xy)
    owner, found, mirrored = match(truth, seen, length)
    shape = found.shape
    view = in_view(truth).reshape(-1, n, k)[part]
    covered = truth.covered.reshape(-1, n, k)[part] & view
    touch = np.broadcast_to(crowded(truth)[part][..., None], shape)
    hit = found >= 0
    xy = truth.full_xy.reshape(-1, n, k, 2)[part]
    error = np.where(hit[..., None], seen.xy[found] - xy, np.nan) / truth.lengths[:, None, None]
    sigma = 1.4826 * np.nanmedian(np.abs(error - np.nanmedian(error, axis=(0, 1))), axis=(0, 1, 3))
    far = np.abs(error).max(-1)[hit] > 4 * np.broadcast_to(sigma, shape)[hit]
    clear, crowd = view & ~touch & ~covered, view & touch & ~covered
    confidence = seen.confidence.astype(np.float64)
    is_false = owner == NOBODY
    rows = np.flatnonzero((truth.reflections.poses.frame >= start) & (truth.reflections.poses.frame < stop))
    image = np.isfinite(truth.reflections.poses.xy[rows]).all(-1)
    right, wrong, chance = limbs(seen, owner, edges, length)
    return NoiseTable(
        source=source,
        miss_clear=_rates(~hit, clear, prior.miss_clear),
        miss_crowded=_rates(~hit, crowd, prior.miss_crowded),
        miss_covered=_rates(~hit, covered, prior.miss_covered),
        jitter=_numbers(sigma),
        outlier=round(float(far.mean()), 4),
        outlier_scale=_outlier_scale(error / sigma[:, None], hit, far) if far.sum() >= 30 else prior.outlier_scale,
        persistence=_persistence(error),
        false_peaks=_numbers(np.bincount(seen.keypoint[is_false], minlength=k) / (stop - start)),
        false_near=_near(truth, seen, is_false, length),
        merge=_merge_distance(xy, hit, view & ~covered, length, prior.merge),
        reflection=_rates(mirrored[rows] >= 0, image, prior.reflection),
        confidence_clear=_quantiles(confidence[found[hit & clear]], prior.confidence_clear),
        confidence_crowded=_quantiles(confidence[found[hit & (crowd | covered)]], prior.confidence_crowded),
        confidence_false=_quantiles(confidence[is_false], prior.confidence_false),
        affinity_right=_quantiles(right, prior.affinity_right),
        link_wrong=round(chance, 4),
        affinity_wrong=_quantiles(wrong, prior.affinity_wrong),
    )


def limbs(seen: Detections, owner: ndarray, edges: ndarray, length: float) -> tuple[ndarray, ndarray, float]:
    """Affinities of limbs within an animal (0.04 where there is none) and between animals; the chance of the latter."""
    first = np.searchsorted(seen.frame, seen.limb_frame)
    a, b = first + seen.source, first + seen.target
    owners = np.where(owner == NOBODY, -2 - np.arange(len(owner)), owner)
    same = owners[a] == owners[b]
    affinity = seen.affinity.astype(np.float64)
    within = pairs = 0
    for frame in range(*seen.span):
        rows = np.flatnonzero(seen.frame == frame)
        for p, q in edges:
            left, right = rows[seen.keypoint[rows] == p], rows[seen.keypoint[rows] == q]
            match_ = owners[left][:, None] == owners[right][None]
            near = np.linalg.norm(seen.xy[left][:, None] - seen.xy[right][None], axis=-1) < LIMB_REACH * length
            within += int(match_.sum())
            pairs += int((near & ~match_).sum())
    absent = np.full(max(within - int(same.sum()), 0), MIN_AFFINITY - 0.01)
    return np.concatenate([affinity[same], absent]), affinity[~same], float((~same).sum() / max(pairs, 1))


def _numbers(values: ndarray) -> tuple[float, ...]:
    return tuple(round(float(v), 4) for v in values)


def _rates(missed: ndarray, among: ndarray, prior: tuple[float, ...]) -> tuple[float, ...]:
    """Share of ``missed`` per keypoint where ``among``; the prior's where that is fewer than 30 times."""
    axes = tuple(range(missed.ndim - 1))
    count, total = (missed & among).sum(axes), among.sum(axes)
    return _numbers(np.where(total >= 30, count / np.maximum(total, 1), prior))


def _quantiles(values: ndarray, prior: tuple[float, ...]) -> tuple[float, ...]:
    return _numbers(np.quantile(values, np.linspace(0, 1, 11))) if len(values) >= 30 else prior


def _persistence(error: ndarray) -> float:
    """Correlation of errors in consecutive frames; robust, as outliers would decide it."""
    before, after = error[:-1].ravel(), error[1:].ravel()
    both = np.isfinite(before) & np.isfinite(after)
    limit = np.nanquantile(np.abs(error), 0.97)
    both &= (np.abs(before) < limit) & (np.abs(after) < limit)
    return round(float(np.clip(np.corrcoef(before[both], after[both])[0, 1], 0.0, 0.98)), 3)


def _outlier_scale(error: ndarray, hit: ndarray, far: ndarray) -> float:
    """Root mean square per axis of the far errors, in standard deviations of the others."""
    return round(float(np.sqrt(np.mean(error[hit][far] ** 2))), 2)


def _near(truth: Truth, seen: Detections, is_false: ndarray, length: float) -> float:
    """Share of false peaks within a body length of a fish's middle."""
    middle = truth.full_xy.reshape(-1, len(truth.names), truth.skeleton.n_keypoints, 2).mean(2)
    frame = seen.frame[is_false] - truth.span[0]
    d = np.linalg.norm(middle[frame] - seen.xy[is_false][:, None], axis=-1)
    return round(float((d.min(1) < length).mean()), 4) if len(d) else 0.5


def _merge_distance(xy: ndarray, hit: ndarray, view: ndarray, length: float, prior: float) -> float:
    """Distance of two same keypoints below which one of them is missed half of the time."""
    n = xy.shape[1]
    i, j = np.triu_indices(n, 1)
    d = np.linalg.norm(xy[:, i] - xy[:, j], axis=-1) / length
    usable = view[:, i] & view[:, j] & (d < 0.5)
    lost = ~(hit[:, i] & hit[:, j])
    merged = [prior]
    for low, high in pairwise(np.linspace(0, 0.5, 11)):
        among = usable & (d >= low) & (d < high)
        if among.sum() >= 30 and lost[among].mean() >= 0.5:
            merged.append(round(float(high), 3))
    return merged[-1]


def main() -> None:
    from shoal.config.predict import PredictConfig
    from shoal.io.video import read_frames
    from shoal.models.checkpoint import load_model
    from shoal.models.detect import detect
    from shoal.types import concatenate

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--stop", type=int, default=500)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    truth = truth_of(args.video)
    model = load_model(args.model, device=args.device)
    batches = read_frames(args.video, stop=min(args.stop, truth.span[1]), batch=8)
    seen = concatenate([detect(model, batch, PredictConfig(), feature_size=0)[0] for batch in batches])
    source = f"fitted: model {model.sha[:12]} on {seen.span[1] - seen.span[0]} held-out frames of {args.video.name}"
    table = fit_table(truth, seen, np.asarray(model.edges), source=source, prior=load_noise())
    save_noise(args.out, table)
    print(table)


if __name__ == "__main__":
    main()
