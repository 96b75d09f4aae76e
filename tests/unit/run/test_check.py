"""What shoal understands of a project, as data."""

import json

import cv2
import numpy as np
import pytest

from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.project import write_config
from shoal.run.check import check_project
from shoal.types import Skeleton

SKELETON = Skeleton(("nose", "eyeL", "eyeR"), edges=[[0, 1]])


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "labeled-data" / "v"
    folder.mkdir(parents=True)
    for name in ("img0.png", "img1.png"):
        cv2.imwrite(str(folder / name), np.zeros((40, 60, 3), np.uint8))
    xy = np.array([[[[1, 2], [3, 4], [5, 6]]], [[[np.nan] * 2] * 3]])
    images = ["img0.png", "img1.png"]
    write_labels(folder, scorer="me", skeleton=SKELETON, individuals=["a", "b"], images=images, xy=xy)
    write_config(
        tmp_path / "config.yaml", task="t", scorer="me", date="Nov22", skeleton=SKELETON,
        individuals=["a", "b"], videos={folder: (60, 40)}, identity=False,
    )  # fmt: skip
    return tmp_path


def test_the_report_has_every_part_and_is_json(project):
    found = json.loads(json.dumps(check_project(project)))
    assert (found["images"], found["animals"], found["images_without_animals"]) == (2, 1, 1)
    assert found["limbs"] == [["nose", "eyeL"]]
    assert found["mirror_pairs"] == [["eyeL", "eyeR"]]
    assert found["problems"] == []
    assert found["shuffles"] == []
    assert found["next_shuffle"] == 1
    assert [(f["folder"], f["images"], f["animals"]) for f in found["folders"]] == [("v", 2, 1)]


def test_problems_are_in_it(project):
    (project / "labeled-data" / "v" / "img1.png").write_bytes(b"")
    (problem,) = check_project(project)["problems"]
    assert problem == {
        "where": "labeled-data/v/img1.png",
        "what": "expected an image, got an empty file",
        "skipped": True,
    }
