"""Whether results depend on what they must not: batches, chunks, decoder threads, and where reading begins.

    python bench/independence.py

Three measurements, each against the plainest way (one thread, one batch after the other, from the first frame):

pictures  frame numbers and pixels of the odd and damaged videos that the tests make (``tests/unit/io/numbered.py``),
          whose every frame shows its own number: variable rate, negative start, repeated times, truncated, a wrong
          header, no timestamps, open groups of pictures, intra-refresh, damaged H.264, HEVC, MPEG-4 and MJPEG.
          ``misplaced`` are frames that show another number or, in a damaged video, have the very pixels that another
          frame of the undamaged one has, and that one has not
tables    all tables of an analysis, to tracks, of a sound and a damaged video by the tests' stand-in for a network
network   the same of an untrained network that computes every pixel, in every runtime that is installed
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from command import ROOT

from shoal.io import decoding
from shoal.io.artifacts import load_table, save_table
from shoal.io.video import probe, read_frames
from shoal.run.folder import read_spans, read_tracks
from shoal.run.steps import analyze
from shoal.types import Appearance, Decisions, Detections, Poses

WAYS = ((7, 16, 3, 2), (5, 9, 1, 4), (1, 16, 2, 1), (8, 0, 1, 2), (8, 32, 4, 1))
"""Batch size, chunk size (0 = none), stretches side by side, decoder threads."""
STARTS = ((13, 2), (37, 1), (1, 1), (11, 2), (12, 1), (24, 1), (50, 1))
"""First frame, stretches side by side."""
NUMBERED, BLOBS = "tests/unit/io/numbered.py", "tests/integration/blobs.py"


def measure(work: Path, *, is_quick: bool = False) -> dict[str, Any]:
    """``pictures``, ``tables``, ``network``: how many ways were compared (quick: two), and which differ."""
    most = 2 if is_quick else None
    film = SimpleNamespace(**runpy.run_path(str(ROOT / NUMBERED)))
    blobs = SimpleNamespace(**runpy.run_path(str(ROOT / BLOBS)))
    return {
        "pictures": _pictures(film, work, most), "tables": _tables(film, blobs, work, most),
        "network": _network(blobs, work, most),
    }  # fmt: skip


def _pictures(film: Any, work: Path, most: int | None) -> dict[str, Any]:
    compared, misplaced, damaged, different = 0, list[str](), dict[str, dict[str, int]](), list[str]()
    for name, make in film.ODD.items():
        folder = work / name
        folder.mkdir()
        path, undamaged = _with_undamaged(make, folder)
        with _decoder_threads(1):
            plain = _digests(path)
        if "damaged" in name:
            sound = _digests(undamaged)
            intact = {n for n in plain if plain[n] == sound[n]}
            elsewhere = {sound[n] for n in sound.keys() - intact}  # one that is at its place too is a decoder's guess
            moved = [n for n in sorted(plain.keys() - intact) if plain[n] in elsewhere]
            damaged[name] = {
                "intact": len(intact), "guessed": len(plain) - len(intact), "unreadable": len(sound) - len(plain)
            }  # fmt: skip
        else:
            moved = [n for n, shown in zip(*film.numbers_in(path), strict=True) if n != shown]
            moved += range(len(plain), probe(path).n_frames - (name == "truncated"))  # whose last packet is cut
        misplaced += [f"{name}: frame {n}" for n in moved]
        for batch, chunk, workers, threads in WAYS[:most]:
            with _decoder_threads(threads):
                borders = range(chunk, 60, chunk) if chunk else ()
                compared += 1
                if _digests(path, batch=batch, borders=borders, workers=workers) != plain:
                    different.append(f"{name}: batch {batch}, chunk {chunk}, {workers} stretches, {threads} threads")
        for start, workers in STARTS[:most]:
            compared += 1
            if _digests(path, start=start, workers=workers) != {n: d for n, d in plain.items() if n >= start}:
                different.append(f"{name}: from frame {start}, {workers} stretches")
    return {
        "videos": len(film.ODD), "compared": compared, "different": different, "misplaced": misplaced,
        "damaged": damaged,
    }  # fmt: skip


def _with_undamaged(make: Any, folder: Path) -> tuple[Path, Path]:
    """A video, and what it was before its builder did the damage: two encodings are not always alike."""
    names = make.__globals__
    damage, sound = names["damage"], folder / "sound"

    def after_copy(path: Path, *how: Any, **more: Any) -> Path:
        shutil.copy(path, sound.with_suffix(path.suffix))
        return damage(path, *how, **more)

    names["damage"] = after_copy
    try:
        path = make(folder)
    finally:
        names["damage"] = damage
    return path, sound.with_suffix(path.suffix)


def _tables(film: Any, blobs: Any, work: Path, most: int | None) -> dict[str, Any]:
    different: list[str] = []
    videos = {"sound": blobs.make_video(work / "sound.mp4", 300)}
    videos["damaged"] = film.damage(blobs.make_video(work / "damaged.mp4", 300), (40, 120, 250, 270))
    ways = ((512, 8, 1, 1), (64, 3, 2, 4), (128, 1, 1, 2), (64, 8, 2, 1))[:most]
    for name, video in videos.items():
        found = []
        for chunk, batch, workers, threads in ways:
            settings = (
                f"predict.chunk_frames={chunk}",
                f"predict.batch_size={batch}",
                f"compute.decode_workers={workers}",
            )
            with _decoder_threads(threads):
                run = analyze(
                    video, blobs.engine(), config=blobs.config(*settings), dest=work / f"{chunk}-{batch}-{threads}"
                )
            found.append(_table_digests(run))
            if found[-1] != found[0]:
                different.append(f"{name}: {_names(found[0], found[-1])} with {' '.join(settings)}, {threads} threads")
    return {"ways": len(ways), "videos": len(videos), "tables": len(found[0]), "different": different}


def _network(blobs: Any, work: Path, most: int | None) -> dict[str, Any]:
    """An untrained network with all peaks kept: every pixel of every map counts."""
    import torch

    from shoal.config.run import load_config
    from shoal.models.checkpoint import ModelInfo, build_model, save_checkpoint
    from shoal.models.runtime.choose import ways as possible_ways
    from shoal.run.engine import load_engine

    torch.manual_seed(0)
    options = ("predict.min_confidence=0", "assemble.min_confidence=0", "assemble.min_score=0", "predict.max_peaks=12")
    config = load_config(overrides=["model.backbone=test_resnet", "model.neck=8", "model.input_scale=0.5"])
    info = ModelInfo(blobs.SKELETON, blobs.SKELETON.edges, ("a", "b", "c"), False, 20.0, config)
    save_checkpoint(work / "best.pt", build_model(info, pretrained=False).state_dict(), info, epoch=1)
    video, different = blobs.make_video(work / "pixels.mp4", 80), list[str]()
    ways = ((64, 8, 1), (16, 3, 2), (32, 1, 2))[:most]
    possible = possible_ways("auto", "auto", torch.device("cpu"))
    for runtime, precision in possible:
        found = []
        for chunk, batch, threads in ways:
            settings = (
                *options, f"predict.runtime={runtime}", f"predict.precision={precision}",
                f"predict.chunk_frames={chunk}", f"predict.batch_size={batch}", f"compute.threads={threads}",
            )  # fmt: skip
            config = load_config(overrides=list(settings))
            dest = work / f"{runtime}-{precision}-{chunk}"
            run = analyze(video, load_engine(work / "best.pt", config), config=config, dest=dest)
            found.append(_table_digests(run))
            if found[-1] != found[0]:
                different.append(f"{runtime} {precision}: {_names(found[0], found[-1])} with {' '.join(settings[4:])}")
    return {"runtimes": [" ".join(way) for way in possible], "ways": len(ways), "different": different}


@contextmanager
def _decoder_threads(n: int) -> Iterator[None]:
    before, decoding.DECODE_THREADS = decoding.DECODE_THREADS, n
    try:
        yield
    finally:
        decoding.DECODE_THREADS = before


def _digests(path: Path, **how: Any) -> dict[int, str]:
    """Number of each frame -> digest of its pixels."""
    found: dict[int, str] = {}
    for batch in read_frames(path, **how):
        found |= {n: hashlib.sha256(i).hexdigest() for n, i in zip(batch.frame.tolist(), batch.images, strict=True)}
    return found


def _table_digests(run_dir: Path) -> dict[str, str]:
    """Digest of each table of a run, its chunks joined."""
    tables: dict[str, Any] = {
        kind: read_spans(run_dir, kind, table)
        for kind, table in (("detections", Detections), ("poses", Poses), ("unique", Poses), ("appearance", Appearance))
        if (run_dir / kind).is_dir()
    }
    tables |= {"tracklets": read_tracks(run_dir, kind="tracklets"), "tracks": read_tracks(run_dir)}
    tables["decisions"] = load_table(run_dir / "decisions.npz", Decisions)
    digests: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, table in tables.items():
            save_table(file := Path(folder) / f"{name}.npz", table)
            digests[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return digests


def _names(one: dict[str, str], other: dict[str, str]) -> str:
    return ", ".join(name for name in one if one[name] != other.get(name))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder)), indent=1))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    np.seterr(all="raise")
    main()
