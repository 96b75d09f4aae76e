"""Appearance of a run: an encoder learned from crops of its tracklets, who looks like whom."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from shoal.config.reid import ReidConfig
from shoal.config.run import RunConfig
from shoal.io.artifacts import drop_entry, fingerprint, load_table, save_table, write_entry
from shoal.run.crops import complete_crops, each_crops, rows_of
from shoal.run.folder import each_span
from shoal.stages import evidence as judging
from shoal.stages import sampling
from shoal.types import Crops, Embeddings, Evidence, OnProgress, concatenate, no_progress

log = logging.getLogger(__name__)

VERSION = 2
EMBEDDINGS, EVIDENCE = "embeddings.npz", "evidence.npz"


def reid_print(config: RunConfig, linked: str) -> str:
    """Fingerprint of appearance; empty where it is not used."""
    settings = config.reid.model_dump(mode="json", exclude={"gallery", "known"})
    return fingerprint("reid", VERSION, settings, inputs=[linked]) if config.reid.use else ""


def read_evidence(run_dir: Path, config: RunConfig) -> Evidence | None:
    """What ``reid_run`` found; None where appearance is not used or has nothing to say."""
    path = run_dir / EVIDENCE
    return load_table(path, Evidence) if config.reid.use and path.is_file() else None


def reid_run(
    run_dir: Path, config: RunConfig, expected: str, linked: str, *, on_progress: OnProgress = no_progress
) -> None:
    """Write ``embeddings.npz`` and ``evidence.npz`` of an associated run, and the crops that are not there yet.

    Where nothing can be learned (one animal, hardly a tracklet) there is no evidence, and tracks are joined by motion.

    Raises:
        VideoError: the video, which crops are cut from, is not found.
    """
    began = time.perf_counter()
    drop_entry(run_dir, "reid")
    (run_dir / EVIDENCE).unlink(missing_ok=True)
    outputs, counts, found = list[Path](), {"crops": 0, "tracklets": 0}, None
    if complete_crops(run_dir, config.reid, on_progress=on_progress) is not None:
        crops, tracklet, first, last = _chosen(run_dir, config.reid)
        counts = {"crops": len(crops), "tracklets": len(np.unique(tracklet))}
        found = _learn(crops, tracklet, first, last, config, expected[:16], on_progress)
    if found is None:
        log.info("%s: nothing to learn appearance from; tracks are joined by motion", run_dir.name)
    else:
        for name, table in zip((EMBEDDINGS, EVIDENCE), found, strict=True):
            save_table(run_dir / name, table)
            outputs.append(run_dir / name)
    write_entry(
        run_dir, "reid", fingerprint=expected, outputs=outputs, inputs={"associate": linked},
        seconds=time.perf_counter() - began, counts=counts,
    )  # fmt: skip


def _learn(
    crops: Crops,
    tracklet: Int64[ndarray, "N"],
    first: Int64[ndarray, "T"],
    last: Int64[ndarray, "T"],
    config: RunConfig,
    space: str,
    on_progress: OnProgress,
) -> tuple[Embeddings, Evidence] | None:
    """Embeddings of all crops and what they say about tracklets."""
    import torch

    from shoal.models.device import pick_device
    from shoal.models.reid import encode
    from shoal.training.reid import learn_encoder

    image = crops.image.copy()  # columns are read-only, and torch warns of such
    try:
        device = pick_device(config.compute)
        net, colour = learn_encoder(image, tracklet, first, last, config.reid, device, on_progress=on_progress)
    except ValueError:
        return None
    vector = encode(net, torch.from_numpy(image), colour).numpy()
    evidence = judging.evidence_of_looks(vector, tracklet, first, last)
    if evidence is None:
        return None
    return Embeddings(crops.frame, crops.item, vector, space, crops.span), evidence


def _chosen(
    run_dir: Path, config: ReidConfig
) -> tuple[Crops, Int64[ndarray, "N"], Int64[ndarray, "T"], Int64[ndarray, "T"]]:
    """Crops that are learned from, the tracklet of each, and the first and last frame of every tracklet."""
    tracks = list[ndarray]()
    first, last = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for tracklets, crops in zip(each_span(run_dir, kind="tracklets"), each_crops(run_dir), strict=True):
        frame, track = tracklets.poses.frame, tracklets.track
        tracks.append(track[rows_of(crops, tracklets.poses)])
        more = max(tracklets.n_tracks - len(first), 0)
        first, last = np.r_[first, np.full(more, np.iinfo(np.int64).max)], np.r_[last, np.full(more, -1)]
        np.minimum.at(first, track[track >= 0], frame[track >= 0])
        np.maximum.at(last, track[track >= 0], frame[track >= 0])
    track = np.concatenate(tracks)
    known = track >= 0
    kept = known.copy()
    kept[known] = sampling.thin_out(track[known], config.max_crops)
    parts = np.split(kept, np.cumsum([len(part) for part in tracks])[:-1])
    found = [
        Crops(crops.frame[part], crops.item[part], crops.image[part], crops.span)
        for crops, part in zip(each_crops(run_dir), parts, strict=True)
    ]
    return concatenate(found), track[kept].astype(np.int64), first, last
