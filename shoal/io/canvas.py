"""What is drawn on: an RGB image, or the planes of a video picture as the encoder takes them, with no RGB between.

Positions are px of the frame, an integer is a pixel's corner. Edges are soft; the pixel loops are in
``strokes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from jaxtyping import Float32, Int16, Int64, UInt8
from numpy import ndarray

Image = UInt8[ndarray, "H W 3"]
Color = tuple[int, int, int]

FONT = cv2.FONT_HERSHEY_DUPLEX
RIM: Color = (16, 16, 16)
"""Around dots and letters, so that they show on any ground."""

OPEN_START = -1.0
"""As the inner radius of a line: no round cap where it begins, so that lines in a row do not cover each other."""

LUMA = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}
"""Shares of red and blue in brightness (ITU-R BT.601, BT.709)."""

PLANAR = ("yuv420p", "yuvj420p")
SUBSAMPLED = (*PLANAR, "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")
"""Pixel formats that become yuv420p with no change of colours; all others go by RGB."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """Three planes of bytes, and what a colour is in them.

    Attributes:
        planes: (H, W) each, writable views; the second and third may have fewer pixels.
        step: pixels of the first plane per pixel of the others, along each side.
        space: ``rgb``, or the planes' formula, e.g. ``601`` or ``709 full``.
    """

    planes: tuple[ndarray, ndarray, ndarray]
    step: int
    space: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), px."""
        height, width = self.planes[0].shape
        return width, height

    def blacken(self) -> None:
        """Cover everything."""
        for plane, value in zip(self.planes, inks(((0, 0, 0),), self.space)[:, 0], strict=True):
            plane[:] = round(float(value))


@dataclass(frozen=True, eq=False)
class Shapes:
    """Lines, dots and rings of many frames, sorted by frame. N rows.

    Attributes:
        frame: (N,) frame number.
        shape: (N, 6) from x, y to x, y, radius, inner radius (0: filled), px.
        color: (N,) row of a list of colours.
    """

    frame: Int64[ndarray, "N"]
    shape: Float32[ndarray, "N 6"]
    color: Int16[ndarray, "N"]

    def draw(
        self, canvas: Canvas, frame: int, colors: tuple[Color, ...], *, alpha: float = 1.0, trail: int = 0
    ) -> None:
        """Draw those of one frame or, thinner and fainter the older, of the last ``trail`` frames."""
        from shoal.io.strokes import stroke  # numba: not at import

        start, stop = np.searchsorted(self.frame, (frame - max(trail - 1, 0), frame + 1))
        if start < stop:
            rows = slice(start, stop)
            stroke(
                *canvas.planes, 1 / canvas.step, self.shape[rows], self.frame[rows], self.color[rows],
                inks(colors, canvas.space), alpha, 1 / trail if trail else 0.0, frame,
            )  # fmt: skip


def lines(frame: Any, start: Any, stop: Any, color: Any, *, width: float, cap: bool = True) -> Shapes:
    """One line per row: frame (N,), start and stop (N, 2), colour (N,); those with NaN are left out."""
    start, stop = np.asarray(start, np.float32).reshape(-1, 2), np.asarray(stop, np.float32).reshape(-1, 2)
    shape = np.empty((len(start), 6), np.float32)
    shape[:, :2], shape[:, 2:4], shape[:, 4], shape[:, 5] = start, stop, width / 2, 0.0 if cap else OPEN_START
    return _shapes(frame, shape, color)


def dots(frame: Any, at: Any, color: Any, *, radius: float, rim: int) -> Shapes:
    """One dot per row, with a ring around it in colour ``rim``: frame (N,), at (N, 2), colour (N,)."""
    at = np.asarray(at, np.float32).reshape(-1, 2)
    shape = np.empty((len(at), 2, 6), np.float32)
    shape[..., :2] = shape[..., 2:4] = at[:, None]
    shape[:, 0, 4:], shape[:, 1, 4:] = (radius, 0), (radius + 1, radius)
    pairs = np.stack([np.asarray(color), np.full(len(at), rim)], 1)
    return _shapes(np.repeat(frame, 2), shape.reshape(-1, 6), pairs.ravel())


def _shapes(frame: Any, shape: ndarray, color: Any) -> Shapes:
    frame, color = np.broadcast_to(frame, len(shape)), np.broadcast_to(color, len(shape))
    kept = np.isfinite(shape).all(1)
    return Shapes(frame[kept].astype(np.int64), np.ascontiguousarray(shape[kept]), color[kept].astype(np.int16))


def write(canvas: Canvas, text: str, at: tuple[float, float], size: float, color: Color, *, alpha: float = 1.0) -> None:
    """Lay a text with its upper left corner at ``at`` (to two pixels); what leaves the frame is cut off."""
    from shoal.io.strokes import stamp  # numba: not at import

    left, top = (int(v) // 2 * 2 for v in at)
    letter, dark, small_letter, small_dark = _letters(text, size, canvas.step)
    stamp(
        *canvas.planes, canvas.step, left, top, letter, dark, small_letter, small_dark,
        inks((color, RIM), canvas.space), alpha,
    )  # fmt: skip


def text_size(text: str, size: float) -> tuple[int, int]:
    """(width, height) of a text as it is laid, px."""
    height, width = _letters(text, size, 1)[0].shape
    return width, height


@lru_cache(maxsize=1024)
def text_advance(text: str, size: float) -> int:
    """Where the next text begins, px after this one; even, as ``write`` places texts."""
    return (cv2.getTextSize(text, FONT, size, 1)[0][0] + 1) // 2 * 2


@lru_cache(maxsize=1024)
def _letters(text: str, size: float, step: int) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """How much of each pixel is letter, and letter or rim; both again at ``1 / step`` of the size."""
    (width, height), base = cv2.getTextSize(text, FONT, size, 1)
    letter = np.zeros(((height + base + 6) // 2 * 2, (width + 9) // 2 * 2), np.uint8)
    cv2.putText(letter, text, (4, height + 2), FONT, size, 255, 1, cv2.LINE_AA)
    dark = cv2.dilate(letter, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    shape = (letter.shape[1] // step, letter.shape[0] // step)
    small = [cv2.resize(mask, shape, interpolation=cv2.INTER_AREA) for mask in (letter, dark)]
    return letter, np.asarray(dark, np.uint8), np.asarray(small[0], np.uint8), np.asarray(small[1], np.uint8)


@lru_cache(maxsize=256)
def inks(colors: tuple[Color, ...], space: str) -> Float32[ndarray, "3 C"]:
    """RGB colours -> what they are in the three planes.

    >>> inks(((255, 255, 255), (0, 0, 0)), "601")[0].round().tolist()
    [235.0, 16.0]
    """
    rgb = np.array(colors, np.float32).reshape(-1, 3).T
    if space == "rgb":
        return np.ascontiguousarray(rgb)
    red, blue = LUMA[space[:3]]
    y = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
    u, v = (rgb[2] - y) / (2 * (1 - blue)), (rgb[0] - y) / (2 * (1 - red))
    if space.endswith("full"):
        return np.stack([y, 128 + u, 128 + v]).astype(np.float32)
    return np.stack([16 + y * 219 / 255, 128 + u * 224 / 255, 128 + v * 224 / 255]).astype(np.float32)


def image_canvas(image: Image) -> Canvas:
    """Draw into an RGB image, in place."""
    return Canvas((image[..., 0], image[..., 1], image[..., 2]), 1, "rgb")


def picture_canvas(picture: av.VideoFrame, size: tuple[int, int] | None = None) -> Canvas:
    """Draw into a yuv420p picture of one's own, in place; ``size`` (width, height) if some of it is padding."""
    width, height = size or (picture.width, picture.height)
    first, second, third = (_plane(plane) for plane in picture.planes)
    small = slice((height + 1) // 2), slice((width + 1) // 2)
    space = "709" if picture.colorspace == Colorspace.ITU709 else "601"
    full = " full" if picture.color_range == ColorRange.JPEG else ""
    return Canvas((first[:height, :width], second[small], third[small]), 2, space + full)


def copy_picture(
    frame: av.VideoFrame, size: tuple[int, int], rotation: int, reformatter: VideoReformatter
) -> av.VideoFrame:
    """A decoded frame as a yuv420p picture of one's own: the decoder needs its frames again.

    Args:
        frame: in any format.
        size: (width, height) that it has after rotation.
        rotation: quarter turns, counter-clockwise.
        reformatter: kept from frame to frame; used for other formats and where the size changes within a file.

    Returns:
        Of even size, padded by one row or column where ``size`` is odd; with the frame's own colours where the format
        allows.
    """
    width, height = size if rotation % 2 == 0 else size[::-1]
    name = frame.format.name
    is_full = name.startswith("yuvj") or (name in SUBSAMPLED and frame.color_range == ColorRange.JPEG)
    colors = frame.colorspace, ColorRange.JPEG if is_full else ColorRange.MPEG
    if name not in SUBSAMPLED:
        frame = reformatter.reformat(frame, format="rgb24")
        colors = Colorspace.SMPTE170M, ColorRange.MPEG
    if name not in PLANAR or (frame.width, frame.height) != (width, height):
        frame = reformatter.reformat(
            frame, width=width, height=height, format="yuvj420p" if is_full else "yuv420p",
            dst_colorspace=None if name in SUBSAMPLED else Colorspace.SMPTE170M,
        )  # fmt: skip
    picture = av.VideoFrame(size[0] + size[0] % 2, size[1] + size[1] % 2, "yuv420p")
    picture.colorspace, picture.color_range = colors
    for plane, own in zip(frame.planes, picture.planes, strict=True):
        source, target = _plane(plane), _plane(own)
        if rotation:
            source = np.rot90(source, rotation)
        high, wide = source.shape
        target[:high, :wide] = source
        target[high:, :wide] = source[-1:]
        target[:, wide:] = target[:, wide - 1 : wide]
    return picture


def _plane(plane: Any) -> UInt8[ndarray, "H W"]:
    """A view of a plane's pixels."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
