"""Who the tracks of a run are, by the looks that a gallery knows."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from shoal.config.run import RunConfig
from shoal.errors import ArtifactError, InputError
from shoal.io.artifacts import drop_entry, fingerprint, is_done, load_table, read_entry, save_table, write_entry
from shoal.run.crops import complete_crops, each_crops, rows_of
from shoal.run.folder import each_span, read_animals, read_card, read_config
from shoal.run.gallery import LOOKS, Learned, list_gallery
from shoal.stages.looks import describe, group_means, likeness, shrink
from shoal.stages.naming import Calibration, log_odds_of_names, name_probabilities
from shoal.types import OnProgress, column, no_progress

log = logging.getLogger(__name__)

VERSION = 1
NAMES = "names.npz"
UNKNOWN = "unknown"
FEWEST = 20  # crops of an animal that its looks are known from
AS_ONE = 3.0  # animals that the gallery's usual looks count as, where a video has few


@dataclass(frozen=True, eq=False)
class TrackNames:
    """Who each track of a run is. C tracks, N names; P pieces: tracklets within tracks.

    Attributes:
        names: of the gallery's animals; the last column of probabilities is that of none of them.
        track: (C,) number.
        crops: (C,) that its looks are known from.
        probability: (C, N + 1) with exclusion: tracks seen at the same time are different animals.
        piece_track: (P,) track of each piece.
        piece_first: (P,) its first frame.
        piece_last: (P,) its last frame.
        piece_crops: (P,) that its looks are known from.
        piece_probability: (P, N + 1) of the piece's own looks, whatever the rest of its track looks like.
    """

    names: tuple[str, ...]
    track: Int64[ndarray, "C"]
    crops: Int64[ndarray, "C"]
    probability: Float64[ndarray, "C N+1"]
    piece_track: Int64[ndarray, "P"]
    piece_first: Int64[ndarray, "P"]
    piece_last: Int64[ndarray, "P"]
    piece_crops: Int64[ndarray, "P"]
    piece_probability: Float64[ndarray, "P N+1"]

    def __post_init__(self) -> None:
        for name in ("track", "crops", "piece_track", "piece_first", "piece_last", "piece_crops"):
            column(self, name, np.int64, len(self.piece_track) if name.startswith("piece") else len(self.track))
        column(self, "probability", np.float64, len(self.track), len(self.names) + 1)
        column(self, "piece_probability", np.float64, len(self.piece_track), len(self.names) + 1)


def names_print(config: RunConfig, joined: str) -> str:
    """Fingerprint of the names of tracks; empty where no gallery is asked.

    Raises:
        InputError: there is no such gallery.
    """
    if not config.reid.gallery:
        return ""
    about = list_gallery(Path(config.reid.gallery))
    return fingerprint("names", VERSION, {"known": config.reid.known, "gallery": about["learned"]}, inputs=[joined])


def name_run(run_dir: Path, config: RunConfig, expected: str, *, on_progress: OnProgress = no_progress) -> TrackNames:
    """Say who the tracks of a run are (``names.npz``), by the gallery of ``config.reid.gallery``.

    Raises:
        InputError: no such gallery, or one of other keypoints.
        VideoError: crops are missing, and so is the video.
    """
    began, gallery = time.perf_counter(), Path(config.reid.gallery)
    about, skeleton = list_gallery(gallery), read_card(run_dir).skeleton
    if about["keypoints"] != list(skeleton.keypoints):
        raise InputError(
            f"expected the gallery's keypoints {', '.join(about['keypoints'])}, got {', '.join(skeleton.keypoints)}"
            f"\nwhere: {gallery} and {run_dir}"
        )
    learned = load_table(gallery / LOOKS, Learned)
    drop_entry(run_dir, "names")
    complete_crops(run_dir, config.reid, on_progress=on_progress)
    found = _name(_gather(run_dir, learned.transform), learned, config.reid.known)
    save_table(run_dir / NAMES, found)
    best = found.probability.argmax(axis=1) if len(found.track) else np.zeros(0, int)
    n_unknown = int((best == len(found.names)).sum())
    write_entry(
        run_dir, "names", fingerprint=expected, outputs=[run_dir / NAMES], seconds=time.perf_counter() - began,
        counts={"tracks": len(best), "unknown": n_unknown},
    )  # fmt: skip
    log.info("%s: %d of %d tracks are animals of %s", run_dir.name, len(best) - n_unknown, len(best), gallery.name)
    return found


def read_track_names(run_dir: Path) -> TrackNames | None:
    """Who the tracks of a run are; None where no gallery was asked, or tracks have changed since."""
    entry, stitched = read_entry(run_dir, "names"), read_entry(run_dir, "stitch")
    if entry is None or stitched is None or not (run_dir / NAMES).is_file():
        return None
    try:
        expected = names_print(read_config(run_dir), stitched["fingerprint"])
    except (InputError, ArtifactError):  # the gallery is not here; what it said still holds
        return load_table(run_dir / NAMES, TrackNames)
    return load_table(run_dir / NAMES, TrackNames) if is_done(run_dir, "names", expected) else None


def called_by_looks(run_dir: Path) -> dict[int, str]:
    """The most probable name of each track that a gallery was asked about; ``unknown1`` ... for the others."""
    found = read_track_names(run_dir)
    if found is None:
        return {}
    best = found.probability.argmax(axis=1)
    strangers = iter(range(1, len(best) + 1))
    labels = [found.names[b] if b < len(found.names) else f"{UNKNOWN}{next(strangers)}" for b in best]
    taken: dict[str, int] = {}
    for i in np.argsort(-found.probability.max(axis=1), kind="stable").tolist():
        if labels[i] in taken:  # two tracks, one after the other, of one animal: a name is one column's
            taken[labels[i]] += 1
            labels[i] = f"{labels[i]}-{taken[labels[i]]}"
        else:
            taken[labels[i]] = 1
    return dict(zip(found.track.tolist(), labels, strict=True))


def describe_names(run_dir: Path) -> list[str]:
    """A line for each track: its most probable name, how probable, and what its looks are known from."""
    found = read_track_names(run_dir)
    if found is None:
        return []
    said, lines = [*found.names, UNKNOWN], list[str]()
    for track, crops, p in zip(found.track.tolist(), found.crops.tolist(), found.probability, strict=True):
        likely = [f"{said[n]} ({100 * p[n]:.0f} %)" for n in p.argsort()[::-1][:2].tolist()]
        lines.append(f"track {track + 1}: {', '.join(likely)}; {crops} crops")
    return lines


def names_table(run_dir: Path, columns: Mapping[int, str]) -> bytes:
    """Probabilities as csv: a line for each track and each piece of it with crops; empty where no gallery was asked.

    Args:
        run_dir: the run folder.
        columns: name of each exported track.
    """
    found = read_track_names(run_dir)
    if found is None:
        return b""
    lines = [",".join(["individual", "what", "first_frame", "last_frame", "crops", *found.names, UNKNOWN])]
    for i, track in enumerate(found.track.tolist()):
        if track not in columns:
            continue
        own = np.flatnonzero((found.piece_track == track) & (found.piece_crops > 0))
        if not len(own):
            continue
        ends = int(found.piece_first[own].min()), int(found.piece_last[own].max())
        lines.append(_line(columns[track], "track", ends, int(found.crops[i]), found.probability[i]))
        for p in own[np.argsort(found.piece_first[own], kind="stable")].tolist():
            ends = int(found.piece_first[p]), int(found.piece_last[p])
            lines.append(_line(columns[track], "piece", ends, int(found.piece_crops[p]), found.piece_probability[p]))
    return ("\n".join(lines) + "\n").encode()


def _line(name: str, what: str, ends: tuple[int, int], crops: int, probability: Float64[ndarray, "N+1"]) -> str:
    return ",".join([name, what, *map(str, ends), str(crops), *(f"{p:.4f}" for p in probability)])


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Tracklets within tracks: P pieces by (track, tracklet); looks are sums over crops."""

    track: Int64[ndarray, "P"]
    first: Int64[ndarray, "P"]
    last: Int64[ndarray, "P"]
    crops: Int64[ndarray, "P"]
    looks: Float32[ndarray, "P C"]


def _name(pieces: _Pieces, learned: Learned, known: float) -> TrackNames:
    """Names of tracks and of their pieces."""
    tracks, own = np.unique(pieces.track, return_inverse=True)
    n = len(tracks)
    crops = np.bincount(own, weights=pieces.crops, minlength=n).astype(np.int64)
    first, last = np.full(n, np.iinfo(np.int64).max), np.full(n, -1)
    np.minimum.at(first, own, pieces.first)
    np.maximum.at(last, own, pieces.last)
    total = np.zeros((n, pieces.looks.shape[1]))
    np.add.at(total, own, pieces.looks)
    looks = total / np.maximum(crops, 1)[:, None]
    seen = crops >= FEWEST
    usual = (looks[seen].sum(axis=0) + AS_ONE * learned.usual) / (seen.sum() + AS_ONE)
    calibration = Calibration(*learned.calibration)

    def odds(looks: ndarray, crops: ndarray) -> Float64[ndarray, "X N"]:
        return log_odds_of_names(likeness(looks - usual, learned.looks), crops, calibration)

    alone = pieces.looks / np.maximum(pieces.crops, 1)[:, None]
    return TrackNames(
        learned.names, tracks, crops, name_probabilities(odds(looks, crops), (first, last), known),
        pieces.track, pieces.first, pieces.last, pieces.crops,
        name_probabilities(odds(alone, pieces.crops), None, known),
    )  # fmt: skip


def _gather(run_dir: Path, transform: Float32[ndarray, "D C"]) -> _Pieces:
    """Looks of all tracklets within tracks, span by span."""
    keys, ends, counts, sums = list[ndarray](), list[ndarray](), list[ndarray](), list[ndarray]()
    for crops, tracklets in zip(each_crops(run_dir), each_span(run_dir, kind="tracklets"), strict=True):
        animals = read_animals(run_dir, start=crops.span[0], stop=crops.span[1])
        named = np.flatnonzero(animals.track >= 0)
        key = np.stack([animals.track[named], tracklets.track[named]], axis=1).astype(np.int64)
        key, own = np.unique(key, axis=0, return_inverse=True)
        frame = animals.poses.frame[named]
        end = np.stack([np.full(len(key), np.iinfo(np.int64).max), np.full(len(key), -1)], axis=1)
        np.minimum.at(end[:, 0], own.ravel(), frame)
        np.maximum.at(end[:, 1], own.ravel(), frame)
        piece = np.full(len(animals.track), -1)
        piece[named] = own.ravel()
        piece = piece[rows_of(crops, animals.poses)]
        shown = piece >= 0
        count = np.bincount(piece[shown], minlength=len(key))
        looks = describe(shrink(crops.image[shown])) @ transform
        keys.append(key)
        ends.append(end)
        counts.append(count)
        sums.append((group_means(looks, piece[shown], len(key)) * count[:, None]).astype(np.float32))
    key, own = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    first, last = np.full(len(key), np.iinfo(np.int64).max), np.full(len(key), -1)
    np.minimum.at(first, own.ravel(), np.concatenate(ends)[:, 0])
    np.maximum.at(last, own.ravel(), np.concatenate(ends)[:, 1])
    total = np.zeros((len(key), transform.shape[1]), np.float32)
    np.add.at(total, own.ravel(), np.concatenate(sums))
    crops = np.bincount(own.ravel(), weights=np.concatenate(counts), minlength=len(key)).astype(np.int64)
    return _Pieces(key[:, 0], first, last, crops, total)
