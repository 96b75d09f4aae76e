"""What animals look like, without a network: colours of the parts of a straightened crop, linearly compared.

Directions in which crops of one animal vary (light, posture, crops that sit askew) count little, those in which animals
differ count fully: within-class whitening, the first half of linear discriminant analysis (Fukunaga, Introduction to
Statistical Pattern Recognition, 2nd ed. 1990, chapter 10). It is learned in a second, gives the same answer every time,
and what it learned on some animals holds for others, of which a network that was trained to tell few animals apart
knows nothing.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from numpy import ndarray

CELLS = (20, 40)  # parts of a crop, down and along
TONE = 60.0  # grey levels of mean colour that count as much as one standard deviation of a part
AXES = 300  # principal axes of crops among which is whitened
SHRINK = 0.03  # of the mean variance, added to all: axes that hardly vary are not trusted
MOST = 1000  # crops that the axes are found with
AT_ONCE = 2000


def shrink(image: UInt8[ndarray, "N h w 3"]) -> UInt8[ndarray, "N 20 40 3"]:
    """Mean colour of each part of crops; 0 where most of a part is not of the animal.

    Args:
        image: crops whose sides are multiples of 20 and 40, 0 = not of the animal.
    """
    down, along = CELLS
    n, height, width, _ = image.shape
    if height % down or width % along:
        raise ValueError(f"shrink: expected crops of multiples of {down} x {along} px, got {height} x {width}")
    out = np.empty((n, down, along, 3), np.uint8)
    for start in range(0, n, AT_ONCE):
        part = image[start : start + AT_ONCE].reshape(-1, down, height // down, along, width // along, 3)
        count = (part > 0).any(axis=5, keepdims=True).sum(axis=(2, 4))
        colour = part.sum(axis=(2, 4), dtype=np.float32) / np.maximum(count, 1)
        is_shown = 2 * count > part.shape[2] * part.shape[4]
        out[start : start + AT_ONCE] = np.clip(colour.round(), 1, 255) * is_shown
    return out


def describe(image: UInt8[ndarray, "N 20 40 3"]) -> Float32[ndarray, "N D"]:
    """Crops as numbers: colour of each part less the crop's mean, by the crop's contrast; then the mean colour.

    Args:
        image: from ``shrink``.
    """
    colour = image.astype(np.float32)
    inside = image.any(axis=3, keepdims=True)
    count = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    mean = colour.sum(axis=(1, 2), keepdims=True) / count
    rest = (colour - mean) * inside
    contrast = np.sqrt((rest**2).sum(axis=(1, 2, 3), keepdims=True) / count)
    parts = (rest / np.maximum(contrast, 1)).reshape(len(image), -1)
    return np.hstack([parts, mean.reshape(-1, 3) / TONE]).astype(np.float32)


def learn_looks(description: Float32[ndarray, "N D"], animal: Int64[ndarray, "N"]) -> Float32[ndarray, "D C"]:
    """Learn from crops of which it is known which ones show the same animal.

    Args:
        description: of crops.
        animal: of each, 0 ...; different numbers need not be different animals (tracklets will do).

    Returns:
        What turns descriptions into looks: ``description @ transform``.
    """
    mean = group_means(description, animal, int(animal.max()) + 1)
    axes = principal_axes(description)
    within = (description - mean[animal]) @ axes.T
    freedom = max(len(description) - len(mean), 1)
    spread = within.T @ within / freedom
    spread += SHRINK * np.trace(spread) / len(spread) * np.eye(len(spread))
    whiten: ndarray = np.linalg.cholesky(np.linalg.inv(spread))
    return (axes.T @ whiten).astype(np.float32)


def likeness(a: Float64[ndarray, "A C"], b: Float64[ndarray, "B C"]) -> Float64[ndarray, "A B"]:
    """Cosine between centred looks."""
    return _unit(a) @ _unit(b).T


def principal_axes(description: Float32[ndarray, "N D"]) -> Float64[ndarray, "A D"]:
    """The directions in which descriptions vary most, strongest first, at most ``AXES``."""
    some = np.unique(np.linspace(0, len(description) - 1, MOST).astype(np.int64))
    part = (description[some] - description[some].mean(axis=0)).astype(np.float64)
    strength, sides = np.linalg.eigh(part @ part.T)
    strong = np.flatnonzero(strength > 1e-9 * strength[-1])[::-1][:AXES]
    return (part.T @ (sides[:, strong] / np.sqrt(strength[strong]))).T


def group_means(values: Float32[ndarray, "N D"], group: Int64[ndarray, "N"], n_groups: int) -> Float64[ndarray, "G D"]:
    """Mean of each group of rows; 0 for those without any."""
    order = np.argsort(group, kind="stable")
    count = np.bincount(group, minlength=n_groups)
    filled = np.flatnonzero(count)
    out = np.zeros((n_groups, values.shape[1]))
    if len(filled):
        begin = np.searchsorted(group[order], filled)
        out[filled] = np.add.reduceat(values[order], begin, axis=0, dtype=np.float64) / count[filled, None]
    return out


def _unit(vector: Float64[ndarray, "n C"]) -> Float64[ndarray, "n C"]:
    return vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-9)
