"""Who was thought to be who, when, and how sure: true animals against the tracks of a run, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.io.artifacts import load_table
from shoal.run.clips import certainty
from shoal.run.folder import each_span, read_config
from shoal.run.plots import MAX_ROWS, blank_figure, color_rgb, save_figure, track_name
from shoal.stages.swaps import Follows, Switches
from shoal.types import DECISION_KINDS, Decisions, Tracks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JUDGED = ("cut", "join")
DOUBTFUL = 0.99  # decisions that are surer are not drawn
TITLE = "track that follows each animal (grey: none; x swap, | another track; lines below: doubtful decisions)"
MAX_DOUBTS = 3000  # the least certain, drawn


def read_doubts(run_dir: Path) -> tuple[Int64[ndarray, "N"], Int64[ndarray, "N"], Float64[ndarray, "N"]]:
    """Frame, track and certainty (0-1) of a run's doubtful cuts and joins, the least certain ones; none in old runs."""
    path = run_dir / "decisions.npz"
    none = np.zeros(0, np.int64)
    if not path.is_file():
        return none, none, np.zeros(0)
    decisions, config = load_table(path, Decisions), read_config(run_dir).stitch
    sure = np.clip(certainty(decisions, config), 0, 1)
    rows = np.flatnonzero(np.isin(decisions.kind, [DECISION_KINDS.index(k) for k in JUDGED]) & (sure < DOUBTFUL))
    rows = np.sort(rows[np.argsort(sure[rows], kind="stable")[:MAX_DOUBTS]])
    number = _track_of_tracklets(run_dir)
    ends = np.stack([decisions.target[rows], decisions.source[rows]])
    ends = np.where((ends >= 0) & (ends < len(number)), ends, -1)
    track = np.where(ends >= 0, np.r_[number, -1][ends], -1)
    chosen = np.where(track[0] >= 0, track[0], track[1])
    return decisions.frame[rows], chosen, sure[rows]


def _track_of_tracklets(run_dir: Path) -> Int64[ndarray, "T"]:
    number = np.zeros(0, np.int64)
    for tracklets, tracks in zip(each_span(run_dir, kind="tracklets"), each_span(run_dir), strict=True):
        more = max(tracklets.n_tracks - len(number), 0)
        number = np.r_[number, np.full(more, -1)]
        known = tracklets.track >= 0
        number[tracklets.track[known]] = tracks.track[known]
    return number


def plot_identities(
    path: Path,
    follows: Follows,
    switches: Switches,
    names: tuple[Sequence[str], Sequence[str]],
    *,
    truth: Tracks,
    fps: float,
    doubts: tuple[ndarray, ndarray, ndarray] | None = None,
) -> Path:
    """One row per true animal, in the colour of the track that follows it.

    Crosses: it is another track from here on, and that or the old one follows another animal as well (a swap); bars: it
    is another track. Below each row a line per doubtful decision about the track that follows it, longer = less sure.

    Args:
        path: of the picture.
        follows: from ``follow_animals``.
        switches: from ``follow_animals``.
        names: of the true animals and of the tracks, by number.
        truth: the animals.
        fps: frames per second.
        doubts: from ``read_doubts``.
    """
    return save_figure(_draw(follows, switches, names, truth, fps, doubts), path)


def _draw(
    follows: Follows, switches: Switches, names: tuple[Sequence[str], Sequence[str]], truth: Tracks, fps: float,
    doubts: tuple[ndarray, ndarray, ndarray] | None,
) -> Figure:  # fmt: skip
    animals = np.unique(truth.track[truth.track >= 0])[:MAX_ROWS]
    figure = blank_figure(11, 1.5 + 0.42 * max(len(animals), 1))
    axis = figure.subplots()
    for row, animal in enumerate(animals.tolist()):
        there = truth.poses.frame[truth.track == animal]
        axis.broken_barh(_bars(there, fps), (row - 0.32, 0.5), facecolor="0.88")
        mine = np.flatnonzero(follows.animal == animal)
        for i in mine.tolist():
            bar = (follows.first[i] / fps, (follows.last[i] - follows.first[i] + 1) / fps)
            axis.broken_barh([bar], (row - 0.32, 0.5), facecolor=color_rgb(int(follows.track[i])))
        changes = switches.animal == animal
        for style, wanted in (("x", switches.is_swap), ("|", ~switches.is_swap)):
            at = switches.frame[changes & wanted] / fps
            axis.plot(at, np.full(len(at), row - 0.07), style, color="black", markersize=7, markeredgewidth=1.4)
        if doubts is not None:
            _draw_doubts(axis, row, follows, mine, doubts, fps)
    for track in np.unique(follows.track).tolist()[:20]:
        axis.plot([], [], color=color_rgb(track), linewidth=6, label=track_name(names[1], track))
    axis.set_yticks(range(len(animals)), [track_name(names[0], animal) for animal in animals.tolist()])
    axis.set(xlim=(truth.span[0] / fps, truth.span[1] / fps), ylim=(max(len(animals), 1) - 0.4, -0.6), xlabel="seconds")
    axis.set_title(TITLE, fontsize=9)
    if len(follows.track):
        figure.legend(fontsize=7, loc="outside right upper", title="track", title_fontsize=7)
    return figure


def _draw_doubts(
    axis: Any, row: int, follows: Follows, mine: ndarray, doubts: tuple[ndarray, ndarray, ndarray], fps: float
) -> None:
    """A line below the row for each doubtful decision about a track while it followed this animal."""
    frame, track, sure = doubts
    for i in mine.tolist():
        here = (track == follows.track[i]) & (frame >= follows.first[i]) & (frame <= follows.last[i] + 1)
        if here.any():
            axis.vlines(frame[here] / fps, row + 0.2, row + 0.2 + 0.3 * (1 - sure[here]), color="0.15", linewidth=0.9)


def _bars(frames: ndarray, fps: float) -> list[tuple[float, float]]:
    cuts = np.flatnonzero(np.diff(frames) > 1)
    first, last = frames[np.r_[0, cuts + 1]], frames[np.r_[cuts, len(frames) - 1]]
    return [(a / fps, (b - a + 1) / fps) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
