"""Labelled images on disk -> patches with labels, ready for the device.

Images are decoded once, at the network's scale, into the user's cache folder. Everything random comes from counters
(seed, epoch, step), so a step's crops are the same whenever and wherever it is computed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8
from numpy import ndarray

from shoal.config.train import AugmentConfig
from shoal.errors import ProjectError
from shoal.models.pose import shrink
from shoal.types import LabeledFrame, OnProgress, no_progress

CACHE_VERSION = 2
CACHE_BYTES, CACHE_DAYS = 20e9, 7
NEAR_ANIMAL = 0.9
"""Share of crops that are centred near a labelled keypoint; the others lie anywhere and teach what is no animal."""
DENSE = 0.1
"""Keypoints nearer than this are neighbours for DLC's crops, share of the image's shorter side."""
JITTER = 0.25
"""Largest distance of a crop's centre from its keypoint, share of the crop's side."""


@dataclass(frozen=True, eq=False)
class TrainImage:
    """One labelled image at the network's scale.

    Attributes:
        file: uint8 (h, w, 3) RGB as .npy.
        xy: (A, K, 2) labels, px of that file.
        unique_xy: (U, 2) likewise.
        individual: (A,) index of the named individual, -1 = unnamed.
    """

    file: Path
    xy: Float32[ndarray, "A K 2"]
    unique_xy: Float32[ndarray, "U 2"]
    individual: Int64[ndarray, "A"]

    def pixels(self) -> UInt8[ndarray, "h w 3"]:
        """The image, mapped into memory; opened afresh, because thousands of open maps exhaust file handles."""
        return np.load(self.file, mmap_mode="r")


@dataclass(frozen=True, eq=False)
class Patches:
    """A batch of raw patches and the crop to be cut from each.

    Attributes:
        pixels: (B, S, S, 3) image around each crop.
        matrix: (B, 2, 3) crop px -> patch px.
        xy: (B, A, K, 2) labels in crop px, padded with NaN.
        unique_xy: (B, U, 2) likewise.
        individual: (B, A), -1 = unnamed or padding.
        light: (B, 7) contrast, brightness, gain of three channels, blur sigma, noise deviation.
        noise_seed: of this batch's noise.
        effects: (B, 5) length (px) and angle of motion blur, then 1 where the histogram is equalized, the colours are
            taken away, parts are covered; None if nothing of it is asked for.
    """

    pixels: UInt8[ndarray, "B S S 3"]
    matrix: Float64[ndarray, "B 2 3"]
    xy: Float32[ndarray, "B A K 2"]
    unique_xy: Float32[ndarray, "B U 2"]
    individual: Int64[ndarray, "B A"]
    light: Float32[ndarray, "B 7"]
    noise_seed: int
    effects: Float32[ndarray, "B 5"] | None = None


def cache_folder() -> Path:
    """Where decoded images are kept; safe to delete at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shoal" / "images"


def read_image(path: Path) -> UInt8[ndarray, "H W 3"]:
    """An image file as RGB.

    Raises:
        ProjectError: missing or not an image.
    """
    data = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise ProjectError(f"expected an image, got {'something else' if path.is_file() else 'nothing'}\nwhere: {path}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def cache_images(
    labels: Sequence[LabeledFrame], *, scale: float, on_progress: OnProgress = no_progress
) -> list[TrainImage]:
    """Decode and shrink images once; a changed image gets a new name, so the cache never goes stale.

    Args:
        labels: labelled images.
        scale: the network's ``input_scale``.
        on_progress: called per image.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    out: list[TrainImage] = []
    for done, label in enumerate(labels):
        file, size = _cached(label.image, folder, scale)
        height, width = np.load(file, mmap_mode="r").shape[:2]
        factor = np.array([width / size[0], height / size[1]], np.float32)
        out.append(TrainImage(file, label.xy * factor, label.unique_xy * factor, label.individual))
        on_progress("images", done + 1, len(labels))
    _prune(folder, {image.file for image in out})
    return out


def _prune(folder: Path, used: set[Path]) -> None:
    """Remove images unused for ``CACHE_DAYS``, longest first, while the cache is larger than ``CACHE_BYTES``."""
    for file in used:
        os.utime(file)
    found = sorted(((s.st_mtime, s.st_size, f) for f in folder.glob("*.npy") if (s := f.stat())), reverse=True)
    total, oldest = 0, time.time() - 86400 * CACHE_DAYS
    for last_use, size, file in found:
        total += size
        if total > CACHE_BYTES and last_use < oldest:  # another training may be reading the younger ones
            file.unlink(missing_ok=True)


def _cached(image: Path, folder: Path, scale: float) -> tuple[Path, tuple[int, int]]:
    """(.npy file of an image, its width and height before shrinking)."""
    try:
        digest = hashlib.sha256(image.read_bytes()).hexdigest()[:32]
    except OSError as error:
        raise ProjectError(f"expected an image, got: {error.strerror}\nwhere: {image}") from error
    found = sorted(folder.glob(f"{digest}-{scale:.6g}-*x*-v{CACHE_VERSION}.npy"))
    if found:
        width, height = found[0].stem.split("-")[-2].split("x")
        return found[0], (int(width), int(height))
    pixels = read_image(image)
    height, width = pixels.shape[:2]
    small = shrink(torch.from_numpy(pixels)[None], scale)[0]
    file = folder / f"{digest}-{scale:.6g}-{width}x{height}-v{CACHE_VERSION}.npy"
    aside = file.with_name(f"{file.name}.{os.getpid()}.part")
    with aside.open("wb") as stream:
        np.save(stream, small.contiguous().numpy())
    aside.replace(file)
    return file, (width, height)


def epoch_rows(n_images: int, n_crops: int, *, seed: int, epoch: int) -> Int64[ndarray, "n_crops"]:
    """Which image each crop of an epoch comes from: every image once before any comes twice."""
    rng = np.random.default_rng([seed, epoch])
    rounds = [rng.permutation(n_images) for _ in range(-(-n_crops // n_images))]
    return np.concatenate(rounds)[:n_crops]


def sides(crop: int | tuple[int, int]) -> Int64[ndarray, "2"]:
    """Width and height of crops; a number means squares."""
    return np.array([crop, crop] if isinstance(crop, int) else crop, np.int64)


def patch_side(crop: int | tuple[int, int], config: AugmentConfig, *, is_whole: bool = False) -> int:
    """Side of the patch that holds any crop, however rotated and scaled.

    Args:
        crop: side of the crops, or their width and height.
        config: ranges of the random changes.
        is_whole: crops hold whole images: a patch with an edge of fill around its image is enough, as what lies beyond
            a patch is what lies at its edge.
    """
    width, height = sides(crop).tolist()
    if is_whole:
        return max(width, height) + 2 * int(np.ceil(config.translate_px)) + 6
    angle = np.deg2rad(min(config.rotation_deg, 45.0))
    across = width * (np.cos(angle) + np.sin(angle)) if width == height else np.hypot(width, height)
    return int(np.ceil(across / min(config.scale[0], 1.0 if config.affine < 1 else np.inf))) + 4


def draw_patches(
    images: Sequence[TrainImage],
    crop: int | tuple[int, int],
    config: AugmentConfig,
    *,
    counters: tuple[int, int, int],
    mirror: Int64[ndarray, "K"],
    fill: int = 127,
    where: tuple[str, float] = ("near", 0.1),
) -> Patches:
    """The patches of one step.

    Args:
        images: one per crop.
        crop: side of the crops, or their width and height, px.
        config: ranges of the random changes.
        counters: (seed, epoch, step); the only source of randomness.
        mirror: keypoint that each becomes in a mirror image.
        fill: value beyond the image's border.
        where: ``TrainConfig.crop_method`` and ``crop_shift``.
    """
    rng = np.random.default_rng(counters)
    n, size = len(images), sides(crop)
    side = patch_side(crop, config, is_whole=where[0] == "whole")
    pixels = np.full((n, side, side, 3), fill, np.uint8)
    matrix, flipped, moved = _matrices(rng, n, size, config)
    xy: list[ndarray] = []
    unique: list[ndarray] = []
    for i, image in enumerate(images):
        source = image.pixels()
        if where[0] == "whole":
            centre = np.array(source.shape[1::-1]) / 2 + moved[i]
        elif where[0] == "near":
            centre = _centre(rng, image, source.shape, size) + moved[i]
        else:
            centre = _dlc_centre(rng, image, source.shape, size, *where) + moved[i]
        corner = np.floor(centre - side / 2).astype(int)
        _paste(pixels[i], source, corner)
        matrix[i, :, 2] += centre - corner
        to_crop = _inverse(matrix[i])
        xy.append(_moved(image.xy - corner, to_crop)[:, mirror if flipped[i] else slice(None)])
        unique.append(_moved(image.unique_xy - corner, to_crop))
    packed, individual = _packed(xy, [image.individual for image in images], size, len(mirror))
    light, noise_seed = _light(rng, n, config), int(rng.integers(2**62))
    return Patches(
        pixels, matrix, packed, np.stack(unique).astype(np.float32), individual, light, noise_seed,
        _effects(rng, n, config),
    )  # fmt: skip


def _matrices(
    rng: np.random.Generator, n: int, size: ndarray, config: AugmentConfig
) -> tuple[ndarray, ndarray, ndarray]:
    """(crop px -> offset from the crop's centre in patch px (n, 2, 3), mirrored (n,), centre moved by (n, 2))."""
    angle = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg, n))
    low, high = config.scale
    scale = np.exp(rng.uniform(np.log(low), np.log(high), n)) if config.log_scale else rng.uniform(low, high, n)
    flipped = rng.random(n) < config.flip
    reach = config.translate_px
    moved = rng.uniform(-reach, reach, (n, 2)) if reach else np.zeros((n, 2))
    if config.affine < 1:
        still = rng.random(n) >= config.affine
        angle[still], scale[still], moved[still] = 0.0, 1.0, 0.0
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    sign = np.where(flipped, -1.0, 1.0)
    linear = np.stack([np.stack([sign * cos, -sin], 1), np.stack([sign * sin, cos], 1)], 1)
    shift = -linear @ (size / 2)
    return np.concatenate([linear, shift[:, :, None]], 2), flipped, moved


def _points(image: TrainImage) -> Float32[ndarray, "N 2"]:
    points = np.concatenate([image.xy.reshape(-1, 2), image.unique_xy])
    return points[np.isfinite(points[:, 0])]


def _centre(
    rng: np.random.Generator, image: TrainImage, shape: tuple[int, ...], size: ndarray
) -> Float64[ndarray, "2"]:
    anywhere = rng.uniform(0, 1, 2) * (shape[1], shape[0])
    jitter = rng.uniform(-JITTER, JITTER, 2) * size
    near, pick = rng.random() < NEAR_ANIMAL, rng.random()
    points = _points(image)
    return points[int(pick * len(points))] + jitter if near and len(points) else anywhere


def _dlc_centre(
    rng: np.random.Generator, image: TrainImage, shape: tuple[int, ...], size: ndarray, method: str, shift: float
) -> Float64[ndarray, "2"]:
    """Where DLC's KeypointAwareCrop lies (dlc_formats.md, 4.5): a keypoint's relative position is the crop's."""
    whole = np.array([shape[1], shape[0]], np.float64)
    relative, points = rng.uniform(0, 1, 2), _points(image).astype(np.float64)
    limit = whole  # the crop begins before this
    if method == "hybrid":
        method = "uniform" if rng.random() < 0.5 else "density"
    if method != "uniform" and len(points):
        weight = np.ones(len(points))
        if method == "density":
            apart = np.linalg.norm(points[:, None] - points, axis=-1)
            weight = (apart < DENSE * whole.min()).sum(1).astype(np.float64)
        limit = points[rng.choice(len(points), p=weight / weight.sum())]
        relative = np.clip((limit + relative * shift * size) / whole, 0, 1)
    room = whole - size
    return np.where(room > 0, np.minimum(relative * room, limit), room / 2) + size / 2


def _paste(patch: ndarray, source: ndarray, corner: ndarray) -> None:
    """Copy the part of ``source`` that lies under the patch."""
    x0, y0 = corner
    height, width = source.shape[:2]
    side = len(patch)
    top, bottom = max(y0, 0), min(y0 + side, height)
    left, right = max(x0, 0), min(x0 + side, width)
    if top < bottom and left < right:
        patch[top - y0 : bottom - y0, left - x0 : right - x0] = source[top:bottom, left:right]


def _inverse(matrix: Float64[ndarray, "2 3"]) -> Float64[ndarray, "2 3"]:
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], 1)


def _moved(xy: ndarray, matrix: Float64[ndarray, "2 3"]) -> ndarray:
    return xy @ matrix[:, :2].T + matrix[:, 2]


def _packed(
    xy: list[ndarray], individual: Sequence[ndarray], size: ndarray, n_keypoints: int
) -> tuple[Float32[ndarray, "B A K 2"], Int64[ndarray, "B A"]]:
    """Animals that reach into their crop, padded to the same number; those outside would only cost time."""
    margin = size / 4
    inside = [((p > -margin) & (p < size + margin)).all(-1).any(-1) for p in xy]
    n = max((int(m.sum()) for m in inside), default=0)
    out = np.full((len(xy), n, n_keypoints, 2), np.nan, np.float32)
    who = np.full((len(xy), n), -1, np.int64)
    for i, mask in enumerate(inside):
        out[i, : mask.sum()] = xy[i][mask]
        who[i, : mask.sum()] = individual[i][mask]
    return out, who


def _light(rng: np.random.Generator, n: int, config: AugmentConfig) -> Float32[ndarray, "B 7"]:
    """Contrast, brightness (0-255), three gains, blur sigma (px), noise deviation (0-255) of each crop."""
    columns = [
        1 + rng.uniform(-config.contrast, config.contrast, (n, 1)),
        255 * rng.uniform(-config.brightness, config.brightness, (n, 1)),
        1 + rng.uniform(-config.color, config.color, (n, 3)),
        np.where(rng.random((n, 1)) < config.blur, rng.uniform(0.3, 1.5, (n, 1)), 0.0),
        255 * rng.uniform(0, config.noise, (n, 1)),
    ]
    if config.noise_p < 1:
        columns[-1] *= rng.random((n, 1)) < config.noise_p
    return np.concatenate(columns, 1).astype(np.float32)


def _effects(rng: np.random.Generator, n: int, config: AugmentConfig) -> Float32[ndarray, "B 5"] | None:
    chances = (config.motion_blur, config.equalize, config.grey, config.cover)
    if not any(chances):
        return None
    motion, *others = (rng.random(n) < chance for chance in chances)
    length = np.where(motion, rng.choice([3, 5, 7], n), 0)
    return np.stack([length, rng.uniform(0, np.pi, n), *others], 1).astype(np.float32)
