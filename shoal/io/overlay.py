"""Poses, trails and detections drawn into RGB frames, in place."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped, UInt8
from numpy import ndarray

from shoal.config.render import RenderConfig
from shoal.errors import InputError
from shoal.types import Detections, Poses, Skeleton, Tracks

Image = UInt8[ndarray, "H W 3"]
Draw = Callable[[Image, int], None]
"""``draw(image, frame number)``, in place."""

SHIFT = 3  # drawing positions have 1/8 px
FONT = cv2.FONT_HERSHEY_DUPLEX
INK = (16, 16, 16)

# Bright colours that differ in hue and in lightness, so that neighbours also differ in a colour-blind view and on sand.
PALETTE: tuple[tuple[int, int, int], ...] = (
    (255, 90, 70), (60, 180, 255), (120, 235, 80), (255, 190, 30), (205, 110, 255), (40, 230, 205),
    (255, 130, 195), (160, 140, 255), (225, 245, 90), (255, 145, 60), (110, 215, 255), (235, 235, 235),
)  # fmt: skip


@dataclass(frozen=True)
class Pen:
    """Sizes and colours of one video; all lengths in px of its frames."""

    dot: int
    line: int
    text: float
    colors: tuple[tuple[int, int, int], ...]

    def color(self, number: int | np.integer) -> tuple[int, int, int]:
        """Of individual or keypoint ``number``; beyond the last they begin again."""
        return self.colors[int(number) % len(self.colors)]


def color_of(number: int) -> tuple[int, int, int]:
    """Colour of individual ``number``, the same in every picture that shoal makes.

    >>> color_of(0)
    (255, 90, 70)
    """
    if number < len(PALETTE):
        return PALETTE[number]
    hue = (number * 0.618034) % 1.0  # golden section: new hues fall into the largest gaps
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75 if number % 2 else 0.5, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def map_colors(colormap: str, n: int) -> tuple[tuple[int, int, int], ...]:
    """Colours of n individuals or keypoints: evenly from a colour map, as DLC, or shoal's own if it has no name.

    Raises:
        InputError: no such colour map.
    """
    if not colormap:
        return tuple(color_of(i) for i in range(n))
    import matplotlib

    try:
        found = matplotlib.colormaps[colormap].resampled(max(n, 2))
    except (KeyError, ValueError) as error:
        raise InputError(f"expected a colour map of matplotlib, got '{colormap}'") from error
    return tuple(tuple(round(255 * channel) for channel in found(i)[:3]) for i in range(n))  # pyright: ignore[reportReturnType]


def see_through(draw: Draw, alpha: float) -> Draw:
    """The same drawing, so opaque that ``alpha`` of it and ``1 - alpha`` of the picture are seen."""
    if alpha >= 1:
        return draw

    def blended(image: Image, frame: int) -> None:
        under = image.copy()
        draw(image, frame)
        cv2.addWeighted(image, alpha, under, 1 - alpha, 0, dst=image)

    return blended


def make_pen(config: RenderConfig, *, width: int, height: int, n_colors: int) -> Pen:
    """Sizes that suit the frame, and one colour per individual or keypoint."""
    size = min(width, height)
    dot = config.dot_px or max(2, round(size / 280))
    colors = map_colors(config.colormap, max(n_colors, 1))
    return Pen(dot=dot, line=max(1, round(size / 600)), text=max(0.35, size / 1600), colors=colors)


def track_drawer(
    tracks: Tracks,
    config: RenderConfig,
    *,
    skeleton: Skeleton,
    edges: Int64[ndarray, "E 2"],
    names: Sequence[str],
    size: tuple[int, int],
) -> Draw:
    """A function that draws all tracked animals of a frame: trails, limbs, keypoints, names.

    Args:
        tracks: of the frames that will be drawn and of the ``config.trail`` frames before.
        config: what to show.
        skeleton: gives K.
        edges: (E, 2) limbs to draw.
        names: of tracks; those beyond are called by their number.
        size: (width, height) of frames.
    """
    poses, by_keypoint = tracks.poses, config.color_by == "keypoint"
    n_colors = max(skeleton.n_keypoints, tracks.n_tracks, len(names))
    if config.colormap:  # a map is spread over what is coloured
        n_colors = max(skeleton.n_keypoints if by_keypoint else len(names), 1)
    pen = make_pen(config, width=size[0], height=size[1], n_colors=n_colors)
    shown = (poses.confidence >= config.min_confidence) & ~np.isnan(poses.xy).any(axis=2)
    shown &= (tracks.track >= 0)[:, None]
    centre = _centres(poses.xy, shown)
    limbs = np.asarray(edges, np.int64).reshape(-1, 2) if config.skeleton else np.zeros((0, 2), np.int64)

    def draw(image: Image, frame: int) -> None:
        first, start, stop = np.searchsorted(poses.frame, [frame - config.trail, frame, frame + 1]).tolist()
        if config.trail:
            _trails(image, centre[first:stop], tracks.track[first:stop], pen)
        for row in range(start, stop):
            if not shown[row].any():
                continue
            number = int(tracks.track[row])
            _animal(image, poses.xy[row], shown[row], limbs, pen, color=None if by_keypoint else pen.color(number))
        if config.labels:
            for row in range(start, stop):
                number = int(tracks.track[row])
                if shown[row].any():
                    name = names[number] if number < len(names) else str(number + 1)
                    _name(image, name, poses.xy[row][shown[row]], pen, pen.color(number))

    return draw


def detection_drawer(
    detections: Detections, config: RenderConfig, *, skeleton: Skeleton, size: tuple[int, int]
) -> Draw:
    """A function that draws all peaks of a frame, coloured by keypoint, and a legend of keypoints."""
    pen = make_pen(config, width=size[0], height=size[1], n_colors=skeleton.n_keypoints)
    keep = detections.confidence >= config.min_confidence
    frames, points, keypoint = detections.frame[keep], detections.xy[keep], detections.keypoint[keep]
    fixed = _fixed(points)

    def draw(image: Image, frame: int) -> None:
        start, stop = np.searchsorted(frames, [frame, frame + 1]).tolist()
        for (x, y), k in zip(fixed[start:stop].tolist(), keypoint[start:stop].tolist(), strict=True):
            _dot(image, x, y, pen, pen.color(k))
        if config.labels:
            _legend(image, skeleton.keypoints, pen)

    return draw


def unique_drawer(unique: Poses, config: RenderConfig, *, skeleton: Skeleton, size: tuple[int, int]) -> Draw:
    """A function that draws the keypoints that exist once per frame, as white squares with their names."""
    pen = make_pen(config, width=size[0], height=size[1], n_colors=1)
    shown = (unique.confidence >= config.min_confidence) & ~np.isnan(unique.xy).any(axis=2)

    def draw(image: Image, frame: int) -> None:
        for row in range(*np.searchsorted(unique.frame, [frame, frame + 1]).tolist()):
            for k in np.flatnonzero(shown[row]):
                x, y = (int(v) for v in unique.xy[row, k])
                cv2.drawMarker(image, (x, y), (255, 255, 255), cv2.MARKER_SQUARE, 4 * pen.dot, pen.line)
                if config.labels:
                    _text(image, skeleton.unique[k], (x + 3 * pen.dot, y + pen.dot), pen, (255, 255, 255))

    return draw


def draw_clock(image: Image, frame: int, fps: float) -> None:
    """Write frame number and time (h:mm:ss.ss) into the upper left corner."""
    height, width = image.shape[:2]
    pen = Pen(2, 1, max(0.4, min(width, height) / 1600), ())
    seconds = frame / fps
    clock = f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{seconds % 60:05.2f}"
    _text(image, f"{frame}  {clock}", (8, 6), pen, (255, 255, 255))


def draw_labels(
    image: Image, truth: Shaped[ndarray, "A K 2"], predicted: Shaped[ndarray, "N K 2"], config: RenderConfig
) -> None:
    """Human labels as crosses and predictions as dots, both coloured by keypoint."""
    height, width = image.shape[:2]
    n_keypoints = max(truth.shape[1], predicted.shape[1])
    pen = make_pen(config, width=width, height=height, n_colors=n_keypoints)
    for points, is_truth in ((truth, True), (predicted, False)):
        for animal in points:
            for k in np.flatnonzero(~np.isnan(animal).any(axis=1)):
                x, y = _fixed(animal[k]).tolist()
                if is_truth:
                    at = x >> SHIFT, y >> SHIFT
                    cv2.drawMarker(image, at, INK, cv2.MARKER_CROSS, 7 * pen.dot, pen.line + 2, cv2.LINE_AA)
                    cv2.drawMarker(image, at, pen.color(k), cv2.MARKER_CROSS, 7 * pen.dot, pen.line, cv2.LINE_AA)
                else:
                    _dot(image, x, y, pen, pen.color(k))


def _animal(
    image: Image,
    xy: Float32[ndarray, "K 2"],
    shown: Bool[ndarray, "K"],
    limbs: Int64[ndarray, "E 2"],
    pen: Pen,
    *,
    color: tuple[int, int, int] | None,
) -> None:
    points = _fixed(np.where(shown[:, None], xy, 0))
    visible = limbs[shown[limbs].all(axis=1)]
    if len(visible):
        lines = list(points[visible])
        cv2.polylines(image, lines, False, color or (235, 235, 235), pen.line, cv2.LINE_AA, SHIFT)
    for k in np.flatnonzero(shown):
        x, y = points[k].tolist()
        _dot(image, x, y, pen, color or pen.color(k))


def _dot(image: Image, x: int, y: int, pen: Pen, color: tuple[int, int, int]) -> None:
    cv2.circle(image, (x, y), (pen.dot << SHIFT) + (1 << SHIFT) // 2, INK, -1, cv2.LINE_AA, SHIFT)
    cv2.circle(image, (x, y), (pen.dot << SHIFT) - (1 << SHIFT) // 2, color, -1, cv2.LINE_AA, SHIFT)


def _trails(image: Image, centre: Float32[ndarray, "M 2"], track: Int64[ndarray, "M"], pen: Pen) -> None:
    """One polyline per animal, thin where it is old."""
    usable = ~np.isnan(centre[:, 0]) & (track >= 0)
    centre, track = _fixed(centre[usable]), track[usable]
    for number in np.unique(track).tolist():
        path = centre[track == number]
        middle = len(path) // 2
        color = pen.color(number)
        if middle:
            dim = tuple(round(0.6 * c) for c in color)
            cv2.polylines(image, [path[: middle + 1]], False, dim, pen.line, cv2.LINE_AA, SHIFT)
        cv2.polylines(image, [path[middle:]], False, color, pen.line + 1, cv2.LINE_AA, SHIFT)


def _name(image: Image, name: str, points: Float32[ndarray, "N 2"], pen: Pen, color: tuple[int, int, int]) -> None:
    """The name above the animal, kept inside the frame."""
    height, width = _stamp(name, pen.text, color)[0].shape[:2]
    x = int(points[:, 0].mean() - width / 2)
    y = int(points[:, 1].min()) - 2 * pen.dot - height
    if y < 0:
        y = int(points[:, 1].max()) + 2 * pen.dot
    _text(image, name, (min(max(x, 0), image.shape[1] - width), y), pen, color)


def _text(image: Image, text: str, at: tuple[int, int], pen: Pen, color: tuple[int, int, int]) -> None:
    """Lay a text with its upper left corner at ``at``; what leaves the frame is cut off."""
    ink, veil = _stamp(text, pen.text, color)
    height, width = ink.shape[:2]
    x, y = at
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, image.shape[1]), min(y + height, image.shape[0])
    if left >= right or top >= bottom:
        return
    part = slice(top - y, bottom - y), slice(left - x, right - x)
    under = image[top:bottom, left:right]
    cv2.add(cv2.multiply(under, veil[part], scale=1 / 255), ink[part], dst=under)


@lru_cache(maxsize=256)
def _stamp(text: str, size: float, color: tuple[int, int, int]) -> tuple[Image, Image]:
    """A text with a dark rim as (colours to add, share of the background to keep x 255).

    Drawn once: OpenCV's text costs more than all the rest of an animal.
    """
    (width, height), base = cv2.getTextSize(text, FONT, size, 1)
    mask = np.zeros((height + base + 4, width + 8), np.uint8)
    cv2.putText(mask, text, (3, height + 1), FONT, size, 255, 1, cv2.LINE_AA)
    rim = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    letter, dark = mask[..., None] / 255.0, rim[..., None] / 255.0
    ink = letter * np.array(color) + (dark - letter) * np.array(INK)
    return ink.round().astype(np.uint8), np.repeat((255 * (1 - dark)).round().astype(np.uint8), 3, axis=2)


def _legend(image: Image, names: Sequence[str], pen: Pen) -> None:
    step = _stamp("Ag", pen.text, INK)[0].shape[0]
    for i, name in enumerate(names):
        y = image.shape[0] - 8 - step * (len(names) - i)
        _dot(image, 14 << SHIFT, (y + step // 2) << SHIFT, pen, pen.color(i))
        _text(image, name, (24, y), pen, pen.color(i))


def _centres(xy: Float32[ndarray, "M K 2"], shown: Bool[ndarray, "M K"]) -> Float32[ndarray, "M 2"]:
    count = shown.sum(axis=1)[:, None]
    total = np.where(shown[:, :, None], xy, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _fixed(xy: Shaped[ndarray, "... 2"]) -> ndarray:
    """Frame px (an integer is a pixel's corner) to OpenCV's fixed point (an integer is its centre)."""
    return np.round((np.clip(xy, -1e5, 1e5) - 0.5) * (1 << SHIFT)).astype(np.int32)
