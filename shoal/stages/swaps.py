"""Where identity went wrong: every moment at which the track that follows an animal changes, and what happened there.

Matches are CLEAR's (``metrics_tracking``), so the number of rows is its number of switches.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (scipy comes without types)

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from shoal.stages.metrics_tracking import clear_pairs, compare_tracks
from shoal.types import Regions, Tracks, body_length, column

NEAR = 0.25  # body lengths between the nearest keypoints of two animals that cross
AROUND = 5  # frames before the loss and after the return that a crossing may lie


@dataclass(frozen=True, eq=False)
class Follows:
    """Which track follows which true animal. N rows: stretches in which both stay the same, by animal, then by time.

    Attributes:
        animal: (N,) true track.
        track: (N,) predicted track.
        first: (N,) first frame of the stretch.
        last: (N,) last frame.
        n: (N,) frames in which the animal was found.
    """

    animal: Int64[ndarray, "N"]
    track: Int64[ndarray, "N"]
    first: Int64[ndarray, "N"]
    last: Int64[ndarray, "N"]
    n: Int64[ndarray, "N"]

    def __post_init__(self) -> None:
        column(self, "animal", np.int64, None)
        for name in ("track", "first", "last", "n"):
            column(self, name, np.int64, len(self.animal))


@dataclass(frozen=True, eq=False)
class Switches:
    """Changes of the track that follows an animal. N rows, sorted by frame.

    Attributes:
        frame: (N,) first frame with the new track.
        lost: (N,) last frame with the old one.
        animal: (N,) true track.
        before: (N,) predicted track until ``lost``.
        after: (N,) predicted track from ``frame`` on.
        is_crossing: (N,) another animal was near between ``lost`` and ``frame``, or shortly before or after.
        is_swap: (N,) the new track had followed another animal, or the old one follows another animal later.
    """

    frame: Int64[ndarray, "N"]
    lost: Int64[ndarray, "N"]
    animal: Int64[ndarray, "N"]
    before: Int64[ndarray, "N"]
    after: Int64[ndarray, "N"]
    is_crossing: Bool[ndarray, "N"]
    is_swap: Bool[ndarray, "N"]

    def __post_init__(self) -> None:
        column(self, "frame", np.int64, None)
        for name in ("lost", "animal", "before", "after"):
            column(self, name, np.int64, len(self.frame))
        for name in ("is_crossing", "is_swap"):
            column(self, name, np.bool_, len(self.frame))

    def __len__(self) -> int:
        return len(self.frame)


def follow_animals(
    truth: Tracks, predicted: Tracks, *, ignore: Regions, length: float | None = None
) -> tuple[Follows, Switches]:
    """Who was taken for whom, and when that changed.

    Args:
        truth: tracks of the animals that are there.
        predicted: tracks to judge.
        ignore: as in ``score_tracks``.
        length: body length in px; None = the truth's.
    """
    length = body_length(truth.poses.xy) if length is None else length
    comparison, _ = compare_tracks(truth, predicted, ignore=ignore, length=length)
    frame, truth_row, row = clear_pairs(comparison)
    animal, track = comparison.truth_track[truth_row], comparison.track[row]
    order = np.lexsort((frame, animal))
    frame, animal, track = frame[order], animal[order], track[order]
    begins = np.flatnonzero(np.r_[True, (np.diff(animal) != 0) | (np.diff(track) != 0)][: len(frame)])
    ends = np.r_[begins[1:], len(frame)][: len(begins)] - 1
    follows = Follows(animal[begins], track[begins], frame[begins], frame[ends], ends - begins + 1)
    return follows, _switches(follows, truth, length)


def _switches(follows: Follows, truth: Tracks, length: float) -> Switches:
    """The ends of all stretches but each animal's last."""
    i = np.flatnonzero(np.diff(follows.animal) == 0) if len(follows.animal) > 1 else np.zeros(0, np.int64)
    i = i[np.argsort(follows.first[i + 1], kind="stable")]
    before, after, animal = follows.track[i], follows.track[i + 1], follows.animal[i]
    lost, frame = follows.last[i], follows.first[i + 1]
    others = follows.animal[None] != animal[:, None]
    taken = ((follows.track[None] == after[:, None]) & (follows.first[None] < frame[:, None]) & others).any(axis=1)
    given = ((follows.track[None] == before[:, None]) & (follows.last[None] > lost[:, None]) & others).any(axis=1)
    near = _near(truth, animal, lost - AROUND, frame + AROUND, NEAR * length)
    return Switches(frame, lost, animal, before, after, near, taken | given)


def _near(
    truth: Tracks, animal: Int64[ndarray, "N"], first: Int64[ndarray, "N"], last: Int64[ndarray, "N"], reach: float
) -> Bool[ndarray, "N"]:
    """Does any keypoint of another animal come within reach of the animal's between two frames?"""
    frame, xy = truth.poses.frame, truth.poses.xy.astype(np.float64)
    out = np.zeros(len(animal), np.bool_)
    for n in range(len(animal)):
        rows = slice(*np.searchsorted(frame, (first[n], last[n] + 1)).tolist())
        own = rows.start + np.flatnonzero(truth.track[rows] == animal[n])
        others = rows.start + np.flatnonzero((truth.track[rows] != animal[n]) & (truth.track[rows] >= 0))
        for row in own[:: max(1, len(own) // 50)]:
            here = others[frame[others] == frame[row]]
            gap = np.linalg.norm(xy[row][None, :, None] - xy[here][:, None], axis=-1)
            out[n] |= bool((gap < reach).any())
    return out


def animal_figures(truth: Tracks, follows: Follows, switches: Switches, *, fps: float) -> list[dict[str, float]]:
    """Per true animal, ascending: how long it was there and found, by how many tracks, when first taken for another.

    Returns:
        ``animal``, ``rows``, ``found`` (share of rows), ``tracks``, ``switches``, ``at_crossings``, ``swaps``,
        ``first_swap_s`` (from its first frame; NaN = never), ``longest_s`` (longest stretch with one track).
    """
    out: list[dict[str, float]] = []
    for animal in np.unique(truth.track[truth.track >= 0]).tolist():
        rows, own, changes = truth.track == animal, follows.animal == animal, switches.animal == animal
        swaps = changes & switches.is_swap
        begin = int(truth.poses.frame[rows][0])
        longest = float((follows.last - follows.first + 1)[own].max(initial=0)) / fps
        out.append({
            "animal": animal, "rows": int(rows.sum()), "found": float(follows.n[own].sum() / rows.sum()),
            "tracks": len(np.unique(follows.track[own])), "switches": int(changes.sum()),
            "at_crossings": int((changes & switches.is_crossing).sum()), "swaps": int(swaps.sum()),
            "first_swap_s": float(switches.frame[swaps][0] - begin) / fps if swaps.any() else float("nan"),
            "longest_s": longest,
        })  # fmt: skip
    return out


def switch_figures(truth: Tracks, switches: Switches, *, fps: float) -> dict[str, float]:
    """The same of all animals together.

    Returns:
        ``switches_at_crossings``, ``switches_elsewhere``, each also ``..._per_animal_hour``; ``swaps``,
        ``first_swap_s`` (of any animal, from the truth's first frame; NaN = never).
    """
    hours = float((truth.track >= 0).sum()) / fps / 3600
    at, n, swaps = int(switches.is_crossing.sum()), len(switches), switches.frame[switches.is_swap]
    rate: Float64[ndarray, "2"] = np.array([at, n - at]) / hours if hours else np.full(2, np.nan)
    return {
        "switches_at_crossings": float(at), "switches_elsewhere": float(n - at),
        "switches_at_crossings_per_animal_hour": float(rate[0]), "switches_elsewhere_per_animal_hour": float(rate[1]),
        "swaps": float(len(swaps)),
        "first_swap_s": float(swaps[0] - truth.span[0]) / fps if len(swaps) else float("nan"),
    }  # fmt: skip
