"""Tracklets -> animals by their looks alone: who could be whom, as evidence for joining tracks.

First the tracklets that are best seen are put together, the most alike ones first, never two that are seen at the same
time (average linkage under cannot-link constraints: Davidson & Ravi, PKDD 2005). Then what tells the animals apart is
learned again from these groups, and the probability of every tracklet to be each of them is found with exclusion
(``naming``), round after round.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from shoal.stages.evidence import LIMIT
from shoal.stages.looks import group_means, learn_looks, likeness, principal_axes
from shoal.stages.naming import LEAST_SPREAD, Calibration, log_odds_of_names, name_probabilities
from shoal.types import Evidence, OnProgress, no_progress

LEAST, GOOD = 8, 25  # crops of a tracklet that groups begin with; that likeness is measured on
MOST = 1500  # tracklets that groups begin with, those with the most crops
ROUNDS = 8
KNOWN = 0.97  # of tracklets are of the animals of the groups, before they are looked at
APART = 0.35  # likeness below which two groups are two animals, where nobody says how many there are
ALIKE = 0.6  # likeness above which groups are put together, even if fewer are left than there are animals
SMALL = 0.02  # of all crops: smaller groups are no animal of their own then


def evidence_of_crops(
    description: Float32[ndarray, "N D"],
    tracklet: Int64[ndarray, "N"],
    first: Int64[ndarray, "T"],
    last: Int64[ndarray, "T"],
    n_animals: int,
    *,
    on_progress: OnProgress = no_progress,
) -> Evidence | None:
    """Evidence from what crops look like.

    Args:
        description: of crops (``looks.describe``).
        tracklet: of each.
        first: first frame of each tracklet.
        last: last frames: tracklets that share a frame are two animals.
        n_animals: how many there are; 0 = not known.
        on_progress: called with ("reid", rounds done, rounds).

    Returns:
        Vectors are probabilities of being each animal, at unit length; None where no two tracklets can be compared.
    """
    n = len(first)
    crops = np.bincount(tracklet, minlength=n)
    begin = np.flatnonzero(crops >= LEAST)
    begin = np.sort(begin[np.argsort(-crops[begin], kind="stable")[:MOST]])
    if len(begin) < 2 or n_animals == 1:
        return None
    description = (description @ principal_axes(description).T).astype(np.float32)  # of very many tracklets, too
    mean = group_means(description, tracklet, n).astype(np.float32)
    transform = learn_looks(description, tracklet)
    looks = mean @ transform
    group = put_together(looks[begin] - looks[begin].mean(axis=0), crops[begin], first[begin], last[begin], n_animals)
    n_groups = int(group.max()) + 1
    if n_groups < 2:
        return None
    share = np.zeros((n, n_groups))
    share[begin[group >= 0], group[group >= 0]] = 1
    for round_ in range(ROUNDS):
        if round_ % 2 == 0:
            sure = (share.max(axis=1) > 0.9) & (crops >= LEAST)
            rows = sure[tracklet]
            transform = learn_looks(
                description[rows], np.unique(share.argmax(1)[tracklet[rows]], return_inverse=True)[1]
            )
            looks = mean @ transform
        alike, has_others = _likeness_to_groups(looks, crops, share)
        calibration = _calibrated(alike, crops, share, has_others)
        if calibration is None:
            return None
        share = name_probabilities(log_odds_of_names(alike, crops, calibration), (first, last), KNOWN)[:, :-1]
        share[crops == 0] = 0
        on_progress("reid", round_ + 1, ROUNDS)
    length = np.linalg.norm(share, axis=1, keepdims=True)
    weight = np.clip((share.max(axis=1) - 1 / n_groups) / (1 - 1 / n_groups), 0, 1)
    return Evidence(share / np.maximum(length, 1e-9), weight, 2 * LIMIT, -LIMIT)


def put_together(
    looks: Float64[ndarray, "T C"],
    crops: Int64[ndarray, "T"],
    first: Int64[ndarray, "T"],
    last: Int64[ndarray, "T"],
    n_groups: int,
) -> Int64[ndarray, "T"]:
    """The group of each tracklet, largest group first.

    Args:
        looks: of tracklets, less the usual looks.
        crops: that they are known from.
        first: first frames.
        last: last frames.
        n_groups: how many there are, 0 = not known. Tracklets of further groups (which cannot be put together with any)
            are in none: -1.
    """
    n = len(looks)
    mean, weight = looks.astype(np.float64).copy(), crops.astype(np.float64).copy()
    apart = (first[:, None] <= last) & (first <= last[:, None])
    alike = likeness(mean, mean)
    alike[apart] = -2.0  # itself, too
    label, left = np.arange(n), n
    while left > 1:
        i, j = divmod(int(alike.argmax()), n)
        if alike[i, j] < (ALIKE if left <= n_groups else -1.5 if n_groups else APART):
            break
        mean[i] = (weight[i] * mean[i] + weight[j] * mean[j]) / (weight[i] + weight[j])
        weight[i] += weight[j]
        label[label == j] = i
        apart[i] |= apart[j]
        apart[:, i] |= apart[:, j]
        apart[j] = apart[:, j] = True
        alike[i] = alike[:, i] = np.where(apart[i], -2.0, likeness(mean, mean[i : i + 1])[:, 0])
        alike[j] = alike[:, j] = -2.0
        left -= 1
    ids, own = np.unique(label, return_inverse=True)
    size = np.bincount(own, weights=crops)
    kept = np.argsort(-size, kind="stable")
    kept = kept[:n_groups] if n_groups else kept[size[kept] >= SMALL * size.sum()]
    number = np.full(len(ids), -1)
    number[kept] = np.arange(len(kept))
    return number[own]


def _likeness_to_groups(
    looks: Float64[ndarray, "T C"], crops: Int64[ndarray, "T"], share: Float64[ndarray, "T G"]
) -> tuple[Float64[ndarray, "T G"], Bool[ndarray, "T"]]:
    """Likeness of each tracklet to each group without that tracklet, and which ones are not alone in their group."""
    has_others = np.zeros(len(looks), dtype=bool)
    weight = share * crops[:, None]
    total, size = weight.T @ looks, weight.sum(axis=0)
    mean = total / np.maximum(size, 1e-9)[:, None]
    usual = mean[size > 0].mean(axis=0)
    alike = likeness(looks - usual, mean - usual)
    for g in range(share.shape[1]):
        own = np.flatnonzero((share[:, g] > 0.5) & (crops > 0))
        rest = size[g] - weight[own, g]
        others = (total[g] - weight[own, g, None] * looks[own]) / np.maximum(rest, 1e-9)[:, None]
        cosine = np.einsum("tc,tc->t", looks[own] - usual, others - usual)
        length = np.linalg.norm(looks[own] - usual, axis=1) * np.linalg.norm(others - usual, axis=1)
        has_others[own] = rest >= LEAST
        alike[own, g] = np.where(rest >= LEAST, cosine / np.maximum(length, 1e-9), alike[own, g])
    return alike, has_others


def _calibrated(
    alike: Float64[ndarray, "T G"],
    crops: Int64[ndarray, "T"],
    share: Float64[ndarray, "T G"],
    has_others: Bool[ndarray, "T"],
) -> Calibration | None:
    """What likeness means, by the tracklets whose group is likely; None where groups are not more like themselves."""
    own, likely = share.argmax(axis=1), (share.max(axis=1) > 0.5) & has_others
    good, few = likely & (crops >= GOOD), likely & (crops >= LEAST) & (crops < GOOD)
    good = good if good.sum() >= share.shape[1] else likely & (crops >= LEAST)
    if not good.any():
        return None
    is_own: Bool[ndarray, "T G"] = np.arange(share.shape[1]) == own[:, None]
    same, other = alike[good][is_own[good]], alike[good][~is_own[good]]
    if same.mean() <= other.mean():
        return None
    noise = 5.0
    if few.any():
        left = np.clip(alike[few][is_own[few]].mean() / same.mean(), 0.1, 1.0)
        noise = float((1 / left**2 - 1) / np.mean(1 / crops[few]))
    spreads = (max(float(values.std()), LEAST_SPREAD) for values in (same, other))
    return Calibration(float(same.mean()), next(spreads), float(other.mean()), next(spreads), noise)
