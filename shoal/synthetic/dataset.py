"""Videos with truth, and DLC projects, from a scene and a seed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from shoal.io.dlc.config_file import write_config
from shoal.io.dlc.labels import write_labels
from shoal.io.stream import prefetch
from shoal.io.video import VideoWriter, read_frames
from shoal.synthetic.fish import Fish, make_fish
from shoal.synthetic.motion import Swim, swim
from shoal.synthetic.posture import Bodies, behind_glass, covered, in_frame, mirror_points, pose_bodies, touching
from shoal.synthetic.render import Renderer
from shoal.synthetic.scenes import SKELETON, Scene, random_stream
from shoal.synthetic.tank import Tank, make_tank
from shoal.synthetic.truth import Truth, assemble_truth, save_truth, truth_of, truth_path
from shoal.types import OnProgress, no_progress

__all__ = ["make_project", "make_truth", "make_video", "truth_of"]

log = logging.getLogger(__name__)

SCORER = "aquarium"
LABEL_STRIDE = 9
"""Frames between labelled frames: neighbours would show the network nearly the same picture."""

MIN_SEEN = 3
"""An animal with fewer visible keypoints is left out of the labels, as a person would."""


def make_video(
    scene: Scene, path: Path, *, seed: int, n_frames: int, day: int = 0, on_progress: OnProgress = no_progress
) -> Truth:
    """Render a video (H.264) and write its truth beside it (``<stem>.truth.npz``).

    The fish are those of ``(scene.name, seed)``: another ``day`` shows the same fish, slightly grown, moving
    otherwise in other light; another seed shows other fish on another floor.

    Args:
        scene: see ``scenes.SCENES``.
        path: the .mp4 to write.
        seed: of everything random.
        n_frames: length.
        day: of the recording.
        on_progress: called once per frame.

    Raises:
        VideoError: the folder cannot be written to.

    >>> from shoal.synthetic.scenes import SCENES  # doctest: +SKIP
    >>> truth = make_video(SCENES["demo"], Path("demo.mp4"), seed=1, n_frames=300)  # doctest: +SKIP
    """
    path = Path(path)
    tank, fish = _cast(scene, seed, day)
    parts: list[dict[str, ndarray]] = []
    bit_rate = int(scene.megabit_s * 1e6)
    # one encoder thread: the bytes must not depend on the machine's number of cores
    with VideoWriter(path, fps=scene.fps, bit_rate=bit_rate, threads=1) as writer:
        pictures = _pictures(scene, tank, fish, (seed, day, n_frames), parts)
        for number, picture in enumerate(prefetch(pictures, depth=4)):
            writer.write_picture(picture)
            on_progress("render", number + 1, n_frames)
    truth = _join(scene, tank, fish, parts, n_frames)
    save_truth(truth_path(path), truth)
    return truth


def make_truth(scene: Scene, *, seed: int, n_frames: int, day: int = 0) -> Truth:
    """The truth that ``make_video`` would write, without drawing anything."""
    tank, fish = _cast(scene, seed, day)
    lengths = np.array([f.length for f in fish])
    chunks = swim(scene, tank, lengths, seed=seed, day=day, n_frames=n_frames)
    parts = [_observe(scene, tank, fish, chunk, pose_bodies(chunk, fish)) for chunk in chunks]
    return _join(scene, tank, fish, parts, n_frames)


def make_project(
    folder: Path, scene: Scene, *, seed: int, n_frames: int, n_videos: int, reflections: bool,
    on_progress: OnProgress = no_progress,
) -> Path:  # fmt: skip
    """Make a DLC multi-animal project of rendered videos with true labels.

    Video ``i`` has seed ``1000 * seed + i``: other fish, floor and light each. Labelled frames are taken from
    the encoded video, as they are in a lab.

    Args:
        folder: the project folder; made if missing.
        scene: see ``scenes.SCENES``.
        seed: of everything random.
        n_frames: labelled frames in all.
        n_videos: videos they come from.
        reflections: label reflections too, as individuals ``reflection1`` ...; otherwise only real fish.
        on_progress: called per rendered and per written frame.

    Returns:
        The path of config.yaml.
    """
    folder = Path(folder)
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    labelled: list[tuple[Path, Truth, ndarray]] = []
    sizes: dict[Path, tuple[int, int]] = {}
    for i in range(n_videos):
        count = n_frames * (i + 1) // n_videos - n_frames * i // n_videos
        path = folder / "videos" / f"{scene.name}-{seed}-{i + 1}.mp4"
        length = max(count * LABEL_STRIDE, 90)
        truth = make_video(scene, path, seed=1000 * seed + i, n_frames=length, on_progress=on_progress)
        labelled.append((path, truth, _spread(scene, seed, i, count, length)))
        sizes[Path("videos") / path.name] = (scene.width, scene.height)
    shown = [_animals(truth, frames, reflections=reflections) for _, truth, frames in labelled]
    n_images = max((xy.shape[1] for xy in shown), default=scene.n_fish) - scene.n_fish
    individuals = [f"fish{i + 1}" for i in range(scene.n_fish)] + [f"reflection{i + 1}" for i in range(n_images)]
    for (path, _, frames), xy in zip(labelled, shown, strict=True):
        _write_images(folder / "labeled-data" / path.stem, path, frames, on_progress)
        names = [_image_name(f) for f in frames]
        target = folder / "labeled-data" / path.stem
        write_labels(target, scorer=SCORER, skeleton=SKELETON, individuals=individuals, images=names, xy=xy)
    config = folder / "config.yaml"
    write_config(
        config, task=f"aquarium-{scene.name}", scorer=SCORER, date="Nov22", skeleton=SKELETON, individuals=individuals,
        videos=sizes, identity=False,
    )  # fmt: skip
    return config


def _cast(scene: Scene, seed: int, day: int) -> tuple[Tank, tuple[Fish, ...]]:
    fish_seed = seed if scene.fish_seed is None else scene.fish_seed
    return make_tank(scene, seed), make_fish(scene, fish_seed, day=day)


def _pictures(
    scene: Scene, tank: Tank, fish: tuple[Fish, ...], key: tuple[int, int, int], parts: list[dict[str, ndarray]]
) -> Iterator[av.VideoFrame]:
    """Frames in order; the truth of each chunk is appended to ``parts``."""
    seed, day, n_frames = key
    renderer = Renderer(scene, tank, fish, seed=seed, day=day)
    lengths = np.array([f.length for f in fish])
    first = 0
    for chunk in swim(scene, tank, lengths, seed=seed, day=day, n_frames=n_frames):
        bodies = pose_bodies(chunk, fish)
        parts.append(_observe(scene, tank, fish, chunk, bodies))
        for row in range(len(chunk.xy)):
            yield renderer.picture(chunk, bodies, row, first + row)
        first += len(chunk.xy)


def _observe(scene: Scene, tank: Tank, fish: tuple[Fish, ...], chunk: Swim, bodies: Bodies) -> dict[str, ndarray]:
    """What can be seen of each fish: columns (F, N, ...) of the truth, ``reflected`` (F, walls, N, K, 2)."""
    sheltered, below = covered(bodies, chunk, fish, tank)
    seen = ~sheltered & ~below & in_frame(scene, bodies.xy)
    nan = np.float32(np.nan)
    shape = (len(bodies.xy), len(tank.mirrors), *bodies.xy.shape[1:])
    reflected = np.full(shape, nan, np.float32)
    lit = ~(sheltered.mean(-1) > 0.5)
    for wall in range(len(tank.mirrors)):
        image = mirror_points(tank, wall, bodies.xy)
        shown = behind_glass(tank, wall, image) & in_frame(scene, image) & lit[..., None] & ~below
        reflected[:, wall] = np.where(shown[..., None], image, nan)
    return {
        "xy": np.where(seen[..., None], bodies.xy, nan), "full_xy": bodies.xy, "hidden": np.asarray(sheltered.all(-1)),
        "covered": below, "reflected": reflected, "touches": touching(bodies, fish),
    }  # fmt: skip


def _join(scene: Scene, tank: Tank, fish: tuple[Fish, ...], parts: list[dict[str, ndarray]], n_frames: int) -> Truth:
    lengths = np.array([f.length for f in fish], np.float32)
    return assemble_truth(
        parts, span=(0, n_frames), lengths=lengths, n_walls=len(tank.mirrors), fps=scene.fps,
        size=(scene.width, scene.height),
    )  # fmt: skip


def _spread(scene: Scene, seed: int, video: int, count: int, length: int) -> Int64[ndarray, "F"]:
    """Frames to label: one from each of ``count`` equal parts of the video."""
    edges = np.linspace(0, length, count + 1)
    rng = random_stream(scene, "label", seed, video)
    return np.unique((edges[:-1] + rng.random(count) * np.diff(edges)).astype(np.int64))


def _animals(truth: Truth, frames: Int64[ndarray, "F"], *, reflections: bool) -> Float32[ndarray, "F A K 2"]:
    """Labels of frames: the fish, then as many reflections as the fullest frame shows."""
    n, k = len(truth.names), truth.skeleton.n_keypoints
    xy = truth.tracks.poses.xy.reshape(-1, n, k, 2)[frames]
    if reflections:
        poses = truth.reflections.poses
        usable = np.isfinite(poses.xy).all(-1).sum(1) >= MIN_SEEN
        rows = [np.flatnonzero((poses.frame == f) & usable) for f in frames]
        images = np.full((len(frames), max((len(r) for r in rows), default=0), k, 2), np.nan, np.float32)
        for f, r in enumerate(rows):
            images[f, : len(r)] = poses.xy[r]
        xy = np.concatenate([xy, images], 1)
    too_few = np.isfinite(xy).all(-1).sum(-1) < MIN_SEEN
    return np.where(too_few[..., None, None], np.float32(np.nan), xy)


def _image_name(frame: int) -> str:
    return f"img{frame:05d}.png"


def _write_images(folder: Path, video: Path, frames: Int64[ndarray, "F"], on_progress: OnProgress) -> None:
    """Decode the labelled frames of a video into PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    for batch in read_frames(video, batch=16):
        for number, image in zip(batch.frame, batch.images, strict=True):
            if number in frames:
                bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(folder / _image_name(int(number))), bgr, [cv2.IMWRITE_PNG_COMPRESSION, 4])
                done += 1
                on_progress("images", done, len(frames))
