from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from shoal.config.predict import PredictConfig
from shoal.config.run import load_config
from shoal.models.checkpoint import LoadedModel, ModelInfo, build_model
from shoal.models.detect import detect
from shoal.models.runtime.setup import Forward
from shoal.types import FrameBatch, Skeleton, concatenate


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    """An untrained network that sees things everywhere."""
    skeleton = Skeleton(("a", "b", "c"), unique=("food",))
    config = load_config(overrides=["model.backbone=test_resnet", "model.input_scale=0.5", "model.neck=8"])
    info = ModelInfo(skeleton, np.array([[0, 1], [1, 2]]), ("x", "y"), True, 30.0, config)
    torch.manual_seed(0)
    net = build_model(info, pretrained=False)
    images = torch.randint(0, 255, (2, 96, 131, 3), dtype=torch.uint8)
    with torch.no_grad():
        for _ in range(20):  # batch statistics of real pixels, or all maps would be nearly flat
            net(images)
    net.eval()
    torch.nn.init.normal_(net.body.head.weight, std=2.0)  # type: ignore[union-attr,arg-type]
    return LoadedModel(net, info, "0" * 64, torch.device("cpu"))


def frames(n: int, start: int = 10) -> FrameBatch:
    images = np.random.default_rng(0).integers(0, 255, (12, 96, 131, 3), dtype=np.uint8)
    return FrameBatch(np.arange(start, start + n), images[start - 10 : start - 10 + n])


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_any_batch_size_gives_the_same_bytes(model: LoadedModel, precision: str) -> None:
    config = PredictConfig(precision=precision)  # type: ignore[arg-type]
    whole = detect(model, frames(6), config)
    assert len(whole[0]) > 10, "the untrained network must see something"
    assert len(whole[0].limb_frame) > 10
    parts = [detect(model, frames(n, start), config) for start, n in ((10, 1), (11, 2), (13, 3))]
    for joined, expected in (
        (concatenate([p[0] for p in parts]), whole[0]),
        (concatenate([p[1] for p in parts]), whole[1]),
    ):
        for name in expected.__dataclass_fields__:
            a, b = getattr(joined, name), getattr(expected, name)
            assert a.tobytes() == b.tobytes() if isinstance(b, np.ndarray) else a == b, name
    assert np.concatenate([p[2] for p in parts]).tobytes() == whole[2].tobytes()


def test_tables_are_complete(model: LoadedModel) -> None:
    detections, unique, features = detect(model, frames(3), PredictConfig(), feature_size=16)
    assert detections.span == unique.span == (10, 13)
    assert features.shape == (len(detections), 16)
    assert features.dtype == np.float16
    assert detections.identity.shape == (len(detections), 2)
    assert unique.xy.shape == (3, 1, 2)
    for frame in (10, 11, 12):
        rows = detections.frame == frame
        assert detections.number[rows].tolist() == list(range(rows.sum()))


def test_origin_and_scale_bring_positions_back(model: LoadedModel) -> None:
    plain = detect(model, frames(1), PredictConfig())[0]
    moved = detect(model, replace(frames(1), origin=np.array([100.0, 50.0]), scale=0.5), PredictConfig())[0]
    assert np.allclose(moved.xy, plain.xy * 2 + (100, 50), atol=1e-3)


def test_no_frames(model: LoadedModel) -> None:
    batch = FrameBatch(np.zeros(0), np.zeros((0, 8, 8, 3), np.uint8))
    detections, unique, features = detect(model, batch, PredictConfig())
    assert len(detections) == len(unique) == len(features) == 0


def test_out_of_memory_halves_the_batch(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault injection: on a device that runs out of memory above two frames the result is the same."""
    from shoal.models import detect as module

    expected = detect(model, frames(5), PredictConfig(precision="float32"))
    look, sizes = module._look, []

    def limited(model: LoadedModel, forward: Forward, images: np.ndarray, *rest: object) -> object:
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("injected")
        return look(replace(model, device=torch.device("cpu")), forward, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_look", limited)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    found = detect(replace(model, device=torch.device("meta")), frames(5), PredictConfig(precision="float32"))
    assert sizes == [5, 3, 2, 2, 1]
    assert np.array_equal(found[0].frame, expected[0].frame)
    assert np.allclose(found[0].xy, expected[0].xy, atol=1e-3)


def test_features_do_not_depend_on_the_batch_but_on_the_place(model: LoadedModel) -> None:
    detections, _, features = detect(model, frames(2), PredictConfig())
    assert np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) > 0.9 * len(detections)
