"""Animals known by name from video to video: a folder of their crops and of what tells them apart.

``gallery.json`` says who is known from which videos, one npz per video holds small crops of each animal, and
``looks.npz`` what was learned from all of them. Another video is named (``run.names``) without learning anything.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int64, UInt8
from numpy import ndarray

from shoal.errors import ArtifactError, InputError
from shoal.io.artifacts import file_digest, load_table, read_json, save_table, write_json
from shoal.stages.looks import describe, group_means, learn_looks, likeness
from shoal.stages.naming import Calibration, calibrate
from shoal.types import OnProgress, column, no_progress

VERSION = 1
ABOUT, LOOKS = "gallery.json", "looks.npz"
PIECE = 25  # crops of a piece that likeness is calibrated with
MOST_LEFT_OUT = 12  # animals that play the stranger when a gallery is calibrated


@dataclass(frozen=True, eq=False)
class Enrolment:
    """Crops of the named animals of one video. N rows, by animal, then by time.

    Attributes:
        names: of the animals.
        animal: (N,) index into ``names``.
        frame: (N,) in the video.
        image: (N, 20, 40, 3) small crops, 0 = not of the animal.
    """

    names: tuple[str, ...]
    animal: Int16[ndarray, "N"]
    frame: Int64[ndarray, "N"]
    image: UInt8[ndarray, "N 20 40 3"]

    def __post_init__(self) -> None:
        column(self, "animal", np.int16, None)
        column(self, "frame", np.int64, len(self.animal))
        column(self, "image", np.uint8, len(self.animal), None, None, 3)


@dataclass(frozen=True, eq=False)
class Learned:
    """What tells the animals of a gallery apart.

    Attributes:
        names: of the animals.
        transform: (D, C) descriptions of crops -> looks.
        looks: (N, C) of each animal, less the usual ones of its videos.
        usual: (C,) mean looks of all animals.
        calibration: what likeness means.
    """

    names: tuple[str, ...]
    transform: Float32[ndarray, "D C"]
    looks: Float64[ndarray, "N C"]
    usual: Float64[ndarray, "C"]
    calibration: tuple[float, ...]

    def __post_init__(self) -> None:
        column(self, "transform", np.float32, None, None)
        column(self, "looks", np.float64, len(self.names), self.transform.shape[1])
        column(self, "usual", np.float64, self.transform.shape[1])


def list_gallery(gallery: Path) -> dict[str, Any]:
    """What ``gallery.json`` says: keypoints, enrolments (video, when, names and crops), what likeness means.

    Raises:
        InputError: there is no gallery.
        ArtifactError: it is damaged.
    """
    path = Path(gallery) / ABOUT
    if not path.is_file():
        raise InputError(
            f"expected a gallery, got a folder without {ABOUT}\nwhere: {gallery}",
            hint="`shoal reid enroll RUN --gallery DIR` makes one from a tracked video whose animals have their names",
        )
    about = read_json(path)
    if about.get("format") != VERSION:
        raise ArtifactError(f"expected a gallery of format {VERSION}, got {about.get('format')}\nwhere: {path}")
    return about


def forget(gallery: Path, name: str, *, on_progress: OnProgress = no_progress) -> dict[str, Any]:
    """Take an animal out of a gallery.

    Raises:
        InputError: nobody has that name, or it is the last one.
    """
    about = list_gallery(gallery)
    if name not in about["names"]:
        raise InputError(f"expected one of {', '.join(about['names'])}, got '{name}'\nwhere: {gallery}")
    kept = []
    for entry in about["enrolments"]:
        old = load_table(gallery / entry["file"], Enrolment)
        left = [i for i, other in enumerate(old.names) if other != name]
        if left:
            rows = np.isin(old.animal, left)
            animal = np.searchsorted(left, old.animal[rows])
            new = Enrolment(tuple(old.names[i] for i in left), animal, old.frame[rows], old.image[rows])
            save_table(gallery / entry["file"], new)
            kept.append(entry | {"crops": {n: c for n, c in entry["crops"].items() if n != name}})
    if not kept:
        raise InputError(f"expected that somebody stays, got the last animal '{name}'\nwhere: {gallery}")
    return learn_gallery(gallery, about["keypoints"], kept, on_progress)


def learn_gallery(
    gallery: Path, keypoints: list[str], enrolments: list[dict[str, Any]], on_progress: OnProgress
) -> dict[str, Any]:
    """Learn from all enrolments, calibrate, and write it down."""
    parts = [load_table(gallery / entry["file"], Enrolment) for entry in enrolments]
    names = sorted({name for part in parts for name in part.names})
    what = np.concatenate([describe(part.image) for part in parts])
    animal = np.concatenate([np.array([names.index(n) for n in p.names], np.int64)[p.animal] for p in parts])
    video = np.repeat(np.arange(len(parts)), [len(part.animal) for part in parts])
    frame = np.concatenate([part.frame for part in parts])
    what = what - _usual_of_videos(what, animal, video)[video]
    calibration = _calibrated(what, animal, video, frame, on_progress)
    transform = learn_looks(what, animal)
    raw = np.concatenate([describe(part.image) for part in parts])
    usual = _usual_of_videos(raw, animal, video).mean(axis=0) @ transform
    looks = group_means(what, animal, len(names)) @ transform
    save_table(gallery / LOOKS, Learned(tuple(names), transform, looks, usual, tuple(asdict(calibration).values())))
    about = {
        "format": VERSION, "keypoints": keypoints, "names": names, "enrolments": enrolments,
        "calibration": {name: round(value, 4) for name, value in asdict(calibration).items()},
        "learned": file_digest(gallery / LOOKS),
    }  # fmt: skip
    write_json(gallery / ABOUT, about)
    return about


def _usual_of_videos(
    what: Float32[ndarray, "N D"], animal: Int64[ndarray, "N"], video: Int64[ndarray, "N"]
) -> Float64[ndarray, "V D"]:
    """Mean over the animals of each video, however many crops each has."""
    means = []
    for v in range(int(video.max()) + 1):
        _, own = np.unique(animal[video == v], return_inverse=True)
        means.append(group_means(what[video == v], own, int(own.max()) + 1).mean(axis=0))
    return np.array(means)


def _calibrated(
    what: Float32[ndarray, "N D"],
    animal: Int64[ndarray, "N"],
    video: Int64[ndarray, "N"],
    frame: Int64[ndarray, "N"],
    on_progress: OnProgress,
) -> Calibration:
    """What likeness means, from animals compared with themselves at another time, and with others as strangers.

    Raises:
        InputError: an animal is not more like itself than like others.
    """
    n, days = int(animal.max()) + 1, len(np.unique(video))
    late = video > 0 if days > 1 else frame > np.median(frame)
    strangers = np.unique(np.linspace(0, n - 1, min(n, MOST_LEFT_OUT)).astype(np.int64)) if n > 2 else np.zeros(0, int)
    total = len(strangers) + 2
    same, other, pieces, sizes = list[float](), list[ndarray](), list[float](), list[int]()
    for step, (train, test) in enumerate(((~late, late), (late, ~late))):
        both = [k for k in range(n) if (animal[train] == k).any() and (animal[test] == k).any()]
        use, ask = train & np.isin(animal, both), test & np.isin(animal, both)
        if len(both) > 1:
            _, own = np.unique(animal[use], return_inverse=True)
            transform = learn_looks(what[use], own)
            known = group_means(what[use], own, len(both)) @ transform
            known -= known.mean(axis=0)
            looks, whose = what[ask] @ transform, np.searchsorted(both, animal[ask])
            usual = group_means(looks, whose, len(both)).mean(axis=0)
            alike = likeness(group_means(looks, whose, len(both)) - usual, known)
            same += np.diag(alike).tolist()
            other.append(alike[~np.eye(len(both), dtype=bool)])
            for k in range(len(both)):
                own_looks = looks[whose == k]
                for a in range(0, len(own_looks) - PIECE + 1, PIECE):
                    piece = own_looks[a : a + PIECE].mean(axis=0, keepdims=True) - usual
                    pieces.append(float(likeness(piece, known[k : k + 1])[0, 0]))
                    sizes.append(PIECE)
        on_progress("enroll", step + 1, total)
    for step, k in enumerate(strangers.tolist()):
        rest = animal != k
        own = animal[rest] - (animal[rest] > k)
        transform = learn_looks(what[rest], own)
        looks = group_means(what[rest], own, n - 1) @ transform
        stranger = what[~rest].mean(axis=0, keepdims=True) @ transform
        other.append(likeness(stranger, looks)[0])
        on_progress("enroll", step + 3, total)
    measured = np.array(pieces), np.array(sizes)
    found = calibrate(np.array(same), np.concatenate(other) if other else np.zeros(0), measured, days=days)
    if found is None:
        raise InputError(
            "expected animals that look more like themselves than like each other, got none that do",
            hint="enrol two animals at least, from a video in which both halves show all of them",
        )
    return found
