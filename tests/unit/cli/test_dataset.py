"""``shoal dataset``."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from shoal.cli.dataset import dataset
from shoal.errors import ConfigError, ProjectError
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.project import write_config
from shoal.types import Skeleton

APP = typer.Typer()
APP.command()(dataset)
SKELETON = Skeleton(("nose", "tail"))


@pytest.fixture
def project(tmp_path):
    image = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    for name in ("a", "b"):
        folder = tmp_path / "labeled-data" / name
        folder.mkdir(parents=True)
        images = [f"img{i}.png" for i in range(5)]
        for file in images:
            (folder / file).write_bytes(image)
        xy = np.random.default_rng(0).uniform(0, 40, (5, 1, 2, 2))
        write_labels(folder, scorer="me", skeleton=SKELETON, individuals=["x"], images=images, xy=xy)
    write_config(
        tmp_path / "config.yaml", task="t", scorer="me", date="Nov22", skeleton=SKELETON, individuals=["x"],
        videos={tmp_path / "a.mp4": (64, 48), tmp_path / "b.mp4": (64, 48)}, identity=False,
    )  # fmt: skip
    return tmp_path


def run(*words):
    return CliRunner().invoke(APP, [str(word) for word in words])


def test_the_split_is_shown_and_the_next_command_repeats_the_settings(project):
    result = run(project, "--set", "dataset.split=time")
    assert result.exit_code == 0
    assert "8 images to train on, 2 to test on" in result.stdout
    assert result.stdout.rstrip().endswith(f"next: shoal train {project} --set dataset.split=time")


def test_json_names_the_part_of_every_image(project):
    found = json.loads(run(project, "--set", "dataset.split=video", "--json").stdout)
    parts = {(image["folder"], image["part"]) for image in found["images"]}
    assert parts in ({("a", "train"), ("b", "test")}, {("a", "test"), ("b", "train")})


def test_exclusion_lasts_is_named_and_is_taken_back(project):
    before = (project / "config.yaml").read_bytes()
    assert run(project, "--exclude", "a").exit_code == 0
    result = run(project)
    assert "4 images to train on, 1 to test on" in result.stdout
    assert "left out on request: a" in result.stdout
    assert (project / "config.yaml").read_bytes() == before
    assert json.loads(run(project, "--include", "a", "--json").stdout)["excluded"] == []


def test_leaving_everything_out_can_be_taken_back(project):
    result = run(project, "--exclude", "a", "--exclude", "b")
    assert isinstance(result.exception, ProjectError)
    assert "on request" in result.exception.message
    assert run(project, "--include", "b").exit_code == 0


def test_a_typing_error_is_an_input_error(project):
    assert isinstance(run(project, "--exclude", "c").exception, ProjectError)
    assert isinstance(run(project, "--set", "dataset.spilt=time").exception, ConfigError)


def test_a_shuffle_that_is_not_there_says_which_are(project):
    result = run(project, "--set", "dataset.split=shuffle", "--set", "dataset.shuffle=3")
    assert isinstance(result.exception, ProjectError)
    assert "shuffle 3" in result.exception.message


def test_a_project_is_shown_without_torch(project):
    code = f"""
import sys, typer
from typer.testing import CliRunner
from shoal.cli.check import check
from shoal.cli.dataset import dataset
for command in (check, dataset):
    app = typer.Typer()
    app.command()(command)
    assert CliRunner().invoke(app, [{str(project)!r}]).exit_code == 0
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
