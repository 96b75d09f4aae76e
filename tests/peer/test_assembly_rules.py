"""bench/dlc_assembly.py, DeepLabCut's rules (dlc_formats.md 6.3), on cases worked out by hand."""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.dlc_assembly import Animal, group_frame, group_like_dlc, merge, overlap
from shoal.types import Detections

pytestmark = pytest.mark.peer

Peak = tuple[int, float]
"""Keypoint, confidence."""


def grouped(
    peaks: list[Peak],
    links: dict[tuple[int, int], float],
    *,
    n_keypoints: int,
    max_animals: int,
    xy: ndarray | None = None,
) -> list[list[int]]:
    """The animals' peaks, sorted, with all pairs of keypoints as limbs."""
    edges = np.array(list(combinations(range(n_keypoints), 2)))
    keypoint, confidence = np.array([p[0] for p in peaks]), np.array([p[1] for p in peaks])
    strength = np.zeros((len(edges), len(peaks), len(peaks)))
    for (a, b), affinity in links.items():
        (edge,) = np.flatnonzero((edges == (keypoint[a], keypoint[b])).all(1))
        strength[edge, a, b] = affinity
    if xy is None:
        xy = np.arange(len(peaks))[:, None] * np.array([100.0, 100.0])
    animals = group_frame(
        keypoint, confidence, xy, strength, edges, n_keypoints=n_keypoints, max_animals=max_animals
    )  # fmt: skip
    return sorted(sorted(animal.values()) for animal in animals)


SURE = [(0, 0.9), (0, 0.9), (1, 0.9), (1, 0.9), (2, 0.9), (2, 0.9)]
TWO = {(0, 2): 0.8, (2, 4): 0.8, (1, 3): 0.7, (3, 5): 0.7}


def test_connected_peaks_that_are_whole_are_animals() -> None:
    assert grouped(SURE, TWO, n_keypoints=3, max_animals=2) == [[0, 2, 4], [1, 3, 5]]


def test_only_the_best_peaks_of_a_keypoint_take_part() -> None:
    peaks = [(0, 0.5), (0, 0.9), (0, 0.8), (1, 0.9), (2, 0.9)]
    links = {(0, 3): 0.9, (1, 3): 0.2, (3, 4): 0.9}
    assert grouped(peaks, links, n_keypoints=3, max_animals=2) == [[1, 3, 4]]
    assert grouped(peaks, links, n_keypoints=3, max_animals=3) == [[0, 3, 4]]
    faint = [(0, 0.09), (1, 0.9), (2, 0.9)]
    assert grouped(faint, {(0, 1): 0.9, (0, 2): 0.9}, n_keypoints=3, max_animals=2) == []


def test_pairs_have_the_largest_sum_not_the_largest_member() -> None:
    crossed = TWO | {(0, 2): 0.5, (0, 3): 0.6, (1, 3): 0.5, (1, 2): 0.1}  # 0.5 + 0.5 > 0.6 + 0.1
    assert grouped(SURE, crossed, n_keypoints=3, max_animals=2) == [[0, 2, 4], [1, 3, 5]]


def test_weak_pairs_take_part_in_the_assignment_and_are_dropped_after_it() -> None:
    """0 goes with 3 at 0.52, as the pair of 1 and 2 at 0.04 makes up for it; that pair itself is no link."""
    links = {(0, 2): 0.5, (0, 3): 0.52, (1, 3): 0.05, (1, 2): 0.04, (3, 4): 0.8, (1, 5): 0.8, (2, 5): 0.8}
    assert grouped(SURE, links, n_keypoints=3, max_animals=2) == [[0, 3, 4], [1, 2, 5]]


def test_growing_prefers_strong_links_and_free_keypoints() -> None:
    """All six peaks are connected; when the link 0-5 has its turn, its animal has that keypoint already."""
    links = {(0, 2): 0.9, (1, 3): 0.8, (2, 4): 0.7, (3, 5): 0.6, (0, 5): 0.3}
    assert grouped(SURE, links, n_keypoints=3, max_animals=3) == [[0, 2, 4], [1, 3, 5]]


def test_an_animal_of_one_link_is_none() -> None:
    assert grouped(SURE, {(0, 2): 0.9, (1, 3): 0.9, (3, 5): 0.9}, n_keypoints=3, max_animals=2) == [[1, 3, 5]]


def test_the_fullest_stay_when_there_are_too_many() -> None:
    peaks = [(k, 0.9) for k in (0, 1, 2, 3, 4, 5, 0, 1, 2, 3)]
    links = {(0, 1): 0.9, (1, 2): 0.9, (3, 4): 0.8, (4, 5): 0.8, (6, 7): 0.5, (7, 8): 0.5, (8, 9): 0.5}
    assert grouped(peaks, links, n_keypoints=6, max_animals=2) == [[0, 1, 2], [6, 7, 8, 9]]


def test_parts_that_a_link_connects_are_merged_when_there_are_too_many() -> None:
    links = [(0.9, 0, 1), (0.8, 2, 3), (0.7, 4, 5), (0.2, 1, 2), (0.1, 3, 4)]
    parts = [Animal({0: 0, 1: 1}, {0}), Animal({2: 2, 3: 3}, {1}), Animal({0: 4, 1: 5}, {2})]
    merge(parts, links, 5, 2)
    assert [animal.rows for animal in parts] == [{0: 0, 1: 1, 2: 2, 3: 3}, {0: 4, 1: 5}]
    merge(parts, links, 5, 1)  # they share keypoints 0 and 1
    assert len(parts) == 2


def test_an_animal_on_another_is_dropped() -> None:
    xy = np.array([[0, 0], [1, 1], [10, 10], [11, 11], [20, 20], [21, 21]], float)
    strong = {(0, 2): 0.8, (2, 4): 0.8, (1, 3): 0.7, (3, 5): 0.7}
    assert overlap(xy[::2], xy[1::2]) == pytest.approx(2 / 3)
    assert len(grouped(SURE, strong, n_keypoints=3, max_animals=2, xy=xy)) == 2
    xy[1::2] = xy[::2]
    assert grouped(SURE, strong, n_keypoints=3, max_animals=2, xy=xy) == [[0, 2, 4]]


def test_tables_in_tables_out() -> None:
    """Two frames; numbers of peaks with a hole; peaks without links belong to nobody."""
    numbers = {
        "frame": [3, 3, 3, 3, 5], "number": [0, 1, 4, 5, 0], "keypoint": [0, 1, 2, 2, 0],
        "xy": [[1, 1], [2, 2], [3, 3], [9, 9], [4, 4]], "confidence": [0.5, 0.5, 1, 0.2, 1],
        "limb_frame": [3, 3], "edge": [0, 1], "source": [0, 1], "target": [1, 4], "affinity": [0.5, 0.5],
    }  # fmt: skip
    columns = {name: np.array(values) for name, values in numbers.items()}
    detections = Detections(**columns, identity=np.zeros((5, 0)), span=(3, 6))
    poses = group_like_dlc(detections, np.array([[0, 1], [1, 2]]), n_keypoints=3, max_animals=2)
    assert poses.frame.tolist() == [3]
    assert poses.span == (3, 6)
    assert poses.xy[0].tolist() == [[1, 1], [2, 2], [3, 3]]
    assert poses.score.tolist() == pytest.approx([2 / 3])
    assert len(group_like_dlc(Detections.empty((0, 4)), np.array([[0, 1]]), n_keypoints=2, max_animals=2)) == 0
