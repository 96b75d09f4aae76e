"""``shoal check``."""

import json

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from shoal.cli.check import check
from shoal.errors import ProjectError
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.project import write_config
from shoal.types import Skeleton

APP = typer.Typer()
APP.command()(check)
SKELETON = Skeleton(("nose", "eyeL", "eyeR", "tail"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Five videos, labels of the third at half size, one empty image, one h5 beside a differing csv."""
    root = tmp_path_factory.mktemp("my project")
    rng = np.random.default_rng(0)
    body = np.array([[0, 0], [10, -6], [10, 6], [60, 0]], float)
    image = cv2.imencode(".png", np.zeros((480, 640, 3), np.uint8))[1].tobytes()
    for f in range(5):
        folder = root / "labeled-data" / f"v{f}"
        folder.mkdir(parents=True)
        images = [f"img{i:02d}.png" for i in range(20)]
        for name in images:
            (folder / name).write_bytes(image)
        xy = body + rng.uniform([10, 20], [560, 460], (20, 1, 1, 2)) + rng.normal(0, 1, (20, 1, 4, 2))
        xy = xy * 0.4 if f == 2 else xy
        write_labels(folder, scorer="me", skeleton=SKELETON, individuals=["a"], images=images, xy=xy)
    (root / "labeled-data" / "v0" / "img03.png").write_bytes(b"")
    (root / "labeled-data" / "v1" / "CollectedData_me.csv").unlink()
    write_config(
        root / "config.yaml", task="t", scorer="me", date="Nov22", skeleton=SKELETON, individuals=["a"],
        videos={root / f"v{f}.mp4": (640, 480) for f in range(5)}, identity=False,
    )  # fmt: skip
    return root


def run(*words):
    return CliRunner().invoke(APP, [str(word) for word in words])


def test_a_project_is_shown_with_faults_ranking_and_next_command(project):
    result = run(project)
    assert result.exit_code == 0
    assert "99 images in 5 folders" in result.stdout
    assert "labeled-data/v0/img03.png" in result.stdout
    assert "eyeL/eyeR" in result.stdout
    ranking = result.stdout.split("most suspicious folders first")[1]
    assert min((ranking.index(f"v{f}"), f) for f in range(5))[1] == 2
    assert "0.4" in ranking
    assert result.stdout.rstrip().endswith(f"next: shoal dataset '{project}' --exclude v2")


def test_json_has_the_same(project):
    found = json.loads(run(project, "--json").stdout)
    assert found["folders"][0]["folder"] == "v2"
    assert len(found["problems"]) == 1


def test_without_a_project_the_machine_is_shown():
    result = run()
    assert result.exit_code == 0
    for word in ("Python", "torch", "NVIDIA driver", "h264", "next: shoal check PROJECT"):
        assert word in result.stdout
    assert "threads" in json.loads(run("--json").stdout)


def test_settings_are_listed_with_defaults():
    assert "dataset.train_fraction" in run("--settings").stdout
    rows = {row["key"]: row for row in json.loads(run("--settings", "--json").stdout)}
    assert rows["dataset.train_fraction"]["default"] == 0.8
    assert rows["train.augment.rotation_deg"]["meaning"]


def test_a_folder_without_a_project_is_an_input_error(tmp_path):
    result = run(tmp_path)
    assert isinstance(result.exception, ProjectError)
    assert result.exception.exit_code == 2


def test_a_file_is_said_in_words_or_as_json(project, tmp_path):
    file = project / "labeled-data" / "v0" / "CollectedData_me.h5"
    said = CliRunner().invoke(APP, [str(file)])
    assert said.exit_code == 0 and "CollectedData_me.h5: labels" in said.output and "20 images" in said.output
    found = json.loads(CliRunner().invoke(APP, [str(file), "--json"]).output)
    assert found["kind"] == "labels" and found["images"] == 20 and found["says"]
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ProjectError, match="notes"):
        CliRunner().invoke(APP, [str(tmp_path / "notes.txt")], catch_exceptions=False)
