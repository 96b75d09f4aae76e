"""Tracks exchange their parts by what whole tracks look like."""

from itertools import combinations

import numpy as np
import pytest

from shoal.config.stitch import StitchConfig
from shoal.stages.evidence import log_odds
from shoal.stages.kernels import exchange as kernels
from shoal.stages.kernels.stitch import join_costs
from shoal.stages.motion import learn_motion
from shoal.stages.stitch import _model, stitch
from shoal.stages.survey import survey
from shoal.types import Evidence, Poses, Tracks

BODY = np.stack([np.linspace(-30, 30, 5), np.zeros(5)], axis=1)


def tracklets_of(*pieces, span):
    """Pieces of (first frame, (n, 2) centres) -> Tracks, tracklet i = piece i."""
    rows = sorted((first + k, i, *xy) for i, (first, centres) in enumerate(pieces) for k, xy in enumerate(centres))
    frame, track = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    item = np.concatenate([np.arange(n) for n in np.bincount(frame, minlength=span[1])])
    xy = np.array([r[2:] for r in rows])[:, None] + BODY
    return Tracks(Poses(frame, item, xy, np.ones(xy.shape[:2]), np.full(len(xy), 0.8), span), track)


def glide(start, velocity, n):
    return np.array(start, float) + np.arange(n)[:, None] * np.array(velocity, float)


def pieces(n_times, seed, *, lanes=2, frames=12):
    """Tracklets of animals that go side by side, cut at the same moments."""
    rng = np.random.default_rng(seed)
    return tracklets_of(
        *((t * (frames + 3), glide((50 + 4 * t + rng.normal(0, 3), 100 + 25 * lane), (1, 0), frames))
          for t in range(n_times) for lane in range(lanes)),
        span=(0, n_times * (frames + 3)),
    )  # fmt: skip


def test_a_short_tracklet_without_looks_does_not_hide_that_its_neighbours_are_two_animals():
    """Bug: evidence was about neighbours only, and one frame of nothing between two animals joined them."""
    tracklets = tracklets_of(
        (0, glide((100, 100), (2, 0), 30)), (0, glide((100, 130), (2, 0), 30)),
        (31, glide((162, 114), (2, 0), 12)), (31, glide((162, 116), (2, 0), 12)),
        (44, glide((188, 130), (2, 0), 30)), (44, glide((188, 100), (2, 0), 30)),
        span=(0, 74),
    )  # fmt: skip
    first, second = [1, 0], [0, 1]
    looks = [first, second, [0, 0], [0, 0], first, second]
    evidence = Evidence(looks, [1, 1, 0, 0, 1, 1], 18, -9)
    tracks, _ = stitch(tracklets, evidence, StitchConfig(n_animals=2, count="exact"))
    assert [int(tracks.track[tracklets.track == t][0]) for t in (0, 1, 4, 5)] == [0, 1, 0, 1]


@pytest.mark.parametrize("seed", range(6))
def test_what_an_exchange_gains_is_the_change_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    tracklets = pieces(5, seed)
    known = survey(lambda: (tracklets,))
    nodes, model = known.nodes, _model(known.nodes, learn_motion(known), build=False)
    ends = rng.random((10, 2)) * 5
    looks = (rng.normal(size=(10, 3)), rng.random(10), np.array([2.0, -0.5]))
    evidence = Evidence(looks[0], looks[1], *looks[2])
    paths = [np.arange(0, 10, 2), np.arange(1, 10, 2)]

    def whole(*tracks):
        total = 0.0
        for t in tracks:
            total += ends[t[0], 0] + ends[t[-1], 1]
            total += join_costs(np.array(t[:-1]), np.array(t[1:]), nodes.first, nodes.last, model).sum()
            a, b = np.array(list(combinations(t, 2))).T
            pairs = (looks[2][0] * (looks[0][a] * looks[0][b]).sum(1) + looks[2][1]) * looks[1][a] * looks[1][b]
            total -= 2 * pairs.sum() / max(1.0, looks[1][t].sum())
        return total

    assert np.abs(log_odds(evidence, np.zeros(9, int), np.arange(1, 10))).max() <= 6
    gain, (i, k, i2, k2), dear_a, dear_b = kernels.best_exchange(
        *paths, nodes.first, nodes.last, ends, 100, 12, looks, model
    )
    options = {}
    for i_, i2_ in combinations(range(6), 2):  # same cuts in both: lanes are cut at the same moments
        a, b = paths[0].copy(), paths[1].copy()
        a[i_:i2_], b[i_:i2_] = paths[1][i_:i2_], paths[0][i_:i2_]
        if i2_ - i_ < 5:
            options[i_, i2_] = whole(*paths) - whole(a, b)
    assert gain >= max(options.values()) - 1e-9
    a, b = list(paths[0]), list(paths[1])
    new = a[:i] + b[k:k2] + a[i2:], b[:k] + a[i:i2] + b[k2:]
    np.testing.assert_allclose(gain, whole(*paths) - whole(*new), atol=1e-9)
    for at in range(1, 5):  # what begins or ends a track does so in the other one, too
        undone = [-g for (x, y), g in options.items() if at in (x, y)]
        for losses in (dear_a, dear_b):
            assert losses[at, : kernels.ALL].min() <= min(undone) + 1e-9
            least = np.exp(-np.array(undone) / kernels.SOFT).sum()
            assert losses[at, kernels.ALL] >= least - 1e-9 or min(undone) < -kernels.MOST


def test_exchange_without_jit_is_the_same():
    tracklets = pieces(4, 3)
    known = survey(lambda: (tracklets,))
    nodes, model = known.nodes, _model(known.nodes, learn_motion(known), build=False)
    rng = np.random.default_rng(0)
    looks = (rng.normal(size=(8, 2)), np.ones(8), np.array([3.0, -1.0]))
    given = (np.arange(0, 8, 2), np.arange(1, 8, 2), nodes.first, nodes.last, rng.random((8, 2)), 100, 12, looks, model)
    quick, slow = kernels.best_exchange(*given), kernels.best_exchange.py_func(*given)
    for a, b in zip(quick, slow, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_no_track_is_emptied_and_none_overlaps_itself():
    tracklets = pieces(6, 1, lanes=3)
    rng = np.random.default_rng(1)
    for _ in range(5):
        evidence = Evidence(rng.normal(size=(18, 2)), np.ones(18), 9, -2)
        tracks, _ = stitch(tracklets, evidence, StitchConfig(n_animals=3, count="exact"))
        assert {0, 1, 2} <= set(tracks.track.tolist())
        rows = np.stack([tracks.poses.frame, tracks.track], axis=1)
        assert len(np.unique(rows, axis=0)) == len(rows)
