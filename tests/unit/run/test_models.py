from __future__ import annotations

import os

import pytest

from shoal.errors import CheckpointError
from shoal.run.models import describe_training, find_model


@pytest.fixture
def project(tmp_path):
    (tmp_path / "config.yaml").touch()
    for time, name in enumerate(("first", "second", "started")):
        folder = tmp_path / "shoal" / "models" / name
        folder.mkdir(parents=True)
        for file in () if name == "started" else ("last.pt", "best.pt"):
            (folder / file).touch()
            os.utime(folder / file, (time, time))
    return tmp_path


def test_a_model_is_found_from_everything_that_means_it(project):
    second = project / "shoal" / "models" / "second"
    assert find_model(project) == second / "best.pt"
    assert find_model(project / "config.yaml") == second / "best.pt"
    assert find_model(second) == second / "best.pt"
    assert find_model(second / "last.pt") == second / "last.pt"
    assert find_model(project, name="first").parent.name == "first"


@pytest.mark.parametrize("name", ["started", "absent"])
def test_no_model_is_an_error_with_a_hint(project, name):
    with pytest.raises(CheckpointError, match=name) as error:
        find_model(project, name=name)
    assert "shoal train" in error.value.hint


def test_results_in_words():
    found = {"epoch": 5, "seconds": 90.0, "scores": {"rmse": 3.21, "mAP": 80.0, "mAR": 85.5}}
    assert describe_training(found) == "trained 5 epochs in 1.5 minutes; test frames: error 3.21 px, mAP 80.0, mAR 85.5"
    trial = {"images_per_s": 12.0, "memory_mb": 900.0, "hours": 0.5, "steps": 2700, "micro_batch": 8}
    trial |= {"device": "cpu (2 threads)", "evaluate_s": 0.3}
    assert "take about 30.0 minutes" in describe_training(trial)
