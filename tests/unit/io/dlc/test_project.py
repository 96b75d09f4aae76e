"""A DLC project folder becomes a Project, whatever is wrong with it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoal.errors import ProjectError
from shoal.io.dlc.project import read_project
from shoal.types import Skeleton


def said(project, where="", word=""):
    return [p for p in project.problems if where in p.where and word in p.what]


def names(project):
    return [(label.video, label.image.name) for label in project.labels]


def test_a_sound_project_has_no_problem(project):
    found = read_project(project)
    assert found.problems == ()
    assert (found.task, found.scorer, found.date, found.individuals) == ("proj", "me", "Nov22", ("ann", "bob"))
    assert found.skeleton.edges.tolist() == [[0, 1], [0, 2]]
    assert found.skeleton.mirror.tolist() == [0, 2, 1]
    assert names(found) == [(v, f"img{i:03d}.png") for v in "ab" for i in range(3)]
    label = found.labels[4]
    assert (label.row, label.frame, label.individual.tolist()) == (4, 1, [0, 1])
    assert label.xy[1, 2].tolist() == [22, 23]
    assert label.image.is_file()


def test_the_config_file_itself_serves_as_root(project):
    assert read_project(project / "config.yaml").root == read_project(project).root == project


def test_nothing_is_written(project):
    before = {p: p.read_bytes() for p in project.rglob("*") if p.is_file()}
    read_project(project, decode=True)
    assert {p: p.read_bytes() for p in project.rglob("*") if p.is_file()} == before


def test_images_without_labels_are_kept(project):
    path = project / "labeled-data" / "a" / "CollectedData_me.h5"
    frame = pd.read_hdf(path)
    frame.iloc[1] = np.nan
    frame.to_hdf(path, key="df_with_missing", mode="w")
    path.with_suffix(".csv").unlink()
    label = read_project(project).labels[1]
    assert label.xy.shape == (0, 3, 2)
    assert label.row == 1


def test_the_guides_commented_out_folders_are_ignored_and_named(project, add_folder, edit):
    add_folder("c")
    edit("video_sets:\n", "video_sets:\n  # ? /data/x/labeled-data/c\n  # : crop: 0, 1296, 0, 972\n")
    edit("  /data/videos/a.mp4:\n    crop:", "  ? /data/x/proj/labeled-data/a\n  : crop:")
    found = read_project(project)
    assert {label.video for label in found.labels} == {"a", "b"}
    (problem,) = said(found, "labeled-data/c", "not in video_sets")
    assert problem.skipped


@pytest.mark.parametrize("value", ["video_sets:\n", "video_sets: ''\n", "video_sets: {}\n", ""])
def test_no_video_sets_means_all_folders(project, edit, value):
    text = (project / "config.yaml").read_text()
    start, end = text.index("\nvideo_sets") + 1, text.index("bodyparts: MULTI!")
    edit(text[start:end], value)
    found = read_project(project)
    assert len(found.labels) == 6
    assert [label.row for label in found.labels] == list(range(6))


def test_video_sets_that_match_nothing_mean_all_folders(project, edit):
    edit("/data/videos/a.mp4", "C:\\Users\\me\\x.avi")
    edit("/data/videos/b.mp4", "/mnt/y.avi")
    found = read_project(project)
    assert len(found.labels) == 6
    assert said(found, "video_sets", "all folders")


def test_windows_paths_name_the_same_folder(project, edit):
    edit("/data/videos/a.mp4", "C:\\Users\\me\\proj\\videos\\a.mp4")
    assert len(read_project(project).labels) == 6
    assert not read_project(project).problems


def test_a_video_without_labels_is_a_note(project, edit):
    edit("video_sets:\n", "video_sets:\n  /data/videos/new.mp4:\n    crop: 0, 64, 0, 48\n")
    (problem,) = said(read_project(project), "labeled-data/new")
    assert not problem.skipped


def test_two_videos_of_one_stem_are_noted_and_used_once(project, edit):
    edit("video_sets:\n", "video_sets:\n  /old/a.avi:\n    crop: 0, 64, 0, 48\n")
    found = read_project(project)
    assert len(found.labels) == 6
    assert said(found, "video_sets", "two entries mean 'a'")


def test_check_labels_pictures_are_no_folder_of_labels(project, edit):
    (project / "labeled-data" / "a_labeled").mkdir()
    assert not read_project(project).problems


def test_a_moved_project_is_read_where_it_is(project, edit):
    text = (project / "config.yaml").read_text()
    line = next(part for part in text.splitlines() if part.startswith("project_path"))
    edit(line, "project_path: D:\\work\\proj")
    found = read_project(project)
    assert len(found.labels) == 6
    (problem,) = found.problems
    assert "D:\\work\\proj" in problem.what


def test_bad_crops_are_noted(project, edit):
    edit("crop: 0, 64, 0, 48", "crop: 0, x, 0, 48")
    assert len(said(read_project(project), "video_sets", "crop")) == 2


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda p: p.unlink(), "no such file"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.write_bytes(b"hello"), "not readable"),
        (lambda p: p.write_bytes(p.read_bytes()[:-20]), "cut off"),
        (lambda p: p.write_bytes(p.read_bytes()[:20]), "cut off"),
    ],
)
def test_bad_images_are_left_out_and_named(project, damage, word):
    damage(project / "labeled-data" / "a" / "img001.png")
    found = read_project(project)
    assert ("a", "img001.png") not in names(found)
    assert [label.row for label in found.labels] == [0, 2, 3, 4, 5]  # DLC counts it all the same
    (problem,) = found.problems
    assert problem.where == "labeled-data/a/img001.png"
    assert problem.skipped
    assert word in problem.what


def test_damage_inside_an_image_is_found_by_decoding(project):
    path = project / "labeled-data" / "a" / "img001.png"
    content = bytearray(path.read_bytes())
    content[40:60] = b"\xff" * 20
    path.write_bytes(content)
    assert not read_project(project).problems
    assert said(read_project(project, decode=True), "img001.png", "not readable")


def test_a_stray_image_of_another_size_is_left_out(project, make_png):
    (project / "labeled-data" / "a" / "img001.png").write_bytes(make_png(32, 48))
    found = read_project(project)
    assert ("a", "img001.png") not in names(found)
    assert said(found, "img001.png", "expected 64 x 48 px as the folder's others, got 32 x 48")


def test_many_images_of_another_size_are_kept_and_named(project, add_folder, edit, make_png):
    """Frames extracted with a crop stand beside uncropped ones; both kinds carry good labels."""
    folder = add_folder("c", n=5)
    edit("video_sets:\n", "video_sets:\n  /x/c.mp4:\n    crop: 0, 64, 0, 48\n")
    for i in (0, 2):
        (folder / f"img{i:03d}.png").write_bytes(make_png(32, 48))
    found = read_project(project)
    assert len(found.labels) == 11
    assert [p.where[-10:] for p in found.problems] == ["img000.png", "img002.png"]
    assert not any(p.skipped for p in found.problems)


def test_an_unreadable_h5_is_replaced_by_its_csv(project):
    (project / "labeled-data" / "a" / "CollectedData_me.h5").write_bytes(b"rubbish")
    found = read_project(project)
    assert len(found.labels) == 6
    # DLC reads the h5 only, so its rows count folder b alone
    assert [label.row for label in found.labels] == [-1, -1, -1, 0, 1, 2]
    assert said(found, "CollectedData_me.h5", "the csv is used")


def test_a_csv_alone_is_used(project):
    (project / "labeled-data" / "a" / "CollectedData_me.h5").unlink()
    found = read_project(project)
    assert len(found.labels) == 6
    assert said(found, "labeled-data/a", "only the csv")


def test_h5_and_csv_that_disagree_are_noted_and_the_h5_wins(project):
    path = project / "labeled-data" / "a" / "CollectedData_me.csv"
    path.write_text(path.read_text().replace("13.0", "99.5"))
    found = read_project(project)
    assert said(found, "labeled-data/a", "disagree (1 of 3 images)")
    assert 99.5 not in found.labels[1].xy


def test_both_unreadable_leave_the_folder_out(project):
    for suffix in ("h5", "csv"):
        (project / "labeled-data" / "a" / f"CollectedData_me.{suffix}").write_bytes(b"rubbish")
    found = read_project(project)
    assert {label.video for label in found.labels} == {"b"}
    assert all(p.skipped for p in said(found, "labeled-data/a"))


def test_labels_of_another_scorer_are_left_out(project, add_folder, edit):
    add_folder("c", scorer="you")
    edit("video_sets:\n", "video_sets:\n  /x/c.mp4:\n    crop: 0, 64, 0, 48\n")
    found = read_project(project)
    assert {label.video for label in found.labels} == {"a", "b"}
    assert said(found, "labeled-data/c", "CollectedData_you.h5")
    for suffix in ("h5", "csv"):
        path = project / "labeled-data" / "c" / f"CollectedData_you.{suffix}"
        path.rename(path.with_name(f"CollectedData_me.{suffix}"))
    assert said(read_project(project), "labeled-data/c", "expected labels by 'me' (config.yaml), got 'you'")


def test_old_row_indices_are_read(project):
    for name, separator in (("a", "/"), ("b", "\\")):
        path = project / "labeled-data" / name / "CollectedData_me.h5"
        frame = pd.read_hdf(path)
        frame.index = pd.Index([separator.join(row) for row in frame.index], dtype=object)
        frame.to_hdf(path, key="df_with_missing", mode="w")
    found = read_project(project)
    assert found.problems == ()
    assert [label.row for label in found.labels] == list(range(6))


def test_stray_likelihood_and_object_columns_are_read(project):
    path = project / "labeled-data" / "a" / "CollectedData_me.h5"
    frame = pd.read_hdf(path)
    expected = frame.to_numpy()[1, 0]
    frame[("me", "ann", "nose", "likelihood")] = 0.5
    frame.astype(object).to_csv(path.with_suffix(".csv"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTables pickles object columns and says so
        frame.astype(object).to_hdf(path, key="df_with_missing", mode="w")
    found = read_project(project)
    assert found.labels[1].xy[0, 0, 0] == expected
    assert said(found, "labeled-data/a", "likelihood")


def test_numeric_folder_names_stay_text(project, add_folder, edit):
    add_folder("007")
    edit("video_sets:\n", "video_sets:\n  /x/007.mp4:\n    crop: 0, 64, 0, 48\n")
    found = read_project(project)
    assert found.problems == ()
    assert names(found)[0] == ("007", "img000.png")


def test_rows_of_a_renamed_folder_are_found(project, edit):
    (project / "labeled-data" / "a").rename(project / "labeled-data" / "z")
    edit("videos/a.mp4", "videos/z.mp4")
    found = read_project(project)
    assert len(found.labels) == 6
    assert said(found, "labeled-data/z", "name another folder")


def test_an_image_labelled_twice_counts_once(project):
    path = project / "labeled-data" / "a" / "CollectedData_me.h5"
    frame = pd.read_hdf(path)
    pd.concat([frame, frame.iloc[:1] + 1]).to_hdf(path, key="df_with_missing", mode="w")
    path.with_suffix(".csv").unlink()
    found = read_project(project)
    assert len(found.labels) == 6
    assert found.labels[0].xy[0, 0, 0] == 0
    assert [label.row for label in found.labels] == [0, 2, 3, 4, 5, 6]
    assert said(found, "img000.png", "twice")


def test_individuals_that_the_config_lacks_are_kept_without_a_name(project, edit):
    edit("- bob\n", "- cid\n")
    found = read_project(project)
    assert found.labels[0].individual.tolist() == [0, -1]
    assert said(found, "labeled-data/a", "'bob'")


def test_bodyparts_that_differ_are_noted(project, edit):
    edit("- rightear\nstart", "- tail\nstart")
    found = read_project(project)
    assert not found.labels[0].visible[:, 2].any()
    assert said(found, "labeled-data/a", "'rightear' are not in config.yaml")
    assert said(found, "labeled-data/a", "'tail' of config.yaml have no column")
    assert said(found, "skeleton", "rightear")


def test_unique_bodyparts_stand_apart(project, add_folder, edit):
    skeleton = Skeleton(("nose", "leftear", "rightear"), unique=("corner", "door"))
    add_folder("c", skeleton=skeleton, unique_xy=np.full((3, 2, 2), 7.5))
    edit("uniquebodyparts: []", "unique_bodyparts: [corner, door]")
    edit("video_sets:\n", "video_sets:\n  /x/c.mp4:\n    crop: 0, 64, 0, 48\n")
    found = read_project(project)
    assert found.skeleton.unique == ("corner", "door")
    assert np.isnan(found.labels[0].unique_xy).all()
    assert found.labels[6].unique_xy.tolist() == [[7.5, 7.5], [7.5, 7.5]]
    assert found.labels[6].xy.shape == (2, 3, 2)


def test_identity_by_either_name(project, edit):
    assert not read_project(project).has_identity
    edit("identity: false", "with_identity: true")
    assert read_project(project).has_identity


def test_unknown_keys_and_engines_are_fine(project, edit):
    edit("engine: pytorch", "engine: tensorflow\nmy_lab_key: [1, 2]")
    assert len(read_project(project).labels) == 6


def test_excluded_folders_are_left_out_by_name_and_keep_dlcs_rows(project):
    (project / "shoal").mkdir()
    (project / "shoal" / "exclude.txt").write_text("# why\na  # corrupted\n")
    found = read_project(project)
    assert found.excluded == ("a",)
    assert [label.row for label in found.labels] == [3, 4, 5]
    assert said(found, "labeled-data/a", "on request")
    assert read_project(project, exclude=["nosuch"]).excluded == ("a", "nosuch")


def test_videos_are_found_where_the_project_moved(project):
    (project / "videos").mkdir()
    for name in ("a.mp4", "extra.avi", "a_labeled.mp4", "notes.txt"):
        (project / "videos" / name).write_bytes(b"x")
    assert [video.name for video in read_project(project).videos] == ["a.mp4", "extra.avi"]


def test_no_usable_label_says_everything(project):
    for name in ("a", "b"):
        for image in (project / "labeled-data" / name).glob("*.png"):
            image.unlink()
    with pytest.raises(ProjectError) as raised:
        read_project(project)
    assert raised.value.message.count("no such file") == 6


@pytest.mark.parametrize("content", ["[1, 2]", "a: b: c", "", "Task: x\nbodyparts: [nose]"])
def test_a_config_that_is_none_is_an_error_with_its_place(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ProjectError, match=r"config\.yaml"):
        read_project(tmp_path)


def test_no_config_is_an_error_with_a_hint(tmp_path):
    with pytest.raises(ProjectError, match="project folder") as raised:
        read_project(tmp_path)
    assert raised.value.hint


def test_labels_survive_config_lists_of_both_kinds(project, edit):
    """Old multi-animal projects repeat the multi-animal names under ``bodyparts``."""
    edit("bodyparts: MULTI!", "bodyparts: [nose, leftear, rightear]")
    assert len(read_project(project).labels) == 6


@pytest.mark.data
def test_real_single_animal_project(shoal_data: Path):
    found = read_project(shoal_data / "dlc_openfield")
    assert len(found.labels) == 116
    assert found.individuals == ("individual_1",)
    assert found.skeleton.mirror.tolist() == [0, 2, 1, 3]
    assert all(label.visible.all() and label.xy.shape == (1, 4, 2) for label in found.labels)
    assert np.allclose(found.labels[0].xy[0, 0], [21.521, 265.428])
    assert [video.name for video in found.videos] == ["m3v1mp4.mp4"]


@pytest.mark.data
def test_real_multi_animal_project(shoal_data: Path):
    found = read_project(shoal_data / "zebrafish8_a")
    assert found.problems == ()
    assert len(found.labels) == 24
    assert found.has_identity
    assert all(label.individual.tolist() == list(range(8)) for label in found.labels)
