"""Labelled videos from DLC's result files, whoever wrote them; drawn by shoal's streamed renderer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from shoal.config.render import RenderConfig
from shoal.errors import InputError
from shoal.io.dlc.detections import read_full
from shoal.io.dlc.meta import Meta, read_meta
from shoal.io.dlc.pose_table import row_frames
from shoal.io.overlay import Draw, detection_drawer, on_black, track_drawer, unique_drawer
from shoal.io.video import VideoInfo, probe
from shoal.run.dlc_files import DlcResult, dlc_file, read_dlc_files
from shoal.run.render import WINDOW, by_windows, draw_video, within
from shoal.types import OnProgress, Poses, Skeleton, Span, Tracks, no_progress

log = logging.getLogger(__name__)

BLOCK = 16 * WINDOW
"""Frames read from a table at a time."""

SHORT = {"individual": "id", "keypoint": "bp"}
"""What a colour means -> its letters in file names."""


def dlc_look(values: Mapping[str, Any], **changes: Any) -> tuple[RenderConfig, tuple[tuple[str, str], ...]]:
    """How a project wants its videos: pcutoff, dotsize, colormap, alphavalue of config.yaml; and its skeleton.

    Args:
        values: of config.yaml.
        **changes: fields of ``RenderConfig``; None = as in the project.

    Raises:
        InputError: a value that cannot be used.

    >>> dlc_look({"pcutoff": 0.4, "skeleton": [["nose", "tail"]]}, trail=5)[1]
    (('nose', 'tail'),)
    """
    look: dict[str, Any] = {
        "min_confidence": values.get("pcutoff", 0.6), "dot_px": values.get("dotsize", 12),
        "colormap": values.get("colormap") or "rainbow", "alpha": values.get("alphavalue", 0.7),
        "color_by": "keypoint", "trail": 0, "skeleton": False, "labels": False,
        "preset": "ultrafast", "crf": 23,  # half the bytes of DLC's MPEG-4, its quality at least (bench/render_peer.py)
    }  # fmt: skip
    look |= {key: value for key, value in changes.items() if value is not None}
    try:
        config = RenderConfig(**look)
    except ValueError as error:
        lines = str(error).splitlines()
        raise InputError(f"expected pcutoff, dotsize, colormap and alphavalue, got {' '.join(lines[1:3])}") from error
    pairs = [tuple(map(str, pair)) for pair in values.get("skeleton") or () if isinstance(pair, list)]
    return config, tuple((a, b) for a, b in (p for p in pairs if len(p) == 2))


def labeled_name(base: Path, *, color_by: str, pcutoff: float, method: str = "ellipse", filtered: bool = False) -> Path:
    """Where DLC puts a labelled video.

    >>> labeled_name(Path("vidDLC"), color_by="individual", pcutoff=0.6).name
    'vidDLC_el_id_p60_labeled.mp4'
    """
    stem = str(dlc_file(base, "tracks", method=method, filtered=filtered))[: -len(".h5")]
    return Path(f"{stem}_{SHORT[color_by]}_p{int(100 * pcutoff)}_labeled.mp4")


@dataclass(frozen=True)
class Shown:
    """What of the results is drawn.

    Attributes:
        keypoints: to show; None = all.
        individuals: to show; None = all.
        pairs: limbs, by name; drawn if ``config.skeleton``.
        only: frames that make up the video (DLC's Frames2plot); None = all.
        background: False = keypoints on black (DLC's keypoints_only).
    """

    keypoints: Sequence[str] | None = None
    individuals: Sequence[str] | None = None
    pairs: Sequence[tuple[str, str]] = ()
    only: Sequence[int] | None = None
    background: bool = True


def render_dlc(
    video: Path,
    base: Path,
    *,
    config: RenderConfig,
    shown: Shown | None = None,
    method: str = "ellipse",
    filtered: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Draw ``<base>_el[_filtered].h5`` or, with ``config.what`` = detections, ``<base>_full.pickle`` on the video.

    Args:
        video: the file.
        base: folder and base name of the result files.
        config: look; see ``dlc_look``.
        shown: what of it.
        method: of the tracks.
        filtered: the filtered tracks.
        overwrite: make it again if it is there.
        on_progress: called with ("render", frames done, frames).

    Returns:
        The file: ``labeled_name``, or ``<base>_full.mp4``.

    Raises:
        ProjectError: no such results, or damaged.
        VideoError: the video cannot be read.
        InputError: an unknown keypoint or individual.
    """
    shown = shown or Shown()
    target = Path(f"{base}_full.mp4")
    if config.what == "tracks":
        target = labeled_name(
            base, color_by=config.color_by, pcutoff=config.min_confidence, method=method, filtered=filtered
        )
    if target.is_file() and not overwrite:
        log.info("%s is there already", target.name)
        return target
    info = probe(Path(video))
    if config.what == "tracks":
        draw = _tracks_drawer(base, config, shown, info, method=method, filtered=filtered)
    else:
        draw = _detections_drawer(base, config, shown, info)
    frames = range(info.n_frames)
    if shown.only is not None:
        frames = sorted({n for n in shown.only if 0 <= n < info.n_frames})
    draw_video(
        info, target, draw if shown.background else on_black(draw), config, frames=frames, on_progress=on_progress
    )
    return target


def _tracks_drawer(
    base: Path, config: RenderConfig, shown: Shown, info: VideoInfo, *, method: str, filtered: bool
) -> Draw:
    """From a table, ``BLOCK`` frames in memory at a time where its layout allows."""

    @lru_cache(maxsize=2)
    def read(block: int) -> DlcResult:
        frames = (max(0, block * BLOCK - config.trail), (block + 1) * BLOCK)
        return read_dlc_files(base, "tracks", method=method, filtered=filtered, frames=frames)

    first, size = read(0), (info.width, info.height)
    skeleton, is_whole = first.skeleton, row_frames(first.path) is None
    seen = _positions([*skeleton.keypoints, *skeleton.unique], shown.keypoints, "keypoint")
    wanted = _positions(first.names, shown.individuals, "individual")
    at = {name: i for i, name in enumerate(skeleton.keypoints)}
    edges = np.array([(at[a], at[b]) for a, b in shown.pairs if a in at and b in at], np.int64).reshape(-1, 2)
    once = bool(skeleton.unique) and (shown.individuals is None or "single" in shown.individuals)

    def make(span: Span) -> list[Draw]:
        found = read(0 if is_whole else span[0] // BLOCK)
        part = _only(within(found.table, (span[0] - config.trail, span[1])), seen[: skeleton.n_keypoints], wanted)
        drawers = [track_drawer(part, config, skeleton=skeleton, edges=edges, names=first.names, size=size)]
        if once:
            unique = _hidden(within(found.unique, span), seen[skeleton.n_keypoints :])
            drawers.append(unique_drawer(unique, config, skeleton=skeleton, size=size))
        return drawers

    return by_windows(make)


def _detections_drawer(base: Path, config: RenderConfig, shown: Shown, info: VideoInfo) -> Draw:
    """From a pickle, which is one piece: all of it is in memory."""
    meta_file = dlc_file(base, "meta")
    meta: Meta | None = read_meta(meta_file) if meta_file.is_file() else None
    full = read_full(dlc_file(base, "full"), unique=meta.unique if meta else ())
    origin = np.array(meta.origin if meta else (0, 0), np.float32)
    skeleton, size = Skeleton(full.keypoints, unique=full.unique_names), (info.width, info.height)
    seen = _positions([*skeleton.keypoints, *skeleton.unique], shown.keypoints, "keypoint")

    def make(span: Span) -> list[Draw]:
        part = within(full.detections, span)
        confidence = np.where(seen[part.keypoint], part.confidence, -1)
        part = replace(part, xy=part.xy + origin, confidence=confidence)
        drawers = [detection_drawer(part, config, skeleton=skeleton, size=size)]
        if skeleton.unique:
            unique = within(full.unique, span)
            unique = _hidden(replace(unique, xy=unique.xy + origin), seen[skeleton.n_keypoints :])
            drawers.append(unique_drawer(unique, config, skeleton=skeleton, size=size))
        return drawers

    return by_windows(make)


def _positions(names: Sequence[str], wanted: Sequence[str] | None, what: str) -> np.ndarray:
    """Which of the names are wanted, as a mask; DLC's "all" is everything."""
    if wanted is None or wanted == "all":
        return np.ones(len(names), bool)
    unknown = sorted(set(wanted) - {*names, "single"})
    if unknown:
        raise InputError(f"expected {what}s among {', '.join(names)}, got {', '.join(unknown)}")
    return np.array([name in set(wanted) for name in names], bool)


def _only(tracks: Tracks, keypoints: np.ndarray, individuals: np.ndarray) -> Tracks:
    wanted = np.append(individuals, False)  # -1: no track
    track = np.where(wanted[np.minimum(tracks.track, len(individuals))], tracks.track, -1)
    return Tracks(_hidden(tracks.poses, keypoints), track)


def _hidden(poses: Poses, keypoints: np.ndarray) -> Poses:
    return replace(
        poses,
        xy=np.where(keypoints[:, None], poses.xy, np.nan),
        confidence=np.where(keypoints, poses.confidence, 0),
    )
