"""``_assemblies.pickle`` and ``_el.pickle``."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoal.errors import ProjectError
from shoal.io.dlc.pickles import read_pickle
from shoal.io.dlc.tracklets import read_assemblies, read_tracklets, write_assemblies, write_tracklets
from shoal.types import Poses, Tracks

POSES = Poses(
    [0, 0, 2], [0, 1, 0], [[[1, 2], [3, 4]], [[5, 6], [np.nan, np.nan]], [[7, 8], [9, 10]]],
    [[0.5, 0.75], [0.25, 0], [1, 1]], [0.6, 0.2, 1], (0, 12),
)  # fmt: skip
CORNER = Poses([1], [0], [[[20, 30]]], [[0.5]], [1], (0, 12))
IDENTITY = np.array([[1, 1], [0, 0], [-1, -1]])


def opened(path: Path):
    return pickle.loads(path.read_bytes())


def test_assemblies_have_an_array_per_frame(tmp_path):
    path = tmp_path / "v_assemblies.pickle"
    write_assemblies(path, POSES, n_frames=12, unique=CORNER, identity=IDENTITY)
    content = opened(path)
    assert list(content) == ["single", *range(12)]
    assert content[0].shape == (2, 2, 4) and content[1].shape == (0, 2, 4)
    assert content[0][0].tolist() == [[1, 2, 0.5, 1], [3, 4, 0.75, 1]]
    assert np.isnan(content[0][1, 1, :3]).all()
    assert content["single"][1].tolist() == [[20, 30, 0.5]]


def test_assemblies_come_back_with_an_extra_column(tmp_path):
    path = tmp_path / "v_assemblies.pickle"
    affinity = np.array([[2, 2], [1, 1], [0.5, 0.5]])
    write_assemblies(path, POSES, n_frames=12, unique=CORNER, identity=IDENTITY, affinity=affinity)
    found = read_assemblies(path)
    assert found.poses.span == (0, 12)
    assert np.array_equal(found.poses.xy, POSES.xy, equal_nan=True)
    assert found.poses.confidence.tolist() == POSES.confidence.tolist()
    assert found.identity.tolist() == IDENTITY.tolist()
    assert found.affinity is not None and found.affinity.tolist() == affinity.tolist()
    assert found.unique.xy.tolist() == [[[20, 30]]]


def test_assemblies_as_lists_with_frames_missing_are_read(tmp_path):
    animal = np.array([[1.0, 2, 0.5, 0], [np.nan] * 4])
    path = tmp_path / "v_assemblies.pickle"
    path.write_bytes(pickle.dumps({3: [animal, animal + 1], 7: [], 5: [np.full((2, 4), -1.0)]}))
    found = read_assemblies(path, n_frames=20)
    assert found.poses.frame.tolist() == [3, 3] and found.poses.span == (0, 20)
    assert found.poses.item.tolist() == [0, 1]
    assert found.identity.tolist() == [[0, -1], [1, -1]]
    assert found.affinity is None


def test_tracklets_have_dlcs_keys_and_a_header_that_pandas_2_opens(tmp_path):
    path = tmp_path / "v_el.pickle"
    write_tracklets(
        path, Tracks(POSES, [1, 0, 1]), keypoints=("nose", "tail"), scorer="DLC_x", n_frames=12, unique=CORNER,
        unique_names=("corner",), identity=IDENTITY,
    )  # fmt: skip
    content = opened(path)
    assert list(content) == ["header", "single", 1, 0]
    assert all(isinstance(key, np.int64) for key in list(content)[2:])
    assert list(content[1]) == ["frame00", "frame02"]
    assert content[1]["frame00"].tolist() == [[1, 2, 0.5, 1], [3, 4, 0.75, 1]]
    header = content["header"]
    assert isinstance(header, pd.MultiIndex) and header.names == ["scorer", "bodyparts", "coords"]
    assert header.tolist() == [("DLC_x", k, c) for k in ("nose", "tail", "corner") for c in ("x", "y", "likelihood")]
    words = {word for _, word, _ in pickletools.genops(path.read_bytes()) if isinstance(word, str)}
    assert not words & {"StringArray", "StringDtype", "__pyx_unpickle_NDArrayBacked"}


@pytest.mark.parametrize("pandas_strings", [False, True])
def test_headers_of_any_pandas_are_read_without_it(tmp_path, pandas_strings):
    names = [("s", k, c) for k in ("a", "b") for c in ("x", "y", "likelihood")]
    header = pd.MultiIndex.from_tuples(names, names=["scorer", "bodyparts", "coords"])
    if not pandas_strings:
        header = header.set_levels([level.astype(object) for level in header.levels])
    (tmp_path / "v_el.pickle").write_bytes(pickle.dumps({"header": header}))
    assert read_pickle(tmp_path / "v_el.pickle")["header"] == names
    assert read_tracklets(tmp_path / "v_el.pickle").keypoints == ("a", "b")


def test_tracklets_come_back(tmp_path):
    path = tmp_path / "v_el.pickle"
    tracks = Tracks(POSES, [0, 1, 1])
    write_tracklets(
        path, tracks, keypoints=("nose", "tail"), scorer="DLC_x", n_frames=12, unique=CORNER, unique_names=("corner",),
        identity=IDENTITY,
    )  # fmt: skip
    found = read_tracklets(path, n_frames=12)
    assert (found.keypoints, found.unique_names, found.scorer) == (("nose", "tail"), ("corner",), "DLC_x")
    assert found.tracklets.track.tolist() == [0, 1, 1] and found.tracklets.span == (0, 12)
    assert np.array_equal(found.tracklets.poses.xy, POSES.xy, equal_nan=True)
    assert found.identity.tolist() == IDENTITY.tolist()
    assert found.unique.frame.tolist() == [1]


def test_numbers_with_gaps_and_whole_frame_keys_are_read(tmp_path):
    row = np.array([[1.0, 2, 0.5]])
    content = {"header": [("s", "nose", "x")], np.int64(9): {4: row}, np.int64(2): {"frame004": row, "frame005": row}}
    (tmp_path / "v_bx.pickle").write_bytes(pickle.dumps(content))
    found = read_tracklets(tmp_path / "v_bx.pickle")
    assert found.numbers == (2, 9) and found.tracklets.track.tolist() == [0, 1, 0]
    assert found.tracklets.poses.frame.tolist() == [4, 4, 5]


def test_two_rows_of_a_tracklet_in_one_frame_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="one row per tracklet"):
        write_tracklets(tmp_path / "v", Tracks(POSES, [0, 0, 0]), keypoints=("a", "b"), scorer="s", n_frames=12)
    assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_real_files(shoal_data: Path):
    folder = shoal_data / "dlc_trimouse_algo_long"
    found = read_assemblies(folder / "trimouse_assemblies.pickle")
    assert (len(found.poses), found.poses.span, found.poses.n_keypoints) == (6990, (0, 2330), 12)
    tracklets = read_tracklets(folder / "trimouse_tracklets.pickle")
    assert tracklets.keypoints[:2] == ("snout", "leftear") and len(tracklets.tracklets) == 6990
    assert np.bincount(tracklets.tracklets.track).tolist() == [2330] * 3


@pytest.mark.parametrize("content", [{"a": 1}, {"header": 3}, {"header": [], 0: {"frame0": "x"}}, {"header": None}])
def test_what_is_neither_is_an_error_with_its_name(tmp_path, content):
    path = tmp_path / "odd.pickle"
    path.write_bytes(pickle.dumps(content))
    for reader in (read_assemblies, read_tracklets):
        with pytest.raises(ProjectError, match=r"odd\.pickle"):
            reader(path)
