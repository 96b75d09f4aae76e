"""What goes out in DLC's files comes back the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal.config.dataset import DatasetConfig
from shoal.io.dlc.labels import read_labels, write_labels
from shoal.io.dlc.results import read_tracks, write_tracks
from shoal.stages.split import split_labels
from shoal.types import Poses, Skeleton, Tracks

KEYPOINTS = ("nose", "tail", "leg 3")
NAMES = ("ann", "bob 2", "007")
numbers = st.floats(-1e4, 1e4, width=32) | st.just(np.nan)


@st.composite
def tracks(draw):
    """Tracks with gaps, missing keypoints and empty frames; every row has at least one keypoint."""
    n_frames = draw(st.integers(1, 5))
    there = draw(hnp.arrays(bool, (n_frames, len(NAMES))))
    frame, track = np.nonzero(there)
    m = len(frame)
    xy = draw(hnp.arrays(np.float32, (m, 3, 2), elements=st.floats(-50, 3000, width=32)))
    hidden = draw(hnp.arrays(bool, (m, 3)))
    hidden[:, draw(st.integers(0, 2))] = False
    xy[hidden] = np.nan
    confidence = draw(hnp.arrays(np.float32, (m, 3), elements=st.floats(0, 1, width=32)))
    confidence[hidden] = 0
    item = np.concatenate([np.arange(n) for n in there.sum(axis=1)]) if m else np.zeros(0)
    return Tracks(Poses(frame, item, xy, confidence, np.ones(m), (0, n_frames)), track)


@given(tracks(), st.sampled_from([".h5", ".csv"]))
@settings(max_examples=15, deadline=None)
def test_tracks(written, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video_el{suffix}"
        write_tracks(path, written, skeleton=Skeleton(KEYPOINTS), names=NAMES, scorer="DLC x")
        read, names = read_tracks(path)
    assert names == NAMES
    assert read.span == written.span
    for name in ("frame", "item", "xy", "confidence"):
        assert np.array_equal(getattr(read.poses, name), getattr(written.poses, name), equal_nan=True), name
    assert np.array_equal(read.track, written.track)


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=1, max_side=4), elements=numbers), st.data())
@settings(max_examples=15, deadline=None)
def test_labels(values, data):
    n = len(values)
    xy = data.draw(hnp.arrays(np.float64, (n, 2, 3, 2), elements=numbers))
    images = [f"img{i}.png" for i in data.draw(st.permutations(range(n)))]
    with tempfile.TemporaryDirectory() as folder:
        write_labels(Path(folder), scorer="me", skeleton=Skeleton(KEYPOINTS), individuals=NAMES, images=images, xy=xy)
        labels, problems = read_labels(Path(folder), scorer="me", skeleton=Skeleton(KEYPOINTS), individuals=NAMES)
    assert not problems
    assert [image for _, image in labels.images] == sorted(images)
    expected = np.where(np.isnan(xy).any(axis=-1, keepdims=True), np.nan, xy)[np.argsort(images, kind="stable")]
    assert np.array_equal(labels.xy[:, :2], expected.astype(np.float32), equal_nan=True)
    assert np.isnan(labels.xy[:, 2]).all()


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=40).filter(lambda ids: len(set(ids)) > 1),
    st.sampled_from(["random", "time", "video"]),
    st.floats(0.05, 0.99),
    st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_a_split_loses_and_doubles_nothing(folder, split, fraction, seed):
    config = DatasetConfig(split=split, train_fraction=fraction, seed=seed)
    train, test = split_labels(np.array(folder), np.arange(len(folder)), config)
    assert sorted([*train, *test]) == list(range(len(folder)))
    assert len(train)
    assert len(test)
