import datetime

import numpy as np
import pytest

from shoal.errors import ProjectError
from shoal.io.dlc.config_file import read_config, read_crops
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.pose_table import read_pose_table
from shoal.io.video import VideoWriter
from shoal.run.projects import add_videos, create_project, labels_from_csv, next_iteration
from shoal.types import Skeleton

DAY = datetime.date(2026, 11, 2)
COMMENTED = """\
# the lab's own words
Task: fish
scorer: me
date: Jul26
ours: [1, 2]  # not DeepLabCut's
multianimalproject: true
video_sets:
  # ? /elsewhere/labeled-data/bad_vid
  # : crop: 0, 1296, 0, 972
  ? /elsewhere/labeled-data/good_vid
  : crop: 0, 1296, 0, 972
  # ? /elsewhere/labeled-data/last_vid
  # : crop: 0, 1296, 0, 972

# below the videos
bodyparts: MULTI!
individuals: [a, b]
multianimalbodyparts: [nose, tail]
"""


@pytest.fixture
def video(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", fps=25, preset="ultrafast") as writer:
        for grey in range(6):
            writer.write(np.full((48, 64, 3), 40 * grey, np.uint8))
    return tmp_path / "clip.mp4"


def test_a_new_project_has_what_deeplabcut_makes(video, tmp_path):
    path = create_project("fish", "me", [video], parent=tmp_path, individuals=("a", "b"), today=DAY)
    root = path.parent
    assert root.name == "fish-me-2026-11-02"
    assert {p.name for p in root.iterdir()} == {
        "config.yaml", "videos", "labeled-data", "training-datasets", "dlc-models",
    }  # fmt: skip
    config = read_config(root)
    assert (config.task, config.scorer, config.date) == ("fish", "me", "Nov2") and config.individuals == ("a", "b")
    assert not config.problems and read_crops(root) == {str(root / "videos" / "clip.mp4"): (0, 64, 0, 48)}
    assert (root / "videos" / "clip.mp4").is_symlink() and (root / "labeled-data" / "clip").is_dir()
    before = path.read_bytes()
    assert create_project("fish", "me", [video], parent=tmp_path, today=DAY) == path
    assert path.read_bytes() == before, "an existing project is left alone"


def test_a_single_animal_project_has_bodyparts_of_its_own(video, tmp_path):
    path = create_project("mouse", "me", [video], parent=tmp_path, is_multi=False, copy=True, today=DAY)
    config = read_config(path)
    assert not config.is_multi and config.keypoints == ("bodypart1", "bodypart2", "bodypart3")
    assert not (path.parent / "videos" / "clip.mp4").is_symlink()


def test_adding_videos_keeps_comments_and_unknown_keys(video, tmp_path):
    path = tmp_path / "project" / "config.yaml"
    path.parent.mkdir()
    path.write_text(COMMENTED)
    add_videos(path, [video], crops=[(1, 60, 2, 40)])
    lines = path.read_text().splitlines()
    lost = [line for line in COMMENTED.splitlines() if line not in lines]
    assert lost == ["  ? /elsewhere/labeled-data/good_vid", "  : crop: 0, 1296, 0, 972"], "written as key: value"
    assert lines.index("# below the videos") < lines.index("bodyparts: MULTI!")
    crops = read_crops(path)
    assert crops[str(path.parent / "videos" / "clip.mp4")] == (1, 60, 2, 40) and len(crops) == 2
    before = path.read_text()
    add_videos(path, [video])
    assert path.read_text() == before, "the same video is not added twice"


def test_wrong_videos_and_crops_change_nothing(video, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(COMMENTED)
    for videos, crops in (([tmp_path / "none.mp4"], None), ([video], [])):
        with pytest.raises(ProjectError):
            add_videos(path, videos, crops=crops)
    assert path.read_text() == COMMENTED


def test_iteration_counts_up_when_everything_is_labelled(tmp_path):
    (tmp_path / "config.yaml").write_text(COMMENTED)
    folder = tmp_path / "labeled-data" / "good_vid"
    folder.mkdir(parents=True)
    with pytest.raises(ProjectError, match="good_vid"):
        next_iteration(tmp_path)
    write_labels(
        folder, scorer="me", skeleton=Skeleton(("nose", "tail")), individuals=["a", "b"], images=["img1.png"],
        xy=np.ones((1, 2, 2, 2)),
    )  # fmt: skip
    assert next_iteration(tmp_path) == 1 and next_iteration(tmp_path, to=7) == 7
    assert read_config(tmp_path).iteration == 7 and "# the lab's own words" in (tmp_path / "config.yaml").read_text()


def test_what_is_typed_into_a_csv_reaches_the_h5(tmp_path):
    (tmp_path / "config.yaml").write_text(COMMENTED)
    folder = tmp_path / "labeled-data" / "good_vid"
    folder.mkdir(parents=True)
    write_labels(
        folder, scorer="me", skeleton=Skeleton(("nose", "tail")), individuals=["a", "b"], images=["img1.png"],
        xy=np.full((1, 2, 2, 2), 33.0),
    )  # fmt: skip
    text = folder / "CollectedData_me.csv"
    text.write_text(text.read_text().replace("33.0", "44.5", 1))
    assert labels_from_csv(tmp_path) == (folder / "CollectedData_me.h5",)
    assert read_pose_table(folder / "CollectedData_me.h5").values[0, :2].tolist() == [44.5, 33.0]
    text.write_text("no table")
    with pytest.raises(ProjectError, match="good_vid"):
        labels_from_csv(tmp_path)
