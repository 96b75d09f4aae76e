from __future__ import annotations

import numpy as np
import pytest

from shoal.config.run import load_config
from shoal.io.video import VideoWriter, probe
from shoal.models.checkpoint import ModelInfo, build_model, save_checkpoint
from shoal.run.engine import load_engine, sample_frames
from shoal.run.folder import read_card
from shoal.run.status import status
from shoal.run.steps import analyze
from shoal.types import Skeleton


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = load_config(overrides=["model.backbone=test_resnet", "model.neck=8", "model.input_scale=0.5"])
    info = ModelInfo(Skeleton(("a", "b")), np.array([[0, 1]]), ("x",), False, 30.0, config)
    save_checkpoint(tmp_path / "best.pt", build_model(info, pretrained=False).state_dict(), info, epoch=1)
    return tmp_path / "best.pt"


@pytest.fixture
def video(tmp_path):
    rng = np.random.default_rng(0)
    with VideoWriter(tmp_path / "noise.mp4", fps=25) as writer:
        for _ in range(40):
            writer.write(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8))
    return tmp_path / "noise.mp4"


def test_a_run_keeps_its_runtime_where_nobody_asks_for_another(model, video, tmp_path):
    info = probe(video)
    free, asked = (
        load_engine(model, load_config()),
        load_engine(model, load_config(overrides=["predict.runtime=openvino"])),
    )
    assert free.ready_for(info).card.runtime.startswith("openvino-")
    assert free.ready_for(info, "eager-float32").card.runtime == "eager-float32"
    assert asked.ready_for(info, "eager-float32").card.runtime.startswith("openvino-")
    assert free.ready_for(info, "nonsense-float32").card.runtime.startswith("openvino-")
    assert free.ready_for(info) is free.ready_for(info)


def test_going_on_without_naming_the_runtime_does_nothing_again(model, video, tmp_path):
    plain = load_config(overrides=["predict.runtime=eager", "predict.precision=float32"])
    run_dir = analyze(video, model, config=plain, dest=tmp_path / "out")
    before = {p.name: p.stat().st_mtime_ns for p in (run_dir / "detections").iterdir()}
    assert analyze(video, model, config=load_config(), dest=tmp_path / "out") == run_dir
    assert read_card(run_dir).runtime == "eager-float32"
    assert before == {p.name: p.stat().st_mtime_ns for p in (run_dir / "detections").iterdir()}
    assert status([run_dir])[0]["state"] == "tracked"


def test_sampled_frames_spread_over_the_video(video):
    assert [int(batch.frame[0]) for batch in sample_frames(probe(video), 4)] == [0, 10, 20, 30]
