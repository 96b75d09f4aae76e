"""Reflections and duplicates of a run: found among its tracklets, tracked apart from the animals, told to results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from shoal.config.run import RunConfig
from shoal.config.stitch import StitchConfig
from shoal.io.artifacts import drop_entry, fingerprint, json_bytes, load_table, save_table, write_entry, write_json
from shoal.run.folder import TRACK_INFO, each_span, read_card, read_info
from shoal.run.reid import reid_print
from shoal.stages import associate as associating
from shoal.stages import classify as classifying
from shoal.stages import stitch as stitching
from shoal.stages.classify import ANIMAL, REFLECTION
from shoal.stages.constraints import Links, kinds_of_pieces
from shoal.types import TRACK_KINDS, Decisions, TrackInfo, Tracks

log = logging.getLogger(__name__)

TRACKLET_KINDS, MIRRORS = "tracklet_kinds.npz", "mirrors.json"

Solve = Callable[[Callable[[], Iterator[Tracks]], StitchConfig], tuple[Int64[ndarray, "T"], Decisions]]
"""Tracklets (called twice) and settings -> the track of each tracklet, and the decisions."""


def track_prints(config: RunConfig, assembled: str, edited: str = "") -> tuple[str, str, str, str]:
    """Fingerprints of associate, classify, reid (empty = not used) and stitch; ``edited``: of the edits, if any."""
    linked = fingerprint("associate", associating.VERSION, config.associate, inputs=[assembled])
    known = fingerprint("classify", classifying.VERSION, config.classify, inputs=[linked])
    seen = reid_print(config, known)
    inputs = [known, *filter(None, (seen, edited))]
    return linked, known, seen, fingerprint("stitch", stitching.VERSION, config.stitch, inputs=inputs)


def classify_run(run_dir: Path, config: RunConfig, expected: str, linked: str) -> None:
    """What each tracklet is (``tracklet_kinds.npz``), and where the walls are (``mirrors.json``)."""
    began = time.perf_counter()
    swap = np.asarray(read_card(run_dir).skeleton.mirror)
    info, mirrors = classifying.survey_kinds(lambda: each_span(run_dir, kind="tracklets"), swap, config.classify)
    outputs = [run_dir / TRACKLET_KINDS, run_dir / MIRRORS]
    save_table(outputs[0], info)
    write_json(outputs[1], [
        {"normal": m.normal.round(6).tolist(), "offset": round(m.offset, 3), "depth": round(m.depth, 4),
         "matched": round(m.matched, 4), "chance": round(m.chance, 4)} for m in mirrors
    ], make_parents=False)  # fmt: skip
    rows = {name: int(info.n[info.kind == kind].sum()) for kind, name in enumerate(TRACK_KINDS)}
    write_entry(
        run_dir, "classify", fingerprint=expected, outputs=outputs, inputs={"associate": linked},
        seconds=time.perf_counter() - began, counts={"mirrors": len(mirrors), **rows},
    )  # fmt: skip
    if rows["reflection"]:
        log.info(
            "%s: %d of %d animal rows are reflections in %d walls", run_dir.name, rows["reflection"],
            sum(rows.values()), len(mirrors),
        )  # fmt: skip


def stitch_kinds(
    run_dir: Path,
    config: RunConfig,
    tracklets: Callable[[], Iterator[Tracks]],
    solve: Solve,
    *,
    links: Links | None = None,
) -> tuple[Int64[ndarray, "T"], Decisions]:
    """Animals joined with animals only, reflections with reflections, numbered after all animals; duplicates with none.

    Also writes ``track_info.npz``. Where the count of animals is to be exact but so many were never seen at once,
    the count must mean reflections, too (projects that label them): it is taken as the most there can be. With
    ``links`` tracklets are those that edits have cut, and what edits name is an animal.
    """
    info = load_table(run_dir / TRACKLET_KINDS, TrackInfo)
    info = kinds_of_pieces(info, links, ANIMAL) if links else info
    reflected = info.kind == REFLECTION
    if (info.kind == ANIMAL).all():
        number, joins = solve(tracklets, config.stitch)
    else:
        counted = config.stitch
        if reflected.any() and counted.count == "exact":
            at_once = classifying.most_at_once(tracklets, info, ANIMAL)
            if at_once < counted.n_animals:
                log.info(
                    "%s: %d animals asked for, %d seen at once beside their reflections: the count is taken as the "
                    "most there can be", run_dir.name, counted.n_animals, at_once,
                )  # fmt: skip
                counted = counted.model_copy(update={"count": "at-most"})
        number, joins = solve(_of_kind(tracklets, info, ANIMAL), counted)
        number = _all(number, len(info.n))
        if reflected.any() and config.classify.reflections == "mark":
            apart, _ = solve(_of_kind(tracklets, info, REFLECTION), config.stitch.model_copy(update=_ANY_COUNT))
            apart = _all(apart, len(info.n))
            first = max(int(number.max(initial=-1)) + 1, config.stitch.n_animals)
            number = np.where(reflected & (apart >= 0), first + apart, number)
    number = np.asarray(number)
    tracks = classifying.combine(info, number, int(number.max(initial=-1)) + 1)
    drop_entry(run_dir, "stitch")  # from here on the old tracks are written over
    save_table(run_dir / TRACK_INFO, tracks)
    return number, joins


def kinds_table(run_dir: Path, columns: Mapping[int, str]) -> bytes:
    """What each exported track is, as JSON; empty if all are animals."""
    info = read_info(run_dir)
    shown = [c for c in columns if c < len(info.track)]
    if not info.kind[shown].any():
        return b""
    return json_bytes({
        columns[c]: {
            "kind": TRACK_KINDS[info.kind[c]], "probability": round(float(info.probability[c]), 4),
            "first": int(info.first[c]), "last": int(info.last[c]), "rows": int(info.n[c]),
        } for c in shown
    })  # fmt: skip


_ANY_COUNT = {"n_animals": 0, "count": "unknown"}


def _all(number: Int64[ndarray, "t"], n_tracklets: int) -> Int64[ndarray, "T"]:
    """Tracks of all tracklets; those after the last one that was looked at are in none."""
    return np.r_[number, np.full(n_tracklets - len(number), -1)]


def _of_kind(tracklets: Callable[[], Iterator[Tracks]], info: TrackInfo, kind: int) -> Callable[[], Iterator[Tracks]]:
    return lambda: (classifying.tracklets_of(part, info, (kind,)) for part in tracklets())
