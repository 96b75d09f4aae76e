from __future__ import annotations

import numpy as np
import pytest

from shoal.config.classify import ClassifyConfig
from shoal.stages.classify import (
    ANIMAL,
    DUPLICATE,
    REFLECTION,
    classify,
    combine,
    most_at_once,
    survey_kinds,
    tracklets_of,
)
from shoal.types import Poses, TrackInfo, Tracks, select

MARK = ClassifyConfig()


def cut(tracks, every=40):
    """The same rows, tracklets cut into pieces."""
    n_pieces = tracks.span[1] // every + 1
    number = tracks.track * n_pieces + tracks.poses.frame // every
    return Tracks(tracks.poses, np.unique(number, return_inverse=True)[1]), np.unique(number) // n_pieces


@pytest.fixture(scope="module")
def tank(glass):
    """Five fish, their images in one wall, in tracklets of 40 frames; who each tracklet is (5 and more: images)."""
    fish = glass.swimmers()
    return cut(glass.as_tracks(fish, glass.near_wall(glass.mirrored(fish, 0.0, 420.0), fish)))


def test_reflections_are_marked_and_their_fish_are_not(glass, tank):
    tracklets, who = tank
    info = classify(tracklets, glass.SWAP, MARK)
    assert np.array_equal(info.kind == REFLECTION, who >= 5)
    assert (info.probability[who >= 5] > 0.9).all() and (info.kind != DUPLICATE).all()
    assert info.n.sum() == len(tracklets) and (info.first <= info.last).all()


def test_an_image_whose_fish_is_not_found_is_still_behind_the_wall(glass, tank):
    tracklets, who = tank
    alone = select(tracklets, (tracklets.track < 0) | (who[tracklets.track] != 2))  # this fish was never detected
    info = classify(alone, glass.SWAP, MARK)
    image = np.flatnonzero(who == 7)
    assert (info.kind[image] == REFLECTION).all() and (info.kind[who < 5] != REFLECTION).all()


def test_keep_takes_all_for_animals(glass, tank):
    info = classify(tank[0], glass.SWAP, ClassifyConfig(reflections="keep"))
    assert (info.kind == ANIMAL).all()


def test_spans_do_not_matter(glass, tank):
    tracklets, _ = tank
    frame = tracklets.poses.frame

    def part(start, stop):
        rows = select(tracklets, (frame >= start) & (frame < stop))
        p = rows.poses
        return Tracks(Poses(p.frame, p.item, p.xy, p.confidence, p.score, (start, stop)), rows.track)

    whole = classify(tracklets, glass.SWAP, MARK)
    parts = [part(a, b) for a, b in ((0, 64), (64, 65), (65, 300))]
    cut_up, walls = survey_kinds(lambda: parts, glass.SWAP, MARK)
    assert len(walls) == 1
    for name in ("kind", "probability", "first", "last", "n"):
        assert np.array_equal(getattr(whole, name), getattr(cut_up, name)), name


def test_second_detections_are_duplicates(glass):
    fish = glass.swimmers(n=3)
    again = fish[:, :1].copy()
    again[:, :, :2] = np.nan  # the same animal, twice, with fewer keypoints
    info = classify(glass.as_tracks(fish, again), glass.SWAP, MARK)
    assert info.kind.tolist() == [ANIMAL, ANIMAL, ANIMAL, DUPLICATE]


def test_two_halves_of_one_animal_are_one_animal(glass):
    fish = glass.swimmers(n=4)
    front, back = fish[:, :1].copy(), fish[:, :1].copy()
    front[100:200, :, 3:] = np.nan
    back[:, :, :3] = np.nan
    back[:100] = back[200:] = np.nan
    info = classify(glass.as_tracks(front, fish[:, 1:], back), glass.SWAP, MARK)
    assert info.kind.tolist() == [ANIMAL] * 4 + [DUPLICATE]


def test_fish_that_swim_side_by_side_are_two(glass):
    fish = glass.swimmers(n=2)
    beside = fish[:, :1] + np.array([0.0, 11.0])
    assert (classify(glass.as_tracks(fish, beside), glass.SWAP, MARK).kind == ANIMAL).all()


def test_nothing_has_no_kind():
    assert len(classify(Tracks.empty((0, 5), 3), np.arange(3), MARK).kind) == 0


def test_a_track_is_what_most_of_its_rows_are():
    info = TrackInfo(np.arange(3), [ANIMAL, REFLECTION, ANIMAL], [0.9, 0.8, 0.9], [0, 10, 0], [9, 39, 4], [10, 30, 5])
    tracks = combine(info, np.array([0, 0, -1]), 2)
    assert tracks.kind.tolist() == [REFLECTION, ANIMAL] and tracks.n.tolist() == [40, 0]
    assert (tracks.first[0], tracks.last[0]) == (0, 39) and np.isclose(tracks.probability[0], 0.6)


def test_tracklets_of_one_kind_and_how_many_at_once(glass, tank):
    tracklets, who = tank
    info = classify(tracklets, glass.SWAP, MARK)
    animals = tracklets_of(tracklets, info, (ANIMAL,))
    assert np.array_equal(animals.track >= 0, who[tracklets.track] < 5)
    assert most_at_once(lambda: [tracklets], info, ANIMAL) == 5
    assert most_at_once(lambda: [Tracks.empty((0, 3), 2)], info, ANIMAL) == 0
