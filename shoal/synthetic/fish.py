"""Individual fish: body shape and skin, drawn once per animal.

Skin is a texture over body coordinates: ``s`` along the body (0 = nose, 1 = backfin keypoint, the fin's
tip lies beyond), ``v`` across (-1 = left edge of the strip, 1 = right edge). Species template first, then
what is individual: tone, bars, blotches, size. All from the seed of the fish; growth from the day.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from scipy.interpolate import PchipInterpolator

from shoal.synthetic.scenes import Scene, random_stream

S_MIN, S_MAX = -0.03, 1.14
"""Part of the body axis that the skin covers, body lengths from the nose."""

BODY_S = np.linspace(S_MIN, S_MAX, 27)
"""Body positions of the midline's points."""

STRIP = 0.125
"""Half width of the skin's strip, body lengths."""

EYE_S, FIN_S, FIN_LENGTH = 0.115, 0.27, 0.15
"""Where the eyes are, where the pectoral fins are fixed, how long they are; body lengths."""

# half width of the outline seen from above, body lengths; the last entries are the caudal fin edge-on
_OUTLINES = {
    "cichlid": (
        (-0.03, 0.0, 0.015, 0.05, 0.1, 0.18, 0.28, 0.4, 0.55, 0.7, 0.8, 0.87, 0.93, 1.0, 1.06, 1.11, 1.14),
        (
            0.0,
            0.022,
            0.036,
            0.058,
            0.078,
            0.096,
            0.104,
            0.098,
            0.076,
            0.05,
            0.033,
            0.023,
            0.02,
            0.024,
            0.026,
            0.02,
            0.0,
        ),
    ),
    "zebrafish": (
        (-0.03, 0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.06, 1.14),
        (0.0, 0.032, 0.048, 0.06, 0.068, 0.067, 0.066, 0.066, 0.063, 0.053, 0.042, 0.033, 0.025, 0.02, 0.014, 0.0),
    ),
}


@dataclass(frozen=True, eq=False)
class Fish:
    """One animal.

    Attributes:
        length: nose to backfin, px.
        half_width: (P,) of the outline at ``BODY_S``, px.
        skin: (S, V, 4) texture: Y, U, V (0-255, BT.601 limited range), alpha 0-1.
        fin: (S, V, 4) texture of a pectoral fin.
        mirrored: the skin as glass reflects it, dimmer and blurred.
        shadow: (S, V, 4) soft outline for the shadow on the floor.
    """

    length: float
    half_width: Float32[ndarray, "P"]
    skin: Float32[ndarray, "S V 4"]
    fin: Float32[ndarray, "S2 V2 4"]
    mirrored: Float32[ndarray, "S V 4"]
    shadow: Float32[ndarray, "S V 4"]


def outline(species: str, s: Float32[ndarray, "P"]) -> Float32[ndarray, "P"]:
    """Half width of a species at body positions s, body lengths."""
    at, width = _OUTLINES[species]
    return np.maximum(PchipInterpolator(at, width, extrapolate=False)(np.clip(s, at[0], at[-1])), 0).astype(np.float32)


def rgb_to_yuv(rgb: Float32[ndarray, "... 3"]) -> Float32[ndarray, "... 3"]:
    """RGB 0-255 -> Y, U, V of video, limited range (ITU-R BT.601)."""
    matrix = np.array([[0.257, 0.504, 0.098], [-0.148, -0.291, 0.439], [0.439, -0.368, -0.071]], np.float32)
    return (rgb @ matrix.T + np.array([16, 128, 128], np.float32)).astype(np.float32)


def make_fish(scene: Scene, fish_seed: int, *, day: int = 0) -> tuple[Fish, ...]:
    """The animals of a tank, in order; the same for every video with this scene and seed.

    Args:
        scene: species, sizes, contrast.
        fish_seed: who they are.
        day: how long they have grown.
    """
    return tuple(_make_one(scene, random_stream(scene, "fish", fish_seed, i), day) for i in range(scene.n_fish))


def _make_one(scene: Scene, rng: np.random.Generator, day: int) -> Fish:
    low, high = scene.skin.body_px
    length = float(rng.uniform(low, high)) * (1 + scene.skin.growth_per_day * rng.uniform(0.5, 1.5)) ** day
    plump = 1 + 0.05 * scene.skin.contrast * rng.standard_normal()
    # about 1.3 texels a pixel: finer would alias, coarser would blur
    rows = round(1.3 * length * (S_MAX - S_MIN))
    columns = round(1.3 * length * 2 * STRIP) | 1
    s = np.linspace(S_MIN, S_MAX, rows, dtype=np.float32)[:, None]
    y = np.linspace(-STRIP, STRIP, columns, dtype=np.float32)[None]
    width = outline(scene.skin.species, s[:, 0])[:, None] * np.float32(plump)
    draw = _zebrafish if scene.skin.species == "zebrafish" else _cichlid
    rgb, alpha = draw(scene, rng, s, y, width)
    skin = _finish(scene, rgb, alpha)
    blurred = cv2.GaussianBlur(skin, (0, 0), 1.6)
    mirrored = np.dstack([blurred[..., :3], blurred[..., 3] * np.float32(scene.look.mirror)])
    solid = np.where(s < 1.0, 1.0, 0.3) * (np.abs(y) < width)
    soft = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), 0.03 * length * 1.3)
    dark = np.array(
        [24, 128, 128] if scene.look.grey else [24, 118, 134], np.float32
    )  # sand in the shade keeps its hue
    shadow = np.dstack([np.broadcast_to(dark, (*soft.shape, 3)), soft * np.float32(scene.look.shadow)])
    return Fish(
        length=length,
        half_width=outline(scene.skin.species, BODY_S) * np.float32(plump * length),
        skin=skin,
        fin=_fin(scene, rng, length, rgb),
        mirrored=np.ascontiguousarray(mirrored, np.float32),
        shadow=np.ascontiguousarray(shadow, np.float32),
    )


def _finish(scene: Scene, rgb: ndarray, alpha: ndarray) -> Float32[ndarray, "S V 4"]:
    """Colour to video space, the camera's blur over colour and outline alike."""
    yuv = rgb_to_yuv(np.clip(rgb, 0, 255).astype(np.float32))
    if scene.look.grey:
        yuv[..., 1:] = 128
    sigma = 1.3 * scene.look.blur_px
    alpha = cv2.GaussianBlur(alpha.astype(np.float32), (0, 0), sigma)
    yuv = cv2.GaussianBlur(yuv, (0, 0), sigma)
    return np.ascontiguousarray(np.dstack([yuv, alpha]), np.float32)


def _blotches(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Float32[ndarray, "S V"]:
    """Band-limited noise of unit variance; sigma in texels."""
    noise = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), sigma)
    return noise / max(float(noise.std()), 1e-6)


def _bump(x: ndarray, centre: float, width: float) -> ndarray:
    return np.exp(-(((x - centre) / width) ** 2))


def _inside(s: ndarray, y: ndarray, width: ndarray) -> ndarray:
    """1 within the outline, 0 outside, the edge one texel wide."""
    texel = float(s[1, 0] - s[0, 0])
    return np.clip((width - np.abs(y)) / texel + 0.5, 0, 1) * (width > 0)


def _eyes(rgb: ndarray, s: ndarray, y: ndarray, width: ndarray, radius: float) -> ndarray:
    """Two dark eyes with a pale rim."""
    at = float(np.interp(EYE_S, s[:, 0], width[:, 0])) * 0.82
    for side in (-1, 1):
        d = np.hypot((s - EYE_S) / 1.25, y - side * at)
        rim = _bump(d, radius * 1.25, radius * 0.35)[..., None] * 0.5
        rgb = rgb * (1 - rim) + rim * np.array([188, 176, 140])
        pupil = np.clip(0.5 - (d - radius) / (0.4 * radius), 0, 1)[..., None]
        rgb = rgb * (1 - pupil) + pupil * np.array([14, 13, 14])
    return rgb


def _cichlid(scene: Scene, rng: np.random.Generator, s: ndarray, y: ndarray, width: ndarray) -> tuple[ndarray, ndarray]:
    """Olive back, paler flanks, cross bands, a dark line along the dorsal fin, warm or blue sheen."""
    c = scene.skin.contrast
    r = np.clip(np.abs(y) / np.maximum(width, 1e-4), 0, 1.3)
    shape = (len(s), y.shape[1])
    texel = shape[0] / (S_MAX - S_MIN)
    back = np.array([104.0, 92.0, 66.0]) + c * rng.normal(0, [7, 6, 7])
    flank = np.array([158.0, 146.0, 112.0]) + c * rng.normal(0, [9, 8, 10])
    rgb = back + (flank - back) * (np.clip(r, 0, 1) ** 2.2)[..., None]
    bands = np.zeros(shape)
    for centre in np.linspace(0.2, 0.86, 7):
        bands += rng.uniform(0.35, 1.0) * _bump(
            s + 0.02 * np.abs(y) / STRIP, centre + 0.012 * c * rng.standard_normal(), 0.026
        )
    rgb *= 1 - (0.24 * bands)[..., None]
    sheen = np.array([[34, 10, -24], [-18, 2, 30], [22, 18, -20]][rng.integers(3)]) * c * rng.uniform(0.1, 0.9)
    rgb += sheen * (_bump(s, rng.uniform(0.3, 0.6), 0.2) * np.clip(r, 0, 1))[..., None]
    rgb *= (
        1 + (0.10 * c * _blotches(rng, shape, 0.045 * texel) + 0.05 * _blotches(rng, shape, 0.014 * texel))[..., None]
    )
    for _ in range(int(rng.integers(3, 9))):  # dark individual spots on the back
        spot = _bump(np.hypot(s - rng.uniform(0.16, 0.85), y - rng.uniform(-0.05, 0.05)), 0, rng.uniform(0.008, 0.02))
        rgb *= 1 - (rng.uniform(0.15, 0.45) * c * spot)[..., None]
    dorsal = _bump(y, 0, 0.007) * (s > 0.24) * (s < 0.8)
    rgb *= 1 - (0.38 * dorsal)[..., None]
    rgb *= 1 - (0.25 * _bump(s + 0.6 * np.abs(y), 0.235, 0.012))[..., None]  # gill covers
    rgb *= 1 - (0.3 * _bump(s, 0.005, 0.02))[..., None]  # lips
    rgb *= (1.1 - 0.42 * np.clip(r, 0, 1.1) ** 3)[..., None]  # round body under light from above
    rgb += 26 * (_bump(y, -0.018, 0.014) * _bump(s, 0.38, 0.2))[..., None]  # wet gloss
    rgb *= 1 + scene.skin.tone * rng.standard_normal()
    rgb = _eyes(rgb, s, y, width, 0.021)
    rays = 0.12 * np.sin(s * 190)
    alpha = (
        _inside(s, y, width) * np.interp(s, [0.0, 0.88, 0.97, 1.14], [0.98, 0.98, 0.75, 0.35]) * (1 + rays * (s > 0.92))
    )
    return rgb, np.clip(alpha, 0, 1)


def _zebrafish(
    scene: Scene, rng: np.random.Generator, s: ndarray, y: ndarray, width: ndarray
) -> tuple[ndarray, ndarray]:
    """Dark back against a bright floor: a paler line on the head, fading to the tail."""
    c = scene.skin.contrast
    r = np.clip(np.abs(y) / np.maximum(width, 1e-4), 0, 1.3)
    shape = (len(s), y.shape[1])
    texel = shape[0] / (S_MAX - S_MIN)
    tone = 1 + scene.skin.tone * rng.standard_normal()
    # levels along the body as measured on the real fish (bench/identifiability.py --profile)
    at = [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    grey = tone * np.interp(s, at, [104, 100, 97, 95, 90, 91, 97, 99, 103, 104, 106, 108]) * np.ones(shape)
    grey += 8 * np.clip(r, 0, 1) ** 2
    grey += 14 * (1 + 0.4 * c * rng.standard_normal()) * _bump(y, 0, 0.02) * _bump(s, 0.16, 0.1)  # pale crown
    grey += 8 * c * _blotches(rng, shape, 0.07 * texel)
    grey += 4 * c * _blotches(rng, shape, 0.03 * texel)
    rgb = np.repeat(grey[..., None], 3, 2)
    eyes = _eyes(rgb, s, y, width, 0.02)
    rgb = 0.5 * rgb + 0.5 * eyes
    alpha = _inside(s, y, width) * np.interp(s, [0.0, 0.7, 0.9, 1.0, 1.06, 1.14], [0.98, 0.95, 0.8, 0.55, 0.2, 0.1])
    return rgb, alpha


def _fin(scene: Scene, rng: np.random.Generator, length: float, rgb: ndarray) -> Float32[ndarray, "S2 V2 4"]:
    """A pectoral fin: a translucent fan with rays, base at s = 0."""
    rows, columns = max(8, int(1.3 * length * FIN_LENGTH)), max(8, int(1.3 * length * FIN_LENGTH)) | 1
    s = np.linspace(0, 1, rows)[:, None]
    v = np.linspace(-1, 1, columns)[None]
    fan = 0.1 + 0.62 * s**0.8
    inside = (np.abs(v) < fan * np.sqrt(np.clip(1 - (s / 1.0) ** 6, 0, 1))).astype(np.float64)
    rays = 0.82 + 0.18 * np.cos(np.arctan2(v, s + 0.05) * 26)
    opacity = 0.1 if scene.skin.species == "zebrafish" else 0.6
    colour = np.median(rgb.reshape(-1, 3), axis=0) * 0.95 + rng.normal(0, 4, 3)
    tint = np.ones((rows, columns, 1)) * colour
    return _finish(scene, tint * rays[..., None], inside * opacity * rays * (1 - 0.35 * s))
