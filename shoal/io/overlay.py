"""Poses, trails, detections, names and the clock: what is drawn over a frame, and how it looks."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

from shoal.config.render import RenderConfig
from shoal.errors import InputError
from shoal.io.canvas import RIM, Canvas, Color, Image, Shapes, dots, image_canvas, lines, text_advance, text_size, write
from shoal.types import Detections, Poses, Skeleton, Tracks

Draw = Callable[[Canvas, int], None]
"""``draw(canvas, frame number)``, in place."""

WHITE: Color = (255, 255, 255)
LIMB: Color = (235, 235, 235)

# Bright colours that differ in hue and in lightness, so that neighbours also differ in a colour-blind view and on sand.
PALETTE: tuple[Color, ...] = (
    (255, 90, 70), (60, 180, 255), (120, 235, 80), (255, 190, 30), (205, 110, 255), (40, 230, 205),
    (255, 130, 195), (160, 140, 255), (225, 245, 90), (255, 145, 60), (110, 215, 255), (235, 235, 235),
)  # fmt: skip


@dataclass(frozen=True)
class Pen:
    """Sizes and colours of one video; all lengths in px of its frames."""

    dot: int
    line: int
    text: float
    colors: tuple[Color, ...]

    @property
    def inks(self) -> tuple[Color, ...]:
        """The colours, then that of rims, then that of limbs between keypoints of several colours."""
        return (*self.colors, RIM, LIMB)

    @property
    def rim(self) -> int:
        """Row of ``inks``."""
        return len(self.colors)

    def rows(self, number: Shaped[ndarray, "N"]) -> Shaped[ndarray, "N"]:
        """Rows of ``inks`` of individuals or keypoints; beyond the last colour they begin again."""
        return number % len(self.colors)


def color_of(number: int) -> Color:
    """Colour of individual ``number``, the same in every picture that shoal makes.

    >>> color_of(0)
    (255, 90, 70)
    """
    if number < len(PALETTE):
        return PALETTE[number]
    hue = (number * 0.618034) % 1.0  # golden section: new hues fall into the largest gaps
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75 if number % 2 else 0.5, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def map_colors(colormap: str, n: int) -> tuple[Color, ...]:
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
    poses, track, by_keypoint = tracks.poses, np.asarray(tracks.track, np.int64), config.color_by == "keypoint"
    # a map is spread over what is coloured; shoal's own colours go on for ever
    n_colors = skeleton.n_keypoints if by_keypoint else len(names)
    if not config.colormap:
        n_colors = max(skeleton.n_keypoints, tracks.n_tracks, len(names))
    pen = make_pen(config, width=size[0], height=size[1], n_colors=n_colors)
    shown = (poses.confidence >= config.min_confidence) & ~np.isnan(poses.xy).any(axis=2)
    shown &= (track >= 0)[:, None]
    xy = np.where(shown[..., None], poses.xy, np.nan)
    own = pen.rows(track)[:, None]
    color = pen.rows(np.arange(skeleton.n_keypoints))[None] if by_keypoint else own
    trails = _trails(poses.frame, _centres(xy), track, pen, reach=config.trail)
    bodies = [_limbs(poses.frame, xy, np.asarray(edges), pen, own)] if config.skeleton and len(edges) else []
    if by_keypoint:
        bodies = [Shapes(limbs.frame, limbs.shape, np.full_like(limbs.color, pen.rim + 1)) for limbs in bodies]
    row, keypoint = np.nonzero(shown)
    filled = np.broadcast_to(color, shown.shape)[shown]
    bodies.append(dots(poses.frame[row], xy[row, keypoint], filled, radius=pen.dot, rim=pen.rim))
    tags = _Tags(poses.frame, track, xy, names, pen) if config.labels else None

    def draw(canvas: Canvas, frame: int) -> None:
        if config.trail:
            trails.draw(canvas, frame, pen.inks, alpha=config.alpha, trail=config.trail)
        for shapes in bodies:
            shapes.draw(canvas, frame, pen.inks, alpha=config.alpha)
        if tags is not None:
            tags.draw(canvas, frame, config.alpha)

    return draw


def on_black(draw: Draw) -> Draw:
    """The same drawing, with nothing of the frame behind it."""

    def alone(canvas: Canvas, frame: int) -> None:
        canvas.blacken()
        draw(canvas, frame)

    return alone


def detection_drawer(
    detections: Detections, config: RenderConfig, *, skeleton: Skeleton, size: tuple[int, int]
) -> Draw:
    """A function that draws all peaks of a frame, coloured by keypoint, and a legend of keypoints."""
    pen = make_pen(config, width=size[0], height=size[1], n_colors=skeleton.n_keypoints)
    keep = detections.confidence >= config.min_confidence
    color = pen.rows(np.asarray(detections.keypoint[keep], np.int64))
    peaks = dots(detections.frame[keep], detections.xy[keep], color, radius=pen.dot, rim=pen.rim)

    def draw(canvas: Canvas, frame: int) -> None:
        peaks.draw(canvas, frame, pen.inks, alpha=config.alpha)
        if config.labels:
            _legend(canvas, skeleton.keypoints, pen, config.alpha)

    return draw


def unique_drawer(unique: Poses, config: RenderConfig, *, skeleton: Skeleton, size: tuple[int, int]) -> Draw:
    """A function that draws the keypoints that exist once per frame, as white squares with their names."""
    pen = make_pen(config, width=size[0], height=size[1], n_colors=1)
    shown = (unique.confidence >= config.min_confidence) & ~np.isnan(unique.xy).any(axis=2)
    row, keypoint = np.nonzero(shown)
    frame, at = unique.frame[row], unique.xy[row, keypoint]
    corners = _pixel_centre(at)[:, None] + 2 * pen.dot * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    sides = np.stack([corners, np.roll(corners, -1, axis=1)])
    squares = lines(np.repeat(frame, 4), sides[0], sides[1], 0, width=pen.line)
    beside = at + pen.dot * np.array((3, 1))

    def draw(canvas: Canvas, number: int) -> None:
        squares.draw(canvas, number, (WHITE,), alpha=config.alpha)
        if config.labels:
            for i in range(*np.searchsorted(frame, (number, number + 1)).tolist()):
                write(canvas, skeleton.unique[keypoint[i]], beside[i], pen.text, WHITE, alpha=config.alpha)

    return draw


def draw_clock(canvas: Canvas, frame: int, seconds: float, note: str = "") -> None:
    """Write frame number and time (h:mm:ss.ss) into the upper left corner; below it ``note``, if there is one."""
    size = max(0.4, min(canvas.size) / 1600)
    clock = f"{frame}  {int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{seconds % 60:05.2f}"
    left, height = 8, text_size("0", size)[1]
    for character in clock:  # one by one: each is made once, a whole clock would be made for every frame
        write(canvas, character, (left, 6), size, WHITE)
        left += text_advance(character, size)
    if note:
        fitting = min(1.0, (canvas.size[0] - 16) / text_size(note, size)[0])
        write(canvas, note, (8, 6 + height), size * fitting, WHITE)


def ring_drawer(frame: Int64[ndarray, "M"], xy: Float32[ndarray, "M K 2"], size: tuple[int, int]) -> Draw:
    """A function that draws a white ring around some animals: those to look at."""
    seen = ~np.isnan(xy).all(axis=(1, 2))
    frame, centre = frame[seen], _centres(xy[seen])
    width = max(2, round(min(size) / 400))
    far = np.nanmax(np.linalg.norm(xy[seen] - centre[:, None], axis=2), axis=1, initial=0.0) + 6 * width
    shape = np.column_stack([centre, centre, far + width, far]).astype(np.float32)
    rings = Shapes(np.array(frame), shape, np.zeros(len(frame), np.int16))

    def draw(canvas: Canvas, number: int) -> None:
        rings.draw(canvas, number, (WHITE,), alpha=0.8)

    return draw


def draw_labels(
    image: Image, truth: Shaped[ndarray, "A K 2"], predicted: Shaped[ndarray, "N K 2"], config: RenderConfig
) -> None:
    """Human labels as crosses and predictions as dots, both coloured by keypoint, in an RGB image."""
    canvas = image_canvas(image)
    n_keypoints = max(truth.shape[1], predicted.shape[1])
    pen = make_pen(config, width=canvas.size[0], height=canvas.size[1], n_colors=n_keypoints)
    animal, keypoint = np.nonzero(~np.isnan(truth).any(axis=2))
    at, arm = _pixel_centre(truth[animal, keypoint]), 3.5 * pen.dot
    for color, width in ((pen.rim, pen.line + 2), (keypoint, pen.line)):
        for way in ((arm, 0), (0, arm)):
            lines(0, at - way, at + way, color, width=width).draw(canvas, 0, pen.inks)
    animal, keypoint = np.nonzero(~np.isnan(predicted).any(axis=2))
    dots(np.zeros(len(animal)), predicted[animal, keypoint], keypoint, radius=pen.dot, rim=pen.rim).draw(
        canvas, 0, pen.inks
    )


def _limbs(
    frame: Int64[ndarray, "M"],
    xy: Float32[ndarray, "M K 2"],
    edges: Int64[ndarray, "E 2"],
    pen: Pen,
    color: Int64[ndarray, "M 1"],
) -> Shapes:
    n = len(edges)
    return lines(
        np.repeat(frame, n), xy[:, edges[:, 0]], xy[:, edges[:, 1]], np.repeat(color.ravel(), n), width=pen.line
    )


def _trails(
    frame: Int64[ndarray, "M"], centre: Float32[ndarray, "M 2"], track: Int64[ndarray, "M"], pen: Pen, *, reach: int
) -> Shapes:
    """From each animal's place to where its track was seen before, at most ``reach`` frames ago; in order of frames."""
    seen = np.flatnonzero((track >= 0) & ~np.isnan(centre[:, 0]))
    order = seen[np.lexsort((frame[seen], track[seen]))]
    before, after = order[:-1], order[1:]
    same = (track[before] == track[after]) & (frame[after] - frame[before] <= reach)
    before, after = before[same], after[same]
    by_frame = np.argsort(after, kind="stable")
    before, after = before[by_frame], after[by_frame]
    color = pen.rows(track[after])
    return lines(frame[after], centre[before], centre[after], color, width=pen.line + 1, cap=False)


class _Tags:
    """Names of tracks and their places above the animals, inside the frame."""

    def __init__(
        self, frame: ndarray, track: ndarray, xy: Float32[ndarray, "M K 2"], names: Sequence[str], pen: Pen
    ) -> None:
        rows = np.flatnonzero(~np.isnan(xy[..., 0]).all(axis=1))
        self.frame, self.track, self.names, self.pen = frame[rows], track[rows], names, pen
        points = xy[rows]
        self.middle = _centres(points)[:, 0]
        self.top, self.bottom = np.nanmin(points[..., 1], axis=1), np.nanmax(points[..., 1], axis=1)

    def draw(self, canvas: Canvas, frame: int, alpha: float) -> None:
        pen = self.pen
        for row in range(*np.searchsorted(self.frame, (frame, frame + 1)).tolist()):
            number = int(self.track[row])
            name = self.names[number] if number < len(self.names) else str(number + 1)
            width, height = text_size(name, pen.text)
            left = min(max(float(self.middle[row]) - width / 2, 0), canvas.size[0] - width)
            top = float(self.top[row]) - 2 * pen.dot - height
            if top < 0:
                top = float(self.bottom[row]) + 2 * pen.dot
            write(canvas, name, (left, top), pen.text, pen.colors[number % len(pen.colors)], alpha=alpha)


def _legend(canvas: Canvas, names: Sequence[str], pen: Pen, alpha: float) -> None:
    step = text_size("Ag", pen.text)[1]
    top = canvas.size[1] - 8 - step * (len(names) - np.arange(len(names)))
    number = np.arange(len(names))
    at = np.stack([np.full(len(names), 14), top + step // 2], 1)
    dots(np.zeros(len(names)), at, pen.rows(number), radius=pen.dot, rim=pen.rim).draw(canvas, 0, pen.inks, alpha=alpha)
    for i, name in enumerate(names):
        write(canvas, name, (24, float(top[i])), pen.text, pen.colors[i % len(pen.colors)], alpha=alpha)


def _pixel_centre(at: Float32[ndarray, "N 2"]) -> Float32[ndarray, "N 2"]:
    """For upright thin lines, which would otherwise be spread over two pixels."""
    return np.ceil(at) - np.float32(0.5)


def _centres(xy: Float32[ndarray, "M K 2"]) -> Float32[ndarray, "M 2"]:
    """Mean of the keypoints that are not NaN; NaN without any."""
    seen = ~np.isnan(xy[..., 0])
    count = seen.sum(axis=1)[:, None]
    total = np.where(seen[..., None], xy, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
