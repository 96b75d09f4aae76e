from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, VideoReformatter

from shoal.io.canvas import Shapes, copy_picture, dots, image_canvas, lines, picture_canvas, text_size, write

RED, GREEN, RIM = (230, 40, 30), (30, 200, 60), (16, 16, 16)
COLORS = (RED, GREEN, RIM)


def smooth(size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Smooth colours, which survive the loss of colour resolution."""
    small = np.random.default_rng(0).integers(30, 220, (4, 5, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC))


def to_rgb(picture: av.VideoFrame) -> np.ndarray:
    return VideoReformatter().reformat(picture, format="rgb24").to_ndarray()


def shapes_of(*parts: Shapes) -> Shapes:
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("frame", "shape", "color"))
    return Shapes(*columns)


SHAPES = shapes_of(
    lines(0, [[8, 10]], [[50, 30]], 1, width=4), dots([0], [[40, 14]], [0], radius=6, rim=2),
    lines(0, [[np.nan, 3]], [[5, 5]], 0, width=2), dots([0], [[1e9, -1e9]], [0], radius=6, rim=2),
)  # fmt: skip


def test_planes_show_what_an_rgb_image_shows():
    rgb = np.full((48, 64, 3), (120, 110, 90), np.uint8)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    picture = copy_picture(frame, (64, 48), 0, VideoReformatter())
    for canvas in (image_canvas(rgb), picture_canvas(picture)):
        SHAPES.draw(canvas, 0, COLORS, alpha=0.8)
        write(canvas, "ab", (4, 30), 0.5, GREEN, alpha=0.8)
    shown = to_rgb(picture).astype(int)
    assert np.abs(shown - rgb).mean() < 4 and np.abs(shown[14, 40] - rgb[14, 40]).max() < 6
    assert np.abs(rgb[14, 40] - (0.8 * np.array(RED) + 0.2 * np.array((120, 110, 90)))).max() <= 1


@pytest.mark.parametrize("name", ["yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "gray", "rgb24", "nv12"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_a_picture_nothing_is_drawn_on_keeps_its_colours(name, size):
    frame = VideoReformatter().reformat(av.VideoFrame.from_ndarray(smooth(size), format="rgb24"), format=name)
    picture = copy_picture(frame, size, 0, VideoReformatter())
    assert (picture.width, picture.height, picture.format.name) == (64, 48, "yuv420p")
    assert (picture.color_range == ColorRange.JPEG) == name.startswith("yuvj")
    before, after = to_rgb(frame).astype(int), to_rgb(picture).astype(int)[: size[1], : size[0]]
    assert np.abs(after - before).mean() < 5, "a wrong range is off by 8"


@pytest.mark.parametrize("rotation", [1, 2, 3])
def test_pictures_are_turned_as_images_are(rotation):
    image = smooth()
    frame = VideoReformatter().reformat(av.VideoFrame.from_ndarray(image, format="rgb24"), format="yuv420p")
    turned = np.rot90(to_rgb(frame), rotation)
    picture = copy_picture(frame, (turned.shape[1], turned.shape[0]), rotation, VideoReformatter())
    assert np.abs(to_rgb(picture).astype(int) - turned).mean() < 2.5


def test_the_decoders_frame_is_left_alone():
    frame = VideoReformatter().reformat(av.VideoFrame.from_ndarray(smooth(), format="rgb24"), format="yuv420p")
    before = frame.to_ndarray()
    canvas = picture_canvas(copy_picture(frame, (64, 48), 0, VideoReformatter()))
    SHAPES.draw(canvas, 0, COLORS)
    canvas.blacken()
    assert np.array_equal(frame.to_ndarray(), before) and canvas.planes[0].max() == 16


def test_other_frames_are_not_drawn_and_trails_fade():
    image = np.full((40, 40, 3), 60, np.uint8)
    path = lines([1, 2, 3], [[5, 20], [15, 20], [25, 20]], [[15, 20], [25, 20], [35, 20]], 0, width=6, cap=False)
    path.draw(image_canvas(image), 0, COLORS, trail=2)
    assert (image == 60).all(), "nothing has happened yet"
    path.draw(image_canvas(image), 3, COLORS, trail=2)
    assert (image[:, :13] == 60).all(), "too old"
    assert abs(int(image[20, 30, 0]) - RED[0]) <= 1 and 60 < image[20, 20, 0] < RED[0] - 20


def test_texts_are_cut_off_at_the_edge():
    image = np.full((30, 60, 3), 60, np.uint8)
    assert text_size("name", 0.5)[0] > 20
    for at in ((-20, -8), (50, 18), (500, 500), (-500, 3)):
        write(image_canvas(image), "name", at, 0.5, GREEN)
    assert (image[:10, :20] != 60).any() and (image[20:, 50:] != 60).any() and (image[:, 30:50] == 60).all()
