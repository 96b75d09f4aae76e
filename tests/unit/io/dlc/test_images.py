"""Image size and health from a few bytes."""

import cv2
import numpy as np
import pytest

from shoal.io.dlc.images import decode_error, image_size


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
def test_size_is_width_and_height(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))
    assert image_size(path) == (30, 20)
    assert decode_error(path) == ""


def test_bytes_after_the_end_do_no_harm(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))
    path.write_bytes(path.read_bytes() + b"\0" * 10)
    assert image_size(path) == (30, 20)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "cut off"),
        (b"text", "not readable"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 99, "cut"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(tmp_path, content, word):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=word):
        image_size(path)
    assert decode_error(path)


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(ValueError, match="cannot be opened"):
        image_size(tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        image_size(tmp_path / "a.png")
