"""How far runs are: what is done, who works on it, what is missing, and how long that will take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.errors import InputError, ShoalError
from shoal.io.artifacts import is_done, read_entry
from shoal.io.video import probe
from shoal.run.folder import find_folder, folders_of, open_folder, plan_spans, read_card, read_config, read_part
from shoal.run.kinds import track_prints
from shoal.run.plan import Part, adjoining, looked_at, missing
from shoal.run.predict import fingerprints
from shoal.run.running import look
from shoal.types import Span

Row = dict[str, Any]


def status(paths: Sequence[Path]) -> list[Row]:
    """How far runs are: one row per run folder found in ``paths`` and their subfolders.

    Rows have ``run``, ``state`` (``unfinished``, ``analyzed``, ``tracked``, ``damaged``), ``frames``, ``bad_frames``
    and, unless damaged, ``chunks``, ``chunks_done``, ``frames_done``, ``missing`` (ranges of frames), ``running`` (who
    works on it), ``died`` (how many processes were killed there), ``seconds`` (spent on the network), ``seconds_left``
    (None = not known), ``tracks``.

    Raises:
        InputError: nothing at a path.
    """
    folders: list[Path] = []
    for path in map(Path, paths):
        if path.is_file():
            folders += folders_of(info := probe(path)) or [find_folder(info)]
        elif (path / "video.json").is_file():
            folders.append(path)
        elif path.is_dir():
            folders += sorted(found.parent for found in path.rglob("video.json"))
        else:
            raise InputError(f"expected a run folder or a folder that holds some, found nothing\nwhere: {path}")
    return [_status(folder) for folder in dict.fromkeys(folders)]


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
        prints = fingerprints(about["identity"], card, config, part)
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
    is_tracked = not left and is_done(run_dir, "stitch", track_prints(config, prints.assemble)[-1])
    row["state"] = "unfinished" if left else "tracked" if is_tracked else "analyzed"
    if is_tracked and (entry := read_entry(run_dir, "stitch")):
        row["tracks"] = entry["counts"]["tracks"]
    return row


def _n_frames(some_spans: Sequence[Span], part: Part) -> int:
    """Frames that are looked at: of a part of a video, every so many."""
    return sum(len(looked_at(part, span)) for span in some_spans)
