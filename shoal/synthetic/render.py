"""Bodies and light to pictures in 4:2:0, the encoder's own format: no colour conversion on the way."""

from __future__ import annotations

from collections.abc import Sequence

import av
import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from shoal.synthetic.fish import STRIP, Fish
from shoal.synthetic.grid import CELL
from shoal.synthetic.motion import Swim
from shoal.synthetic.posture import Bodies, mirror_points
from shoal.synthetic.scenes import Scene, random_stream
from shoal.synthetic.tank import DEPTH, NOISE_SPAN, Light, Tank, noise_bank, paint


class Renderer:
    """One video's tank, light and noise; ``picture`` draws a frame.

    Args:
        scene: what kind of recording.
        tank: geometry of this seed.
        fish: the animals.
        seed: of the video.
        day: of the video.
    """

    def __init__(self, scene: Scene, tank: Tank, fish: Sequence[Fish], *, seed: int, day: int) -> None:
        self.scene, self.tank, self.fish = scene, tank, fish
        self.backdrop = paint(scene, tank, seed)
        self.light = Light(scene, seed, day)
        self.bank = noise_bank(scene, seed, day)
        self.key = (seed, day)
        self._s_best = np.zeros((scene.height, scene.width), np.float32)
        self._v_best = np.full((scene.height, scene.width), 9.0, np.float32)

    def planes(self, swim: Swim, bodies: Bodies, row: int, frame: int) -> tuple[ndarray, ndarray, ndarray]:
        """Y (H, W), U and V (H/2, W/2) of one frame; ``row`` is its place in the chunk."""
        from shoal.synthetic.raster import add_noise, light_floor  # numba: not at import

        gain, dx, dy = self.light.at(frame)
        luma = np.empty((self.scene.height, self.scene.width), np.uint8)
        light_floor(self.backdrop.y, gain, dx, dy, luma)
        target = (luma, self.backdrop.u.copy(), self.backdrop.v.copy())
        order = np.argsort(swim.height[row], kind="stable")
        if self.scene.look.shadow > 0:
            for i in order:
                self._shadow(target, bodies, swim, row, i)
        for i in order:
            self._fish(target, bodies, swim, row, i, gain)
        for wall in range(len(self.tank.mirrors)):
            for i in order:
                self._reflection(target, bodies, row, i, wall, gain)
        rng = random_stream(self.scene, "sensor", *self.key, frame)
        top, left = rng.integers(0, NOISE_SPAN, 2)
        add_noise(luma, self.bank, int(top), int(left))
        return target

    def picture(self, swim: Swim, bodies: Bodies, row: int, frame: int) -> av.VideoFrame:
        """One frame for ``VideoWriter.write_picture``."""
        return av.VideoFrame.from_ndarray(join_planes(*self.planes(swim, bodies, row, frame)), format="yuv420p")

    def _strip(self, target: tuple, line: ndarray, normal: ndarray, reach: float, shade: ndarray, skin: ndarray,
               mask: ndarray, roll: float = 0.0) -> None:  # fmt: skip
        from shoal.synthetic.raster import draw_strip

        luma, u, v = target
        draw_strip(line, normal, reach, shade, skin, mask, roll, luma, u, v, self._s_best, self._v_best)

    def _shade(self, line: ndarray, gain: ndarray) -> ndarray:
        """Light along a midline."""
        j = np.clip((line[:, 1] / CELL).astype(int), 0, gain.shape[0] - 1)
        i = np.clip((line[:, 0] / CELL).astype(int), 0, gain.shape[1] - 1)
        return gain[j, i]

    def _shadow(self, target: tuple, bodies: Bodies, swim: Swim, row: int, i: int) -> None:
        """The higher the fish, the further its shadow."""
        away = np.array([0.10, 0.16], np.float32) * (0.35 + swim.height[row, i]) * self.fish[i].length
        line = bodies.line[row, i] + away
        ones = np.ones(len(line), np.float32)
        self._strip(target, line, bodies.normal[row, i], STRIP * self.fish[i].length * 1.15, ones, self.fish[i].shadow,
                    self.backdrop.open)  # fmt: skip

    def _fish(self, target: tuple, bodies: Bodies, swim: Swim, row: int, i: int, gain: ndarray) -> None:
        fish, line = self.fish[i], bodies.line[row, i]
        # deeper water swallows light
        shade = self._shade(line, gain) * np.float32(0.9 + 0.14 * swim.height[row, i])
        for base, tip in bodies.fin[row, i]:
            along = tip - base
            size = float(np.linalg.norm(along))
            ends = np.stack([base, tip])
            across = np.repeat(np.array([[-along[1], along[0]]], np.float32) / max(size, 1e-3), 2, 0)
            self._strip(target, ends, across, 0.5 * size, shade[7:9], fish.fin, self.backdrop.open)
        roll = float(swim.roll[row, i])
        self._strip(
            target, line, bodies.normal[row, i], STRIP * fish.length, shade, fish.skin, self.backdrop.open, roll
        )

    def _reflection(self, target: tuple, bodies: Bodies, row: int, i: int, wall: int, gain: ndarray) -> None:
        """The fish as the glass shows it, if it is near enough."""
        fish, line = self.fish[i], mirror_points(self.tank, wall, bodies.line[row, i])
        _, _, x0, y0, x1, y1 = self.tank.mirrors[wall]
        margin = fish.length * 0.3
        low, high = line.min(0), line.max(0)
        if high[0] < x0 - margin or low[0] > x1 + margin or high[1] < y0 - margin or low[1] > y1 + margin:
            return
        normal = bodies.normal[row, i].copy()
        normal[:, self.tank.mirrors[wall][0]] *= -DEPTH
        shade = self._shade(line, gain) * np.float32(0.58)  # as much darker as the floor in the glass
        if self.tank.shelter is not None and self.tank.shelter.covers(bodies.line[row, i]).mean() > 0.5:
            return
        self._strip(target, line, normal, STRIP * fish.length, shade, fish.mirrored, self.backdrop.glass)


def join_planes(y: ndarray, u: ndarray, v: ndarray) -> UInt8[ndarray, "H15 W"]:
    """Y, U, V -> one (3 H / 2, W) array, the layout that encoder and cv2 share."""
    return np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(-1, y.shape[1])


def to_rgb(y: ndarray, u: ndarray, v: ndarray) -> UInt8[ndarray, "H W 3"]:
    """For looking at and for tests; videos are read back with ``io.video``."""
    return cv2.cvtColor(join_planes(y, u, v), cv2.COLOR_YUV2RGB_I420)
