from __future__ import annotations

import os

import numpy as np
import onnx
import pytest

from shoal.config.run import load_config
from shoal.errors import CheckpointError, ConfigError
from shoal.models.checkpoint import ModelInfo, build_model, save_checkpoint
from shoal.run.models import describe_training, export_model, find_model
from shoal.types import Skeleton


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


def test_a_model_is_exported_as_onnx(tmp_path):
    folder = tmp_path / "shoal" / "models" / "first"
    folder.mkdir(parents=True)
    config = load_config(overrides=["model.backbone=test_resnet", "model.neck=8", "model.input_scale=0.5"])
    info = ModelInfo(Skeleton(("a", "b")), np.array([[0, 1]]), ("x",), False, 30.0, config)
    save_checkpoint(folder / "best.pt", build_model(info, pretrained=False).state_dict(), info, epoch=1)
    with pytest.raises(ConfigError, match="WIDTHxHEIGHT, got 'big'"):
        export_model(folder, size="big")
    path = export_model(folder, size="64x48", dest=tmp_path / "out")
    assert path == tmp_path / "out" / "first.onnx"
    shape = onnx.load(str(path)).graph.input[0].type.tensor_type.shape
    assert [d.dim_value for d in shape.dim] == [1, 24, 32, 3]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["first.onnx"]
