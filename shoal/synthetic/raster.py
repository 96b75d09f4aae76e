"""Pixel loops of the renderer (numba): light on the floor, a skin bent along a midline, noise.

Positional arrays only; ``render.py`` is the wrapper. No fast-math: the same bytes every time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from shoal.synthetic.grid import CELL, PAD


@njit(cache=True, nogil=True)
def light_floor(floor, gain, dx, dy, out):
    """Light the floor: out = floor, displaced by (dx, dy), times gain.

    floor (H + 2 PAD, W + 2 PAD) uint8; gain, dx, dy (h, w) float32 on a grid of CELL px; out (H, W) uint8.
    The displacement is constant along a cell's row: it changes by a quarter of a pixel between cells.
    """
    height, width = out.shape
    eighth = np.float32(1.0 / CELL)
    limit = np.float32(PAD - 2)
    black = np.float32(16.0)
    for y in range(height):
        j = y // CELL
        f = np.float32(y - j * CELL) * eighth
        for i in range((width + CELL - 1) // CELL):
            x0 = i * CELL
            g = gain[j, i] + f * (gain[j + 1, i] - gain[j, i])
            slope = (gain[j, i + 1] + f * (gain[j + 1, i + 1] - gain[j, i + 1]) - g) * eighth
            px = min(max(dx[j, i] + f * (dx[j + 1, i] - dx[j, i]), -limit), limit)
            py = min(max(dy[j, i] + f * (dy[j + 1, i] - dy[j, i]), -limit), limit)
            ix, iy = int(np.floor(px)), int(np.floor(py))
            p, q = px - np.float32(ix), py - np.float32(iy)
            one = np.float32(1.0)
            w00, w01, w10, w11 = (one - p) * (one - q), p * (one - q), (one - p) * q, p * q
            start = x0 + ix + PAD
            above = floor[y + iy + PAD, start : start + CELL + 1]
            below = floor[y + iy + PAD + 1, start : start + CELL + 1]
            for k in range(min(CELL, width - x0)):
                value = w00 * np.float32(above[k]) + w01 * np.float32(above[k + 1])
                value += w10 * np.float32(below[k]) + w11 * np.float32(below[k + 1])
                value = (value - black) * (g + np.float32(k) * slope) + np.float32(16.5)
                out[y, x0 + k] = np.uint8(min(max(value, np.float32(0.0)), np.float32(255.0)))


@njit(cache=True, nogil=True)
def add_noise(frame, bank, top, left):
    """Add noise: frame += bank read from (top, left), clipped to bytes; frame (H, W) uint8, bank larger, int8."""
    width = frame.shape[1]
    for y in range(frame.shape[0]):
        row = bank[y + top, left : left + width]
        line = frame[y]
        for x in range(width):
            value = np.int16(line[x]) + np.int16(row[x])
            line[x] = np.uint8(min(max(value, np.int16(0)), np.int16(255)))


@njit(cache=True, nogil=True)
def draw_strip(line, normal, reach, shade, skin, mask, roll, luma, u, v, s_best, v_best):
    """Draw a texture bent along a polyline into a 4:2:0 frame.

    line, normal (P, 2) px, reach px (half width of the strip), shade (P,) gain of the luma, skin (S, V, 4), mask
    (H, W) 0-255, roll: shift of the pattern (not of the outline) across, luma (H, W), u, v (H/2, W/2); s_best,
    v_best: scratch of the frame's size, v_best all above 2 and left so. A pixel that two folds of the strip cover
    takes the fold whose axis is nearer.
    """
    height, width = luma.shape
    points = line.shape[0]
    x_low, y_low, x_high, y_high = width, height, -1, -1
    for i in range(points - 1):
        x0 = y0 = 1e9
        x1 = y1 = -1e9
        for k in range(2):
            for side in range(-1, 2, 2):
                qx = line[i + k, 0] + side * reach * normal[i + k, 0]
                qy = line[i + k, 1] + side * reach * normal[i + k, 1]
                x0, x1, y0, y1 = min(x0, qx), max(x1, qx), min(y0, qy), max(y1, qy)
        ax, ay = max(0, int(np.floor(x0 - 0.5))), max(0, int(np.floor(y0 - 0.5)))
        bx, by = min(width - 1, int(np.ceil(x1))), min(height - 1, int(np.ceil(y1)))
        if ax > bx or ay > by:
            continue
        x_low, y_low, x_high, y_high = min(x_low, ax), min(y_low, ay), max(x_high, bx), max(y_high, by)
        lx, ly = line[i, 0], line[i, 1]
        ex, ey = line[i + 1, 0] - lx, line[i + 1, 1] - ly
        nx, ny = normal[i, 0], normal[i, 1]
        mx, my = normal[i + 1, 0] - nx, normal[i + 1, 1] - ny
        norm = ex * ex + ey * ey
        for y in range(ay, by + 1):
            wy = y + 0.5 - ly
            for x in range(ax, bx + 1):
                wx = x + 0.5 - lx
                t = (wx * ex + wy * ey) / norm
                if t < -1.5 or t > 2.5:
                    continue
                # Newton on cross(point - axis(t), normal(t)) = 0
                for _ in range(2):
                    rx, ry = wx - t * ex, wy - t * ey
                    tx, ty = nx + t * mx, ny + t * my
                    value = rx * ty - ry * tx
                    slope = -ex * ty + ey * tx + rx * my - ry * mx
                    if slope > -1e-6 and slope < 1e-6:
                        break
                    t -= value / slope
                if t < -1e-4 or t >= 1.0001:
                    continue
                tx, ty = nx + t * mx, ny + t * my
                across = ((wx - t * ex) * tx + (wy - t * ey) * ty) / ((tx * tx + ty * ty) * reach)
                if abs(across) < 1.0 and abs(across) < abs(v_best[y, x]):
                    v_best[y, x] = across
                    s_best[y, x] = i + t
    rows, columns = skin.shape[0], skin.shape[1]
    # whole 2x2 blocks: one chroma sample each
    for y2 in range(y_low // 2, y_high // 2 + 1):
        for x2 in range(x_low // 2, x_high // 2 + 1):
            weight = su = sv = 0.0
            for k in range(4):
                y, x = 2 * y2 + k // 2, 2 * x2 + k % 2
                if y >= height or x >= width or v_best[y, x] > 1.5:
                    continue
                position, across = s_best[y, x], v_best[y, x]
                v_best[y, x] = 9.0
                alpha = mask[y, x] / 255.0
                if alpha <= 0.0:
                    continue
                fs = min(max(position / (points - 1), 0.0), 1.0) * (rows - 1)
                fv = (across + 1.0) * 0.5 * (columns - 1)
                i0, j0 = min(int(fs), rows - 2), min(int(fv), columns - 2)
                p, q = fs - i0, fv - j0
                above = skin[i0, j0, 3] * (1 - q) + skin[i0, j0 + 1, 3] * q
                alpha *= above * (1 - p) + p * (skin[i0 + 1, j0, 3] * (1 - q) + skin[i0 + 1, j0 + 1, 3] * q)
                if alpha < 0.004:
                    continue
                fv = (min(max(across + roll * (1 - across * across), -1.0), 1.0) + 1.0) * 0.5 * (columns - 1)
                j0 = min(int(fv), columns - 2)
                q = fv - j0
                w00, w01, w10, w11 = (1 - p) * (1 - q), (1 - p) * q, p * (1 - q), p * q
                a, b = skin[i0, j0], skin[i0, j0 + 1]
                c, d = skin[i0 + 1, j0], skin[i0 + 1, j0 + 1]
                cell = min(int(position), points - 2)
                gain = shade[cell] + (position - cell) * (shade[cell + 1] - shade[cell])
                bright = (w00 * a[0] + w01 * b[0] + w10 * c[0] + w11 * d[0] - 16.0) * gain + 16.0
                value = luma[y, x] + alpha * (bright - luma[y, x])
                luma[y, x] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
                weight += 0.25 * alpha
                su += 0.25 * alpha * (w00 * a[1] + w01 * b[1] + w10 * c[1] + w11 * d[1])
                sv += 0.25 * alpha * (w00 * a[2] + w01 * b[2] + w10 * c[2] + w11 * d[2])
            if weight > 0.0:
                u[y2, x2] = np.uint8(u[y2, x2] * (1 - weight) + su + 0.5)
                v[y2, x2] = np.uint8(v[y2, x2] * (1 - weight) + sv + 0.5)


@njit(cache=True, nogil=True, error_model="numpy")
def limb_integral(ends, source, target, frame, width):
    """Mean over a line of the limb field's component along it.

    Args:
        ends: (F, N, 2, 2) where each fish's limb begins and ends, px.
        source: (n, 2) where the lines begin.
        target: (n, 2) where they end.
        frame: (n,) row of ``ends``.
        width: px, standard deviation of the Gaussian that the field fades out with.
    """
    steps = 10
    out = np.zeros(len(source))
    for q in range(len(source)):
        along_x, along_y = target[q, 0] - source[q, 0], target[q, 1] - source[q, 1]
        length = np.hypot(along_x, along_y)
        if length < 1e-6:
            continue
        total = 0.0
        for s in range(steps):
            x, y = source[q, 0] + s / (steps - 1) * along_x, source[q, 1] + s / (steps - 1) * along_y
            best = value = 0.0
            for i in range(ends.shape[1]):
                from_x, from_y = ends[frame[q], i, 0]
                limb_x, limb_y = ends[frame[q], i, 1, 0] - from_x, ends[frame[q], i, 1, 1] - from_y
                limb = np.hypot(limb_x, limb_y)
                if not limb > 1e-6:
                    continue
                limb_x, limb_y = limb_x / limb, limb_y / limb
                ahead = (x - from_x) * limb_x + (y - from_y) * limb_y
                beside = (y - from_y) * limb_x - (x - from_x) * limb_y
                beyond = max(0.0, -ahead, ahead - limb)
                weight = np.exp(-0.5 * (beside * beside + beyond * beyond) / (width * width))
                if weight > best:
                    best, value = weight, weight * (limb_x * along_x + limb_y * along_y) / length
            total += value
        out[q] = total / steps
    return out
