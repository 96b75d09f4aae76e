from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from shoal.config.run import load_config
from shoal.errors import CheckpointError
from shoal.models.checkpoint import ModelInfo, build_model, load_model, save_checkpoint
from shoal.types import Skeleton


@pytest.fixture(scope="module")
def info() -> ModelInfo:
    skeleton = Skeleton(("a", "b"), np.array([[0, 1]]), np.array([1, 0]), ("food",))
    config = load_config(overrides=["model.backbone=test_resnet", "model.input_scale=0.5", "model.neck=8"])
    return ModelInfo(skeleton, np.array([[0, 1]]), ("x", "y", "z"), True, 31.5, config)


def test_round_trip(tmp_path: Path, info: ModelInfo) -> None:
    net = build_model(info, pretrained=False).eval()
    save_checkpoint(tmp_path / "best.pt", net.state_dict(), info, epoch=7, scores={"mAP": 50.0})
    model = load_model(tmp_path)
    assert model.skeleton.keypoints == ("a", "b")
    assert model.skeleton.unique == ("food",)
    assert model.skeleton.mirror.tolist() == [1, 0]
    assert model.edges.tolist() == [[0, 1]]
    assert model.individuals == ("x", "y", "z")
    assert model.config == info.config
    assert (model.epoch, model.scores, model.info.body_length) == (7, {"mAP": 50.0}, 31.5)
    image = torch.randint(0, 255, (1, 40, 50, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(model.net(image).heat, net(image).heat)
        assert model.net(image).identity.shape[1] == 3


def test_sha_is_of_the_weights(tmp_path: Path, info: ModelInfo) -> None:
    net = build_model(info, pretrained=False)
    save_checkpoint(tmp_path / "best.pt", net.state_dict(), info, epoch=1)
    save_checkpoint(tmp_path / "last.pt", net.state_dict(), info, epoch=1, training={"state": {}})
    shas = {load_model(tmp_path / name).sha for name in ("best.pt", "last.pt")}
    assert len(shas) == 1
    with torch.no_grad():
        net.body.head.bias[0] += 1  # type: ignore[union-attr,index,operator]
    save_checkpoint(tmp_path / "best.pt", net.state_dict(), info, epoch=1)
    assert load_model(tmp_path / "best.pt").sha not in shas


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"format": 1})])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.pt"):
        load_model(tmp_path / "best.pt")


def test_missing_file_and_foreign_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got nothing") as error:
        load_model(tmp_path)
    assert "train" in error.value.hint
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="format"):
        load_model(tmp_path / "other.pt")


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"format": 1, "weights": Evil()}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "best.pt")
    assert not (tmp_path / "ran").exists()


def test_weights_that_do_not_fit(tmp_path: Path, info: ModelInfo) -> None:
    weights = build_model(info, pretrained=False).state_dict()
    weights.pop("body.head.bias")
    save_checkpoint(tmp_path / "best.pt", weights, info, epoch=1)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_model(tmp_path / "best.pt")
