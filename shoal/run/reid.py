"""Appearance of a run: who could be whom by the looks of its tracklets, learned from the video itself."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from shoal.config.reid import ReidConfig
from shoal.config.run import RunConfig
from shoal.io.artifacts import drop_entry, fingerprint, load_table, save_table, write_entry
from shoal.run.crops import complete_crops, each_crops, rows_of
from shoal.run.folder import each_span
from shoal.stages import sampling
from shoal.stages.identities import evidence_of_crops
from shoal.stages.looks import describe, shrink
from shoal.types import Evidence, OnProgress, TrackInfo, no_progress

log = logging.getLogger(__name__)

VERSION = 4
EVIDENCE, KINDS = "evidence.npz", "tracklet_kinds.npz"


def reid_print(config: RunConfig, known: str) -> str:
    """Fingerprint of appearance, from that of the kinds of tracklets; empty where it is not used."""
    settings = config.reid.model_dump(mode="json", exclude={"gallery", "known"}) | {"n_animals": _n_animals(config)}
    return fingerprint("reid", VERSION, settings, inputs=[known]) if config.reid.use else ""


def read_evidence(run_dir: Path, config: RunConfig) -> Evidence | None:
    """What ``reid_run`` found; None where appearance is not used or has nothing to say."""
    path = run_dir / EVIDENCE
    return load_table(path, Evidence) if config.reid.use and path.is_file() else None


def reid_run(
    run_dir: Path, config: RunConfig, expected: str, known: str, *, on_progress: OnProgress = no_progress
) -> None:
    """Write ``evidence.npz`` of an associated run, and the crops that are not there yet.

    Where nothing can be learned (one animal, hardly a tracklet) there is no evidence, and tracks are joined by motion.

    Raises:
        VideoError: crops are missing, and so is the video.
    """
    began = time.perf_counter()
    drop_entry(run_dir, "reid")
    path, evidence, n_crops = run_dir / EVIDENCE, None, 0
    path.unlink(missing_ok=True)
    if complete_crops(run_dir, config.reid, on_progress=on_progress) is not None:
        what, tracklet, first, last = _chosen(run_dir, config.reid)
        n_crops = len(tracklet)
        evidence = evidence_of_crops(what, tracklet, first, last, _n_animals(config), on_progress=on_progress)
    if evidence is None:
        log.info("%s: nothing to learn appearance from; tracks are joined by motion", run_dir.name)
    else:
        save_table(path, evidence)
    write_entry(
        run_dir, "reid", fingerprint=expected, outputs=[path] if evidence else [], inputs={"classify": known},
        seconds=time.perf_counter() - began,
        counts={"crops": n_crops, "animals": evidence.vector.shape[1] if evidence else 0},
    )  # fmt: skip


def _n_animals(config: RunConfig) -> int:
    """How many animals there are; 0 = not known."""
    return config.stitch.n_animals if config.stitch.count == "exact" else 0


def _chosen(
    run_dir: Path, config: ReidConfig
) -> tuple[Float32[ndarray, "N D"], Int64[ndarray, "N"], Int64[ndarray, "T"], Int64[ndarray, "T"]]:
    """Descriptions of the crops that are learned from, the tracklet of each, and every tracklet's first and last frame.

    Reflections and duplicates have none.
    """
    tracks = list[ndarray]()
    first, last = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for tracklets, crops in zip(each_span(run_dir, kind="tracklets"), each_crops(run_dir), strict=True):
        frame, track = tracklets.poses.frame, tracklets.track
        tracks.append(track[rows_of(crops, tracklets.poses)])
        more = max(tracklets.n_tracks - len(first), 0)
        first, last = np.r_[first, np.full(more, np.iinfo(np.int64).max)], np.r_[last, np.full(more, -1)]
        np.minimum.at(first, track[track >= 0], frame[track >= 0])
        np.maximum.at(last, track[track >= 0], frame[track >= 0])
    track = np.concatenate(tracks).astype(np.int64)
    is_animal = np.ones(len(first) + 1, dtype=bool)
    is_animal[-1] = False  # of rows in no tracklet
    if (run_dir / KINDS).is_file():
        kinds = load_table(run_dir / KINDS, TrackInfo).kind
        is_animal[: len(kinds)] = kinds == 0
    kept = is_animal[track]
    kept[kept] = sampling.thin_out(track[kept], config.max_crops)
    parts = np.split(kept, np.cumsum([len(part) for part in tracks])[:-1])
    what = [describe(shrink(crops.image[part])) for crops, part in zip(each_crops(run_dir), parts, strict=True)]
    return np.concatenate(what), track[kept], first, last
