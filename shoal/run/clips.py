"""Short clips of a run: around given frames and times, or where it is least certain who is who."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from shoal.config.render import RenderConfig
from shoal.config.stitch import StitchConfig
from shoal.errors import InputError
from shoal.io.artifacts import load_table
from shoal.io.canvas import Canvas
from shoal.io.overlay import Draw, ring_drawer
from shoal.io.video import VideoInfo, frame_at
from shoal.run.folder import base_name, find_video, read_config, read_part, read_tracks
from shoal.run.plan import looked_at
from shoal.run.render import draw_video, file_ending, run_drawer, time_of
from shoal.types import DECISION_KINDS, DECISION_REASONS, Decisions, OnProgress, Span, no_progress, select

WORST = 5
"""Clips of ``worst`` without a number."""

JUDGED = ("cut", "join")
"""Decisions that may be wrong about who is who; where a track starts or ends is looked at after these."""


@dataclass(frozen=True)
class Moment:
    """What a clip is made around.

    Attributes:
        frame: its middle.
        note: why; empty = somebody asked for it.
        tracklets: those it is about; empty = none in particular.
    """

    frame: int
    note: str = ""
    tracklets: tuple[int, ...] = ()


@dataclass(frozen=True)
class Clips:
    """Which clips.

    Attributes:
        at: frames and times, ``1200,90s,0:02:30``, and ``worst`` or ``worst:8`` for the least certain decisions.
        around_s: seconds shown before and after.
        is_joined: all moments one after the other in one file, in order of time.
    """

    at: str
    around_s: float = 2.0
    is_joined: bool = False


def render_clips(
    run_dir: Path,
    clips: Clips,
    *,
    config: RenderConfig | None = None,
    video: Path | None = None,
    dest: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> list[Path]:
    """Make ``<stem>_<first>-<last>_labeled.mp4`` for each moment, with frame number, time and reason burned in.

    With ``clips.is_joined`` one file, ``<stem>_clips_labeled.mp4``.

    Args:
        run_dir: a tracked run folder.
        clips: which.
        config: look and encoding; None = the folder's own.
        video: where the video is now, if it moved.
        dest: folder of the files; None = ``export/`` of the run folder.
        on_progress: called with ("render", frames done, frames).

    Returns:
        The files, in the order asked for, the least certain first; none if there is nothing uncertain.

    Raises:
        InputError: ``clips.at`` cannot be read, or lies outside the video.
        VideoError: the video is not found.
        ArtifactError: not tracked yet.
    """
    run_dir = Path(run_dir)
    config = (config or read_config(run_dir).render).model_copy(update={"clock": True})
    info = find_video(run_dir, video)
    reach = round(clips.around_s * float(info.fps))
    moments = find_moments(run_dir, clips.at, info, reach)
    part = read_part(run_dir)
    spans = [(max(part.start, m.frame - reach), min(part.stop, m.frame + reach + 1)) for m in moments]
    stem = str(Path(dest or run_dir / "export") / base_name(run_dir))
    digits, ending = len(str(info.n_frames)), file_ending(config)
    if clips.is_joined:
        jobs = {Path(f"{stem}_clips_{ending}.mp4"): list(range(len(moments)))} if moments else {}
    else:
        names = (f"{stem}_{a:0{digits}d}-{b - 1:0{digits}d}_{ending}.mp4" for a, b in spans)
        jobs = {Path(name): [i] for i, name in enumerate(names)}
    frames = {target: sorted({f for i in chosen for f in looked_at(part, spans[i])}) for target, chosen in jobs.items()}
    draw = run_drawer(run_dir, config, info)
    done, total = 0, sum(map(len, frames.values()))
    for target, chosen in jobs.items():
        about = [(spans[i], moments[i]) for i in chosen]

        def note(frame: int, about: list[tuple[Span, Moment]] = about) -> str:
            return "; ".join(moment.note for (a, b), moment in about if a <= frame < b and moment.note)

        def count(stage: str, here: int, _: int | None, before: int = done) -> None:
            on_progress(stage, before + here, total)

        marked = _marked(run_dir, about, draw, (info.width, info.height), config.min_confidence)
        draw_video(info, target, marked, config, frames=frames[target], notes=note, on_progress=count)
        done += len(frames[target])
    return list(jobs)


def find_moments(run_dir: Path, at: str, info: VideoInfo, reach: int) -> list[Moment]:
    """What ``at`` means.

    Raises:
        InputError: it means nothing.
    """
    found: list[Moment] = []
    for word in filter(None, (part.strip() for part in at.split(","))):
        name, _, number = word.partition(":")
        if name == "worst":
            if number and not (number.isdigit() and int(number)):
                raise InputError(f"expected worst:N with N from 1 on, got {word}")
            decisions = load_table(Path(run_dir) / "decisions.npz", Decisions)
            count = int(number) if number else WORST
            found += worst_moments(decisions, count, apart=2 * reach + 1, config=read_config(run_dir).stitch)
        else:
            found.append(Moment(_frame_at(word, info)))
    part = read_part(run_dir)
    outside = [m.frame for m in found if not part.start <= m.frame < part.stop]
    if outside:
        raise InputError(f"expected moments within frames {part.start}-{part.stop}, got {outside}\nwhere: {run_dir}")
    if not found and not at.strip(", "):
        raise InputError("expected frames, times or worst, got nothing", hint="e.g. 1200,90s,0:02:30 or worst:5")
    return found


def _frame_at(word: str, info: VideoInfo) -> int:
    """``1200`` is a frame; ``90s``, ``2:30``, ``0:02:30`` are times from the first frame on."""
    hint = f"frames are 0-{info.n_frames - 1}, times 0s-{float(time_of(info, info.n_frames - 1)):.2f}s"
    try:
        frame = frame_at(info, int(word) if word.isdecimal() else word)
    except ValueError as error:
        raise InputError(f"{error}, or worst, got {word}", hint=hint) from error
    if frame >= info.n_frames:
        raise InputError(f"expected a moment of the video, got {word}\nwhere: {info.path}", hint=hint)
    return frame


def worst_moments(decisions: Decisions, count: int, *, apart: int, config: StitchConfig) -> list[Moment]:
    """The least certain decisions, no two of them within ``apart`` frames.

    >>> worst_moments(Decisions.empty((0, 10)), 3, apart=5, config=StitchConfig())
    []
    """
    taken: list[int] = []
    for row in np.argsort(certainty(decisions, config), kind="stable").tolist():
        if len(taken) == count:
            break
        if all(abs(int(decisions.frame[row] - decisions.frame[other])) >= apart for other in taken):
            taken.append(row)
    return [_moment(decisions, row, config) for row in taken]


def certainty(decisions: Decisions, config: StitchConfig) -> Float64[ndarray, "N"]:
    """How clear each decision was: 0 = as well the other way, 1 = clear; below 0 = forced against the odds.

    Its probability; decisions without one then come last. Where no decision has one (runs of former versions) it is the
    margin, and for a join without that how much cheaper it was than to let one track end and another begin, as a share
    of that. Starts, ends and leftovers come last.
    """
    judged = np.isin(decisions.kind, [DECISION_KINDS.index(kind) for kind in JUDGED])
    sure = np.where(judged, decisions.probability.astype(np.float64), np.nan)
    if (sure < 1).any():  # 1 is what edits say
        return np.where(np.isfinite(sure), sure, np.inf)
    new = 2 * config.appear_cost
    by_cost = (new - decisions.cost.astype(np.float64)) / new if new else -decisions.cost.astype(np.float64)
    found = np.where(np.isfinite(decisions.margin), decisions.margin, by_cost)
    return np.where(judged & np.isfinite(found), found, np.inf)


def _moment(decisions: Decisions, row: int, config: StitchConfig) -> Moment:
    kind, reason = DECISION_KINDS[decisions.kind[row]], DECISION_REASONS[decisions.reason[row]]
    note = f"{kind} at {decisions.frame[row]}: {reason}"
    if decisions.gap[row]:
        note += f", unseen for {decisions.gap[row]} frames" if decisions.gap[row] > 1 else ", unseen for a frame"
    if np.isfinite(decisions.probability[row]):
        note += f", probability {decisions.probability[row]:.2f}"
    elif np.isfinite(decisions.margin[row]):
        note += f", margin {decisions.margin[row]:.2f}"
    elif np.isfinite(decisions.cost[row]):
        note += f", cost {decisions.cost[row]:.1f}"
    ends = (int(decisions.source[row]), int(decisions.target[row]))
    return Moment(int(decisions.frame[row]), note, tuple(t for t in ends if t >= 0))


def _marked(run_dir: Path, about: list[tuple[Span, Moment]], draw: Draw, size: tuple[int, int], least: float) -> Draw:
    """``draw``, and rings around the animals that the moments are about: their keypoints of ``least`` confidence."""
    rings: list[tuple[Span, Draw]] = []
    for span, moment in about:
        if moment.tracklets:
            tracklets = read_tracks(run_dir, kind="tracklets", start=span[0], stop=span[1])
            rows = np.isin(tracklets.track, moment.tracklets)
            poses = select(tracklets.poses, rows)
            xy = np.where((poses.confidence >= least)[..., None], poses.xy, np.nan)
            rings.append((span, ring_drawer(poses.frame, xy, size)))

    def both(canvas: Canvas, frame: int) -> None:
        draw(canvas, frame)
        for (start, stop), ring in rings:
            if start <= frame < stop:
                ring(canvas, frame)

    return both
