"""Size and health of image files, from their first and last bytes."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import cv2

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in px; a PNG is judged by its header and its end marker, anything else is decoded.

    Raises:
        ValueError: missing, empty, cut off or not an image; the message is what was got.
    """
    try:
        with path.open("rb") as file:
            head = file.read(24)
            if head[:8] == _PNG:
                file.seek(-min(64, os.fstat(file.fileno()).st_size), os.SEEK_END)
                tail = file.read()
    except FileNotFoundError:
        raise ValueError("no such file") from None
    except OSError as error:
        raise ValueError(f"cannot be opened ({error.strerror})") from error
    if not head:
        raise ValueError("an empty file")
    if head[:8] != _PNG:
        return _decoded_size(path)
    # some programs append bytes, so the marker is looked for near the end
    if len(head) < 24 or head[12:16] != b"IHDR" or _PNG_END not in tail:
        raise ValueError("a PNG that is cut off")
    width, height = struct.unpack(">II", head[16:24])
    if not width or not height:
        raise ValueError("a PNG of no size")
    return width, height


def image_channels(path: Path) -> int:
    """Channels that a PNG stores (a palette is one); 3 for other formats."""
    with path.open("rb") as file:
        head = file.read(26)
    return {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(head[25], 3) if head[:8] == _PNG and len(head) == 26 else 3


def decode_error(path: Path) -> str:
    """Decode the whole image; what is wrong with it, empty if nothing."""
    try:
        _decoded_size(path)
    except ValueError as error:
        return str(error)
    return ""


def _decoded_size(path: Path) -> tuple[int, int]:
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError("not readable as an image") from error
    if image is None:
        raise ValueError("not readable as an image")
    return image.shape[1], image.shape[0]
