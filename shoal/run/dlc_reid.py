"""DLC's re-identification on shoal's engine: features of an analyzed video, triplets, a transformer, tracks.

An animal's features are those of its row in the tracklets: nothing is looked up by position.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from shoal.config.compute import ComputeConfig
from shoal.config.stitch import StitchConfig
from shoal.errors import ProjectError
from shoal.io.artifacts import write_atomic
from shoal.io.dlc.features import Frame, read_features, write_features
from shoal.io.dlc.meta import read_meta
from shoal.io.dlc.pickles import write_pickle
from shoal.io.dlc.tracklets import SUFFIXES
from shoal.io.video import probe, read_frames
from shoal.run.dlc_files import DlcResult, dlc_file, read_dlc_files
from shoal.run.dlc_tracks import stitch_dlc_files
from shoal.run.engine import cropped
from shoal.stages.evidence import evidence_of_looks
from shoal.types import Evidence, FrameBatch, OnProgress, Tracks, no_progress

log = logging.getLogger(__name__)

EVENLY, OF_TRACKLET = 300, 8
"""Frames that features are kept of: so many spread over the video, and so many of every tracklet with its two ends."""
HELD_OUT = 0.2  # of the time: the last part, which the honest figure comes from
Look = Callable[[FrameBatch, ndarray, ndarray], ndarray]
"""Frames, image number (P,) and position (P, 2) in the frame -> (P, C) features of the backbone."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """What was made of a video.

    Attributes:
        base: its files' base name.
        found: its tracklets.
        triplets: file of (n, 3, K, C) float64.
        held_out: (m, 3, K, C) triplets of the last part of the video; empty if none of it was kept out.
    """

    base: Path
    found: DlcResult
    triplets: Path
    held_out: ndarray


def backbone_look(snapshot: Path) -> Look:
    """The backbone of a snapshot, without a head's decoding."""
    import torch

    from shoal.models.checkpoint import load_model
    from shoal.models.device import pick_device
    from shoal.models.features import read_at
    from shoal.models.runtime.eager import eager
    from shoal.models.runtime.setup import Setup

    model = load_model(snapshot, device=pick_device(ComputeConfig()))
    forward = eager(model, Setup("float32"))

    @torch.inference_mode()
    def look(batch: FrameBatch, image: ndarray, xy: ndarray) -> ndarray:
        maps = forward(torch.from_numpy(batch.images.copy()).to(model.device))
        at = torch.from_numpy((xy - batch.origin).astype(np.float32)).to(model.device)
        level, stride = maps.features[-1], maps.feature_strides[-1]
        return read_at(level, torch.from_numpy(image).to(model.device), at, stride).float().cpu().numpy()

    return look


def make_dataset(
    video: Path, base: Path, look: Look, *, method: str = "ellipse", n_triplets: int = 1000, all_frames: bool = False,
    on_progress: OnProgress = no_progress,
) -> Dataset:  # fmt: skip
    """Write ``_bpt_features.pickle`` and, unless there is one of the right shape, ``_triplet_vector.npy``.

    Args:
        video: analyzed.
        base: of its files.
        look: the backbone.
        method: of the tracklets.
        n_triplets: wanted.
        all_frames: features of every frame with animals.
        on_progress: frames looked at.

    Raises:
        ProjectError: no tracklets, or none that triplets can be made of.
        ResourceError: the disk cannot hold the features.
    """
    found = read_dlc_files(base, "tracklets", method=method)
    assert isinstance(found.table, Tracks)
    frames = frames_kept(found.table, all_frames=all_frames)
    if not len(frames):
        raise ProjectError(f"expected tracklets, found none\nwhere: {base.name}{SUFFIXES[method]}.pickle")
    features = Path(f"{base}_bpt_features.pickle")
    log.info("Forward-passing this video to extract features at the backbone: %s", video)
    _write(features, video, found, frames, look, on_progress)
    log.info("Body-part features from the backbone have been saved to %s.dat", features)
    log.info("It holds %d of %d frames%s.", len(frames), found.table.span[1], "" if all_frames else
             f": {EVENLY} spread evenly, and {OF_TRACKLET} of every tracklet with its ends")  # fmt: skip
    log.info("Creating the triplet dataset...")
    path = Path(f"{base}_triplet_vector.npy")
    held_out = _write_triplets(path, features, found.table, frames, n_triplets)
    log.info("Creating the triplet dataset... DONE")
    return Dataset(base, found, path, held_out)


def frames_kept(tracklets: Tracks, *, all_frames: bool = False) -> Int64[ndarray, "F"]:
    """Frames that features are kept of."""
    rows = np.flatnonzero(tracklets.track >= 0)
    frame = tracklets.poses.frame
    every = np.unique(frame[rows])
    if all_frames or not len(rows):
        return every
    chosen = [every[np.linspace(0, len(every) - 1, min(EVENLY, len(every))).astype(int)]]
    order = rows[np.argsort(tracklets.track[rows], kind="stable")]
    for part in np.split(order, np.flatnonzero(np.diff(tracklets.track[order])) + 1):
        chosen.append(frame[part[np.linspace(0, len(part) - 1, min(OF_TRACKLET, len(part))).astype(int)]])
    return np.unique(np.concatenate(chosen))


def _rows_of(tracklets: Tracks, frame: int) -> Int64[ndarray, "n"]:
    """Rows of a frame that have a tracklet: the order of animals in the features file."""
    start, stop = np.searchsorted(tracklets.poses.frame, [frame, frame + 1])
    return start + np.flatnonzero(tracklets.track[start:stop] >= 0)


def looked_at(
    video: Path, found: DlcResult, frames: ndarray, look: Look, crop: tuple[int, int, int, int] | None,
    on_progress: OnProgress = no_progress,
) -> Iterator[Frame]:  # fmt: skip
    """Features of all tracked animals of these frames, one frame at a time."""
    assert isinstance(found.table, Tracks)
    wanted = set(frames.tolist())
    for batch in read_frames(video, start=int(frames[0]), stop=int(frames[-1]) + 1, batch=8):
        for i in np.flatnonzero([number in wanted for number in batch.frame.tolist()]):
            number = int(batch.frame[i])
            one = cropped(FrameBatch(batch.frame[i : i + 1], batch.images[i : i + 1]), crop)
            xy = found.table.poses.xy[_rows_of(found.table, number)]
            is_seen = ~np.isnan(xy[..., 0])
            places = xy[is_seen]
            at = look(one, np.zeros(len(places), np.int64), places)
            values = np.zeros((*is_seen.shape, at.shape[1]), np.float32)
            values[is_seen] = at
            yield number, (xy - np.asarray(found.origin, np.float32)).astype(np.float32), values
            on_progress("features", int(np.searchsorted(frames, number)) + 1, len(frames))


def _write(path: Path, video: Path, found: DlcResult, frames: ndarray, look: Look, on_progress: OnProgress) -> None:
    assert isinstance(found.table, Tracks)
    meta_file = dlc_file(Path(str(path).removesuffix("_bpt_features.pickle")), "meta")
    meta = read_meta(meta_file) if meta_file.is_file() else None
    stream = looked_at(video, found, frames, look, meta.cropping if meta else None, on_progress)
    first = next(stream, None)
    if first is None:
        raise ProjectError(f"expected frames that can be decoded, got none\nwhere: {video}")
    n_rows = sum(len(_rows_of(found.table, int(frame))) for frame in frames)
    keypoints = list(found.skeleton.keypoints)

    def chain() -> Iterator[Frame]:
        yield first
        yield from stream

    n_frames = meta.n_frames if meta else probe(video).n_frames
    write_features(
        path, chain(), n_frames=n_frames, n_bytes=n_rows * first[2].shape[1] * (first[2].shape[2] + 1) * 8,
        metadata={"nframes": n_frames, "all_joints": [[i] for i in range(len(keypoints))],
                  "all_joints_names": keypoints},
    )  # fmt: skip


def _write_triplets(path: Path, features: Path, tracklets: Tracks, frames: ndarray, n: int) -> ndarray:
    """Write triplets of the first part of the video; returns those of the rest."""
    from shoal.training.triplets import pick_triplets

    _, _, example = next(read_features(features))
    shape = example.shape[1:]
    if path.is_file():
        there = np.load(path, mmap_mode="r")
        if there.ndim == 4 and there.shape[1] == 3 and there.shape[2:] == shape and len(there):
            log.info("%s is there already and is used: %d triplets", path.name, len(there))
            return np.zeros((0, 3, *shape))
        log.info("%s is there, of another shape: it is written again", path.name)
    usable = np.isin(tracklets.poses.frame, frames)
    cut = int(frames[int(len(frames) * (1 - HELD_OUT))])
    before = tracklets.poses.frame < cut
    picked = pick_triplets(tracklets, usable & before, n)
    fresh = pick_triplets(tracklets, usable & ~before, n // 4 or 1, seed=1, fresh_since=cut)
    if not len(picked):
        raise ProjectError(
            "expected two tracklets of 10 frames or more at the same time, found none", hint="look at the tracklets"
        )

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f8", "fortran_order": False, "shape": (len(picked), 3, *shape)}
            )
            start = file.tell()
        filled = np.memmap(aside, np.float64, "r+", start, (len(picked), 3, *shape))
        _fill(filled, picked, features, tracklets)
        filled.flush()

    write_atomic(path, write)
    held_out = np.zeros((len(fresh), 3, *shape), np.float32)
    _fill(held_out, fresh, features, tracklets)
    return held_out


def _fill(target: ndarray, picked: Int64[ndarray, "n 3"], features: Path, tracklets: Tracks) -> None:
    """Features of rows into (n, 3, K, C), in one pass over the file."""
    flat = picked.ravel()
    order = np.argsort(flat, kind="stable")
    for number, _, values in read_features(features):
        for row, value in zip(_rows_of(tracklets, number), values, strict=True):
            start, stop = np.searchsorted(flat[order], [row, row + 1])
            for place in order[start:stop]:
                target[place // 3, place % 3] = value


def learn(
    datasets: Sequence[Dataset], folder: Path, *, epochs: int, fraction: float, on_progress: OnProgress = no_progress
) -> Path:
    """Train DLC's transformer on the triplets of videos; returns the last checkpoint, in ``folder``."""
    from shoal.models.device import pick_device
    from shoal.training.triplets import accuracy, train

    arrays = [np.load(dataset.triplets, mmap_mode="r") for dataset in datasets]
    triplets = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    device = pick_device(ComputeConfig())
    log.info("Training transformer re-identification model...")
    net, results, path = train(
        triplets, epochs=epochs, fraction=fraction, device=device, folder=folder,
        on_epoch=lambda epoch: on_progress("re-ID", epoch, epochs),
    )  # fmt: skip
    write_pickle(folder / "dlc_transreid_results.pickle", results)
    fresh = np.concatenate([dataset.held_out for dataset in datasets])
    if len(fresh):
        share = accuracy(net, fresh, np.arange(len(fresh)), device)
        log.info("Of later tracklets, none of them learned from: acc %.2f (%d triplets)", share, len(fresh))
    else:
        log.info("No tracklets were left out of learning: the accuracies above flatter, triplets share tracklets.")
    log.info("Transformer re-ID checkpoint saved: %s", path)
    return path


def looks(checkpoint: Path, features: Path, tracklets: Tracks) -> Evidence | None:
    """Evidence of a video's tracklets from a checkpoint; None where looks say nothing.

    Raises:
        CheckpointError: damaged, or of another network.
    """
    from shoal.models.device import pick_device
    from shoal.models.reid_transformer import load_transformer
    from shoal.training.triplets import embed

    device = pick_device(ComputeConfig())
    net = load_transformer(checkpoint).to(device)
    vectors, numbers = [], []
    for frame, _, values in read_features(features):
        rows = _rows_of(tracklets, frame)
        has = values.any(axis=(1, 2))
        if has.any():
            vectors.append(embed(net, values[has], device))
            numbers.append(tracklets.track[rows[has]])
    first = np.full(tracklets.n_tracks, np.iinfo(np.int64).max)
    last = np.full(tracklets.n_tracks, -1)
    held = tracklets.track >= 0
    np.minimum.at(first, tracklets.track[held], tracklets.poses.frame[held])
    np.maximum.at(last, tracklets.track[held], tracklets.poses.frame[held])
    return evidence_of_looks(np.concatenate(vectors), np.concatenate(numbers), first, last) if vectors else None


def stitch_with(
    base: Path, checkpoint: Path, config: StitchConfig, *, names: Sequence[str] = (), method: str = "ellipse"
) -> Path:
    """``<base>_el.pickle`` and what a transformer says -> ``<base>_el_tr.h5``."""
    found = read_dlc_files(base, "tracklets", method=method)
    assert isinstance(found.table, Tracks)
    evidence = looks(checkpoint, Path(f"{base}_bpt_features.pickle"), found.table)
    if evidence is None:
        log.info("%s: looks do not tell the tracklets apart; they are joined by motion", base.name)
    output = Path(f"{base}{SUFFIXES[method]}_tr.h5")
    return stitch_dlc_files(base, config=config, names=names, method=method, output=output, evidence=evidence)
