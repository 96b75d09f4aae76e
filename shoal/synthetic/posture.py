"""From the motion's state to bodies: midlines, keypoints, what covers what, reflections, touches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from shoal.synthetic.fish import BODY_S, EYE_S, FIN_LENGTH, FIN_S, Fish
from shoal.synthetic.motion import PIVOT, Swim
from shoal.synthetic.scenes import KEYPOINTS, Scene
from shoal.synthetic.tank import DEPTH, Tank

MIDLINE_S = (0.0, EYE_S, EYE_S, 0.27, 0.48, 0.7, 1.0, FIN_S, FIN_S)
"""Body position of each keypoint (for the fins: of their base)."""


@dataclass(frozen=True, eq=False)
class Bodies:
    """Where N fish are over F frames.

    Attributes:
        line: (F, N, P, 2) midline at ``BODY_S``, px.
        normal: (F, N, P, 2) unit vectors to the fish's right.
        xy: (F, N, K, 2) keypoints.
        fin: (F, N, 2, 2, 2) base and tip of the left and right pectoral fin.
    """

    line: Float32[ndarray, "F N P 2"]
    normal: Float32[ndarray, "F N P 2"]
    xy: Float32[ndarray, "F N K 2"]
    fin: Float32[ndarray, "F N 2 2 2"]


def pose_bodies(swim: Swim, fish: Sequence[Fish]) -> Bodies:
    """Bend the bodies; a travelling wave whose amplitude grows to the tail rides on the bend."""
    s = BODY_S.astype(np.float64)
    length = np.array([f.length for f in fish])
    width = np.stack([f.half_width for f in fish])
    ramp = np.clip((s - 0.12) / 0.88, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    wave = (0.12 + 1.1 * np.clip(s, 0, 1.1) ** 2) * np.sin(swim.phase[..., None] - 2 * np.pi * 0.85 * s)
    angle = swim.heading[..., None] + swim.bend[..., None] * ramp + swim.beat[..., None] * wave
    tangent = np.stack([np.cos(angle), np.sin(angle)], -1)
    step = np.diff(s)[:, None] * 0.5 * (tangent[..., 1:, :] + tangent[..., :-1, :])
    line = -np.concatenate([np.zeros_like(step[..., :1, :]), np.cumsum(step, axis=-2)], axis=-2)
    line -= _between(line, np.array([PIVOT]))
    line = swim.xy[..., None, :] + line * length[:, None, None]
    normal = np.stack([-tangent[..., 1], tangent[..., 0]], -1)
    xy = _between(line, np.array(MIDLINE_S))
    side_normal = _between(normal, np.array(MIDLINE_S))
    half = np.stack([np.interp(MIDLINE_S, BODY_S, w) for w in width])
    across = np.zeros(len(KEYPOINTS))
    across[[1, 2]], across[[7, 8]] = (-0.82, 0.82), (-0.9, 0.9)
    xy = xy + (across * half)[..., None] * side_normal
    forward = np.stack([side_normal[..., 7:, 1], -side_normal[..., 7:, 0]], -1)
    out = side_normal[..., 7:, :] * np.array([-1.0, 1.0])[:, None]
    tip = xy[..., 7:, :] + FIN_LENGTH * length[:, None, None] * (
        np.sin(swim.fins)[..., None] * out - np.cos(swim.fins)[..., None] * forward
    )
    fin = np.stack([xy[..., 7:, :], tip], -2)
    xy[..., 7:, :] += 0.8 * (tip - xy[..., 7:, :])
    return Bodies(*(a.astype(np.float32) for a in (line, normal, xy, fin)))


def _between(values: ndarray, at: ndarray) -> ndarray:
    """Linear interpolation of (..., P, 2) at body positions."""
    position = np.interp(at, BODY_S, np.arange(len(BODY_S)))
    i = np.minimum(position.astype(int), len(BODY_S) - 2)
    f = (position - i)[:, None]
    return values[..., i, :] * (1 - f) + values[..., i + 1, :] * f


def _near(bodies: Bodies, reach: float) -> tuple[Int64[ndarray, "Q"], Int64[ndarray, "Q"], Int64[ndarray, "Q"]]:
    """Frame, first, second of all ordered pairs whose pivots are closer than ``reach``."""
    middle = bodies.line[..., len(BODY_S) // 2, :]
    d = np.linalg.norm(middle[:, :, None] - middle[:, None], axis=-1)
    d[:, np.arange(d.shape[1]), np.arange(d.shape[1])] = np.inf
    return tuple(np.nonzero(d < reach))  # type: ignore[return-value]


def covered(bodies: Bodies, swim: Swim, fish: Sequence[Fish], tank: Tank) -> tuple[ndarray, ndarray]:
    """Which keypoints cannot be seen.

    Returns:
        (F, N, K) under the shelter; (F, N, K) under a higher swimming fish's body.
    """
    sheltered = np.zeros(bodies.xy.shape[:3], bool)
    if tank.shelter is not None:
        sheltered = tank.shelter.covers(bodies.xy)
    below = np.zeros_like(sheltered)
    width = np.stack([f.half_width for f in fish])
    f, i, j = _near(bodies, 1.2 * max(x.length for x in fish))
    keep = swim.height[f, j] > swim.height[f, i]
    f, i, j = f[keep], i[keep], j[keep]
    body = BODY_S <= 0.9  # fins let the ground shine through
    for part in np.array_split(np.arange(len(f)), max(1, len(f) // 4096)):
        a, b, c = f[part], i[part], j[part]
        d = np.linalg.norm(bodies.xy[a, b][:, :, None] - bodies.line[a, c][:, None, body], axis=-1)
        hit = (d < 0.97 * width[c][:, None, body]).any(-1)
        np.logical_or.at(below, (a, b), hit)
    return sheltered, below


def touching(bodies: Bodies, fish: Sequence[Fish], *, slack_px: float = 1.0) -> Bool[ndarray, "F N N"]:
    """Which fish's outlines are closer than ``slack_px`` (symmetric, False on the diagonal)."""
    n = len(fish)
    width = np.stack([x.half_width for x in fish])
    out = np.zeros((len(bodies.line), n, n), bool)
    f, i, j = _near(bodies, 1.3 * max(x.length for x in fish))
    keep = i < j
    f, i, j = f[keep], i[keep], j[keep]
    body = BODY_S <= 1.0
    for part in np.array_split(np.arange(len(f)), max(1, len(f) // 2048)):
        a, b, c = f[part], i[part], j[part]
        d = np.linalg.norm(bodies.line[a, b][:, body, None] - bodies.line[a, c][:, None, body], axis=-1)
        gap = (d - width[b][:, body, None] - width[c][:, None, body]).min((1, 2))
        out[a, b, c] = gap < slack_px
    return out | out.swapaxes(1, 2)


def mirror_points(tank: Tank, wall: int, xy: ndarray) -> ndarray:
    """Points (..., 2) as glass ``wall`` shows them: left becomes right, a keypoint keeps its name."""
    axis, at = tank.mirrors[wall][:2]
    out = np.array(xy, np.float32)
    out[..., axis] = at + DEPTH * (at - out[..., axis])
    return out


def behind_glass(tank: Tank, wall: int, xy: ndarray) -> ndarray:
    """Which points (..., 2) lie in the glass of ``wall``."""
    _, _, x0, y0, x1, y1 = tank.mirrors[wall]
    return (xy[..., 0] > x0) & (xy[..., 0] < x1) & (xy[..., 1] > y0) & (xy[..., 1] < y1)


def in_frame(scene: Scene, xy: ndarray) -> ndarray:
    """Which points (..., 2) lie in the picture."""
    return (xy[..., 0] >= 0) & (xy[..., 0] < scene.width) & (xy[..., 1] >= 0) & (xy[..., 1] < scene.height)
