"""DLC's config.yaml."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from ruamel.yaml import YAML

from shoal.io.dlc.config_file import read_config, write_config
from shoal.types import Skeleton

SKELETON = Skeleton(("nose", "tail"), edges=[[0, 1]], unique=("corner",))
DLC_302_KEYS = """config_version Task scorer date multianimalproject identity project_path pose_config_path engine
video_sets bodyparts individuals uniquebodyparts multianimalbodyparts start stop numframes2pick skeleton skeleton_color
pcutoff dotsize alphavalue colormap TrainingFraction iteration default_net_type default_augmenter default_track_method
snapshotindex detector_snapshotindex batch_size detector_batch_size cropping x1 x2 y1 y2 corner2move2 move2corner
SuperAnimalConversionTables resnet croppedtraining"""


def write(folder, videos, **changed):
    options = {
        "task": "t", "scorer": "me", "date": "Nov22", "skeleton": SKELETON, "individuals": ["a", "b"], "identity": True
    }  # fmt: skip
    write_config(folder / "config.yaml", videos=videos, **(options | changed))
    return folder / "config.yaml"


def test_only_keys_of_dlc_are_written_with_dlcs_types(tmp_path):
    long = Path("/" + "x" * 300) / "a b.mp4"
    data = YAML(typ="safe").load(write(tmp_path, {long: (640, 480)}).read_text())
    assert set(data) <= set(DLC_302_KEYS.split())
    assert data["video_sets"] == {str(long): {"crop": "0, 640, 0, 480"}}
    assert data["bodyparts"] == "MULTI!"
    assert data["skeleton"] == [["nose", "tail"]]
    assert data["identity"] is True
    assert data["project_path"] == str(tmp_path.resolve())


def test_reading_gives_back_what_was_written(tmp_path):
    found = read_config(write(tmp_path, {Path("/v/a.mp4"): (640, 480)}))
    assert (found.task, found.scorer, found.date, found.individuals) == ("t", "me", "Nov22", ("a", "b"))
    assert (found.keypoints, found.unique, found.skeleton) == (("nose", "tail"), ("corner",), (("nose", "tail"),))
    assert (found.videos, found.is_multi, found.has_identity) == (("/v/a.mp4",), True, True)
    assert found.problems == ()


def test_sizes_are_taken_from_the_labelled_images_if_there_is_no_video(tmp_path):
    (tmp_path / "labeled-data" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "labeled-data" / "a" / "img0.png"), np.zeros((30, 50, 3), np.uint8))
    data = YAML(typ="safe").load(write(tmp_path, [Path("/nowhere/a.mp4")]).read_text())
    assert data["video_sets"]["/nowhere/a.mp4"]["crop"] == "0, 50, 0, 30"
    with pytest.raises(ValueError, match="width, height"):
        write(tmp_path, [Path("/nowhere/b.mp4")])


GUIDE = """
    # Project definitions (do not edit)
Task: dlc_model
scorer: student
date: Jul26
multianimalproject: true
identity: false
video_sets:
  # ? /data/x/labeled-data/MC_singlenuc21_3_Tk53_021220_0004_vid
  # : crop: 0, 1296, 0, 972
  ? /data/x/labeled-data/MC_singlenuc23_1_Tk33_021220_0004_vid
  : crop: 0, 1296, 0, 972
  ? /data/x/labeled-data/MC_singlenuc23_8_Tk33_031720_0001_vid
  : crop: 0, 1296, 0, 972
individuals: [fish1, fish2]
uniquebodyparts: []
multianimalbodyparts: [nose, lefteye, righteye]
skeleton:
- [nose, lefteye]
- [lefteye, nose]
- [nose, nose]
- [nose, beard]
bodyparts: MULTI!
"""


def test_the_guides_complex_keys_parse(tmp_path):
    (tmp_path / "config.yaml").write_text(GUIDE)
    found = read_config(tmp_path)
    assert [video[-8:] for video in found.videos] == ["0004_vid", "0001_vid"]
    assert found.skeleton == (("nose", "lefteye"),)
    assert len(found.problems) == 2  # nose-nose and beard


def test_entries_without_a_crop_are_fine(tmp_path):
    (tmp_path / "config.yaml").write_text(GUIDE.replace("  : crop: 0, 1296, 0, 972\n", "  :\n"))
    assert len(read_config(tmp_path).videos) == 2


def test_repeated_names_are_noted(tmp_path):
    (tmp_path / "config.yaml").write_text(GUIDE.replace("[fish1, fish2]", "[fish1, fish1]"))
    found = read_config(tmp_path)
    assert found.individuals == ("fish1",)
    assert any("repeated" in p.what for p in found.problems)


@pytest.mark.data
def test_an_old_config_with_two_lists_of_bodyparts(shoal_data: Path):
    found = read_config(shoal_data / "dlc_trimouse_algo")
    assert found.individuals == ("mus1", "mus2", "mus3")
    assert len(found.keypoints) == 12
    assert len(found.videos) == 8
    assert len(found.skeleton) == 23  # 24 lines, one pair stands there twice
    assert found.fractions == (0.7,)
