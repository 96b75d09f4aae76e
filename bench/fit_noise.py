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

from shoal.synthetic.noise import (
    LIMB_REACH,
    MIN_AFFINITY,
    NoiseTable,
    crowded,
    ideal_affinity,
    in_view,
    load_noise,
    near_pairs,
    noisy_detections,
    save_noise,
)  # fmt: skip
from shoal.synthetic.truth import Truth, truth_of
from shoal.types import Detections, body_length

MATCH = 0.2
"""A peak this near to a true keypoint (body lengths) is that keypoint."""

NOBODY = -1
RIGHT, WRONG, FALSE, GHOST, IMAGE = range(5)
WIDTHS = (0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12)
"""Of limb fields, body lengths."""


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
    width, rest = limbs(truth, seen, owner, edges, length)
    return NoiseTable(
        source=source,
        edges=tuple((int(a), int(b)) for a, b in edges),
        miss_clear=_rates(~hit, clear, prior.miss_clear),
        miss_crowded=_rates(~hit, crowd, prior.miss_crowded),
        miss_covered=_rates(~hit, covered, prior.miss_covered),
        jitter=_numbers(sigma),
        outlier=round(float(far.mean()), 4),
        outlier_scale=_outlier_scale(error / sigma[:, None], hit, far) if far.sum() >= 30 else prior.outlier_scale,
        persistence=_persistence(error),
        false_peaks=_numbers(np.bincount(seen.keypoint[is_false], minlength=k) / (stop - start)),
        false_near=_near(truth, seen, is_false, length),
        false_life=_life(seen, is_false, length),
        merge=_merge_distance(xy, hit, view & ~covered, length, prior.merge),
        reflection=_rates(mirrored[rows] >= 0, image, prior.reflection),
        confidence_clear=_quantiles(confidence[found[hit & clear]], prior.confidence_clear),
        confidence_crowded=_quantiles(confidence[found[hit & (crowd | covered)]], prior.confidence_crowded),
        confidence_false=_quantiles(confidence[is_false], prior.confidence_false),
        limb_width=width,
        affinity_right=_quantiles(rest[RIGHT][1], prior.affinity_right),
        affinity_wrong=_quantiles(rest[WRONG][1], prior.affinity_wrong),
        affinity_reflection=_quantiles(rest[IMAGE][1], prior.affinity_reflection),
        link_false=rest[FALSE][0],
        affinity_false=_quantiles(rest[FALSE][1], prior.affinity_false),
        link_ghost=rest[GHOST][0],
        affinity_ghost=_quantiles(rest[GHOST][1], prior.affinity_ghost),
    )


def limbs(
    truth: Truth, seen: Detections, owner: ndarray, edges: ndarray, length: float
) -> tuple[float, list[tuple[float, ndarray]]]:
    """Affinities less the ideal ones of a field of the width that explains them best.

    Returns:
        the width in body lengths; for the five kinds of pairs within reach, the chance that they are stored, and what
        is left: within fish (a limb that is not stored has affinity 0.04), between two fish (where the ideal affinity
        is high enough to be stored whatever the error), of stored pairs with one false peak, and with two; for limbs
        within a reflection the affinity itself.
    """
    n = len(truth.names)
    stored = np.column_stack([seen.limb_frame, seen.edge, seen.source, seen.target]).astype(np.int64)
    affinity = {tuple(key): value for key, value in zip(stored.tolist(), seen.affinity.astype(float), strict=True)}
    xy, kinds, values = seen.xy.astype(np.float64), [], []
    lines: list[tuple[ndarray, ...]] = []
    for e, (p, q) in enumerate(edges):
        a, b = near_pairs(seen.frame, xy, seen.keypoint == p, seen.keypoint == q, LIMB_REACH * length)
        keys = zip(seen.frame[a].tolist(), [e] * len(a), seen.number[a].tolist(), seen.number[b].tolist(), strict=True)
        values.append(np.array([affinity.get(key, 0.0) for key in keys]))
        real = (owner[a] >= 0) & (owner[a] < n) & (owner[b] >= 0) & (owner[b] < n)
        n_false = (owner[a] == NOBODY).astype(int) + (owner[b] == NOBODY)
        kind_ = np.where(n_false == 2, GHOST, FALSE)  # a reflection and a fish are linked no better than that
        kind_ = np.where((owner[a] >= n) & (owner[a] == owner[b]), IMAGE, kind_)
        kinds.append(np.where(real, np.where(owner[a] == owner[b], RIGHT, WRONG), kind_))
        lines.append((xy[a], xy[b], seen.frame[a] - truth.span[0]))
    value, kind = np.concatenate(values), np.concatenate(kinds)

    def ideal(width: float) -> ndarray:
        each = zip(edges, lines, strict=True)
        return np.concatenate([ideal_affinity(truth, (int(p), int(q)), *line, width * length) for (p, q), line in each])

    use = (kind == WRONG) & (value > 0)
    width = min(WIDTHS, key=lambda w: float(np.std((value - ideal(w))[use]))) if use.any() else WIDTHS[0]
    best = ideal(width)
    rest = np.where((kind == RIGHT) & (value == 0), MIN_AFFINITY - 0.01, value) - best
    rest = np.where(kind == IMAGE, np.maximum(value, MIN_AFFINITY - 0.01), rest)
    away = (kind == FALSE) & (np.abs(best) < MIN_AFFINITY)  # beside a fish its own limb explains the rest
    among = (kind == RIGHT, kind == WRONG, away, kind == GHOST, kind == IMAGE)
    chance = [round(float((value[rows] > 0).mean()), 4) if rows.any() else 0.0 for rows in among]
    use = (kind == RIGHT, among[WRONG] & (best > 0.15), away & (value > 0), among[GHOST] & (value > 0), kind == IMAGE)
    return width, [(c, rest[rows]) for c, rows in zip(chance, use, strict=True)]


def _life(seen: Detections, is_false: ndarray, length: float) -> float:
    """Mean frames that false peaks last: from the share that is there again in the next frame, within .06 of a body."""
    again = total = 0
    for frame in range(seen.span[0], seen.span[1] - 1):
        here, there = (np.flatnonzero(is_false & (seen.frame == f)) for f in (frame, frame + 1))
        apart = np.linalg.norm(seen.xy[here][:, None] - seen.xy[there][None], axis=-1) / length
        apart[seen.keypoint[here][:, None] != seen.keypoint[there]] = np.inf
        again += int((apart.min(axis=1, initial=np.inf) < 0.06).sum())
        total += len(here)
    return round(1 / (1 - min(again / total, 0.99)), 2) if total else 1.0


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


def tracked(truth: Truth, seen: Detections, edges: ndarray) -> dict[str, float]:
    """How hard detections are to track: animals, tracklets and cuts, per 600 frames; rows with a keypoint far off."""
    from shoal.config.assemble import AssembleConfig
    from shoal.config.associate import AssociateConfig
    from shoal.stages.assemble import assemble
    from shoal.stages.associate import associate

    n, k = len(truth.names), truth.skeleton.n_keypoints
    poses, _ = assemble(seen, edges, AssembleConfig(), n_keypoints=k)
    tracklets, cuts = associate(poses, AssociateConfig())
    full = truth.full_xy.reshape(-1, n, k, 2)[poses.frame - truth.span[0]] / body_length(truth.full_xy)
    apart = np.linalg.norm(full - poses.xy[:, None] / body_length(truth.full_xy), axis=-1)
    nearest = np.nanmedian(apart, axis=2).argmin(axis=1)
    off = np.nan_to_num(apart[np.arange(len(poses)), nearest])
    fish = np.median(off, axis=1) < MATCH
    per = 600 / (seen.span[1] - seen.span[0])
    return {
        "animals": round(float(fish.sum() * per), 1), "others": round(float((~fish).sum() * per), 1),
        "tracklets": round(tracklets.n_tracks * per, 1), "cuts": round(len(cuts) * per, 1),
        "share with a keypoint > .3 bodies off": round(float((off[fish] > 0.3).any(axis=1).mean()), 4),
    }  # fmt: skip


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
    edges = np.asarray(model.edges)
    print("network:  ", tracked(truth, seen, edges))
    again = noisy_detections(truth, seed=0, table=table)
    simulated = tracked(truth, again, edges)
    print(f"simulated ({truth.span[1] - truth.span[0]} frames):", simulated)


if __name__ == "__main__":
    main()
