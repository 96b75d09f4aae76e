"""Annotation files, laid out as DLC writes them."""

import numpy as np
import pandas as pd
import pytest

from shoal.io.dlc.labels import read_labels, write_labels
from shoal.types import Skeleton

SKELETON = Skeleton(("nose", "tail"), unique=("corner",))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "labeled-data" / "vid"
    folder.mkdir(parents=True)
    xy = np.arange(8.0).reshape(2, 1, 2, 2)
    xy[0, 0, 1] = np.nan
    write_labels(
        folder, scorer="me", skeleton=SKELETON, individuals=["a", "b"], images=["img2.png", "x/img1.png"], xy=xy,
        unique_xy=np.array([[[20, 21]], [[22, 23]]]),
    )  # fmt: skip
    return folder


def test_h5_has_dlcs_layout(folder):
    frame = pd.read_hdf(folder / "CollectedData_me.h5", "df_with_missing")
    assert frame.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    parts = [("a", "nose"), ("a", "tail"), ("b", "nose"), ("b", "tail"), ("single", "corner")]
    assert [c[1:] for c in frame.columns] == [(*part, coord) for part in parts for coord in "xy"]
    assert list(frame.index) == [("labeled-data", "vid", "img1.png"), ("labeled-data", "vid", "img2.png")]
    assert list(frame.index.names) == [None] * 3
    assert set(frame.dtypes) == {np.dtype(np.float64)}
    assert frame.iloc[1].tolist()[:2] == [0, 1]
    assert frame.iloc[:, 4:8].isna().all(axis=None)


def test_csv_has_dlcs_header(folder):
    lines = (folder / "CollectedData_me.csv").read_text().splitlines()
    assert lines[0].startswith("scorer,,,me,me")
    assert lines[1].startswith("individuals,,,a,a")
    assert lines[2].startswith("bodyparts,,,nose,nose")
    assert lines[3].startswith("coords,,,x,y")
    assert lines[4].startswith("labeled-data,vid,img1.png,4.0,5.0")
    assert len(lines) == 6


def test_reading_gives_back_what_was_written(folder):
    labels, problems = read_labels(folder, scorer="me", skeleton=SKELETON, individuals=["a", "b"])
    assert problems == ()
    assert labels.images == (("vid", "img1.png"), ("vid", "img2.png"))
    assert labels.xy[0, 0].tolist() == [[4, 5], [6, 7]]
    assert np.isnan(labels.xy[1, 0, 1]).all()
    assert np.isnan(labels.xy[:, 1]).all()
    assert labels.unique_xy.tolist() == [[[22, 23]], [[20, 21]]]
    assert labels.in_dlc


def test_half_a_point_is_no_point(folder):
    path = folder / "CollectedData_me.h5"
    frame = pd.read_hdf(path)
    frame.iloc[0, 1] = np.nan
    frame.to_hdf(path, key="df_with_missing", mode="w")
    labels, _ = read_labels(folder, scorer="me", skeleton=SKELETON, individuals=["a", "b"])
    assert np.isnan(labels.xy[0, 0, 0]).all()


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2, 3, 2, 2), (2, 1, 3, 2)])
def test_labels_that_do_not_fit_the_names_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="write_labels: expected"):
        write_labels(
            tmp_path, scorer="me", skeleton=SKELETON, individuals=["a", "b"], images=["1", "2"], xy=np.zeros(shape)
        )


def test_no_image_is_an_ordinary_folder(tmp_path):
    write_labels(tmp_path, scorer="me", skeleton=SKELETON, individuals=["a"], images=[], xy=np.zeros((0, 1, 2, 2)))
    labels, problems = read_labels(tmp_path, scorer="me", skeleton=SKELETON, individuals=["a"])
    assert (labels.images, labels.xy.shape, problems) == ((), (0, 1, 2, 2), ())


def test_a_single_animal_file_in_a_multi_animal_project_has_no_name(tmp_path):
    columns = pd.MultiIndex.from_product(
        [["me"], ["nose", "tail"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    frame = pd.DataFrame([[1.0, 2, 3, 4]], columns=columns, index=["labeled-data/v/img1.png"])
    frame.to_hdf(tmp_path / "CollectedData_me.h5", key="df_with_missing")
    for individuals, index in ((["a", "b"], -1), (["individual_1"], 0)):
        labels, _ = read_labels(tmp_path, scorer="me", skeleton=Skeleton(("nose", "tail")), individuals=individuals)
        assert labels.individual.tolist() == [index]
        assert labels.xy[0, 0].tolist() == [[1, 2], [3, 4]]
