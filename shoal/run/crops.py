"""Pictures of a run's animals: cut while the video is analyzed, or in a pass of their own where they were not.

What is cut is decided once per run (``CropPlan``), from the poses of a few frames, so that both ways give the same
pictures.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from numpy import ndarray

from shoal.config.reid import ReidConfig
from shoal.errors import ArtifactError
from shoal.io.artifacts import drop_entry, fingerprint, is_done, load_table, read_entry, save_table, write_entry
from shoal.io.crops import crop_mask, crop_points, cut_crops
from shoal.io.video import VideoInfo, read_frames
from shoal.run.folder import find_video, fps_of, open_folder, plan_spans, read_part, read_spans, table_path
from shoal.run.plan import Part, looked_at, missing
from shoal.stages.align import lay, template_of
from shoal.stages.sampling import worth_a_crop
from shoal.types import Crops, OnProgress, Poses, Span, column, no_progress, select

log = logging.getLogger(__name__)

VERSION = 1
PLAN = "crop_plan.npz"
PLACES, LOOKS = 12, 4  # of the video whose poses the template is made of, and frames at each
MOST_POSES = 20_000  # that a template is made of where those frames show no animal
SETTINGS = {"height", "width", "max_misfit", "clear", "every", "max_crops", "crops_per_hour"}


@dataclass(frozen=True, eq=False)
class CropPlan:
    """How the crops of a run are cut.

    Attributes:
        template: (K, 2) the usual body, px (``align.template_of``).
        every: frames between crops.
        start: a frame with crops.
        settings: fingerprint of the settings that this follows from.
    """

    template: Float64[ndarray, "K 2"]
    every: int
    start: int
    settings: str

    def __post_init__(self) -> None:
        column(self, "template", np.float64, None, 2)


def read_crop_plan(run_dir: Path, config: ReidConfig) -> CropPlan | None:
    """The plan of a run; None if there is none for these settings."""
    try:
        plan = load_table(run_dir / PLAN, CropPlan)
    except ArtifactError:
        return None
    return plan if plan.settings == _settings(config) else None


def make_crop_plan(
    run_dir: Path, config: ReidConfig, info: VideoInfo, positions: Callable[[range], ndarray]
) -> CropPlan | None:
    """The plan of a run, made of a few frames' poses if there is none yet; None where those show no animal.

    Args:
        run_dir: the run folder.
        config: size, rate and quality of crops.
        info: the video.
        positions: (M, K, 2) of the animals in some frames, px.
    """
    plan, part = read_crop_plan(run_dir, config), read_part(run_dir)
    if plan is not None:
        return plan
    places = _places(info, part)
    seen = np.concatenate([positions(place) for place in places]).astype(np.float64)
    return _save_plan(run_dir, config, part, seen, sum(map(len, places)))


def crops_of(
    plan: CropPlan, config: ReidConfig, frame: ndarray, images: UInt8[ndarray, "B H W 3"], poses: Poses
) -> Crops:
    """Crops of the animals in some frames that the plan asks for and that are worth one.

    Args:
        plan: of the run.
        config: of the run.
        frame: (B,) numbers of the frames.
        images: the frames.
        poses: animals of these frames.
    """
    size = (config.height, config.width)
    rows = select(poses, worth_a_crop(poses, plan.template, config) & ((poses.frame - plan.start) % plan.every == 0))
    points, mask = crop_points(plan.template, size), crop_mask(plan.template, size)
    image = np.zeros((len(rows), *size, 3), np.uint8)
    for number, picture in zip(frame, images, strict=True):
        a, b = np.searchsorted(rows.frame, (number, number + 1))
        if b > a:
            image[a:b] = cut_crops(picture, lay(rows.xy[a:b].astype(np.float64), plan.template, points), mask)
    shown = image.any(axis=(1, 2, 3))  # frames that cannot be read show nothing
    return Crops(rows.frame[shown], rows.item[shown], image[shown], poses.span)


def save_crops(run_dir: Path, plan: CropPlan, crops: Crops) -> None:
    """Write the crops of one span; the poses that they are of must be there."""
    drop_entry(run_dir, "crops", crops.span)
    path = table_path(run_dir, "crops", crops.span)
    save_table(path, crops)
    write_entry(
        run_dir, "crops", span=crops.span, fingerprint=_print(run_dir, plan, crops.span), outputs=[path],
        seconds=0.0, counts={"crops": len(crops)},
    )  # fmt: skip


def complete_crops(run_dir: Path, config: ReidConfig, *, on_progress: OnProgress = no_progress) -> CropPlan | None:
    """Cut what was not cut while the video was analyzed.

    Returns:
        The plan; None where there are no animals to cut.

    Raises:
        VideoError: the video is not found.
    """
    all_spans, part = plan_spans(run_dir), read_part(run_dir)
    plan = read_crop_plan(run_dir, config)
    if plan is None:
        plan = make_crop_plan(run_dir, config, find_video(run_dir), lambda frames: _positions(run_dir, frames))
    if plan is None:
        plan = _save_plan(run_dir, config, part, *_some_poses(run_dir, part))
    if plan is None:
        return None
    todo = missing(all_spans, lambda span: is_done(run_dir, "crops", _print(run_dir, plan, span), span))
    if todo:
        log.info("%s: cutting crops of %d of %d chunks", run_dir.name, len(todo), len(all_spans))
    began, done, total = time.perf_counter(), 0, sum(stop - start for start, stop in todo)
    for span in todo:
        poses = read_spans(run_dir, "poses", Poses, start=span[0], stop=span[1])
        found = [Crops(poses.frame[:0], poses.item[:0], np.zeros((0, config.height, config.width, 3)), span)]
        first = plan.start + -(-(span[0] - plan.start) // plan.every) * plan.every
        frames = read_frames(find_video(run_dir).path, start=first, stop=span[1], every=plan.every)
        if len(poses) and first < span[1]:
            with contextlib.closing(frames) as batches:
                for batch in batches:
                    found.append(crops_of(plan, config, batch.frame, batch.images, _between(poses, batch.frame)))
                    on_progress("crops", done + int(batch.frame[-1]) + 1 - span[0], total)
        save_crops(run_dir, plan, joined_crops(found, span))
        done += span[1] - span[0]
        on_progress("crops", done, total)
    if todo:
        log.debug("%s: crops cut in %.1f s", run_dir.name, time.perf_counter() - began)
    return plan


def each_crops(run_dir: Path) -> Iterator[Crops]:
    """Crops span by span, from ``complete_crops``."""
    for span in plan_spans(run_dir):
        yield load_table(table_path(run_dir, "crops", span), Crops)


def rows_of(crops: Crops, poses: Poses) -> Int64[ndarray, "N"]:
    """The row of each crop among the poses of its span."""
    key = poses.frame * 2**15 + poses.item
    order = np.argsort(key, kind="stable")
    return order[np.searchsorted(key[order], crops.frame * 2**15 + crops.item)]


def joined_crops(parts: list[Crops], span: Span) -> Crops:
    """Crops of parts of a span as one table."""
    frame, item, image = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("frame", "item", "image")
    )
    return Crops(frame, item, image, span)


def _settings(config: ReidConfig) -> str:
    return fingerprint("crops", VERSION, config.model_dump(mode="json", include=SETTINGS))


def _print(run_dir: Path, plan: CropPlan, span: Span) -> str:
    """Fingerprint of a span's crops: the plan and the poses that they are of."""
    entry = read_entry(run_dir, "assemble", span)
    about = {"template": plan.template.tolist(), "every": plan.every, "start": plan.start}
    return fingerprint("crops", VERSION, about, inputs=[plan.settings, entry["fingerprint"] if entry else ""])


def _places(info: VideoInfo, part: Part) -> list[range]:
    """A few looked-at frames at each of a few places of a part, each beside a keyframe, where decoding is quick."""
    keys = np.array(info.index.keyframes)
    found: dict[int, range] = {}
    for place in np.linspace(part.start, part.stop, PLACES, endpoint=False):
        before = keys[keys <= place]
        begin = max(int(before[-1]) if len(before) else 0, part.start)
        frames = looked_at(part, (begin, part.stop))[:LOOKS]
        found |= {frames.start: frames} if len(frames) else {}
    return list(found.values())


def _save_plan(
    run_dir: Path, config: ReidConfig, part: Part, xy: Float64[ndarray, "M K 2"], n_frames: int
) -> CropPlan | None:
    template = template_of(xy) if len(xy) else None
    if template is None:
        return None
    looks = len(looked_at(part, (part.start, part.stop)))
    hours = looks * part.every / float(fps_of(open_folder(run_dir))) / 3600
    wanted = max(config.max_crops, config.crops_per_hour * hours)
    every = max(config.every, int(np.ceil(looks * len(xy) / max(n_frames, 1) / wanted)))
    plan = CropPlan(template, every * part.every, part.start, _settings(config))
    save_table(run_dir / PLAN, plan)
    return plan


def _positions(run_dir: Path, frames: range) -> Float64[ndarray, "M K 2"]:
    poses = read_spans(run_dir, "poses", Poses, start=frames.start, stop=frames.stop)
    return poses.xy[np.isin(poses.frame, frames)]


def _some_poses(run_dir: Path, part: Part) -> tuple[Float64[ndarray, "M K 2"], int]:
    """The fullest poses of each span, some of them, and the frames that as many animals would be seen in."""
    all_spans, found, n = plan_spans(run_dir), list[ndarray](), 0
    for span in all_spans:
        xy = read_spans(run_dir, "poses", Poses, start=span[0], stop=span[1]).xy
        n += len(xy)
        n_seen = np.isfinite(xy).all(axis=2).sum(axis=1)
        found.append(xy[n_seen == n_seen.max(initial=0)][: max(MOST_POSES // len(all_spans), 1)])
    xy = np.concatenate(found).astype(np.float64)
    looks = len(looked_at(part, (part.start, part.stop)))
    return xy, round(looks * len(xy) / max(n, 1))


def _between(poses: Poses, frame: ndarray) -> Poses:
    """The animals from the first to the last of some frames."""
    a, b = np.searchsorted(poses.frame, (frame[0], frame[-1] + 1))
    return Poses(
        poses.frame[a:b], poses.item[a:b], poses.xy[a:b], poses.confidence[a:b], poses.score[a:b],
        (int(frame[0]), int(frame[-1]) + 1),
    )  # fmt: skip
