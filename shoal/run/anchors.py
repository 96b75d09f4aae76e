"""Words of a person -> the animal rows that an edit is about: ``120:fish3`` is what is called fish3 there now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import InputError
from shoal.run.edits import ROWS, centre_of, check_edit, read_names
from shoal.run.folder import each_span, plan_spans, read_tracks
from shoal.types import EDIT_KINDS, Edit, Tracks, select

Place = tuple[tuple[int, int], tuple[float, float]]
"""(frame, item) of a row, and its centre."""

HOW = {
    "same": "same FRAME:ANIMAL FRAME:ANIMAL", "different": "different FRAME:ANIMAL FRAME:ANIMAL",
    "name": "name FRAME:ANIMAL NAME", "move": "move FRAME:ANIMAL ANIMAL", "remove": "remove FRAME:ANIMAL [--whole]",
}  # fmt: skip


def make_edit(run_dir: Path, kind: str, words: Sequence[str], *, whole: bool = False, author: str = "") -> Edit:
    """An edit from words: animals are named as results name them now, but the edit holds their rows.

    Args:
        run_dir: a tracked run folder.
        kind: of ``EDIT_KINDS``.
        words: ``FRAME:ANIMAL`` each, where ANIMAL is a name or ``item3``; then the new name of ``name``. ``move`` takes
            the animal that it goes to as a name or as FRAME:ANIMAL.
        whole: of ``remove``: all rows of its tracklet, as it is now.
        author: empty = the user of this machine.

    Raises:
        InputError: words that mean nothing here.
        ArtifactError: not tracked yet.
    """
    if kind not in EDIT_KINDS:
        raise InputError(f"expected {', '.join(EDIT_KINDS)}, got '{kind}'")
    n = 1 if kind == "remove" else 2
    if len(words) != n or (whole and kind != "remove"):
        raise InputError(
            f"expected {HOW[kind]}, got {kind} {' '.join(words)}{' --whole' * whole}",
            hint="e.g. 120:fish3, or 120:item2 for an animal without a name (`shoal edit RUN show 120` lists them)",
        )
    first, tracks = _row(run_dir, words[0])
    value = words[1].strip() if kind == "name" else ""
    places = [first]
    if kind == "move":
        places += _move(run_dir, first, tracks, words[1])
    elif kind == "remove" and whole:
        places = _tracklet(run_dir, first)
    elif ROWS[kind][0] == 2:
        places.append(_row(run_dir, words[1])[0])
    rows, xy = zip(*places, strict=True)
    return check_edit(Edit(kind, tuple(rows), value, author, xy=tuple(xy)))


def show_frame(run_dir: Path, frame: int) -> list[dict[str, Any]]:
    """Every animal row of a frame: its item, the name of its track (empty = in none), where it is, px.

    Raises:
        InputError: the run has no such frame.
    """
    tracks, names = _frame(run_dir, frame), read_names(run_dir)
    found = [centre_of(xy) for xy in tracks.poses.xy]
    called = [names[t] if 0 <= t < len(names) else f"track {t}" if t >= 0 else "" for t in tracks.track.tolist()]
    items = tracks.poses.item.tolist()
    return [
        {"frame": frame, "item": item, "name": name, "x": round(x, 1), "y": round(y, 1)}
        for item, name, (x, y) in zip(items, called, found, strict=True)
    ]


def _frame(run_dir: Path, frame: int) -> Tracks:
    spans = plan_spans(run_dir)
    if not any(start <= frame < stop for start, stop in spans):
        raise InputError(f"expected a frame of {spans[0][0]}-{spans[-1][1] - 1}, got {frame}\nwhere: {run_dir}")
    tracks = read_tracks(run_dir, start=frame, stop=frame + 1)
    return select(tracks, tracks.poses.frame == frame)


def _row(run_dir: Path, word: str) -> tuple[Place, Tracks]:
    """The row that ``FRAME:ANIMAL`` means, and its frame."""
    text, _, animal = word.partition(":")
    if not text.isdecimal() or not animal:
        raise InputError(f"expected FRAME:ANIMAL, got '{word}'", hint="e.g. 120:fish3 or 120:item2")
    tracks, names = _frame(run_dir, int(text)), read_names(run_dir)
    item = animal.removeprefix("item")
    if animal in names:
        rows = np.flatnonzero(tracks.track == names.index(animal))
    elif item.isdecimal():
        rows = np.flatnonzero(tracks.poses.item == int(item))
    else:
        raise InputError(f"expected an animal of {', '.join(names)}, or item0, item1, ..., got '{animal}'")
    if not len(rows):
        there = ", ".join(f"{row['name'] or 'no track'} (item{row['item']})" for row in show_frame(run_dir, int(text)))
        raise InputError(f"expected an animal of frame {text} ({there or 'it has none'}), got '{animal}'")
    return _place(tracks, int(rows[0])), tracks


def _place(tracks: Tracks, row: int) -> Place:
    poses = tracks.poses
    return (int(poses.frame[row]), int(poses.item[row])), centre_of(poses.xy[row])


def _move(run_dir: Path, moved: Place, tracks: Tracks, to: str) -> list[Place]:
    """The row that a moved one goes to, and the one that it goes away from, if there is one."""
    frame, item = moved[0]
    own = int(tracks.track[tracks.poses.item == item][0])
    names = read_names(run_dir)
    if to in names:
        number = names.index(to)
        goal = _nearest(run_dir, number, frame, back=True) or _nearest(run_dir, number, frame, back=False)
    else:
        goal, there = _row(run_dir, to)
        number = int(there.track[there.poses.item == goal[0][1]][0])
    if goal is None:
        raise InputError(f"expected an animal that is seen outside frame {frame}, got '{to}', which is in no other")
    if number == own >= 0:
        raise InputError(f"expected another animal than the row is of already, got '{to}'")
    before = _nearest(run_dir, own, frame, back=True) if own >= 0 else None
    return [goal, *([before] if before else [])]


def _nearest(run_dir: Path, track: int, frame: int, *, back: bool) -> Place | None:
    """The last row of a track before a frame, or the first one after it."""
    spans = plan_spans(run_dir)
    for start, stop in reversed(spans) if back else spans:
        if start < frame if back else stop > frame + 1:
            tracks = read_tracks(run_dir, start=start, stop=stop)
            at = tracks.poses.frame
            rows = np.flatnonzero((tracks.track == track) & ((at < frame) if back else (at > frame)))
            if len(rows):
                return _place(tracks, int(rows[-1 if back else 0]))
    return None


def _tracklet(run_dir: Path, place: Place) -> list[Place]:
    """All rows of the tracklet of a row."""
    (frame, item), _ = place
    tracklets = read_tracks(run_dir, kind="tracklets", start=frame, stop=frame + 1)
    mine = (tracklets.poses.frame == frame) & (tracklets.poses.item == item)
    number = int(tracklets.track[mine][0])
    if number < 0:
        return [place]
    return [
        _place(part, int(row))
        for part in each_span(run_dir, kind="tracklets")
        for row in np.flatnonzero(part.track == number)
    ]
