"""Labelled videos from DLC's result files, whoever wrote them; drawn by shoal's streamed renderer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shoal.config.render import RenderConfig
from shoal.errors import InputError
from shoal.io.dlc.detections import read_full
from shoal.io.dlc.meta import Meta, read_meta
from shoal.io.overlay import Draw, Image, detection_drawer, see_through, track_drawer, unique_drawer
from shoal.io.video import VideoInfo, probe
from shoal.run.dlc_files import dlc_file, read_dlc_files
from shoal.run.render import draw_video
from shoal.types import Detections, OnProgress, Poses, Skeleton, Tracks, no_progress

log = logging.getLogger(__name__)

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


def render_dlc_tracks(
    video: Path,
    base: Path,
    *,
    config: RenderConfig,
    method: str = "ellipse",
    filtered: bool = False,
    pairs: Sequence[tuple[str, str]] = (),
    keypoints: Sequence[str] | None = None,
    individuals: Sequence[str] | None = None,
    only: Sequence[int] | None = None,
    background: bool = True,
    target: Path | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Draw ``<base>_el[_filtered].h5`` on the video.

    Args:
        video: the file.
        base: folder and base name of the result files.
        config: look; see ``dlc_look``.
        method: of the tracks.
        filtered: the filtered tracks.
        pairs: limbs, by name; drawn if ``config.skeleton``.
        keypoints: to show; None = all.
        individuals: to show; None = all.
        only: frames that make up the video (DLC's Frames2plot); None = all.
        background: False = keypoints on black (DLC's keypoints_only).
        target: the file; None = DLC's name for it.
        overwrite: make it again if it is there.
        on_progress: called with ("render", frames done, frames).

    Returns:
        The file.

    Raises:
        ProjectError: no tracks file, or damaged.
        VideoError: the video cannot be read.
        InputError: an unknown keypoint or individual.
    """
    target = target or labeled_name(
        base, color_by=config.color_by, pcutoff=config.min_confidence, method=method, filtered=filtered
    )
    if target.is_file() and not overwrite:
        log.info("%s is there already", target.name)
        return target
    found = read_dlc_files(base, "tracks", method=method, filtered=filtered)
    assert isinstance(found.table, Tracks)
    info = probe(Path(video))
    skeleton = found.skeleton
    shown = _positions([*skeleton.keypoints, *skeleton.unique], keypoints, "keypoint")
    tracks = _only(found.table, shown[: skeleton.n_keypoints], _positions(found.names, individuals, "individual"))
    at = {name: i for i, name in enumerate(skeleton.keypoints)}
    edges = np.array([(at[a], at[b]) for a, b in pairs if a in at and b in at], np.int64).reshape(-1, 2)
    size = (info.width, info.height)
    drawers = [track_drawer(tracks, config, skeleton=skeleton, edges=edges, names=found.names, size=size)]
    if skeleton.unique and (individuals is None or "single" in individuals):
        unique = _hidden(found.unique, shown[skeleton.n_keypoints :])
        drawers.append(unique_drawer(unique, config, skeleton=skeleton, size=size))
    draw = see_through(_all(drawers, background), config.alpha)
    draw_video(info, target, draw, config, frames=(0, info.n_frames), only=only, on_progress=on_progress)
    return target


def render_dlc_detections(
    video: Path,
    base: Path,
    *,
    config: RenderConfig,
    keypoints: Sequence[str] | None = None,
    target: Path | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Draw all detections of ``<base>_full.pickle`` on the video, coloured by keypoint: ``<base>_full.mp4``.

    Args:
        video: the file.
        base: folder and base name of the result files.
        config: look; ``min_confidence`` decides what is drawn.
        keypoints: to show; None = all.
        target: the file; None = DLC's name for it.
        overwrite: make it again if it is there.
        on_progress: called with ("render", frames done, frames).

    Returns:
        The file.

    Raises:
        ProjectError: no such file, or damaged.
        VideoError: the video cannot be read.
    """
    target = target or Path(f"{base}_full.mp4")
    if target.is_file() and not overwrite:
        log.info("%s is there already", target.name)
        return target
    meta_file = dlc_file(base, "meta")
    meta: Meta | None = read_meta(meta_file) if meta_file.is_file() else None
    full = read_full(dlc_file(base, "full"), unique=meta.unique if meta else ())
    origin = np.array(meta.origin if meta else (0, 0), np.float32)
    info = probe(Path(video))
    skeleton = Skeleton(full.keypoints, unique=full.unique_names)
    shown = _positions([*skeleton.keypoints, *skeleton.unique], keypoints, "keypoint")
    detections = replace(full.detections, xy=full.detections.xy + origin)
    seen = shown[detections.keypoint] if len(detections) else np.zeros(0, bool)
    draw = _detections(detections, seen, config, skeleton, info)
    if skeleton.unique:
        unique = _hidden(replace(full.unique, xy=full.unique.xy + origin), shown[skeleton.n_keypoints :])
        draw = _all([draw, unique_drawer(unique, config, skeleton=skeleton, size=(info.width, info.height))], True)
    draw = see_through(draw, config.alpha)
    draw_video(info, target, draw, config, frames=(0, info.n_frames), on_progress=on_progress)
    return target


def _detections(
    detections: Detections, seen: np.ndarray, config: RenderConfig, skeleton: Skeleton, info: VideoInfo
) -> Draw:
    confidence = np.where(seen, detections.confidence, -1)
    size = (info.width, info.height)
    return detection_drawer(replace(detections, confidence=confidence), config, skeleton=skeleton, size=size)


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


def _all(drawers: Sequence[Draw], background: bool) -> Draw:
    def draw(image: Image, frame: int) -> None:
        if not background:
            image[:] = 0
        for drawer in drawers:
            drawer(image, frame)

    return draw
