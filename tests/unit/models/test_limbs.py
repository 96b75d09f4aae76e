from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shoal.models.limbs import choose_edges, limb_costs
from shoal.types import LabeledFrame, Skeleton

K = 6


def frames(xy: np.ndarray) -> list[LabeledFrame]:
    """One animal per image."""
    return [
        LabeledFrame(Path("x.png"), "v", i, a[None], np.isfinite(a[None, :, 0]), np.array([-1]), np.zeros((0, 2)))
        for i, a in enumerate(xy)
    ]


def chain(n: int = 20) -> np.ndarray:
    """Keypoints 10 px apart on bent lines."""
    rng = np.random.default_rng(0)
    angle = np.cumsum(rng.normal(0, 0.2, (n, K)), 1)
    return np.cumsum(10 * np.stack([np.cos(angle), np.sin(angle)], -1), 1).astype(np.float32)


def connected(edges: np.ndarray, without: int) -> bool:
    left = [k for k in range(K) if k != without]
    seen, stack = {left[0]}, [left[0]]
    while stack:
        at = stack.pop()
        for i, j in edges:
            for a, b in ((i, j), (j, i)):
                if a == at and b != without and b not in seen:
                    seen.add(b)
                    stack.append(b)
    return len(seen) == K - 1


def test_auto_holds_together_without_any_one_keypoint() -> None:
    edges = choose_edges(Skeleton(tuple("abcdef")), frames(chain()), "auto")
    assert {(i, i + 1) for i in range(K - 1)} <= {tuple(e) for e in edges.tolist()}
    assert len(edges) <= 2 * K
    assert (edges[:, 0] < edges[:, 1]).all()
    assert all(connected(edges, without=k) for k in range(K))


def test_steady_limbs_cost_less_than_loose_ones_of_equal_length() -> None:
    xy = np.zeros((40, 3, 2), np.float32)
    xy[:, 1, 0] = 10
    xy[:, 2, 0] = np.where(np.arange(40) % 2, 4, 16)  # 10 px from keypoint 0 in the median, but loose
    cost = limb_costs(Skeleton(tuple("abc")), frames(xy))
    assert cost[0, 1] < cost[0, 2]


def test_pairs_never_labelled_together_come_last() -> None:
    xy = chain()
    xy[:10, 0] = np.nan
    xy[10:, 5] = np.nan
    cost = limb_costs(Skeleton(tuple("abcdef")), frames(xy))
    off = ~np.eye(K, dtype=bool)
    assert np.isfinite(cost[off]).all()
    assert cost[0, 5] == cost[off].max()


@pytest.mark.parametrize("labels", [[], frames(np.full((4, K, 2), np.nan, np.float32))])
def test_without_labels_the_skeleton_then_neighbours(labels: list) -> None:
    drawn = Skeleton(tuple("abcdef"), np.array([(0, 5), (5, 1), (1, 2), (2, 3), (3, 4)]))
    assert {(0, 5), (1, 5)} <= {tuple(e) for e in choose_edges(drawn, labels, "auto").tolist()}
    assert choose_edges(drawn, labels, "skeleton").tolist() == drawn.edges.tolist()


@pytest.mark.parametrize(("k", "expected"), [(1, 0), (2, 1), (6, 15)])
def test_all_pairs(k: int, expected: int) -> None:
    skeleton = Skeleton(tuple("abcdef")[:k])
    assert choose_edges(skeleton, [], "all").shape == (expected, 2)
    assert choose_edges(skeleton, [], "auto").shape[1] == 2
