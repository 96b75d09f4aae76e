"""Frames to label: taken out of videos, drawn with their labels, found again where tracking went wrong."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from shoal.config.render import RenderConfig
from shoal.errors import ProjectError
from shoal.io.artifacts import write_atomic
from shoal.io.canvas import image_canvas
from shoal.io.dlc.config_file import DlcConfig, read_config, read_crops, read_settings
from shoal.io.dlc.pose_table import PoseTable, read_pose_table, split_path, write_pose_table
from shoal.io.dlc.project import find_videos, read_project
from shoal.io.overlay import track_drawer
from shoal.io.video import VideoInfo, probe, read_images
from shoal.run.projects import Crop, add_videos, crop_of
from shoal.stages import pick
from shoal.types import LabeledFrame, OnProgress, Poses, Project, Tracks, no_progress

log = logging.getLogger(__name__)

MAX_LOOKED = 10_000  # frames of a video that k-means compares; a longer one is sampled
SPARSE = 60  # frames between samples from which on seeking is quicker than decoding all of them

Algorithm = Literal["kmeans", "uniform"]


def extract_frames(
    project: Path,
    *,
    algorithm: Algorithm = "kmeans",
    crop: bool = False,
    add: bool = False,
    step: int = 1,
    width: int = 30,
    only: Sequence[Path] = (),
    on_progress: OnProgress = no_progress,
) -> tuple[Path, ...]:
    """Save frames worth labelling of a project's videos as ``labeled-data/<video>/img<frame>.png``.

    ``numframes2pick``, ``start`` and ``stop`` of config.yaml say how many and from which part.

    Args:
        project: the folder or its config.yaml.
        algorithm: frames that look different, or at random.
        crop: cut the images as ``video_sets`` says.
        add: take more frames of videos that have enough of them already.
        step: every how many frames k-means looks.
        width: of the pictures that it compares, px.
        only: videos; empty = all of the project.
        on_progress: called with ("extract", frames looked at, frames).

    Returns:
        The images written.

    Raises:
        ProjectError: no video of the project is there.
    """
    config, settings, crops = read_config(project), read_settings(project), read_crops(project)
    root, n = config.path.parent, int(settings["numframes2pick"])
    written: list[Path] = []
    for video in _videos(config, only):
        folder = root / "labeled-data" / video.stem
        info = probe(video)
        there = {image.name for image in folder.glob("img*.png")}
        if len(there) >= n and not add:
            log.info("%s has %d frames already; userfeedback=False takes more", video.stem, len(there))
            continue
        first, last = int(settings["start"] * info.n_frames), math.ceil(settings["stop"] * info.n_frames)
        free = np.array([f for f in range(first, last) if image_name(f, info.n_frames) not in there], np.int64)
        rng = np.random.default_rng(len(there))
        log.info("%s: choosing frames (%s)", video.name, algorithm)
        n_wanted = n if add else n - len(there)
        chosen = choose_frames(
            info, free, n_wanted, algorithm=algorithm, step=step, width=width, rng=rng, on_progress=on_progress
        )
        written += save_frames(info, chosen, folder, crop=crop_of(crops, video) if crop else None)
    log.info("%d frames extracted; label them next", len(written))
    return tuple(written)


def choose_frames(
    info: VideoInfo,
    candidates: Int64[ndarray, "N"],
    n: int,
    *,
    algorithm: Algorithm,
    step: int,
    width: int,
    rng: np.random.Generator,
    on_progress: OnProgress = no_progress,
) -> Int64[ndarray, "n"]:
    """``n`` of the candidate frames of a video, ascending."""
    if algorithm == "uniform" or len(candidates) <= n:
        return pick.pick_uniform(candidates, n, rng)
    step = max(step, math.ceil(len(candidates) / MAX_LOOKED))
    looked = candidates[::step] if len(candidates[::step]) > n else candidates
    found, pictures = _thumbnails(info, looked, width, on_progress)
    return pick.pick_diverse(found, pictures, n, rng)


def save_frames(info: VideoInfo, frames: Int64[ndarray, "n"], folder: Path, *, crop: Crop | None = None) -> list[Path]:
    """Write frames as PNG; those that cannot be decoded are left out."""
    x1, x2, y1, y2 = crop or (0, info.width, 0, info.height)
    files: list[Path] = []
    for number, image in _read(info, frames):
        files.append(folder / image_name(number, info.n_frames))
        _write_png(files[-1], image[y1:y2, x1:x2])
    return files


def image_name(frame: int, n_frames: int) -> str:
    """DLC's name of an extracted frame.

    >>> image_name(7, 900)
    'img007.png'
    """
    return f"img{frame:0{max(math.ceil(math.log10(max(n_frames, 1))), 1)}d}.png"


def draw_labels(
    project: Path, *, scale: float = 1.0, skeleton: bool = True, on_progress: OnProgress = no_progress
) -> tuple[Path, ...]:
    """Draw all labels into ``labeled-data/<video>_labeled/``: one colour per animal.

    Raises:
        ProjectError: nothing is labelled.
    """
    found = read_project(project)
    files: list[Path] = []
    for i, label in enumerate(found.labels):
        image = cv2.imread(str(label.image))
        if image is None:
            continue
        folder = found.root / "labeled-data" / f"{label.video}_labeled"
        files.append(folder / label.image.name)
        _write_png(files[-1], _drawn(found, label, image[..., ::-1], scale=scale, skeleton=skeleton))
        on_progress("draw", i + 1, len(found.labels))
    log.info("%d labelled images are drawn; correct what is wrong before training", len(files))
    return tuple(files)


def extract_outliers(
    project: Path,
    video: Path,
    tracks: Path,
    *,
    rule: Literal["jump", "uncertain", "fitting", "list"] = "jump",
    frames: Sequence[int] = (),
    keypoints: Sequence[str] = (),
    epsilon: float = 20.0,
    bound: float = 0.01,
    degrees: tuple[int, int] = (3, 1),
    algorithm: Algorithm = "kmeans",
    width: int = 30,
    draw: bool = False,
    copy: bool = False,
    on_progress: OnProgress = no_progress,
) -> tuple[Path, ...]:
    """Save badly tracked frames with the predictions as labels to correct, and add the video to the project.

    Args:
        project: the folder or its config.yaml.
        video: the analyzed video.
        tracks: its ``<base>_el.h5`` (or csv).
        rule: a point moved more than ``epsilon`` px in a frame; a point is less sure than ``bound``; the points
            are, in the mean, more than ``epsilon`` px off an ARMA model's prediction; or the frames given.
        frames: for rule ``list``.
        keypoints: that count; empty = all.
        epsilon: px.
        bound: confidence.
        degrees: of the ARMA model.
        algorithm: how ``numframes2pick`` of them are chosen.
        width: of the pictures that k-means compares, px.
        copy: copy the video into the project, if it is new to it, instead of linking.
        draw: also save each image with the predictions drawn in, ``img<frame>labeled.png``.
        on_progress: called with ("extract", frames looked at, frames).

    Returns:
        Images, and ``machinelabels-iter<i>.h5`` and ``machinelabels.csv``.

    Raises:
        ProjectError: the tracks cannot be read.
    """
    config, settings = read_config(project), read_settings(project)
    table = _read_table(tracks)
    number = np.array([int(row[-1]) for row in table.index], np.int64)
    info = probe(video)
    odd = _odd_frames(table, rule, frames=frames, keypoints=keypoints, epsilon=epsilon, bound=bound, degrees=degrees)
    inside = (number >= settings["start"] * info.n_frames) & (number < settings["stop"] * info.n_frames)
    candidates = number[odd & inside]
    log.info("%s: %d frames look wrong (%s)", video.name, len(candidates), rule)
    if not len(candidates):
        return ()
    rng = np.random.default_rng(0)
    n = len(candidates) if rule == "list" else int(settings["numframes2pick"])
    chosen = choose_frames(
        info, candidates, n, algorithm=algorithm, step=1, width=width, rng=rng, on_progress=on_progress
    )
    folder = config.path.parent / "labeled-data" / video.stem
    images = save_frames(info, chosen, folder)
    labels = _machine_labels(table, number, images, folder)
    written = _save_machine_labels(folder, labels, iteration=config.iteration)
    if draw:
        images += _draw_predictions(project, labels, folder)
    if video.stem not in {Path(split_path(v)[-1]).stem for v in config.videos if v}:
        add_videos(config.path, [video], copy=copy)
    log.info("%d of them, with predictions as labels to correct, are in %s", len(chosen), folder)
    return (*images, *written)


def _videos(config: DlcConfig, only: Iterable[Path]) -> list[Path]:
    chosen = {Path(video).stem for video in only} or {Path(split_path(v)[-1]).stem for v in config.videos if v}
    found = [video for video in find_videos(config) if video.stem in chosen]
    lost = sorted(chosen - {video.stem for video in found})
    if not found:
        raise ProjectError(
            f"expected videos of the project, found none of {', '.join(lost) or 'any'}\nwhere: {config.path}",
            hint="add_new_videos adds some; `videos/` of the project is looked into as well",
        )
    for name in lost:
        log.warning("%s: no such video is there; left out", name)
    return found


def _thumbnails(
    info: VideoInfo, frames: Int64[ndarray, "N"], width: int, on_progress: OnProgress
) -> tuple[Int64[ndarray, "n"], Float32[ndarray, "n D"]]:
    """Frames that can be decoded, and each as a small grey picture, flattened."""
    height = max(1, round(info.height * width / info.width))
    numbers: list[int] = []
    pictures: list[ndarray] = []
    for number, image in _read(info, frames):
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        pictures.append(small.mean(axis=2, dtype=np.float32).reshape(-1))
        numbers.append(number)
        on_progress("extract", len(numbers), len(frames))
    flat = np.stack(pictures) if pictures else np.zeros((0, width * height), np.float32)
    return np.array(numbers, np.int64), flat


def _read(info: VideoInfo, frames: Int64[ndarray, "N"]) -> Any:
    """(number, RGB image) of the frames wanted, ascending."""
    wanted = np.unique(frames).tolist()
    if len(wanted) > 1 and np.diff(wanted).mean() < SPARSE:
        chosen = set(wanted)
        yield from ((f, image) for f, image in read_images(info, start=wanted[0], stop=wanted[-1] + 1) if f in chosen)
        return
    for frame in wanted:
        yield from read_images(info, start=frame, stop=frame + 1)


def _write_png(path: Path, image: ndarray) -> None:
    """Write an (H, W, 3) RGB image."""
    _, png = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR))
    write_atomic(path, png.tobytes())


def _drawn(project: Project, label: LabeledFrame, image: ndarray, *, scale: float, skeleton: bool) -> ndarray:
    if scale != 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = np.ascontiguousarray(image)
    n = len(label.xy)
    confidence = label.visible.astype(np.float32)
    poses = Poses(np.zeros(n), np.arange(n), label.xy * np.float32(scale), confidence, np.ones(n), (0, 1))
    names = [project.individuals[i] if i >= 0 else "?" for i in label.individual.tolist()]
    look = RenderConfig(trail=0, skeleton=skeleton, min_confidence=0.5)
    draw = track_drawer(
        Tracks(poses, np.arange(n)), look, skeleton=project.skeleton, edges=project.skeleton.edges, names=names,
        size=(picture.shape[1], picture.shape[0]),
    )  # fmt: skip
    draw(image_canvas(picture), 0)
    return picture


def _read_table(path: Path) -> PoseTable:
    try:
        table = read_pose_table(path)
        if any(len(row) != 1 or not row[0].lstrip("-").isdigit() for row in table.index):
            raise ValueError("rows that are no frame numbers")
    except (OSError, ValueError) as error:
        raise ProjectError(f"expected tracks of a video, got: {error}\nwhere: {path}") from error
    return table


def _odd_frames(
    table: PoseTable,
    rule: str,
    *,
    frames: Sequence[int],
    keypoints: Sequence[str],
    epsilon: float,
    bound: float,
    degrees: tuple[int, int],
) -> ndarray:
    """Rows that look wrong."""
    if rule == "list":
        return np.isin([int(row[-1]) for row in table.index], list(frames))
    names = [part for part in table.names("bodyparts") if not keypoints or part in keypoints]
    owners = table.names("individuals")
    scorer = table.names("scorer")[0]
    points = table.gather(scorer, individuals=owners, bodyparts=names, coords=("x", "y", "likelihood"))
    points = points.reshape(len(points), -1, 3)
    if rule == "uncertain":
        return pick.doubts(points[..., 2], bound)
    if rule == "fitting":
        return pick.misfits(points[..., :2], epsilon, ar=degrees[0], ma=degrees[1])
    return pick.jumps(points[..., :2], epsilon)


def _machine_labels(table: PoseTable, number: ndarray, images: Sequence[Path], folder: Path) -> PoseTable:
    frame = [int(image.stem.removeprefix("img")) for image in images]
    rows = np.searchsorted(number, frame)
    index = tuple(("labeled-data", folder.name, image.name) for image in images)
    return PoseTable(table.columns, index, table.values[rows])


def _save_machine_labels(folder: Path, labels: PoseTable, *, iteration: int) -> tuple[Path, Path]:
    """Write machine labels; those of earlier calls in the same iteration stay, but for images that come again."""
    h5, text = folder / f"machinelabels-iter{iteration}.h5", folder / "machinelabels.csv"
    if h5.is_file():
        before = _known(h5, labels)
        index = (*before.index, *labels.index)
        values = np.concatenate([before.values, labels.values])
        order = sorted(range(len(index)), key=lambda i: index[i])
        labels = PoseTable(labels.columns, tuple(index[i] for i in order), values[order])
    for path in (h5, text):
        write_atomic(path, lambda aside: write_pose_table(aside, labels, key="df_with_missing", layout="fixed"))
    return h5, text


def _known(path: Path, labels: PoseTable) -> PoseTable:
    """The rows of an earlier file that are not labelled again, in the new columns."""
    try:
        old = read_pose_table(path)
    except (OSError, ValueError) as error:
        raise ProjectError(f"expected machine labels, got: {error}\nwhere: {path}", hint="move it away") from error
    at = {column[1:]: i for i, column in enumerate(old.columns)}
    padded = np.column_stack([old.values, np.full(len(old.values), np.nan)])
    columns = np.array([at.get(column[1:], old.values.shape[1]) for column in labels.columns], np.intp)
    rows = [i for i, row in enumerate(old.index) if row not in set(labels.index)]
    return PoseTable(labels.columns, tuple(old.index[i] for i in rows), padded[rows][:, columns])


def _draw_predictions(project: Path, labels: PoseTable, folder: Path) -> list[Path]:
    """Each image with its machine labels as dots, one colour per keypoint."""
    from shoal.io.overlay import draw_labels as draw_points

    owners, names, scorer = labels.names("individuals"), labels.names("bodyparts"), labels.names("scorer")[0]
    xy = labels.gather(scorer, individuals=owners, bodyparts=names, coords=("x", "y"))
    files: list[Path] = []
    for row, points in zip(labels.index, xy, strict=True):
        image = cv2.imread(str(folder / row[-1]))
        if image is None:
            continue
        picture = np.ascontiguousarray(image[..., ::-1])
        draw_points(picture, np.zeros((0, len(names), 2)), points, RenderConfig())
        files.append(folder / f"{Path(row[-1]).stem}labeled.png")
        _write_png(files[-1], picture)
    return files
