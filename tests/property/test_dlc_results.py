"""DLC's result files: what is written comes back the same; what is damaged gives a clear error and stays as it was."""

from __future__ import annotations

import pickle
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal.errors import InputError
from shoal.io.dlc.describe import describe_file
from shoal.io.dlc.detections import read_full, write_full
from shoal.io.dlc.meta import Meta, read_meta, write_meta
from shoal.io.dlc.results import read_tracks_file, write_poses, write_tracks
from shoal.io.dlc.tracklets import read_assemblies, read_tracklets, write_assemblies, write_tracklets
from shoal.types import Detections, Poses, Skeleton, Tracks

KEYPOINTS, UNIQUE, NAMES = ("nose", "leg 3"), ("corner", "7"), ("ann", "bob 2", "007")
SKELETON = Skeleton(KEYPOINTS, unique=UNIQUE)


def pose_columns(draw, m: int, k: int):
    """Positions and confidences; every row has at least one keypoint."""
    xy = draw(hnp.arrays(np.float32, (m, k, 2), elements=st.floats(-50, 3000, width=32)))
    hidden = draw(hnp.arrays(bool, (m, k)))
    hidden[:, draw(st.integers(0, k - 1))] = False
    xy[hidden] = np.nan
    confidence = draw(hnp.arrays(np.float32, (m, k), elements=st.floats(0, 1, width=32)))
    confidence[hidden] = 0
    return xy, confidence


@st.composite
def videos(draw):
    """Tracks of three animals with gaps, and unique keypoints, over a few frames."""
    n_frames = draw(st.integers(1, 5))
    there = draw(hnp.arrays(bool, (n_frames, len(NAMES))))
    frame, track = np.nonzero(there)
    m = len(frame)
    item = np.concatenate([np.arange(n) for n in there.sum(axis=1)]) if m else np.zeros(0)
    poses = Poses(frame, item, *pose_columns(draw, m, len(KEYPOINTS)), np.ones(m), (0, n_frames))
    seen = np.flatnonzero(draw(hnp.arrays(bool, n_frames)))
    u = len(seen)
    unique = Poses(seen, np.zeros(u), *pose_columns(draw, u, len(UNIQUE)), np.ones(u), (0, n_frames))
    return Tracks(poses, track), unique


@st.composite
def peaks(draw):
    """Raw peaks and limbs between all of them."""
    n_frames = draw(st.integers(1, 4))
    rows = [(f, k) for f in range(n_frames) for k in range(2) for _ in range(draw(st.integers(0, 3)))]
    frame, keypoint = (np.array([row[i] for row in rows], np.int64) for i in range(2))
    number = np.arange(len(frame)) - np.searchsorted(frame, frame)
    limbs = [
        (frame[a], number[a], number[b])
        for a in range(len(rows))
        for b in range(len(rows))
        if frame[a] == frame[b] and (keypoint[a], keypoint[b]) == (0, 1)
    ]
    limb = np.array(limbs, np.int64).reshape(-1, 3)
    affinity = draw(hnp.arrays(np.float16, len(limb), elements=st.floats(0.0625, 1, width=16)))
    xy = draw(hnp.arrays(np.float32, (len(rows), 2), elements=st.floats(0, 3000, width=32)))
    confidence = draw(hnp.arrays(np.float16, len(rows), elements=st.floats(0, 1, width=16)))
    return Detections(
        frame, number, keypoint, xy, confidence, limb[:, 0], np.zeros(len(limb)), limb[:, 1], limb[:, 2], affinity,
        np.zeros((len(rows), 0)), (0, n_frames),
    )  # fmt: skip


def assert_same(found: Poses, expected: Poses) -> None:
    """Equal but for the score, which no file has; files that hold no row do not know K."""
    assert found.span == expected.span and len(found) == len(expected)
    for name in ("frame", "item", "xy", "confidence") if len(expected) else ():
        assert np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=True), name


@given(videos(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_pickles(video, has_identity):
    tracks, unique = video
    poses, n_frames = tracks.poses, tracks.span[1]
    identity = np.where(np.isnan(poses.xy[..., 0]), -1, 2) if has_identity else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.pickle"
        write_full(path, poses, keypoints=KEYPOINTS, n_frames=n_frames, n_individuals=3, unique=unique,
                   unique_names=UNIQUE)  # fmt: skip
        full = read_full(path, unique=UNIQUE)
        assert (full.keypoints, full.unique_names) == (KEYPOINTS, UNIQUE)
        assert full.poses is not None
        assert_same(full.poses, poses)
        assert_same(full.unique, unique)
        write_assemblies(path, poses, n_frames=n_frames, unique=unique, identity=identity)
        animals = read_assemblies(path)
        assert_same(animals.poses, poses)
        assert_same(animals.unique, unique)
        assert animals.identity.tolist() == (identity if has_identity else np.full((len(poses), 2), -1)).tolist()
        write_tracklets(path, tracks, keypoints=KEYPOINTS, scorer="DLC x", n_frames=n_frames, unique=unique,
                        unique_names=UNIQUE, identity=identity)  # fmt: skip
        tracklets = read_tracklets(path, n_frames=n_frames)
        assert_same(tracklets.tracklets.poses, poses)
        assert tracklets.tracklets.track.tolist() == np.unique(tracks.track, return_inverse=True)[1].tolist()
        assert_same(tracklets.unique, unique)
        assert tracklets.scorer == "DLC x" and not [p for p in Path(folder).iterdir() if p != path]


@given(peaks())
@settings(max_examples=25, deadline=None)
def test_raw_peaks(written):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v_full.pickle"
        n_frames = written.span[1]
        write_full(path, written, keypoints=KEYPOINTS, n_frames=n_frames, n_individuals=3, edges=np.array([[0, 1]]))
        full = read_full(path)
    assert full.poses is None and full.detections.span == written.span
    for name in ("frame", "number", "keypoint", "xy", "confidence", "limb_frame", "edge", "source", "target",
                 "affinity"):  # fmt: skip
        assert np.array_equal(getattr(full.detections, name), getattr(written, name)), name


@given(videos(), st.sampled_from([".h5", ".csv"]), st.sampled_from(["tracks", "df_with_missing"]))
@settings(max_examples=15, deadline=None)
def test_tables(video, suffix, key):
    tracks, unique = video
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"v_el_filtered{suffix}"
        write_tracks(path, tracks, skeleton=SKELETON, names=NAMES, scorer="DLC x", unique=unique, key=key)
        found = read_tracks_file(path)
        assert_same(found.tracks.poses, tracks.poses)
        assert_same(found.unique, unique)
        assert np.array_equal(found.tracks.track, tracks.track)
        assert (found.names, found.scorer) == (NAMES, "DLC x")
        assert (found.skeleton.keypoints, found.skeleton.unique) == (KEYPOINTS, UNIQUE)
        write_poses(path, tracks.poses, skeleton=SKELETON, individuals=NAMES, scorer="s", unique=unique)
        assert_same(read_tracks_file(path).tracks.poses, tracks.poses)


texts = st.text(st.characters(codec="utf-8"), max_size=8)
counts = st.integers(0, 10**6)


@given(texts, counts, st.floats(0, 1e3), st.tuples(counts, counts), st.lists(texts, max_size=3), st.booleans())
@settings(max_examples=25, deadline=None)
def test_meta(scorer, n_frames, fps, size, names, is_cropped):
    meta = Meta(
        scorer, n_frames, fps, size, tuple(names), tuple(names), tuple(names), (1, 2, 3, 4) if is_cropped else None
    )
    with tempfile.TemporaryDirectory() as folder:
        write_meta(Path(folder) / "v_meta.pickle", meta)
        assert vars(read_meta(Path(folder) / "v_meta.pickle")) == vars(meta)


JUNK = (None, -1, "x", b"\xff", 1e400, [], {}, [[1, [2]]], {"a": {}}, np.zeros((2, 2)), np.zeros((1, 1, 1, 1)),
        np.array(["a", None], object), float("nan"), 10**30, "C:\\videos\\a.mp4", (1,))  # fmt: skip
READERS = (read_full, read_meta, read_assemblies, read_tracklets, describe_file)


def spoiled(draw, value, depth=0):
    """The value with one of its parts replaced or removed."""
    if depth > 4 or not isinstance(value, dict | list | tuple) or not value or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(JUNK))
    if isinstance(value, dict):
        key = draw(st.sampled_from(list(value)))
        changed = dict(value)
        if draw(st.booleans()):
            changed[key] = spoiled(draw, value[key], depth + 1)
        else:
            taken = changed.pop(key)
            if draw(st.booleans()):
                changed[draw(st.sampled_from(["frame", "x", -3, 10**30, 1.5, "frame1e9", ("a",)]))] = taken
        return changed
    at = draw(st.integers(0, len(value) - 1))
    parts = [*value[:at], *([spoiled(draw, value[at], depth + 1)] if draw(st.booleans()) else []), *value[at + 1 :]]
    return type(value)(parts)


@cache
def one_of_each() -> tuple[bytes, ...]:
    """Content of one file of each kind of pickle."""
    poses = Poses([0, 0, 1], [0, 1, 0], np.arange(12).reshape(3, 2, 2), np.ones((3, 2)), np.ones(3), (0, 3))
    once = Poses([1], [0], np.ones((1, 2, 2)), np.ones((1, 2)), np.ones(1), (0, 3))
    none = np.zeros((2, 0))
    raw = Detections([0, 0], [0, 1], [0, 1], np.ones((2, 2)), [1, 1], [0], [0], [0], [1], [0.5], none, (0, 2))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("full", "raw", "assemblies", "el", "meta")]
        write_full(files[0], poses, keypoints=KEYPOINTS, n_frames=3, n_individuals=3, unique=once, unique_names=UNIQUE)
        write_full(files[1], raw, keypoints=KEYPOINTS, n_frames=3, n_individuals=3, edges=np.array([[0, 1]]))
        write_assemblies(files[2], poses, n_frames=3, unique=once)
        write_tracklets(files[3], Tracks(poses, [0, 1, 0]), keypoints=KEYPOINTS, scorer="s", n_frames=3, unique=once,
                        unique_names=UNIQUE)  # fmt: skip
        write_meta(files[4], Meta("s", 3, 25, (4, 4), NAMES, KEYPOINTS, UNIQUE, (0, 1, 2, 3)))
        return tuple(file.read_bytes() for file in files)


def read_or_refuse(path: Path, readers=READERS) -> None:
    """Every reader takes the file or refuses it by its name; the file stays as it was."""
    before = path.read_bytes()
    for reader in readers:
        try:
            reader(path)
        except InputError as error:
            assert path.name in str(error)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_spoiled_pickles(data):
    with tempfile.TemporaryDirectory() as folder:
        content = pickle.loads(data.draw(st.sampled_from(one_of_each())))
        if "header" in content and data.draw(st.booleans()):
            content["header"] = content["header"].tolist()
        path = Path(folder) / "spoiled.pickle"
        path.write_bytes(pickle.dumps(spoiled(data.draw, content)))
        read_or_refuse(path)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_truncated_pickles(data):
    with tempfile.TemporaryDirectory() as folder:
        content = data.draw(st.sampled_from(one_of_each()))
        path = Path(folder) / "cut.pickle"
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        read_or_refuse(path)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_damaged_tables(data):
    poses = Poses([0, 1], [0, 0], np.ones((2, 2, 2)), np.ones((2, 2)), [1, 1], (0, 2))
    suffix = data.draw(st.sampled_from([".h5", ".csv"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"v_el{suffix}"
        write_tracks(path, Tracks(poses, [0, 0]), skeleton=SKELETON, names=NAMES, scorer="s")
        content = path.read_bytes()
        kept = content[: data.draw(st.integers(0, len(content) - 1))]
        path.write_bytes(kept + data.draw(st.sampled_from([b"", b"\0" * 40, b"a,b\n1,2\n"])))
        read_or_refuse(path, (read_tracks_file, describe_file))


@given(st.binary(max_size=60), st.sampled_from([".pickle", ".h5", ".csv", ".yaml", ".pt", ".txt"]))
@settings(max_examples=40, deadline=None)
def test_any_bytes(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"any{suffix}"
        path.write_bytes(content)
        read_or_refuse(path, (describe_file,))
