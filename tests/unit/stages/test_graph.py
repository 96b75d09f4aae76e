"""Data-driven choice of limbs, on images whose good limbs are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from shoal.config.assemble import AssembleConfig
from shoal.stages.assemble import assemble
from shoal.stages.graph import candidate_graphs, choose_limbs, owners, separability, with_limbs
from shoal.types import Detections, Poses

EDGES = np.array([(a, b) for a in range(5) for b in range(a + 1, 5)])
GOOD = (0, 4, 7, 9)  # the chain 0-1, 1-2, 2-3, 3-4


def images(rng, *, n_images=12, n_animals=3, clear=GOOD):
    """Truth and detections: the limbs in ``clear`` tell animals apart, the others say the contrary."""
    start = rng.uniform(0, 600, (n_images, n_animals, 1, 2))
    xy = start + np.stack([12.0 * np.arange(5), 20.0 * (np.arange(5) % 2)], axis=1)
    frame, animal = np.nonzero(np.ones(xy.shape[:2], bool))
    truth = Poses(frame, animal, xy[frame, animal], np.ones((len(frame), 5)), np.ones(len(frame)), (0, n_images))
    f, a, k = np.nonzero(np.ones(xy.shape[:3], bool))
    seen = xy[f, a, k] + rng.normal(0, 1, (len(f), 2))
    limbs = [
        (i, e, 5 * s + p, 5 * t + q, rng.uniform(0.6, 0.9) if (s == t) == (e in clear) else rng.uniform(0.1, 0.5))
        for i in range(n_images)
        for e, (p, q) in enumerate(EDGES)
        for s in range(n_animals)
        for t in range(n_animals)
    ]
    m = np.array(sorted(limbs))
    return truth, Detections(
        f, 5 * a + k, k, seen, np.full(len(f), 0.9), m[:, 0], m[:, 1], m[:, 2], m[:, 3], m[:, 4],
        np.zeros((len(f), 0)), (0, n_images),
    )  # fmt: skip


@pytest.fixture(scope="module")
def labelled():
    return images(np.random.default_rng(0))


def test_limbs_that_tell_animals_apart_are_separable(labelled):
    found = separability(*labelled, EDGES)
    assert found[list(GOOD)].min() >= 1
    assert np.delete(found, GOOD).max() < 0.01
    never = with_limbs(labelled[1], np.arange(3))
    assert separability(labelled[0], never, EDGES)[5] == pytest.approx(0.5)  # no affinity at all says nothing


def test_peaks_belong_to_the_nearest_label_of_their_kind(labelled):
    truth, seen = labelled
    owner = owners(truth, seen)
    assert (seen.frame == truth.frame[owner]).all()
    assert (np.linalg.norm(truth.xy[owner, seen.keypoint] - seen.xy, axis=1) < 6).all()
    missing = truth.xy.copy()
    missing[:, 2] = np.nan
    partly = Poses(truth.frame, truth.item, missing, truth.confidence, truth.score, truth.span)
    assert ((owners(partly, seen) < 0) == (seen.keypoint == 2)).all()


def test_the_limbs_that_hold_animals_together_are_chosen(labelled):
    truth, seen = labelled
    choice = choose_limbs(truth, seen, EDGES, AssembleConfig())
    assert sorted(choice.limbs.tolist()) == list(GOOD)
    assert choice.scores[0] > 99 > choice.scores[-1], "all limbs together must do worse, or the choice is idle"
    assert len(choice.candidates[-1]) == len(EDGES)


def test_graphs_can_be_judged_on_other_images(labelled):
    other = images(np.random.default_rng(1), clear=range(len(EDGES)))
    choice = choose_limbs(*labelled, EDGES, AssembleConfig(), judge=other)
    assert len(choice.limbs) == 4, "where all graphs are right the smallest is taken"
    assert np.ptp(choice.scores) < 0.1


def test_candidates_grow_from_a_spanning_tree():
    graphs = candidate_graphs(EDGES, np.linspace(1, 0, 10), 5, n_graphs=4)
    assert [len(g) for g in graphs] == [4, 6, 8, 10]
    assert graphs[0].tolist() == [0, 1, 2, 3]
    for small, large in pairwise(graphs):
        assert large[: len(small)].tolist() == small.tolist()
    assert candidate_graphs(EDGES[:0], np.zeros(0), 1) == ()


def test_nothing_labelled_is_no_error(labelled):
    nothing = Poses.empty(labelled[0].span, 5)
    choice = choose_limbs(nothing, labelled[1], EDGES, AssembleConfig())
    assert len(choice.limbs) == 4 and not choice.separability.any()


def test_leaving_out_limbs_renumbers_them(labelled):
    kept = with_limbs(labelled[1], np.array([7, 0]))
    assert set(kept.edge.tolist()) == {0, 1}
    poses, _ = assemble(kept, EDGES[[7, 0]], AssembleConfig(min_keypoints=2), n_keypoints=5)
    assert len(poses)
