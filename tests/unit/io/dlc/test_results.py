"""Tracks and predictions in DLC's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tables

from shoal.errors import ProjectError
from shoal.io.dlc import results
from shoal.io.dlc.pose_table import PoseTable, write_pose_parts
from shoal.io.dlc.results import read_tracks, write_poses, write_track_parts, write_tracks
from shoal.types import Poses, Skeleton, Tracks, select

SKELETON = Skeleton(("nose", "tail"))
WITH_UNIQUE = Skeleton(("nose", "tail"), unique=("corner",))


def tracks():
    xy = [[[1, 2], [3, 4]], [[5, 6], [np.nan, np.nan]], [[7, 8], [9, 10]], [[11, 12], [13, 14]]]
    confidence = [[0.5, 0.75], [0.25, 0], [1, 1], [0.5, 0.5]]
    poses = Poses([0, 0, 1, 3], [0, 1, 0, 0], xy, confidence, [0.6, 0.2, 1, 0.5], (0, 5))
    return Tracks(poses, [1, 0, 1, -1])


def test_tracks_h5_has_dlcs_layout(tmp_path):
    path = tmp_path / "v_el.h5"
    write_tracks(path, tracks(), skeleton=WITH_UNIQUE, names=["ann", "bob", "cid"], scorer="DLC_x")
    frame = pd.read_hdf(path, "tracks")
    assert list(frame.index) == [0, 1, 2, 3, 4]
    assert frame.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    assert list(dict.fromkeys(frame.columns.get_level_values("individuals"))) == ["ann", "bob", "cid", "single"]
    assert list(frame.columns[:3]) == [("DLC_x", "ann", "nose", c) for c in ("x", "y", "likelihood")]
    assert set(frame.dtypes) == {np.dtype(np.float64)}
    assert frame.loc[0, ("DLC_x", "bob", "tail")].tolist() == [3, 4, 0.75]
    assert frame.loc[0, ("DLC_x", "ann", "tail")].isna().all()  # a missing keypoint has no likelihood either
    assert frame.loc[2:].isna().all(axis=None)  # the row of no track is left out
    assert frame["DLC_x"]["cid"].isna().all(axis=None)


def test_a_table_opens_in_dlcs_pandas(tmp_path):
    """Without these attributes pandas 2 fails with "'NoneType' object has no attribute 'startswith'"."""
    write_tracks(tmp_path / "v_el.h5", tracks(), skeleton=SKELETON, names=["a", "b"], scorer="s")
    with tables.open_file(str(tmp_path / "v_el.h5")) as file:
        attributes = file.get_node("/tracks")._v_attrs
        assert attributes.pandas_version == "0.15.2"
        assert attributes.nan_rep == "nan"
        assert attributes.table_type == "appendable_frame"


def test_more_columns_than_a_table_holds_are_written_all_the_same(tmp_path):
    skeleton = Skeleton(tuple(f"a_keypoint_of_some_length_{i}" for i in range(60)))
    poses = Poses([0], [0], np.ones((1, 60, 2)), np.ones((1, 60)), [1], (0, 1))
    path = tmp_path / "v_el.h5"
    names = [f"individual_number_{i}" for i in range(40)]
    write_tracks(path, Tracks(poses, [39]), skeleton=skeleton, names=names, scorer="DLC_Resnet50_x")
    assert pd.read_hdf(path, "tracks").shape == (1, 60 * 40 * 3)
    read, read_names = read_tracks(path)
    assert read.track.tolist() == [39]
    assert read_names == tuple(names)


def test_a_table_of_very_many_columns_was_gathered_in_memory(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    skeleton, names = Skeleton(tuple(f"keypoint_{i}" for i in range(40))), [f"animal_{i}" for i in range(40)]
    frame, track = (c.ravel() for c in np.mgrid[:7, :40])
    poses = Poses(frame, track, rng.random((280, 40, 2)), rng.random((280, 40)), np.ones(280), (0, 7))
    paths: dict[int, Path] = {}
    for piece in (1 << 20, 2 * 4800):  # all rows at once, and two at a time
        monkeypatch.setattr(results, "PIECE_VALUES", piece)
        path = tmp_path / f"{piece}.h5"
        write_tracks(path, Tracks(poses, track), skeleton=skeleton, names=names, scorer="s")
        paths[piece] = path
        with tables.open_file(str(path)) as file:
            assert not hasattr(file.get_node("/tracks")._v_attrs, "table_type"), "not the layout to be tested"
            assert file.get_node("/tracks/axis1").shape == (7,)
    at_once, in_pieces = (pd.read_hdf(path, "tracks") for path in paths.values())
    pd.testing.assert_frame_equal(in_pieces, at_once)
    assert in_pieces.shape == (7, 4800) and in_pieces.index.tolist() == list(range(7))


@pytest.mark.parametrize("suffix", [".h5", ".csv"])
def test_a_video_in_spans_gives_the_same_table_as_at_once(tmp_path, monkeypatch, suffix):
    corner = Poses([1, 4], [0, 0], np.ones((2, 1, 2)), np.ones((2, 1)), [1, 1], (0, 5))
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    write_tracks(whole, tracks(), skeleton=WITH_UNIQUE, names=["a", "b"], scorer="s", unique=corner)
    monkeypatch.setattr(results, "PIECE_VALUES", 1)  # a row at a time

    def spans():
        for span in ((0, 2), (2, 3), (3, 5)):
            poses = [select(p, (p.frame >= span[0]) & (p.frame < span[1])) for p in (tracks().poses, corner)]
            rows = (tracks().poses.frame >= span[0]) & (tracks().poses.frame < span[1])
            animals, once = (replace(p, span=span) for p in poses)
            yield Tracks(animals, tracks().track[rows]), once

    write_track_parts(parts, spans(), skeleton=WITH_UNIQUE, individuals=["a", "b"], scorer="s")
    if suffix == ".csv":
        assert parts.read_bytes() == whole.read_bytes()
        return
    expected = pd.read_hdf(whole, "tracks")
    pd.testing.assert_frame_equal(pd.read_hdf(parts, "tracks"), expected)
    assert len(expected) == 5
    with tables.open_file(str(parts)) as file:
        attributes = file.get_node("/tracks")._v_attrs
        assert attributes.pandas_version == "0.15.2" and attributes.nan_rep == "nan"
        assert file.get_node("/tracks/table").colindexes  # as to_hdf leaves it


@pytest.mark.parametrize("individual", ["a, b", ""])
def test_a_csv_has_the_bytes_that_pandas_writes(tmp_path, individual):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 500, (40, 9)).astype(np.float32).astype(np.float64)
    values[::3, ::2] = np.nan
    values[1] = [0, -0.0, 1e-7, 1e16, np.inf, -np.inf, 123456789.125, 0.1, 3]
    columns = tuple(("nanny", individual, part, c) for part in ("n", 'o"p', "q, r") for c in ("x", "y", "likelihood"))
    index = tuple((str(frame),) for frame in range(7, 47))
    pieces = [PoseTable(columns, index[a:b], values[a:b]) for a, b in ((0, 1), (1, 30), (30, 40))]
    write_pose_parts(tmp_path / "ours.csv", pieces, key="")
    names = [c if individual else (c[0], *c[2:]) for c in columns]
    levels = ["scorer", *(["individuals"] if individual else []), "bodyparts", "coords"]
    head = pd.MultiIndex.from_tuples(names, names=levels)
    pd.DataFrame(values, columns=head, index=range(7, 47)).to_csv(tmp_path / "pandas.csv")
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "pandas.csv").read_bytes()


@pytest.mark.parametrize("suffix", [".h5", ".csv"])
def test_reading_gives_back_what_was_written(tmp_path, suffix):
    path = tmp_path / f"v_el{suffix}"
    corner = Poses([1], [0], [[[20, 30]]], [[0.5]], [1], (0, 5))
    write_tracks(path, tracks(), skeleton=WITH_UNIQUE, names=["ann", "bob"], scorer="s", unique=corner)
    read, names = read_tracks(path, WITH_UNIQUE)
    assert names == ("ann", "bob")
    assert read.span == (0, 5)
    assert read.poses.frame.tolist() == [0, 0, 1]
    assert read.track.tolist() == [0, 1, 1]
    expected = tracks().poses.xy[[1, 0, 2]]
    assert np.array_equal(read.poses.xy, expected, equal_nan=True)
    assert read.poses.confidence.tolist() == [[0.25, 0], [0.5, 0.75], [1, 1]]
    assert read.poses.item.tolist() == [0, 1, 0]
    assert read.poses.score.tolist() == [0.25, 0.625, 1]


def test_unique_keypoints_stand_under_single(tmp_path):
    corner = Poses([1], [0], [[[20, 30]]], [[0.5]], [1], (0, 5))
    write_tracks(tmp_path / "v.h5", tracks(), skeleton=WITH_UNIQUE, names=["a", "b"], scorer="s", unique=corner)
    frame = pd.read_hdf(tmp_path / "v.h5")
    assert frame.loc[1, ("s", "single", "corner")].tolist() == [20, 30, 0.5]
    assert frame.loc[0, ("s", "single", "corner")].isna().all()


def test_tracks_beyond_the_names_get_names(tmp_path):
    write_tracks(tmp_path / "v.h5", tracks(), skeleton=SKELETON, names=["a"], scorer="s")
    assert read_tracks(tmp_path / "v.h5")[1] == ("a", "individual2")


def test_two_rows_of_a_track_in_one_frame_are_an_error(tmp_path):
    poses = Poses([0, 0], [0, 1], np.ones((2, 2, 2)), np.ones((2, 2)), [1, 1], (0, 1))
    with pytest.raises(ValueError, match="one row per track"):
        write_tracks(tmp_path / "v.h5", Tracks(poses, [0, 0]), skeleton=SKELETON, names=["a"], scorer="s")


def test_no_frame_and_no_animal_are_ordinary(tmp_path):
    for span in ((0, 0), (0, 3)):
        write_tracks(tmp_path / "v.h5", Tracks.empty(span, 2), skeleton=SKELETON, names=["a"], scorer="s")
        read, names = read_tracks(tmp_path / "v.h5")
        assert (len(read), read.span, names) == (0, span, ("a",))


def test_poses_stand_in_assembly_order(tmp_path):
    poses = Poses([0, 0, 0, 2], [0, 1, 5, 3], np.arange(16).reshape(4, 2, 2), np.ones((4, 2)), np.ones(4), (0, 4))
    write_poses(tmp_path / "v.h5", poses, skeleton=SKELETON, individuals=["a", "b"], scorer="s")
    frame = pd.read_hdf(tmp_path / "v.h5", "df_with_missing")
    assert frame.shape == (4, 12)
    assert frame.loc[0, ("s", "b", "nose", "x")] == 4
    assert frame.loc[2, ("s", "a", "nose", "x")] == 12
    assert frame.loc[[1, 3]].isna().all(axis=None)


def test_minus_one_means_missing(tmp_path):
    columns = pd.MultiIndex.from_product([["s"], ["a", "b"], ["nose", "tail"], ["x", "y", "likelihood"]])
    values = np.full((2, 12), -1.0)
    values[1, :3] = [5, 6, 0.5]
    pd.DataFrame(values, columns=columns).to_hdf(tmp_path / "v.h5", key="df_with_missing")
    read, _ = read_tracks(tmp_path / "v.h5")
    assert read.poses.frame.tolist() == [1]
    assert np.array_equal(read.poses.xy[0], [[5, 6], [np.nan, np.nan]], equal_nan=True)


def test_files_without_likelihood_or_individuals_are_read(tmp_path):
    columns = pd.MultiIndex.from_product([["s"], ["nose", "tail"], ["x", "y"]], names=["scorer", "bodyparts", "coords"])
    frame = pd.DataFrame(np.arange(8.0).reshape(2, 4), columns=columns, index=[4, 2])
    for path in (tmp_path / "v.h5", tmp_path / "v.csv"):
        frame.to_hdf(path, key="x") if path.suffix == ".h5" else frame.to_csv(path)
        read, names = read_tracks(path, Skeleton(("tail", "nose", "fin")))
        assert names == ("individual_1",)
        assert read.span == (0, 5)
        assert read.poses.frame.tolist() == [2, 4]
        assert read.poses.xy[1, :2].tolist() == [[2, 3], [0, 1]]
        assert np.isnan(read.poses.xy[:, 2]).all()
        assert read.poses.confidence.tolist() == [[1, 1, 0]] * 2


@pytest.mark.parametrize("content", [b"", b"not a table", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
@pytest.mark.parametrize("suffix", [".h5", ".csv"])
def test_what_is_no_tracks_file_is_an_error_with_its_name(tmp_path, content, suffix):
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(content)
    with pytest.raises(ProjectError, match="odd"):
        read_tracks(path)


def test_a_label_file_is_no_tracks_file(tmp_path):
    columns = pd.MultiIndex.from_product([["s"], ["nose"], ["x", "y"]], names=["scorer", "bodyparts", "coords"])
    index = pd.MultiIndex.from_tuples([("labeled-data", "v", "img1.png")])
    pd.DataFrame([[1.0, 2.0]], columns=columns, index=index).to_hdf(tmp_path / "v.h5", key="x")
    with pytest.raises(ProjectError, match="tracks file"):
        read_tracks(tmp_path / "v.h5")


@pytest.mark.data
def test_zebrafish_pseudo_truth(shoal_data: Path):
    h5, names = read_tracks(shoal_data / "zebrafish8_a" / "pseudo_tracks.h5")
    text, _ = read_tracks(shoal_data / "zebrafish8_a" / "pseudo_tracks.csv")
    assert names == tuple(f"fish{i}" for i in range(1, 9))
    assert (len(h5), h5.span, h5.n_tracks) == (3813, (0, 501), 8)
    assert np.bincount(h5.poses.frame)[:501].tolist().count(8) == 410
    assert np.array_equal(h5.poses.xy, text.poses.xy, equal_nan=True)
