"""Animals to tracklets: ordinary motion holds together, doubtful links are cut."""

from __future__ import annotations

import time

import numpy as np
import pytest

from shoal.config.associate import AssociateConfig
from shoal.stages import associate as associating
from shoal.stages.associate import SIMILARITIES, associate, start, step
from shoal.stages.kernels import associate as kernels
from shoal.types import DECISION_KINDS, DECISION_REASONS, Poses, concatenate, select

BODY = np.stack([np.linspace(-30, 30, 7), np.zeros(7)], axis=1)
"""A straight fish of 60 px, head to the left."""


def turned(angle):
    return BODY @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def poses_of(xy, *, span=None):
    """(F, A, K, 2) with NaN where an animal is not seen -> Poses, and the animal of each row."""
    xy = np.asarray(xy, np.float32)
    frame, animal = np.nonzero(np.isfinite(xy[..., 0]).any(axis=2))
    seen = np.isfinite(xy[frame, animal, :, 0])
    item = np.concatenate([np.arange(n) for n in np.bincount(frame, minlength=len(xy))])
    return Poses(frame, item, xy[frame, animal], seen, np.full(len(frame), 0.8), span or (0, len(xy))), animal


def swim(start_xy, velocity, n_frames, *, angle=0.0):
    centre = np.array(start_xy, float) + np.arange(n_frames)[:, None] * np.array(velocity, float)
    return centre[:, None] + turned(angle)


def reasons(decisions):
    assert {DECISION_KINDS[k] for k in decisions.kind} <= {"cut"}
    return [DECISION_REASONS[r] for r in decisions.reason]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_clean_animals_keep_one_tracklet_each(similarity):
    rng = np.random.default_rng(0)
    xy = np.stack([swim((100 + 150 * a, 100), (3, a), 60, angle=a) for a in range(4)], axis=1)
    poses, animal = poses_of(xy + rng.normal(0, 1, xy.shape))
    tracks, decisions = associate(poses, AssociateConfig(similarity=similarity))
    assert tracks.track.tolist() == animal.tolist()
    assert len(decisions) == 0


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_first_frame_of_a_late_animal_is_written(similarity):
    early, late = swim((100, 100), (2, 0), 10), swim((100, 300), (2, 0), 10)
    late[:4] = np.nan
    poses = poses_of(np.stack([early, late], axis=1))[0]
    tracks, _ = associate(poses, AssociateConfig(similarity=similarity))
    assert (tracks.track == 1).sum() == 6
    assert tracks.poses.frame[tracks.track == 1][0] == 4


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_frames_without_animals_age_tracklets(similarity):
    xy = swim((100, 100), (2, 0), 20)[:, None]
    xy[5:8] = np.nan
    assert associate(poses_of(xy)[0], AssociateConfig(max_age=3, similarity=similarity))[0].n_tracks == 1
    assert associate(poses_of(xy)[0], AssociateConfig(max_age=2, similarity=similarity))[0].n_tracks == 2


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_right_animal_is_written_when_another_has_two_points(similarity):
    """DLC gives tracklet 0 the data of animal 1 when animal 0 has fewer than three points."""
    xy = np.stack([swim((100, 100), (2, 0), 12), swim((100, 300), (2, 0), 12)], axis=1)
    xy[5, 0, 2:] = np.nan
    poses, animal = poses_of(xy)
    tracks, _ = associate(poses, AssociateConfig(similarity=similarity))
    assert tracks.track.tolist() == animal.tolist()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_animals_of_one_point_are_tracked(similarity):
    xy = np.full((15, 2, 7, 2), np.nan)
    xy[:, 0, 0] = swim((100, 100), (2, 0), 15)[:, 3]
    xy[:, 1, 4] = swim((100, 300), (2, 0), 15)[:, 3]
    poses, animal = poses_of(xy)
    tracks, _ = associate(poses, AssociateConfig(similarity=similarity))
    assert tracks.track.tolist() == animal.tolist()


def test_rows_without_a_keypoint_get_no_tracklet():
    poses = Poses([0, 0], [0, 1], np.stack([BODY, np.full_like(BODY, np.nan)]), np.ones((2, 7)), [1, 1], (0, 1))
    assert associate(poses, AssociateConfig())[0].track.tolist() == [0, -1]


def test_a_startle_in_open_water_is_followed():
    """Zebrafish of 65 px were seen to jump 73 px in a frame."""
    xy = swim((100, 100), (2, 0), 20)
    xy[10:] += (70, -20)
    other = swim((600, 600), (1, 1), 20)
    tracks, decisions = associate(poses_of(np.stack([xy, other], axis=1))[0], AssociateConfig())
    assert tracks.n_tracks == 2
    assert len(decisions) == 0


def test_a_lone_animal_that_jumps_is_followed():
    """The lowest similarity of a frame was once taken for "no pair", so an animal alone was lost at every jump."""
    xy = swim((100, 100), (2, 0), 20)[:, None]
    xy[10:] += (70, -20)
    assert associate(poses_of(xy)[0], AssociateConfig())[0].n_tracks == 1
    assert associate(poses_of(xy)[0], AssociateConfig(max_jump=1.0))[0].n_tracks == 2


def test_a_jump_that_could_be_another_animal_is_cut():
    one, two = swim((100, 100), (0, 0), 10), swim((100, 180), (0, 0), 10)
    one[5:] += (75, 35)
    two[5:] += (75, -20)  # both land where either could have gone
    tracks, decisions = associate(poses_of(np.stack([one, two], axis=1))[0], AssociateConfig())
    assert tracks.n_tracks == 4
    assert reasons(decisions) == ["jump", "jump"]


def test_an_exchange_that_cannot_be_told_is_cut_and_recorded():
    one, two = swim((100, 100), (5, 0), 30), swim((245, 104), (-5, 0), 30)
    middle = slice(13, 17)
    one[middle] = two[middle] = (one[middle] + two[middle]) / 2  # a network sees the same animal twice
    two[middle] += 0.5
    tracks, decisions = associate(poses_of(np.stack([one, two], axis=1))[0], AssociateConfig())
    first, last = tracks.track[tracks.poses.frame == 0], tracks.track[tracks.poses.frame == 29]
    assert not set(first) & set(last), "an identity went through a place where nobody could tell"
    assert "crossing" in reasons(decisions)
    assert np.isfinite(decisions.margin).all()
    assert (decisions.margin < 0.5).all()


def test_animals_that_pass_at_a_distance_are_not_cut():
    one, two = swim((0, 100), (6, 0), 60), swim((360, 150), (-6, 0), 60)
    poses, animal = poses_of(np.stack([one, two], axis=1))
    tracks, decisions = associate(poses, AssociateConfig())
    assert tracks.track.tolist() == animal.tolist()
    assert len(decisions) == 0


def test_heading_tells_animals_apart_that_cross_at_a_right_angle():
    one, two = swim((0, 100), (6, 0), 40), swim((120, -20), (0, 6), 40, angle=np.pi / 2)
    poses, animal = poses_of(np.stack([one, two], axis=1))
    tracks, _ = associate(poses, AssociateConfig(similarity="pose"))
    assert tracks.track.tolist() == animal.tolist()


def test_a_faint_ghost_on_an_animal_does_not_cut_it():
    xy = np.stack([swim((100, 100), (2, 0), 30), swim((100, 106), (2, 0), 30)], axis=1)
    xy[:15, 1] = np.nan
    xy[17:, 1] = np.nan
    poses, animal = poses_of(xy)
    score = np.where(animal == 0, 0.8, 0.1)
    faint = Poses(poses.frame, poses.item, poses.xy, poses.confidence, score, poses.span)
    tracks, _ = associate(faint, AssociateConfig())
    assert len(set(tracks.track[animal == 0])) == 1


@pytest.mark.parametrize(("offset", "is_cut"), [((14, -8), True), ((14, 60), False)])
def test_a_tracklet_ends_where_a_second_animal_comes_out_of_it(offset, is_cut):
    """Bug: two fish on top of each other were seen as one with a usual score, and the wrong one was followed."""
    one, other = swim((100, 100), (2, 0), 40), swim(np.add((100, 100), offset), (2, 1), 40)
    other[:20] = np.nan
    poses, animal = poses_of(np.stack([one, other], axis=1))
    tracks, decisions = associate(poses, AssociateConfig())
    assert len(set(tracks.track[animal == 0])) == 1 + is_cut
    assert reasons(decisions) == ["crossing"] * is_cut
    assert decisions.frame.tolist() == [20] * is_cut
    assert len(set(tracks.track[animal == 1])) == 1


def test_tracklets_are_numbered_by_first_frame():
    xy = np.full((30, 3, 7, 2), np.nan)
    xy[20:, 0], xy[:10, 1], xy[10:, 2] = (
        swim((50, 50), (1, 0), 10),
        swim((300, 50), (1, 0), 10),
        swim((50, 300), (1, 0), 20),
    )
    tracks, _ = associate(poses_of(xy)[0], AssociateConfig())
    firsts = [tracks.poses.frame[tracks.track == t][0] for t in range(tracks.n_tracks)]
    assert firsts == sorted(firsts) == [0, 10, 20]


def test_frame_by_frame_gives_the_same_as_at_once():
    rng = np.random.default_rng(5)
    xy = np.stack([swim((100, 100 + 40 * a), (3, a - 1), 25) for a in range(3)], axis=1) + rng.normal(
        0, 2, (25, 3, 7, 2)
    )
    xy[8:10, 1] = np.nan
    poses, _ = poses_of(xy)
    state, numbers = start(AssociateConfig(), 7), []
    for frame in range(25):
        state, ids = step(state, select(poses, np.flatnonzero(poses.frame == frame)))
        numbers += ids.tolist()
    assert numbers == associate(poses, AssociateConfig())[0].track.tolist()


def test_no_animal_at_all():
    tracks, decisions = associate(Poses.empty((3, 9), 7), AssociateConfig())
    assert len(tracks) == len(decisions) == 0
    assert tracks.span == decisions.span == (3, 9)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_kernels_without_jit_give_the_same(similarity, monkeypatch):
    from shoal.stages.kernels import assign
    from shoal.stages.kernels import similarity as alike

    poses, config = crowd(6, 40), AssociateConfig(similarity=similarity)
    compiled, cut = associate(poses, config)
    for module in (assign, alike, kernels):
        for name, value in vars(module).items():
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)
    plain, again = associate(poses, config)
    assert len(cut) > 5
    assert plain.track.tolist() == compiled.track.tolist()
    np.testing.assert_array_equal(again.source, cut.source)
    np.testing.assert_allclose(again.margin, cut.margin, rtol=1e-5)


def crowd(n, n_frames, *, seed=0):
    """Animals that wander through each other, some unseen, some with one keypoint, in no order."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 150, (n, 2)) + np.cumsum(rng.normal(0, 6, (n_frames, n, 2)), axis=0)
    xy = centre[:, :, None] + BODY + rng.normal(0, 1, (n_frames, n, 7, 2))
    xy[rng.random((n_frames, n, 7)) < 0.2] = np.nan
    xy[rng.random((n_frames, n)) < 0.1, 1:] = np.nan
    poses, _ = poses_of(xy)
    order = np.lexsort((rng.random(len(poses)), poses.frame))
    score = rng.choice([0.8, 0.7, 0.2], len(poses), p=[0.6, 0.35, 0.05])
    return Poses(poses.frame, poses.item, poses.xy[order], poses.confidence[order], score, poses.span)


def test_more_animals_and_cuts_than_there_was_room_for():
    poses = crowd(80, 12)
    whole, cut = associate(poses, AssociateConfig())
    assert whole.n_tracks > 2 * associating.ROOM and len(cut) > 2 * associating.ROOM
    state, numbers = start(AssociateConfig(), 7), []
    for frame in range(12):
        state, ids = step(state, select(poses, np.flatnonzero(poses.frame == frame)))
        numbers += ids.tolist()
    assert numbers == whole.track.tolist()
    np.testing.assert_array_equal(state.cuts[:, 5].astype(np.float32), cut.margin)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (5, 2), (2, 5), (7, 6), (0, 3), (3, 0)])
def test_assignment_is_that_of_scipy_ties_included(shape):
    from scipy.optimize import linear_sum_assignment

    from shoal.stages.kernels.assign import assign

    rng = np.random.default_rng(1)
    for values in (rng.normal(size=(20, *shape)), rng.integers(0, 3, (50, *shape)).astype(float)):
        for likeness in values:
            expected = np.full(shape[0], -1)
            rows, columns = linear_sum_assignment(likeness, maximize=True)
            expected[rows] = columns
            assert assign(likeness).tolist() == expected.tolist()


def test_assignment_with_nan_ends():
    from shoal.stages.kernels.assign import assign

    assert assign(np.full((3, 2), np.nan)).tolist() == [-1, -1, -1]


def test_the_running_body_length_is_the_median_of_the_latest_animals():
    rng = np.random.default_rng(4)
    xy = swim((100, 100), (2, 0), 700)[:, None]
    xy = 100 + (xy - 100) * np.round(rng.uniform(0.9, 1.1, (700, 1, 1, 1)), 2)
    state, _ = associating.follow(start(AssociateConfig(), 7), poses_of(xy)[0])
    sizes = np.hypot(*np.moveaxis(xy[:, 0, -1] - xy[:, 0, 0], -1, 0))
    np.testing.assert_allclose(state.sizes, sizes[-associating.RECENT :], rtol=1e-5)
    recent = associating._recent(state.sizes[:0])
    for n, size in enumerate(sizes, 1):
        kernels.remember.py_func(recent, size)
        assert kernels.middle.py_func(recent) == np.median(sizes[max(n - associating.RECENT, 0) : n])


def test_a_score_that_is_no_number_is_the_lowest():
    """The assignment once stopped with "matrix contains invalid numeric entries"."""
    poses, animal = poses_of(np.stack([swim((100, 100), (2, 0), 9), swim((100, 300), (2, 0), 9)], axis=1))
    score = np.where(np.arange(len(poses)) == 7, np.nan, poses.score)
    tracks, cut = associate(
        Poses(poses.frame, poses.item, poses.xy, poses.confidence, score, poses.span), AssociateConfig()
    )
    assert tracks.track[animal == 0].tolist() == [0] * 9
    assert set(reasons(cut)) <= {"mixed"}


def test_margin_is_the_loss_of_the_best_exchange():
    from shoal.stages.kernels.assign import margins

    margin, rival = margins(np.array([[0.9, 0.5, 0.2], [0.4, 0.8, 0.75]]), np.array([0, 1]))
    np.testing.assert_allclose(margin, [0.7, 0.05])  # the free column 2 is dearer to the first row than to the second
    assert rival.tolist() == [-1, -1]
    margin, rival = margins(np.array([[0.9, 0.5], [0.4, 0.8]]), np.array([0, 1]))
    np.testing.assert_allclose(margin, [0.8, 0.8])  # (0.9 + 0.8) - (0.5 + 0.4)
    assert rival.tolist() == [1, 0]
    margin, rival = margins(np.array([[0.9], [0.6]]), np.array([0, -1]))
    np.testing.assert_allclose(margin, [0.3, np.inf])
    assert rival.tolist() == [1, -1]


def test_speed_of_ten_animals():
    rng = np.random.default_rng(1)
    xy = np.stack([swim((100 * a, 100 * (a % 3)), (2, 1), 2000) for a in range(10)], axis=1)
    poses, _ = poses_of(xy + rng.normal(0, 1, xy.shape))
    associate(select(poses, poses.frame < 9), AssociateConfig())
    begin = time.process_time()
    associate(poses, AssociateConfig())
    fps = 2000 / (time.process_time() - begin)
    print(f"frames_per_second: {round(fps)}")
    assert fps > 5000, "60,000 of CPU time on a free core; below a tenth is a fault"


def purity(track, animal):
    """Rows of tracklets that belong to another than the tracklet's commonest animal."""
    return sum(len(a) - np.bincount(a).max() for t in range(track.max() + 1) if len(a := animal[track == t]))


@pytest.mark.data
def test_eight_zebrafish(shoal_data):
    poses, fish = zebrafish(shoal_data)
    tracks, decisions = associate(poses, AssociateConfig())
    print(f"tracklets: {tracks.n_tracks}")
    assert purity(tracks.track, fish) == 0, "an identity swap inside a tracklet can't be mended"
    # 18 stretches without silhouettes of their own are longer than max_age for two fish or more
    assert tracks.n_tracks <= 40
    assert set(reasons(decisions)) <= {"jump", "ambiguous", "crossing"}


@pytest.mark.data
def test_eight_noisy_zebrafish_in_shuffled_order(shoal_data):
    rng = np.random.default_rng(0)
    poses, fish = zebrafish(shoal_data)
    order = np.lexsort((rng.random(len(poses)), poses.frame))
    xy = poses.xy[order] + rng.normal(0, 2, poses.xy.shape)
    xy[rng.random(xy.shape[:2]) < 0.1] = np.nan
    kept = rng.random(len(order)) > 0.05
    seen = np.isfinite(xy[..., 0])
    noisy = Poses(poses.frame, poses.item, xy, seen, np.full(len(xy), 0.8), poses.span)
    tracks, _ = associate(select(noisy, kept), AssociateConfig())
    assert purity(tracks.track, fish[order][kept]) <= 2
    assert (np.bincount(tracks.track[tracks.track >= 0]) >= 3).sum() <= 60


def zebrafish(folder):
    """Pseudo tracks of eight fish: Poses and the fish of each row."""
    import csv

    with (folder / "zebrafish8_a" / "pseudo_tracks.csv").open() as file:
        rows = list(csv.reader(file))
    body = [r for r in rows if r[0].isdigit()]
    columns = [i for i, name in enumerate(rows[3]) if name in ("x", "y")]
    values = np.array([[float(r[i] or "nan") for i in columns] for r in body])
    return poses_of(values.reshape(len(body), 8, 9, 2))


def test_chunks_make_no_difference():
    poses, _ = poses_of(np.stack([swim((100, 100), (2, 0), 20), swim((100, 200), (2, 0), 20)], axis=1))
    parts = []
    for first, stop in ((0, 7), (7, 20)):
        part = select(poses, (poses.frame >= first) & (poses.frame < stop))
        parts.append(Poses(part.frame, part.item, part.xy, part.confidence, part.score, (first, stop)))
    whole = associate(concatenate(parts), AssociateConfig())[0]
    np.testing.assert_array_equal(whole.track, associate(poses, AssociateConfig())[0].track)
