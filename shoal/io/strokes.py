"""Pixel loops of drawing (numba): lines, dots and rings with soft edges, and texts, laid over three planes of bytes.

Positional arrays only; ``canvas.py`` is the wrapper. Signatures are written out: planes of any layout are one type, so
there is one thing to compile, and the kernels leave the interpreter to decoder and encoder.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# (numba infers the types of kernels itself)
from __future__ import annotations

import numpy as np
from numba import njit

OLDEST = np.float32(0.35)  # of a trail: what is left of opacity and width at its end


@njit("void(u1[:, :], f4, f4[:, :], i8[:], i2[:], f4[:], f4, f4, i8)", cache=True, nogil=True)
def _stroke(plane, scale, shapes, born, color, ink, alpha, fade, frame):
    """Lay shapes over one plane whose pixels are ``1 / scale`` px wide."""
    height, width = plane.shape
    half, one, zero = np.float32(0.5), np.float32(1), np.float32(0)
    for i in range(len(shapes)):
        x0, y0, x1, y1 = shapes[i, 0] * scale, shapes[i, 1] * scale, shapes[i, 2] * scale, shapes[i, 3] * scale
        if not (abs(x0) < 1e6 and abs(y0) < 1e6 and abs(x1) < 1e6 and abs(y1) < 1e6):  # NaN too
            continue
        left = one - (one - OLDEST) * min(one, fade * np.float32(frame - born[i]))
        outer, inner = shapes[i, 4] * scale * left, shapes[i, 5] * scale
        opacity, value = alpha * left, ink[color[i]]
        reach = outer + one
        top, bottom = max(0, int(min(y0, y1) - reach)), min(height, int(max(y0, y1) + reach) + 1)
        first, last = max(0, int(min(x0, x1) - reach)), min(width, int(max(x0, x1) + reach) + 1)
        ux, uy = x1 - x0, y1 - y0
        square = ux * ux + uy * uy
        unit = one / square if square > zero else zero
        for y in range(top, bottom):
            py = np.float32(y) + half - y0
            for x in range(first, last):
                px = np.float32(x) + half - x0
                along = (px * ux + py * uy) * unit
                if along < zero and inner < zero:
                    continue
                along = min(max(along, zero), one)
                dx, dy = px - along * ux, py - along * uy
                distance = np.sqrt(dx * dx + dy * dy)
                cover = min(max(outer + half - distance, zero), one)
                if inner > zero:
                    cover -= min(max(inner + half - distance, zero), one)
                if cover > zero:
                    under = np.float32(plane[y, x])
                    plane[y, x] = np.uint8(under + cover * opacity * (value - under) + half)


@njit("void(u1[:, :], u1[:, :], u1[:, :], f4, f4[:, :], i8[:], i2[:], f4[:, :], f4, f4, i8)", cache=True, nogil=True)
def stroke(first, second, third, scale, shapes, born, color, inks, alpha, fade, frame):
    """Lay shapes over three planes.

    first, second, third (H, W) uint8, the latter two with ``scale`` times as many pixels a side; shapes (N, 6)
    float32: from x, y to x, y, radius, inner radius (> 0: a ring; < 0: a line without a cap at its beginning), px of
    the first plane; born (N,) frames; color (N,) rows of inks (3, C), values per plane; alpha how opaque; fade what is
    lost of opacity and radius per frame since ``born``.
    """
    _stroke(first, np.float32(1), shapes, born, color, inks[0], alpha, fade, frame)
    _stroke(second, scale, shapes, born, color, inks[1], alpha, fade, frame)
    _stroke(third, scale, shapes, born, color, inks[2], alpha, fade, frame)


@njit("void(u1[:, :], i8, i8, u1[:, :], u1[:, :], i4, i4, i4)", cache=True, nogil=True)
def _stamp(plane, left, top, letter, dark, value, rim, alpha):
    """Lay a text over one plane; what leaves it is cut off."""
    height, width = plane.shape
    for j in range(max(0, -top), min(letter.shape[0], height - top)):
        for i in range(max(0, -left), min(letter.shape[1], width - left)):
            shade = np.int32(dark[j, i])
            if shade:
                ink = np.int32(letter[j, i])
                under = np.int32(plane[top + j, left + i])
                wanted = ink * value + (shade - ink) * rim - shade * under
                plane[top + j, left + i] = np.uint8(under + (wanted * alpha + 32640) // 65280)


@njit(
    "void(u1[:, :], u1[:, :], u1[:, :], i8, i8, i8, u1[:, :], u1[:, :], u1[:, :], u1[:, :], f4[:, :], f4)",
    cache=True, nogil=True,
)  # fmt: skip
def stamp(first, second, third, step, left, top, letter, dark, small_letter, small_dark, inks, alpha):
    """Lay a text over three planes.

    step: pixels of the first plane per pixel of the other two; left, top: its corner, multiples of step; letter, dark
    (h, w) uint8: how much of each pixel is letter, and letter or rim; small_*: the same at ``1 / step`` of the size;
    inks (3, 2): values of letter and rim per plane; alpha: how opaque.
    """
    a = np.int32(alpha * np.float32(256))
    _stamp(first, left, top, letter, dark, np.int32(inks[0, 0]), np.int32(inks[0, 1]), a)
    for plane, p in ((second, 1), (third, 2)):
        value, rim = np.int32(inks[p, 0]), np.int32(inks[p, 1])
        _stamp(plane, left // step, top // step, small_letter, small_dark, value, rim, a)
