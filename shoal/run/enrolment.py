"""Animals of a tracked run made known to a gallery, by the names that they have there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from shoal.errors import InputError
from shoal.io.artifacts import read_entry, save_table
from shoal.io.dlc.results import name_tracks
from shoal.run.crops import complete_crops, each_crops, rows_of
from shoal.run.edits import read_names
from shoal.run.folder import open_folder, read_animals, read_card, read_config
from shoal.run.gallery import ABOUT, Enrolment, learn_gallery, list_gallery
from shoal.run.names import FEWEST, UNKNOWN
from shoal.stages.looks import shrink
from shoal.stages.sampling import thin_out
from shoal.types import OnProgress, no_progress

KEPT = 500  # crops of an animal and video


def enroll(
    run_dir: Path, gallery: Path, *, names: Mapping[str, str] | None = None, on_progress: OnProgress = no_progress
) -> dict[str, Any]:
    """Make the named animals of a tracked run known to a gallery; a video that was enrolled before is replaced.

    Args:
        run_dir: a tracked run folder. Crops are cut from its video where it has none.
        gallery: the folder; made if missing.
        names: of some tracks, by the name that they have in the run; the others keep theirs.
        on_progress: called with ("crops", ...) and ("enroll", ...).

    Returns:
        As ``list_gallery``, and ``left_out``: animals of which too little was seen.

    Raises:
        InputError: a name that no track has, no animal to enrol, or other keypoints than the gallery's.
        VideoError: the video, which crops are cut from, is not found.
    """
    run_dir, gallery = Path(run_dir), Path(gallery)
    about, card = open_folder(run_dir), read_card(run_dir)
    said = list_gallery(gallery) if (gallery / ABOUT).is_file() else None
    keypoints = list(card.skeleton.keypoints)
    if said is not None and said["keypoints"] != keypoints:
        raise InputError(
            f"expected the gallery's keypoints {', '.join(said['keypoints'])}, got {', '.join(keypoints)}"
            f"\nwhere: {gallery} and {run_dir}"
        )
    called = _called(run_dir, names or {})
    found, left_out = _enrolment(run_dir, called, on_progress)
    if len(found.names) < 1:
        raise InputError(
            f"expected an animal with at least {FEWEST} crops, got none\nwhere: {run_dir}",
            hint="crops need animals that are seen well; names are given by `shoal edit RUN name FRAME:ANIMAL NAME`",
        )
    gallery.mkdir(parents=True, exist_ok=True)
    entry = {
        "file": f"{Path(about['path']).stem}-{about['identity'][:8]}.npz", "video": Path(about["path"]).name,
        "identity": about["identity"], "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "crops": {name: int((found.animal == i).sum()) for i, name in enumerate(found.names)},
    }  # fmt: skip
    save_table(gallery / entry["file"], found)
    kept = [e for e in (said["enrolments"] if said else []) if e["identity"] != about["identity"]]
    return learn_gallery(gallery, keypoints, [*kept, entry], on_progress) | {"left_out": left_out}


def _called(run_dir: Path, names: Mapping[str, str]) -> dict[int, str]:
    """Name of each animal's track."""
    stitched = read_entry(run_dir, "stitch")
    n_tracks = stitched["counts"].get("tracks", 0) if stitched else 0
    now = name_tracks(read_names(run_dir), max(n_tracks, read_config(run_dir).stitch.n_animals))
    wrong = sorted(set(names) - set(now))
    if wrong:
        raise InputError(f"expected animals of the run ({', '.join(now)}), got {', '.join(wrong)}\nwhere: {run_dir}")
    called = {track: names.get(name, name) for track, name in enumerate(now)}
    called = {track: name for track, name in called.items() if not name.startswith(UNKNOWN)}
    if len(set(called.values())) < len(called):
        raise InputError(f"expected a name of its own for each animal, got {', '.join(called.values())}")
    return called


def _enrolment(run_dir: Path, called: Mapping[int, str], on_progress: OnProgress) -> tuple[Enrolment, list[str]]:
    """Small crops of the named tracks, as many as are kept; names of those with too few."""
    complete_crops(run_dir, read_config(run_dir).reid, on_progress=on_progress)
    tracks, frames, images = list[ndarray](), list[ndarray](), list[ndarray]()
    for crops in each_crops(run_dir):
        table = read_animals(run_dir, start=crops.span[0], stop=crops.span[1])
        track = table.track[rows_of(crops, table.poses)]
        wanted = np.isin(track, list(called))
        tracks.append(track[wanted])
        frames.append(crops.frame[wanted])
        images.append(shrink(crops.image[wanted]))
    track, frame, image = np.concatenate(tracks), np.concatenate(frames), np.concatenate(images)
    rows = np.flatnonzero(thin_out(track, KEPT * max(len(np.unique(track)), 1)))
    rows = rows[np.argsort(track[rows], kind="stable")]
    count = {t: int((track[rows] == t).sum()) for t in called}
    known = [t for t in called if count[t] >= FEWEST]
    rows = rows[np.isin(track[rows], known)]
    animal = np.searchsorted(known, track[rows])
    left_out = [called[t] for t in called if t not in known]
    return Enrolment(tuple(called[t] for t in known), animal, frame[rows], image[rows]), left_out
