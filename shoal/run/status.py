"""How far runs are: what is done, who works on it, what is missing, and how long that will take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import Any

from shoal.errors import InputError, ShoalError
from shoal.io.artifacts import is_done, read_entry
from shoal.io.dlc.config_file import read_config as read_dlc_config
from shoal.io.dlc.pose_table import split_path
from shoal.io.dlc.project import find_videos
from shoal.io.video import probe, promised_frames
from shoal.run.edits import edits_print
from shoal.run.folder import SUFFIX, folders_of, open_folder, plan_spans, read_card, read_config, read_part
from shoal.run.kinds import track_prints
from shoal.run.plan import Part, adjoining, looked_at, missing
from shoal.run.predict import fingerprints
from shoal.run.running import look
from shoal.run.videos import videos_in
from shoal.types import Span

Row = dict[str, Any]


def status(paths: Sequence[Path]) -> list[Row]:
    """How far runs are: one row per run folder, and one per video that has none.

    Rows have ``run`` (a video without a run: itself), ``state`` (``unfinished``, ``analyzed``, ``tracked``,
    ``damaged``, ``not begun``, ``no file``), ``frames`` (by its header if not begun), ``bad_frames`` and, of runs that
    are not damaged, ``chunks``, ``chunks_done``, ``frames_done``, ``missing`` (ranges of frames), ``running`` (who
    works on it), ``died`` (how many processes were killed there), ``seconds`` (spent on the network), ``seconds_left``
    (None = not known), ``tracks``, and of tracked runs ``swaps`` and ``swaps_per_hour``: identity swaps to be expected
    and the limits of their 90 % interval.

    Args:
        paths: run folders; videos; projects (their folder or config.yaml), which stand for the videos in video_sets;
            folders, which stand for the runs and videos in them and below.

    Raises:
        InputError: nothing at a path.
        ProjectError: a config.yaml that is none of DeepLabCut's.
    """
    folders: list[Path] = []
    videos: list[Path] = []
    absent: list[Path] = []
    for path in map(Path, paths):
        config = path if path.name == "config.yaml" else path / "config.yaml"
        if (path / "video.json").is_file():
            folders.append(path)
        elif config.is_file():
            project = read_dlc_config(config)
            found = find_videos(project)
            videos += found
            folders += [*_runs_below(config.parent), *(run for video in found for run in _runs_beside(video))]
            names = {video.name for video in found}
            absent += [Path(video) for video in project.videos if split_path(video)[-1:][0] not in names]
        elif path.is_dir():
            folders += _runs_below(path)
            videos += sorted(videos_in(path, True))
        elif path.is_file():
            folders += folders_of(probe(path))
            videos.append(path)
        else:
            raise InputError(f"expected a project, videos or run folders, found nothing\nwhere: {path}")
    rows = [_status(folder) for folder in dict.fromkeys(folder.resolve() for folder in folders)]
    begun = {place for row in rows for place in _videos_of(Path(row["run"]))}
    rows += [_not_begun(video) for video in dict.fromkeys(videos) if video.resolve() not in begun]
    return rows + [{"run": str(video), "state": "no file", "frames": 0, "bad_frames": 0} for video in absent]


def _runs_below(folder: Path) -> list[Path]:
    return sorted(found.parent for found in folder.rglob("video.json"))


def _runs_beside(video: Path) -> list[Path]:
    """Run folders beside a video that name it, of all of it or of parts; the video is not read."""
    found = sorted(video.parent.glob(f"{escape(video.stem)}*{SUFFIX}/video.json"))
    return [file.parent for file in found if video.resolve() in _videos_of(file.parent)]


def _videos_of(run_dir: Path) -> set[Path]:
    """Where the video of a run was, and where it would be if both were moved."""
    recorded = Path(open_folder(run_dir)["path"])
    return {recorded.resolve(), (run_dir.parent / recorded.name).resolve()}


def _not_begun(video: Path) -> Row:
    row: Row = {"run": str(video), "bad_frames": 0}
    try:
        frames = promised_frames(video)
    except ShoalError as error:
        return row | {"state": "damaged", "frames": 0, "why": error.message}
    return row | {
        "state": "not begun", "frames": frames, "frames_done": 0, "seconds": 0.0, "seconds_left": None, "running": [],
    }  # fmt: skip


def total(rows: Sequence[Row]) -> Row:
    """Sums over runs; runs that have not been timed yet are taken to be as fast as the others."""
    sums: Row = {
        name: sum(row.get(name, 0) for row in rows)
        for name in ("frames", "frames_done", "bad_frames", "chunks", "chunks_done", "tracks")
    }
    timed = [row for row in rows if row.get("seconds_left") is not None and row["frames_done"]]
    known = sum(row["seconds_left"] for row in timed)
    frames = sum(row["frames_done"] for row in timed)
    other = sum(row["frames"] - row.get("frames_done", 0) for row in rows if row not in timed)
    pace = sum(row["seconds"] for row in timed) / frames if frames else None
    left = known if not other else None if pace is None else known + other * pace
    states = [row["state"] for row in rows]
    return {
        "runs": len(rows), **sums, "running": sum(bool(row.get("running")) for row in rows),
        "states": {state: states.count(state) for state in dict.fromkeys(states)},
        "seconds_left": None if left is None else round(left, 1),
    }  # fmt: skip


def _status(run_dir: Path) -> Row:
    about = open_folder(run_dir)
    row: Row = {"run": str(run_dir), "frames": about["n_frames"], "bad_frames": len(about["bad_frames"])}
    try:
        card, config, all_spans = read_card(run_dir), read_config(run_dir), plan_spans(run_dir)
        part = read_part(run_dir)
        prints, edited = fingerprints(about["identity"], card, config, part), edits_print(run_dir)
    except ShoalError as error:
        return row | {"state": "damaged", "why": error.message}
    left = missing(all_spans, lambda span: is_done(run_dir, "assemble", prints.assemble, span))
    alive, dead = look(run_dir)
    n_left = _n_frames(left, part)
    row |= {
        "frames": _n_frames(all_spans, part),
        "chunks": len(all_spans), "chunks_done": len(all_spans) - len(left),
        "frames_done": _n_frames(all_spans, part) - n_left, "died": len(dead),
        "missing": [[group[0][0], group[-1][1]] for group in adjoining(left)],
        "running": [
            {"stage": w.stage, "host": w.host, "pid": w.pid, "seconds": round(time.time() - w.began, 1)} for w in alive
        ],
    }  # fmt: skip
    timed = [(span, entry["seconds"]) for span in all_spans if (entry := read_entry(run_dir, "predict", span))]
    seconds, frames = sum(s for _, s in timed), _n_frames([span for span, _ in timed], part)
    row["seconds"] = round(seconds, 1)
    row["seconds_left"] = 0.0 if not left else round(n_left * seconds / frames, 1) if frames else None
    is_tracked = not left and is_done(run_dir, "stitch", track_prints(config, prints.assemble, edited)[-1])
    row["state"] = "unfinished" if left else "tracked" if is_tracked else "analyzed"
    if is_tracked and (entry := read_entry(run_dir, "stitch")):
        row["tracks"] = entry["counts"]["tracks"]
        row |= {name: entry["counts"][name] for name in ("swaps", "swaps_per_hour") if name in entry["counts"]}
    return row


def _n_frames(some_spans: Sequence[Span], part: Part) -> int:
    """Frames that are looked at: of a part of a video, every so many."""
    return sum(len(looked_at(part, span)) for span in some_spans)
