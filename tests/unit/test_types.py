from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from shoal.types import (
    Decisions,
    Detections,
    FrameBatch,
    LabeledFrame,
    Poses,
    Skeleton,
    Tracks,
    body_length,
    concatenate,
    select,
)


def poses(frames, span=(0, 10), k=2):
    m = len(frames)
    xy = np.arange(m * k * 2, dtype=float).reshape(m, k, 2)
    items = [sum(f == g for g in frames[:i]) for i, f in enumerate(frames)]
    return Poses(np.array(frames), np.array(items), xy, np.ones((m, k)), np.ones(m), span)


def test_columns_are_cast_and_read_only():
    table = poses([0, 0, 3])
    assert table.xy.dtype == np.float32 and table.item.dtype == np.int16
    with pytest.raises(ValueError, match="read-only"):
        table.xy[0] = 0
    with pytest.raises(FrozenInstanceError):
        table.span = (0, 1)


def test_a_wrong_shape_fails_at_the_door_with_both_shapes():
    with pytest.raises(ValueError, match=r"Poses.confidence: expected shape \(1, 2\), got \(1, 3\)"):
        Poses(np.zeros(1), np.zeros(1), np.zeros((1, 2, 2)), np.zeros((1, 3)), np.zeros(1), (0, 1))


def test_unsorted_rows_and_frames_outside_the_span_are_refused():
    with pytest.raises(ValueError, match="not sorted"):
        poses([3, 1])
    with pytest.raises(ValueError, match="leave span"):
        poses([3], span=(0, 3))


def test_empty_is_a_value_everywhere():
    for table in (Poses.empty((0, 5), 9), Tracks.empty((0, 5), 9), Detections.empty((0, 5)), Decisions.empty((0, 5))):
        assert len(table) == 0 and table.span == (0, 5)
    assert Tracks.empty((0, 5), 9).n_tracks == 0


def test_concatenate_joins_adjoining_spans_and_refuses_a_hole():
    joined = concatenate([poses([0, 1], (0, 2)), Poses.empty((2, 4), 2), poses([4], (4, 6))])
    assert joined.frame.tolist() == [0, 1, 4] and joined.span == (0, 6)
    with pytest.raises(ValueError, match="adjoining"):
        concatenate([poses([0], (0, 2)), poses([4], (4, 6))])
    with pytest.raises(ValueError, match="at least one"):
        concatenate([])


def test_select_keeps_keys_and_span():
    tracks = Tracks(poses([0, 0, 3]), np.array([0, 1, 0]))
    picked = select(tracks, tracks.track == 0)
    assert picked.poses.frame.tolist() == [0, 3] and picked.poses.item.tolist() == [0, 0] and picked.span == (0, 10)


def test_skeleton_refuses_edges_to_keypoints_that_do_not_exist():
    assert Skeleton(("a", "b")).mirror.tolist() == [0, 1]
    with pytest.raises(ValueError, match="indices 0-1"):
        Skeleton(("a", "b"), np.array([[0, 2]]))


def test_positions_return_from_crop_and_scale_to_the_frame():
    batch = FrameBatch(np.array([0]), np.zeros((1, 4, 6, 3)), origin=np.array([100.0, 50.0]), scale=0.5)
    np.testing.assert_array_equal(batch.to_frame_xy(np.array([[1.0, 2.0]])), [[102.0, 54.0]])


def test_labelled_frame_checks_its_arrays():
    with pytest.raises(ValueError, match="visible"):
        LabeledFrame(Path("a.png"), "v", 0, np.zeros((2, 3, 2)), np.ones((2, 2), bool), np.arange(2), np.zeros((0, 2)))


def test_body_length_is_the_median_of_the_largest_distance():
    xy = np.array([[[0, 0], [3, 4], [1, 1]], [[0, 0], [np.nan, np.nan], [7, 0]]])
    assert body_length(xy) == pytest.approx(6.0)
    assert np.isnan(body_length(np.full((2, 3, 2), np.nan)))
    assert np.isnan(body_length(np.zeros((0, 3, 2))))
