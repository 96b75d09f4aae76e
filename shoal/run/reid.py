"""Appearance of a run: crops of its tracklets, an encoder learned from them, who looks like whom."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.config.reid import ReidConfig
from shoal.config.run import RunConfig
from shoal.io.artifacts import drop_entry, fingerprint, load_table, save_table, write_entry
from shoal.io.crops import crop_mask, crop_points, cut_crops
from shoal.io.video import read_frames
from shoal.run.folder import each_span, find_video, plan_spans, read_part, read_spans, read_tracks
from shoal.stages import evidence as judging
from shoal.stages import sampling
from shoal.stages.align import lay, template_of
from shoal.types import Crops, Embeddings, Evidence, OnProgress, Poses, concatenate, no_progress, select

log = logging.getLogger(__name__)

VERSION = 1
CROPS, EMBEDDINGS, EVIDENCE = "crops.npz", "embeddings.npz", "evidence.npz"
FOR_TEMPLATE = 20_000  # animals of full poses that the template is made of, the first ones of each span


def reid_print(config: RunConfig, linked: str) -> str:
    """Fingerprint of appearance; empty where it is not used."""
    return fingerprint("reid", VERSION, config.reid, inputs=[linked]) if config.reid.use else ""


def read_evidence(run_dir: Path, config: RunConfig) -> Evidence | None:
    """What ``reid_run`` found; None where appearance is not used or has nothing to say."""
    path = run_dir / EVIDENCE
    return load_table(path, Evidence) if config.reid.use and path.is_file() else None


def reid_run(
    run_dir: Path, config: RunConfig, expected: str, linked: str, *, on_progress: OnProgress = no_progress
) -> None:
    """Write ``crops.npz``, ``embeddings.npz`` and ``evidence.npz`` of an associated run.

    Where nothing can be learned (one animal, hardly a tracklet) there is no evidence, and tracks are joined by motion.

    Raises:
        VideoError: the video, which crops are cut from, is not found.
    """
    began = time.perf_counter()
    drop_entry(run_dir, "reid")
    (run_dir / EVIDENCE).unlink(missing_ok=True)
    crops, tracklet, first, last = _crops(run_dir, config.reid, on_progress)
    save_table(run_dir / CROPS, crops)
    outputs, counts = [run_dir / CROPS], {"crops": len(crops), "tracklets": len(np.unique(tracklet))}
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


def _crops(
    run_dir: Path, config: ReidConfig, on_progress: OnProgress
) -> tuple[Crops, Int64[ndarray, "N"], Int64[ndarray, "T"], Int64[ndarray, "T"]]:
    """Crops of chosen rows, the tracklet of each, and the first and last frame of every tracklet."""
    part, size, all_spans = read_part(run_dir), (config.height, config.width), plan_spans(run_dir)
    template = template_of(_some_poses(run_dir))
    none = np.zeros(0, np.int64)
    if template is None:
        return Crops(none, none, np.zeros((0, *size, 3)), (part.start, part.stop)), none, none, none
    every = config.every * part.every
    chosen, first, last = _choose(run_dir, template, config, every)
    points, mask = crop_points(template, size), crop_mask(template, size)
    video, found, tracklet, total = find_video(run_dir).path, list[Crops](), [none], sum(map(len, chosen))
    for span, rows in zip(all_spans, chosen, strict=True):
        picked = select(read_tracks(run_dir, kind="tracklets", start=span[0], stop=span[1]), rows)
        poses, image = picked.poses, np.zeros((len(rows), *size, 3), np.uint8)
        done = sum(map(len, found))
        if len(rows):
            begin = part.start + -(-(span[0] - part.start) // every) * every  # the first of the span that counts
            frames = read_frames(video, start=begin, stop=int(poses.frame[-1]) + 1, every=every)
            with contextlib.closing(frames) as batches:
                for batch in batches:
                    for frame, picture in zip(batch.frame, batch.images, strict=True):
                        a, b = np.searchsorted(poses.frame, (frame, frame + 1))
                        image[a:b] = cut_crops(picture, lay(poses.xy[a:b].astype(np.float64), template, points), mask)
                    on_progress("crops", done + int(np.searchsorted(poses.frame, batch.frame[-1] + 1)), total)
        shown = image.any(axis=(1, 2, 3))  # frames that cannot be read show nothing
        found.append(Crops(poses.frame[shown], poses.item[shown], image[shown], span))
        tracklet.append(picked.track[shown].astype(np.int64))
    return concatenate(found), np.concatenate(tracklet), first, last


def _choose(
    run_dir: Path, template: Float64[ndarray, "K 2"], config: ReidConfig, every: int
) -> tuple[list[Int64[ndarray, "n"]], Int64[ndarray, "T"], Int64[ndarray, "T"]]:
    """Rows of each span worth a crop, and the first and last frame of every tracklet."""
    start = read_part(run_dir).start
    rows, tracks = list[ndarray](), list[ndarray]()
    first, last = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for tracklets in each_span(run_dir, kind="tracklets"):
        frame, track = tracklets.poses.frame, tracklets.track
        good = sampling.worth_a_crop(tracklets, template, config) & ((frame - start) % every == 0)
        rows.append(np.flatnonzero(good))
        tracks.append(track[good])
        more = max(tracklets.n_tracks - len(first), 0)
        first, last = np.r_[first, np.full(more, np.iinfo(np.int64).max)], np.r_[last, np.full(more, -1)]
        np.minimum.at(first, track[track >= 0], frame[track >= 0])
        np.maximum.at(last, track[track >= 0], frame[track >= 0])
    kept = sampling.thin_out(np.concatenate(tracks), config.max_crops)
    parts = np.split(kept, np.cumsum([len(r) for r in rows])[:-1])
    return [r[k] for r, k in zip(rows, parts, strict=True)], first, last


def _some_poses(run_dir: Path) -> Float64[ndarray, "M K 2"]:
    """The fullest poses of each span, some of them."""
    all_spans = plan_spans(run_dir)
    found: list[ndarray] = []
    for span in all_spans:
        xy = read_spans(run_dir, "poses", Poses, start=span[0], stop=span[1]).xy
        n_seen = np.isfinite(xy).all(axis=2).sum(axis=1)
        found.append(xy[n_seen == n_seen.max(initial=0)][: max(FOR_TEMPLATE // len(all_spans), 1)])
    return np.concatenate(found).astype(np.float64)
