"""The tank: walls, glass, floor, shelter, and the light that moves over them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int8, UInt8
from numpy import ndarray

from shoal.synthetic.fish import rgb_to_yuv
from shoal.synthetic.grid import CELL, PAD
from shoal.synthetic.scenes import Scene, random_stream

NOISE_SPAN = 256
"""Offsets at which a frame can read the noise bank, px in each direction."""

DEPTH = 0.85
"""How far behind the glass a reflection stands, relative to the fish before it (refraction shortens it)."""


@dataclass(frozen=True, eq=False)
class Shelter:
    """An opaque rectangle on legs.

    Attributes:
        centre: px.
        size: along, across, px.
        angle: radians.
    """

    centre: tuple[float, float]
    size: tuple[float, float]
    angle: float

    @property
    def radius(self) -> float:
        """Half of its shorter side, px."""
        return min(self.size) / 2

    def covers(self, xy: Float32[ndarray, "... 2"]) -> Bool[ndarray, "..."]:
        """Which points are under it."""
        d = xy - np.asarray(self.centre, np.float32)
        c, s = np.cos(self.angle), np.sin(self.angle)
        along, across = d[..., 0] * c + d[..., 1] * s, -d[..., 0] * s + d[..., 1] * c
        return (np.abs(along) < self.size[0] / 2) & (np.abs(across) < self.size[1] / 2)


@dataclass(frozen=True, eq=False)
class Tank:
    """Geometry.

    Attributes:
        floor: x0, y0, x1, y1 of the inner walls, px.
        mirrors: (axis, wall position, x0, y0, x1, y1 of the glass) of each mirror wall.
        shelter: or None.
    """

    floor: tuple[float, float, float, float]
    mirrors: tuple[tuple[int, float, float, float, float, float], ...]
    shelter: Shelter | None


@dataclass(frozen=True, eq=False)
class Backdrop:
    """The empty tank as the camera would see it without noise.

    Attributes:
        y: (H + 2 PAD, W + 2 PAD) luma with a border.
        u, v: (H/2, W/2) chroma.
        open: (H, W) 255 where fish can be seen, 0 under the shelter.
        glass: (H, W) 0-255, how clearly the glass reflects.
    """

    y: UInt8[ndarray, "Hp Wp"]
    u: UInt8[ndarray, "H2 W2"]
    v: UInt8[ndarray, "H2 W2"]
    open: UInt8[ndarray, "H W"]
    glass: UInt8[ndarray, "H W"]


def make_tank(scene: Scene, seed: int) -> Tank:
    """Walls from the scene, shelter's place from the seed."""
    left, top, right, bottom = scene.margins
    w, h = scene.width, scene.height
    floor = (left, top, w - right, h - bottom)
    glass = {
        "left": (0, floor[0], 0.0, floor[1], floor[0], floor[3]),
        "right": (0, floor[2], floor[2], floor[1], float(w), floor[3]),
        "top": (1, floor[1], floor[0], 0.0, floor[2], floor[1]),
        "bottom": (1, floor[3], floor[0], floor[3], floor[2], float(h)),
    }
    shelter = None
    if scene.shelter is not None:
        rng = random_stream(scene, "tank", seed, 0)
        size = (scene.shelter[0] * scene.body_px, scene.shelter[1] * scene.body_px)
        reach = np.hypot(*size) / 2 + 0.15 * scene.body_px
        corner = rng.integers(0, 2, 2)
        x = floor[0] + reach if corner[0] == 0 else floor[2] - reach - 0.6 * scene.body_px
        y = floor[1] + reach if corner[1] == 0 else floor[3] - reach - 0.6 * scene.body_px
        shelter = Shelter((float(x), float(y)), size, float(rng.uniform(-0.5, 0.5)))
    return Tank(floor, tuple(glass[name] for name in scene.mirrors), shelter)


def noise_field(rng: np.random.Generator, height: int, width: int, sigma: float) -> Float32[ndarray, "H W"]:
    """Smooth noise of unit variance with features of ``sigma`` px."""
    f = max(1.0, sigma / 3)  # coarse first: blurring a full frame with a wide kernel is slow
    small = rng.standard_normal((int(height / f) + 8, int(width / f) + 8)).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), sigma / f)
    field = cv2.resize(small, (int(small.shape[1] * f), int(small.shape[0] * f)), interpolation=cv2.INTER_CUBIC)
    field = field[:height, :width]
    return field / max(float(field.std()), 1e-6)


def paint(scene: Scene, tank: Tank, seed: int) -> Backdrop:
    """Draw the empty tank of a seed."""
    rng = random_stream(scene, "tank", seed, 1)
    h, w = scene.height, scene.width
    rgb = _plain(scene, tank, rng) if scene.look.floor == "plain" else _sand(scene, tank, rng)
    visible = np.full((h, w), 255, np.uint8)
    if tank.shelter is not None:
        rgb, visible = _cover(rgb, tank.shelter, rng)
    yuv = rgb_to_yuv(np.clip(cv2.GaussianBlur(rgb, (0, 0), scene.look.blur_px), 0, 255))
    chroma = cv2.resize(yuv[..., 1:], (w // 2, h // 2), interpolation=cv2.INTER_AREA)
    if scene.look.grey:
        chroma[:] = 128
    glass = np.zeros((h, w), np.float32)
    for _, _, x0, y0, x1, y1 in tank.mirrors:
        glass[int(y0) : int(y1), int(x0) : int(x1)] = 1
    glass *= 0.85 + 0.12 * np.clip(noise_field(rng, h, w, 60), -1.5, 1.2)
    return Backdrop(
        y=np.pad(np.clip(yuv[..., 0] + 0.5, 0, 255).astype(np.uint8), PAD, mode="edge"),
        u=np.ascontiguousarray(chroma[..., 0] + 0.5).astype(np.uint8),
        v=np.ascontiguousarray(chroma[..., 1] + 0.5).astype(np.uint8),
        open=visible,
        glass=(255 * glass).astype(np.uint8),
    )


def _sand(scene: Scene, tank: Tank, rng: np.random.Generator) -> Float32[ndarray, "H W 3"]:
    """Sand with grain, mounds and pebbles, glass walls around it."""
    h, w = scene.height, scene.width
    tint = np.array([176, 160, 128], np.float32) + rng.normal(0, [9, 8, 9]).astype(np.float32)
    bright = 15 * noise_field(rng, h, w, 90) + 6 * noise_field(rng, h, w, 22) + 7 * noise_field(rng, h, w, 1.6)
    bright += 9 * rng.standard_normal((h, w)).astype(np.float32)
    speck = noise_field(rng, h, w, 1.2)
    bright -= 26 * np.clip(speck - 1.9, 0, 1.4) - 22 * np.clip(-speck - 2.2, 0, 1.2)
    rgb = tint * (1 + bright[..., None] / 170)
    rgb += 3 * noise_field(rng, h, w, 40)[..., None] * np.array([1, 0, -1], np.float32)
    for _ in range(int(rng.integers(6, 22))):  # pebbles and droppings
        at = (int(rng.uniform(0, w)), int(rng.uniform(0, h)))
        axes = (int(rng.integers(2, 6)), int(rng.integers(2, 5)))
        shade = float(rng.uniform(45, 120))
        cv2.ellipse(rgb, (at[0] + 1, at[1] + 2), axes, 0, 0, 360, (92, 80, 62), -1, cv2.LINE_AA)
        cv2.ellipse(
            rgb, at, axes, float(rng.uniform(0, 180)), 0, 360, (shade, shade * 0.93, shade * 0.8), -1, cv2.LINE_AA
        )
    return _walls(scene, tank, rgb.astype(np.float32), rng)


def _walls(scene: Scene, tank: Tank, rgb: ndarray, rng: np.random.Generator) -> ndarray:
    """Rims outside of the floor; where the glass is a mirror, the floor's own reflection in it."""
    x0, y0, x1, y1 = (int(v) for v in tank.floor)
    rim = np.full_like(rgb, 1.0) * (
        np.array([62, 66, 64], np.float32) + 5 * noise_field(rng, rgb.shape[0], rgb.shape[1], 30)[..., None]
    )
    for axis, wall, gx0, gy0, gx1, gy1 in tank.mirrors:
        a, b, c, d, at = int(gx0), int(gy0), int(gx1), int(gy1), int(wall)
        depth = (c - a) if axis == 0 else (d - b)
        if axis == 0:
            source = rgb[b:d, at - depth : at] if a >= at else rgb[b:d, at : at + depth]
        else:
            source = rgb[at - depth : at, a:c] if b >= at else rgb[at : at + depth, a:c]
        image = cv2.GaussianBlur(np.ascontiguousarray(np.flip(source, 1 - axis)), (0, 0), 1.8)
        rim[b:d, a:c] = 0.52 * image + 0.12 * np.array([120, 150, 150], np.float32)
    inside = np.zeros(rgb.shape[:2], np.float32)
    inside[y0:y1, x0:x1] = 1
    soft = cv2.GaussianBlur(inside, (0, 0), 1.0)[..., None]
    rgb = rgb * soft + rim * (1 - soft)
    corner = cv2.GaussianBlur(inside, (0, 0), 14)  # less light reaches the foot of a wall
    rgb *= np.where(inside > 0, np.clip(0.62 + 0.4 * corner, 0, 1), 1)[..., None]
    cv2.rectangle(rgb, (x0, y0), (x1, y1), (206, 214, 206), 1, cv2.LINE_AA)
    cv2.rectangle(rgb, (x0 - 4, y0 - 4), (x1 + 4, y1 + 4), (40, 46, 44), 2, cv2.LINE_AA)
    return rgb


def _plain(scene: Scene, tank: Tank, rng: np.random.Generator) -> Float32[ndarray, "H W 3"]:
    """A pale acrylic box with seams, specks and a rectangular insert at its side."""
    h, w = scene.height, scene.width
    grey = 185 + 3.0 * noise_field(rng, h, w, 70) + 1.2 * noise_field(rng, h, w, 9)
    x0, y0, x1, y1 = (int(v) for v in tank.floor)
    columns = np.arange(w)
    grey += np.interp(columns, [x1 - 90, x1 - 40, x1, x1 + 40, x1 + 60, w], [0, -12, -6, 0, 12, 22])[None]
    for _ in range(60):  # specks
        at = (int(rng.uniform(0, w)), int(rng.uniform(0, h)))
        cv2.circle(grey, at, int(rng.integers(1, 3)), float(rng.uniform(125, 165)), -1, cv2.LINE_AA)
    for _ in range(10):
        at = (int(rng.uniform(0, w)), int(rng.uniform(0, h)))
        cv2.circle(grey, at, 2, float(rng.uniform(185, 200)), -1, cv2.LINE_AA)
    cv2.rectangle(grey, (x0 - 8, y0), (x1 + 16, y1 + 6), 190.0, 1, cv2.LINE_AA)
    by, bh = int(rng.uniform(0.25, 0.4) * h), int(0.31 * h)
    for inset, level in ((0, 205.0), (8, 196.0), (22, 168.0), (26, 198.0)):
        cv2.rectangle(grey, (x1 + 12 + inset, by + inset // 3), (w + 40, by + bh - inset // 3), level, 2, cv2.LINE_AA)
    for x, y in ((x0 - 6, y0 + 4), (x0 + 2, y1), (x1 - 20, y1), (x1 + 20, by), (x1 + 20, by + bh)):
        cv2.circle(grey, (x, y), 8, 203.0, -1, cv2.LINE_AA)
    grey = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 0.8)
    return np.repeat(grey[..., None], 3, 2).astype(np.float32)


def _cover(rgb: ndarray, shelter: Shelter, rng: np.random.Generator) -> tuple[ndarray, ndarray]:
    """Put the shelter (a clay tile) and its shadow into the picture; returns picture and visibility mask."""
    h, w = rgb.shape[:2]
    box = cv2.boxPoints((shelter.centre, shelter.size, float(np.degrees(shelter.angle))))
    corners = np.round(box * 16).astype(np.int32)
    mask = np.zeros((h, w), np.uint8)
    cv2.fillConvexPoly(mask, corners, 255, cv2.LINE_AA, 4)
    shade = np.zeros((h, w), np.float32)
    cv2.fillConvexPoly(shade, corners + np.array([130, 190], np.int32), 1.0, cv2.LINE_AA, 4)
    rgb = rgb * (1 - 0.45 * cv2.GaussianBlur(shade, (0, 0), 9))[..., None]
    grain = 0.05 * noise_field(rng, h, w, 1.3) + 0.05 * noise_field(rng, h, w, 5) + 0.07 * noise_field(rng, h, w, 45)
    tint = np.array([126, 88, 66], np.float32) * (1 + 0.08 * rng.standard_normal(3).astype(np.float32))
    solid = mask.astype(np.float32) / 255
    bevel = np.clip(solid - cv2.GaussianBlur(solid, (0, 0), 4), 0, 1)
    slope = cv2.GaussianBlur(solid, (0, 0), 2.5)
    lit = np.gradient(slope, axis=0) + np.gradient(slope, axis=1)  # light from above left
    clay = tint * (1 + grain + 0.25 * bevel + 2.2 * lit)[..., None]
    alpha = (mask.astype(np.float32) / 255)[..., None]
    return (rgb * (1 - alpha) + clay * alpha).astype(np.float32), 255 - mask


class Light:
    """The light of one video: uneven, drifting, focused by ripples. ``at`` gives its maps of a frame."""

    def __init__(self, scene: Scene, seed: int, day: int) -> None:
        rng = random_stream(scene, "light", seed, day)
        self.look, self.fps = scene.look, scene.fps
        self.rows, self.columns = scene.height // CELL + 2, scene.width // CELL + 2
        y, x = np.mgrid[-1 : 1 : self.rows * 1j, -1 : 1 : self.columns * 1j]
        angle = rng.uniform(0, 2 * np.pi)
        self.slope = (x * np.cos(angle) + y * np.sin(angle)).astype(np.float32)
        self.vignette = (x**2 + y**2).astype(np.float32)
        self.level = float(rng.uniform(0.88, 1.1)) if not scene.look.grey else float(rng.uniform(0.97, 1.03))
        self.phase = rng.uniform(0, 2 * np.pi, 6)
        self.tiles = [_tile(rng, 128, s) for s in (3.0, 2.4, 5.0, 5.0)]
        self.velocity = rng.uniform(-1, 1, (4, 2)) * 2.2

    def at(self, frame: int) -> tuple[Float32[ndarray, "h w"], Float32[ndarray, "h w"], Float32[ndarray, "h w"]]:
        """Gain and displacement (x, y; px) of the floor on the coarse grid."""
        look, t = self.look, frame / self.fps
        slow = np.sin(2 * np.pi * t / 97 + self.phase[0]) + 0.5 * np.sin(2 * np.pi * t / 23 + self.phase[1])
        tilt = 1 + 0.3 * np.sin(2 * np.pi * t / 61 + self.phase[2])
        gain = self.level * (
            1 + look.drift * slow / 1.5 + 0.5 * look.uneven * (tilt * self.slope - 0.35 * self.vignette)
        )
        if look.caustics > 0:
            waves = self._sample(0, t) + self._sample(1, t)
            gain = gain * (1 + look.caustics * (2.6 * np.exp(-1.6 * waves * waves) - 1.2))
        if look.ripple_px > 0:
            return gain.astype(np.float32), look.ripple_px * self._sample(2, t), look.ripple_px * self._sample(3, t)
        still = np.zeros_like(self.slope)
        return gain.astype(np.float32), still, still

    def _sample(self, tile: int, t: float) -> Float32[ndarray, "h w"]:
        """A tile scrolled to time t; the tiles repeat in space, so any offset is inside."""
        dx, dy = (self.velocity[tile] * t * 2.0) % 128
        shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            self.tiles[tile], shift, (self.columns, self.rows), flags=flags, borderMode=cv2.BORDER_WRAP
        )


def _tile(rng: np.random.Generator, size: int, sigma: float) -> Float32[ndarray, "S S"]:
    """Noise of unit variance that repeats without a seam."""
    pad = int(4 * sigma) + 1
    noise = np.pad(rng.standard_normal((size, size)).astype(np.float32), pad, mode="wrap")
    noise = cv2.GaussianBlur(noise, (0, 0), sigma)[pad:-pad, pad:-pad]
    return np.ascontiguousarray(noise / noise.std())


def noise_bank(scene: Scene, seed: int, day: int) -> Int8[ndarray, "H W"]:
    """Sensor noise drawn once, ``NOISE_SPAN`` px larger than the frame; each frame reads it at an offset of its own."""
    rng = random_stream(scene, "sensor", seed, day)
    noise = rng.standard_normal((scene.height + NOISE_SPAN, scene.width + NOISE_SPAN), dtype=np.float32)
    noise = 0.8 * noise + 1.2 * cv2.GaussianBlur(noise, (0, 0), 0.8)  # the camera's denoising leaves blots
    return np.clip(np.round(scene.look.noise * noise / noise.std()), -30, 30).astype(np.int8)
