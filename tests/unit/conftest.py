"""Fish in a tank with a wall of glass, for the stages that look for reflections."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from shoal.types import Poses, Tracks

BODY = np.array([[20.0, 0], [14, -5], [14, 5], [0, 0], [-20, 0]])
SWAP = np.array([0, 2, 1, 3, 4])


def swimmers(n_frames=300, n=5, seed=0, turning=0.2):
    """Animals in a 400 x 300 tank, turning as they go: (F, N, K, 2)."""
    rng = np.random.default_rng(seed)
    heading = np.cumsum(rng.normal(0, turning, (n_frames, n)), 0) + rng.uniform(0, 6, n)
    path = np.cumsum(4 * np.stack([np.cos(heading), np.sin(heading)], -1), 0) + rng.uniform(0, 400, (n, 2))
    size = np.array([400.0, 300.0])
    centre = size - np.abs(path % (2 * size) - size)  # they turn round at the walls, unlike light
    c, s = np.cos(heading), np.sin(heading)
    turn = np.stack([c, s, -s, c], -1).reshape(n_frames, n, 2, 2)
    return centre[:, :, None] + BODY @ turn


def mirrored(xy, angle, offset, depth=0.85):
    """Points as a wall shows them whose normal has that angle."""
    normal = np.array([np.cos(angle), np.sin(angle)])
    before = offset - xy @ normal
    return xy + ((1 + depth) * before)[..., None] * normal


def as_tracks(*groups, noise=1.0, seed=1):
    """(F, N, K, 2) groups -> one table; track numbers run through the groups; NaN animals have no row."""
    xy = np.concatenate(groups, axis=1)
    xy = xy + np.random.default_rng(seed).normal(0, noise, xy.shape)
    frame, track = np.nonzero(np.isfinite(xy[..., 0]).any(-1))
    item = np.arange(len(frame)) - np.searchsorted(frame, frame)
    chosen = xy[frame, track]
    poses = Poses(frame, item, chosen, np.isfinite(chosen[..., 0]), np.ones(len(frame)), (0, len(xy)))
    return Tracks(poses, track)


def near_wall(image, animal, reach=180):
    """Only animals near the glass are seen in it."""
    far = np.linalg.norm(np.nanmean(image - animal, axis=2), axis=-1) > reach
    return np.where(far[..., None, None], np.nan, image)


@pytest.fixture(scope="session")
def glass():
    """What makes such tanks."""
    return SimpleNamespace(
        BODY=BODY, SWAP=SWAP, swimmers=swimmers, mirrored=mirrored, as_tracks=as_tracks, near_wall=near_wall
    )
