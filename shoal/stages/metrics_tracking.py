"""How well tracks follow animals: HOTA, identity (IDF1) and CLEAR figures.

Sources: HOTA: Luiten et al., IJCV 2021. IDF1: Ristani et al., ECCV workshops 2016. CLEAR (MOTA, MOTP): Bernardin and
Stiefelhagen, EURASIP J. Image Video Process. 2008. Where the papers leave a choice it is TrackEval's, so that figures
can be compared with published ones: CLEAR prefers the partner of the frame before, frames on which either side is empty
do not interrupt a track, and HOTA matches once per frame for all thresholds.

All work is on flat lists of pairs. A frame costs a Python step only where two animals compete for one partner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray
from numpy.typing import ArrayLike

from shoal.stages.metrics_similarity import best_pairs, centres, has_keypoints, inside_regions, similar_pairs
from shoal.types import Regions, Tracks, body_length, column, select

THRESHOLD = 0.5
"""Similarity from which a pair is a match for CLEAR, identity and ignore regions."""

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""HOTA's thresholds."""

EPS = np.finfo(np.float64).eps
"""TrackEval's slack for thresholds; kept so that 0.5 counts as 0.5."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Truth and prediction of one video, and every pair of the same frame with a similarity above 0.

    Attributes:
        truth_frame: (M,) frame of each true animal row, sorted.
        truth_track: (M,) its track.
        frame: (N,) frame of each predicted row, sorted.
        track: (N,) its track.
        truth_row: (Q,) row of truth of each pair, sorted.
        row: (Q,) row of prediction of each pair.
        similarity: (Q,) 0-1.
    """

    truth_frame: Int64[ndarray, "M"]
    truth_track: Int64[ndarray, "M"]
    frame: Int64[ndarray, "N"]
    track: Int64[ndarray, "N"]
    truth_row: Int64[ndarray, "Q"]
    row: Int64[ndarray, "Q"]
    similarity: Float64[ndarray, "Q"]

    def __post_init__(self) -> None:
        column(self, "truth_frame", np.int64, None)
        column(self, "truth_track", np.int64, len(self.truth_frame))
        column(self, "frame", np.int64, None)
        column(self, "track", np.int64, len(self.frame))
        column(self, "truth_row", np.int64, None)
        column(self, "row", np.int64, len(self.truth_row))
        column(self, "similarity", np.float64, len(self.truth_row))


def compare_frames(
    truth_ids: Sequence[ArrayLike],
    predicted_ids: Sequence[ArrayLike],
    similarity: Sequence[ArrayLike],
) -> Comparison:
    """Per-frame lists of ids and similarity matrices (boxes, or anything else) -> ``Comparison``.

    Args:
        truth_ids: per frame, the track of each true animal.
        predicted_ids: per frame, the track of each prediction.
        similarity: per frame, true animals by predictions, 0-1.

    >>> tracking_scores(compare_frames([[0], [0]], [[5], [5]], [np.ones((1, 1))] * 2))["IDF1"]
    1.0
    """
    truth_track, track = ([np.asarray(ids, np.int64) for ids in side] for side in (truth_ids, predicted_ids))
    n_truth, n_predicted = [len(ids) for ids in truth_track], [len(ids) for ids in track]
    first_truth = np.cumsum([0, *n_truth])
    first_predicted = np.cumsum([0, *n_predicted])
    none = np.zeros(0, np.int64)
    truth_row: list[ndarray] = [none]
    row: list[ndarray] = [none]
    value: list[ndarray] = [np.zeros(0)]
    for f, matrix in enumerate(similarity):
        dense = np.asarray(matrix, np.float64).reshape(n_truth[f], n_predicted[f])
        i, j = np.nonzero(dense > 0)
        truth_row.append(i + first_truth[f])
        row.append(j + first_predicted[f])
        value.append(dense[i, j])
    frames = np.arange(len(similarity))
    return Comparison(
        np.repeat(frames, n_truth), np.concatenate([none, *truth_track]),
        np.repeat(frames, n_predicted), np.concatenate([none, *track]),
        np.concatenate(truth_row), np.concatenate(row), np.concatenate(value),
    )  # fmt: skip


def compare_tracks(truth: Tracks, predicted: Tracks, *, ignore: Regions, length: float) -> tuple[Comparison, int]:
    """Compare poses by ``pose_similarity``.

    Returns:
        what counts (see ``score_tracks`` for what is left out) and the number of predictions that were ignored.
    """
    truth = _by_track(select(truth, (truth.track >= 0) & has_keypoints(truth.poses.xy)))
    inside = (predicted.poses.frame >= truth.span[0]) & (predicted.poses.frame < truth.span[1])
    predicted = _by_track(select(predicted, inside & (predicted.track >= 0) & has_keypoints(predicted.poses.xy)))
    i, j, similarity = similar_pairs(truth, predicted, length)
    kept = np.ones(len(predicted), bool)
    if len(ignore):
        good = similarity >= THRESHOLD
        matched = np.zeros(len(predicted), bool)
        chosen = _assign(truth.poses.frame, predicted.poses.frame, i[good], j[good], similarity[good])
        matched[j[good][chosen]] = True
        kept = matched | ~inside_regions(predicted.poses.frame, centres(predicted.poses.xy), ignore)
    counted = kept[j]
    comparison = Comparison(
        truth.poses.frame, truth.track, predicted.poses.frame[kept], predicted.track[kept],
        i[counted], (np.cumsum(kept) - 1)[j[counted]], similarity[counted],
    )  # fmt: skip
    return comparison, int((~kept).sum())


def score_tracks(
    truth: Tracks, predicted: Tracks, *, ignore: Regions, length: float | None = None, fps: float | None = None
) -> dict[str, float]:
    """All tracking figures of one video.

    Left out: rows without keypoints, rows that belong to no track (-1), predictions outside the truth's span, and
    predictions centred in an ignore region of their frame that match no truth at similarity 0.5. A frame of the truth's
    span that was never analysed counts as missed.

    Args:
        truth: tracks of the animals that are there.
        predicted: tracks to judge.
        ignore: ``ignore_regions(truth)``, or ``Regions.empty()`` if the truth is complete.
        length: body length in px; default ``types.body_length`` of the truth.
        fps: frames per second; adds ``switches_per_animal_hour`` (NaN without it).

    Returns:
        The dict of ``tracking_scores`` and ``length``, ``ignored`` (predictions), ``switches_per_animal_hour``.
    """
    length = body_length(truth.poses.xy) if length is None else length
    comparison, n_ignored = compare_tracks(truth, predicted, ignore=ignore, length=length)
    scores = tracking_scores(comparison)
    hours = len(comparison.truth_frame) / fps / 3600 if fps else 0.0
    return scores | {
        "length": length,
        "ignored": float(n_ignored),
        "switches_per_animal_hour": scores["switches"] / hours if hours else float("nan"),
    }


def tracking_scores(comparison: Comparison) -> dict[str, float]:
    """HOTA (mean over thresholds 0.05-0.95), identity and CLEAR figures (at 0.5) of one video.

    Returns:
        ``HOTA DetA AssA LocA``; ``IDF1 IDP IDR``; ``MOTA MOTP`` (mean similarity of matches) ``recall precision`` (of
        animal rows) ``matches misses false_positives switches fragmentations``; ``truth_rows rows truth_tracks
        tracks``. Figures are 0-1; all are 0 where there is nothing to match.
    """
    return {
        **_hota(comparison),
        **_identity(comparison),
        **_clear(comparison),
        "truth_rows": float(len(comparison.truth_frame)),
        "rows": float(len(comparison.frame)),
        "truth_tracks": float(len(np.unique(comparison.truth_track))),
        "tracks": float(len(np.unique(comparison.track))),
    }


def _hota(c: Comparison) -> dict[str, float]:
    """Luiten et al. 2021, equations 1-9: one assignment per frame, by similarity times global alignment."""
    if not len(c.truth_frame) or not len(c.frame):
        return {"HOTA": 0.0, "DetA": 0.0, "AssA": 0.0, "LocA": 1.0}
    pair, truth_size, size = _track_pairs(c)
    given = np.bincount(c.truth_row, c.similarity)[c.truth_row]
    taken = np.bincount(c.row, c.similarity)[c.row]
    potential = np.bincount(pair, c.similarity / (given + taken - c.similarity), minlength=len(size))
    alignment = potential / (truth_size + size - potential)
    chosen = _assign(c.truth_frame, c.frame, c.truth_row, c.row, alignment[pair] * c.similarity)
    similarity, pair = c.similarity[chosen], pair[chosen]
    detection, association, location = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS)), np.ones(len(ALPHAS))
    for a, alpha in enumerate(ALPHAS):
        matched = similarity >= alpha - EPS
        n = int(matched.sum())
        if n == 0:
            continue
        together = np.bincount(pair[matched], minlength=len(size))
        association[a] = (together * (together / (truth_size + size - together))).sum() / n
        detection[a] = n / (len(c.truth_frame) + len(c.frame) - n)
        location[a] = similarity[matched].sum() / n
    means = (np.sqrt(detection * association), detection, association, location)
    return {name: float(np.mean(v)) for name, v in zip(("HOTA", "DetA", "AssA", "LocA"), means, strict=True)}


def _identity(c: Comparison) -> dict[str, float]:
    """Ristani et al. 2016: the one-to-one choice of tracks that agrees on the most rows.

    Their cost, false positives + false negatives, is a constant minus twice the rows agreed on, so the rectangular
    problem over overlaps has the same optimum.
    """
    good = c.similarity >= THRESHOLD
    truth_number = np.unique(c.truth_track, return_inverse=True)[1]
    number = np.unique(c.track, return_inverse=True)[1]
    overlap = np.zeros((truth_number.max(initial=-1) + 1, number.max(initial=-1) + 1))
    np.add.at(overlap, (truth_number[c.truth_row[good]], number[c.row[good]]), 1)
    agreed = float(overlap[best_pairs(overlap)].sum())
    n_truth, n = len(c.truth_frame), len(c.frame)
    return {"IDF1": agreed / max(0.5 * (n_truth + n), 1), "IDP": agreed / max(n, 1), "IDR": agreed / max(n_truth, 1)}


def _clear(c: Comparison) -> dict[str, float]:
    """Bernardin and Stiefelhagen 2008, at similarity 0.5."""
    frames, match_frame, rows = _clear_matches(c)
    truth_track, track = c.truth_track[c.truth_row[rows]], c.track[c.row[rows]]
    order = np.lexsort((match_frame, truth_track))
    same = np.diff(truth_track[order]) == 0
    # counted in frames with something on both sides: empty frames do not interrupt (TrackEval)
    step = np.diff(np.searchsorted(frames, match_frame[order]))
    switches = int((same & (np.diff(track[order]) != 0)).sum())
    n, n_truth, n_predicted = len(rows), len(c.truth_frame), len(c.frame)
    return {
        "MOTA": (n - (n_predicted - n) - switches) / n_truth if n_truth and n_predicted else 0.0,
        "MOTP": float(c.similarity[rows].sum()) / max(n, 1),
        "recall": n / max(n_truth, 1),
        "precision": n / max(n_predicted, 1),
        "matches": float(n),
        "misses": float(n_truth - n),
        "false_positives": float(n_predicted - n),
        "switches": float(switches),
        "fragmentations": float((same & (step > 1)).sum()),
    }


def clear_pairs(c: Comparison) -> tuple[Int64[ndarray, "Q"], Int64[ndarray, "Q"], Int64[ndarray, "Q"]]:
    """Frame, row of truth and row of prediction of every match that CLEAR counts."""
    _, frame, pairs = _clear_matches(c)
    return frame, c.truth_row[pairs], c.row[pairs]


def _clear_matches(c: Comparison) -> tuple[Int64[ndarray, "F"], Int64[ndarray, "Q"], Int64[ndarray, "Q"]]:
    """Frames with both truth and prediction; frame and pair number of each match."""
    frames = np.asarray(np.intersect1d(c.truth_frame, c.frame), np.int64)
    good = np.flatnonzero(c.similarity >= THRESHOLD - EPS)
    i, j, similarity = c.truth_row[good], c.row[good], c.similarity[good]
    pair_frame = c.truth_frame[i]
    truth_number = np.unique(c.truth_track, return_inverse=True)[1]
    number = np.unique(c.track, return_inverse=True)[1]
    before = np.full(truth_number.max(initial=-1) + 1, -1)
    chosen = np.ones(len(good), bool)
    crowded = np.unique(pair_frame[_crowded(i, j)])
    previous = frames[np.maximum(np.searchsorted(frames, crowded) - 1, 0)]
    for frame, frame_before in zip(crowded.tolist(), previous.tolist(), strict=True):
        here, last = _rows_of(pair_frame, frame), _rows_of(pair_frame, frame_before)
        going = chosen[last] & (last.start < here.start)
        past = np.flatnonzero(going) + last.start
        before[truth_number[i[past]]] = number[j[past]]
        # a match that goes on outweighs any sum of similarities
        going_on = before[truth_number[i[here]]] == number[j[here]]
        chosen[here] = _assign_frame(c.truth_frame, c.frame, i[here], j[here], similarity[here] + 1000 * going_on)
        before[truth_number[i[past]]] = -1
    return frames, pair_frame[chosen], good[chosen]


def _assign(
    truth_frame: Int64[ndarray, "M"], frame: Int64[ndarray, "N"],
    i: Int64[ndarray, "Q"], j: Int64[ndarray, "Q"], weight: Float[ndarray, "Q"],
) -> Bool[ndarray, "Q"]:  # fmt: skip
    """Per frame the one-to-one choice of pairs with the largest total weight (> 0).

    Where each true animal has one best partner of its own, that is the answer; the other frames are solved one by one.
    """
    best = np.zeros(len(truth_frame))
    np.maximum.at(best, i, weight)
    chosen = weight == best[i]
    pair_frame = truth_frame[i]
    unclear = np.unique(pair_frame[chosen][_crowded(i[chosen], j[chosen])])
    start, stop = np.searchsorted(pair_frame, unclear, "left"), np.searchsorted(pair_frame, unclear, "right")
    for low, high in zip(start.tolist(), stop.tolist(), strict=True):
        here = slice(low, high)
        chosen[here] = _assign_frame(truth_frame, frame, i[here], j[here], weight[here])
    return chosen


def _assign_frame(
    truth_frame: Int64[ndarray, "M"], frame: Int64[ndarray, "N"],
    i: Int64[ndarray, "Q"], j: Int64[ndarray, "Q"], weight: Float[ndarray, "Q"],
) -> Bool[ndarray, "Q"]:  # fmt: skip
    """The choice for the pairs of one frame.

    The matrix has all rows of the frame, not only those in pairs, so that ties fall as they do in TrackEval.
    """
    now = int(truth_frame[i[0]])
    a, b = _rows_of(truth_frame, now), _rows_of(frame, now)
    matrix = np.zeros((a.stop - a.start, b.stop - b.start))
    matrix[i - a.start, j - b.start] = weight
    taken = np.zeros(matrix.shape, bool)
    taken[best_pairs(matrix)] = True
    return taken[i - a.start, j - b.start]


def _rows_of(frames: Int64[ndarray, "N"], frame: int) -> slice:
    """The rows of one frame in a sorted frame column."""
    return slice(int(np.searchsorted(frames, frame)), int(np.searchsorted(frames, frame + 1)))


def _crowded(i: Int64[ndarray, "Q"], j: Int64[ndarray, "Q"]) -> Bool[ndarray, "Q"]:
    """Pairs of which a partner is in another pair, too."""
    return (np.bincount(i)[i] > 1) | (np.bincount(j)[j] > 1)


def _track_pairs(c: Comparison) -> tuple[Int64[ndarray, "Q"], Int64[ndarray, "P"], Int64[ndarray, "P"]]:
    """Number of the pair of tracks of each pair of rows; rows of the true and of the predicted track per number."""
    _, truth_number, truth_size = np.unique(c.truth_track, return_inverse=True, return_counts=True)
    _, number, size = np.unique(c.track, return_inverse=True, return_counts=True)
    code, pair = np.unique(truth_number[c.truth_row] * len(size) + number[c.row], return_inverse=True)
    return pair, truth_size[code // len(size)], size[code % len(size)]


def _by_track(tracks: Tracks) -> Tracks:
    """Rows sorted by (frame, track), so that the order within a frame never matters."""
    return select(tracks, np.lexsort((tracks.track, tracks.poses.frame)))
