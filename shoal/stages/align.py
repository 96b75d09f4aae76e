"""Where animals lie in the picture: one rigid template of the body laid over each pose.

The template is the median of many poses after rigid alignment (generalized Procrustes analysis without scaling: Gower,
Psychometrika 1975), so that no keypoint needs to be named nose or tail and size stays visible in crops.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

ROUNDS = 5  # of aligning and taking the median: it settles after two or three
SOFTNESS = 0.1  # body lengths within which all keypoints count alike
MOST_POSES = 4000  # that the template is made of


class Placement(NamedTuple):
    """How the template lies over each of M poses.

    angle: (M,) radians by which it is turned, from x to y; centre: (M, 2) where its origin lies, frame px; misfit: (M,)
    root mean square distance of keypoints from it, px. NaN where fewer than two keypoints are seen.
    """

    angle: Float64[ndarray, "M"]
    centre: Float64[ndarray, "M 2"]
    misfit: Float64[ndarray, "M"]


def template_of(xy: Float64[ndarray, "M K 2"]) -> Float64[ndarray, "K 2"] | None:
    """The usual body: keypoints around the middle of their extent, the first keypoint's side to the right.

    Args:
        xy: poses, NaN = missing; those with the most keypoints count.

    Returns:
        px; None where no pose has two keypoints, or all lie on one spot.

    >>> template_of(np.array([[[0, 0], [0, 10.0]], [[5, 5], [15, 5.0]]])).round(6).tolist()
    [[5.0, 0.0], [-5.0, 0.0]]
    """
    n_seen = np.isfinite(xy).all(axis=2).sum(axis=1)
    if not len(xy) or n_seen.max() < 2:
        return None
    best = np.flatnonzero(n_seen == n_seen.max())
    best = best[np.unique(np.linspace(0, len(best) - 1, MOST_POSES).astype(np.int64))]
    xy = xy[best].astype(np.float64)
    template = xy[0] - np.nanmean(xy[0], axis=0)
    for _ in range(ROUNDS):
        placed = place(xy, template)
        back = np.einsum("mji,mkj->mki", _turn(placed.angle), xy - placed.centre[:, None])
        template = np.nanmedian(back, axis=0)
    template = np.where(np.isfinite(template), template, 0.0)
    template -= template.mean(axis=0)
    axis = np.linalg.svd(template, full_matrices=False)[2][0]
    ahead = template[0] @ axis
    axis = axis if ahead > 0 or (ahead == 0 and axis[0] > 0) else -axis
    template = template @ np.array([[axis[0], -axis[1]], [axis[1], axis[0]]])
    low, high = template.min(axis=0), template.max(axis=0)
    return template - (low + high) / 2 if (high - low).max() > 0 else None


def place(xy: Float64[ndarray, "M K 2"], template: Float64[ndarray, "K 2"]) -> Placement:
    """Lay the template over poses: the rotation and shift of least squared distances, in closed form.

    Args:
        xy: poses, frame px, NaN = missing.
        template: from ``template_of``.
    """
    seen = np.isfinite(xy).all(axis=2)
    n = np.maximum(seen.sum(axis=1), 1)[:, None]
    weight = np.expand_dims(seen, 2)
    middle = np.where(weight, xy, 0.0).sum(axis=1) / n
    own = (weight * template).sum(axis=1) / n
    there = np.where(weight, xy - middle[:, None], 0.0)
    here = np.where(weight, template - own[:, None], 0.0)
    cosine = (there * here).sum(axis=(1, 2))
    sine = (there[..., 1] * here[..., 0] - there[..., 0] * here[..., 1]).sum(axis=1)
    angle = np.where(seen.sum(axis=1) >= 2, np.arctan2(sine, cosine), np.nan)
    turn = _turn(angle)
    centre = middle - np.einsum("mij,mj->mi", turn, own)
    rest = np.where(weight, xy - centre[:, None] - np.einsum("mij,kj->mki", turn, template), 0.0)
    return Placement(angle, centre, np.sqrt((rest**2).sum(axis=(1, 2)) / n[:, 0]) + 0 * angle)


def lay(
    xy: Float64[ndarray, "M K 2"], template: Float64[ndarray, "K 2"], points: Float64[ndarray, "P 2"]
) -> Float64[ndarray, "M P 2"]:
    """Where points of the template lie once it is bent like each pose: moving least squares with rotations.

    Schaefer, McPhail & Warren, SIGGRAPH 2006, section 2.3; weights are softened, so that one keypoint that is off does
    not tear a hole.

    Args:
        xy: poses, frame px, NaN = missing; two keypoints at least.
        template: from ``template_of``.
        points: in the coordinates of the template.
    """
    seen = np.isfinite(xy).all(axis=2)
    shown = np.expand_dims(seen, 2)
    there = np.where(shown, xy, 0.0)
    soft = (SOFTNESS * np.ptp(template, axis=0).max()) ** 2
    out = np.empty((len(xy), len(points), 2))
    for p, point in enumerate(points):
        weight = seen / (((template - point) ** 2).sum(axis=1) + soft)
        weight /= weight.sum(axis=1, keepdims=True)
        own, middle = weight @ template, np.einsum("mk,mki->mi", weight, there)
        a, b = template - own[:, None], np.where(shown, there - middle[:, None], 0.0)
        cosine = np.einsum("mk,mki,mki->m", weight, a, b)
        sine = (weight * (b[..., 1] * a[..., 0] - b[..., 0] * a[..., 1])).sum(axis=1)
        out[:, p] = middle + np.einsum("mij,mj->mi", _turn(np.arctan2(sine, cosine)), point - own)
    return out


def _turn(angle: Float64[ndarray, "M"]) -> Float64[ndarray, "M 2 2"]:
    """Rotation matrices."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=-2)
