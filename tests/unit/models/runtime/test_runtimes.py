from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from shoal.config.run import load_config
from shoal.models.checkpoint import LoadedModel, ModelInfo, build_model
from shoal.models.device import use_bf16
from shoal.models.pose import PoseMaps, PoseNet
from shoal.models.runtime import choose
from shoal.models.runtime.onnx import export_onnx
from shoal.models.runtime.setup import Setup, cache_folder
from shoal.types import Skeleton

MAPS = ("heat", "limbs", "unique", "identity", "locref", "unique_locref")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def network(name: str) -> LoadedModel:
    """Untrained, with unique keypoints and an identity head."""
    settings = {"light": ["model.backbone=test_resnet", "model.neck=8"], "resnet_50": ["model.name=resnet_50"]}[name]
    config = load_config(overrides=[*settings, f"model.input_scale={0.5 if name == 'light' else 1.0}"])
    info = ModelInfo(Skeleton(("a", "b", "c"), unique=("food",)), np.array([[0, 1]]), ("x", "y"), True, 30.0, config)
    torch.manual_seed(0)
    return LoadedModel(build_model(info, pretrained=False).eval(), info, "0" * 64, CPU)


def pictures(n: int = 3, height: int = 90, width: int = 131) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 255, (n, height, width, 3), dtype=np.uint8))


def distance(a: PoseMaps, b: PoseMaps) -> float:
    """Largest difference of any map or feature, as a share of its range."""
    pairs = [(getattr(a, name), getattr(b, name)) for name in MAPS] + list(zip(a.features, b.features, strict=True))
    worst = 0.0
    for x, y in pairs:
        assert (x is None) == (y is None)
        if x is not None and x.numel():
            assert x.shape == y.shape
            worst = max(worst, float((x.float() - y.float()).abs().max() / (x.max() - x.min()).clamp(min=1e-9)))
    assert (a.stride, a.side_stride, a.feature_strides) == (b.stride, b.side_stride, b.feature_strides)
    return worst


@pytest.mark.parametrize(
    ("name", "way", "allowed"),
    [
        ("light", ("openvino", "float32"), 1e-4),
        ("light", ("openvino", "bf16"), 0.05),
        ("light", ("openvino", "int8"), 0.5),
        ("light", ("onnx", "float32"), 1e-4),
        ("resnet_50", ("openvino", "bf16"), 0.05),
    ],
)
def test_a_runtime_gives_the_networks_maps(name: str, way: tuple[str, str], allowed: float) -> None:
    model, images = network(name), pictures()
    setup = Setup(way[1], 2, lambda: list(images.numpy()))
    forward = choose.build(model, way, setup)
    with torch.inference_mode():
        sizes = (images[:1], pictures(1, 64, 96)) if name == "light" else (images[:1],)
        for image in sizes:  # another size is another conversion
            assert distance(model.net(image), forward(image)) <= allowed
    folders = [p for p in cache_folder().iterdir() if p.is_dir()]
    n_kept = 2 if way[1] == "int8" else 1  # it is made from the plain one
    assert len(folders) == n_kept * len(sizes) and not any(p.name.startswith(".") for p in folders)
    before = {p: p.stat().st_mtime_ns for folder in folders for p in folder.iterdir()}
    choose.build(model, way, setup)(images[:1])
    assert before == {p: p.stat().st_mtime_ns for folder in folders for p in folder.iterdir()}, "converted again"
    if way[0] == "openvino":
        assert sys.modules["openvino_telemetry"] is None, "a lab's analyses are nobody else's business"


class OneLayer(torch.nn.Module):
    """A body that takes seconds to compile, not a minute."""

    margin = 8

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3, stride=8, padding=1)

    def trunk(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.layer(x).relu(),)

    def finish(self, tensors: Sequence[torch.Tensor]) -> PoseMaps:
        heat, limbs = tensors[0].split((2, 2), 1)
        return PoseMaps(heat, limbs, heat[:, :0], heat[:, :0], (), (8.0, 8.0), (8.0, 8.0), ())


def test_first_layers_are_those_before_a_quarter_of_the_size() -> None:
    """The neck comes back to a quarter of the size: it is not meant."""
    from shoal.models.runtime.graph import Graph, quiet
    from shoal.models.runtime.openvino import _import, first_layers

    net, pixels = network("light").net, torch.zeros(1, 64, 96, 3, dtype=torch.uint8)
    with quiet(), torch.inference_mode():
        plain = _import().convert_model(Graph(net), example_input=pixels, input=[list(pixels.shape)])
    strides = {
        node.get_friendly_name(): 64 // node.output(0).shape[2]
        for node in plain.get_ops()
        if node.get_type_name() == "Convolution"
    }
    found = first_layers(plain)
    assert 0 < len(found) < sum(stride <= 4 for stride in strides.values())
    assert all(strides[name] <= 4 for name in found)


@pytest.mark.skipif(bool(choose.lacks("compiled", CPU)), reason="torch.compile needs a C++ compiler on CPUs")
def test_a_compiled_network_gives_its_own_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    net = PoseNet(OneLayer(), mean=(127.0,), std=(64.0,), input_scale=0.5).eval()
    model, images = replace(network("light"), net=net), pictures(2)
    forward = choose.build(model, ("compiled", "float32"), Setup("float32"))
    with torch.inference_mode():
        for image in images.split(1):
            assert distance(model.net(image), forward(image)) <= 1e-4
    assert list(tmp_path.rglob("*.cpp")), "nothing was compiled"


def test_openvino_crash_on_small_frames_is_an_error() -> None:
    """OpenVINO 2026.4.1 dies while it compiles this network in float32; later ones may not."""
    forward = choose.build(network("resnet_50"), ("openvino", "float32"), Setup("float32"))
    try:
        with torch.inference_mode():
            maps = forward(pictures(1, 64, 96))
    except choose.ConfigError as error:
        assert "it crashed (signal" in error.message
    else:
        assert maps.heat.isfinite().all()


def test_threads_do_not_mix_frames_up() -> None:
    model, images = network("light"), pictures(12)
    forward = choose.build(model, ("openvino", "float32"), Setup("float32", 2))
    with torch.inference_mode():
        alone = [forward(image).heat.clone() for image in images.split(1)]

    def look(image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return forward(image).heat.clone()

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(look, images.split(1)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_exported_onnx_file_says_what_it_is(tmp_path: Path) -> None:
    import json

    import onnxruntime

    model = network("light")
    export_onnx(model, tmp_path / "net.onnx", size=(90, 131))
    file = onnx.load(str(tmp_path / "net.onnx"))
    about = json.loads(next(p.value for p in file.metadata_props if p.key == "shoal"))
    assert about["keypoints"] == ["a", "b", "c"] and about["frame"] == {"width": 131, "height": 90}
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    assert names == ["heat", "limbs", "unique", "identity"]
    small = np.zeros((1, 45, 66, 3), np.uint8)
    heat = session.run(["heat"], {"pixels": small})[0]
    with torch.inference_mode():
        expected = model.net.at_scale(torch.zeros(1, 3, 45, 66)).heat.numpy()
    assert np.abs(heat - expected).max() <= 1e-4 * np.ptp(expected)


def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "use_bf16", lambda precision, device: True)
    assert choose.ways("auto", "auto", CPU) == (("openvino", "bf16"), ("eager", "bf16"), ("eager", "float32"))
    monkeypatch.setattr(choose, "use_bf16", lambda precision, device: False)
    assert choose.ways("auto", "auto", CPU) == (("openvino", "float32"), ("eager", "float32"))
    assert choose.ways("auto", "int8", CPU) == (("openvino", "int8"),)
    assert choose.ways("eager", "float32", CPU) == (("eager", "float32"),)
    assert choose.ways("onnx", "auto", CPU) == (("onnx", "float32"),)
    assert choose.ways("auto", "auto", torch.device("cuda")) == (("eager", "float32"),)
    monkeypatch.setitem(choose.NEEDS, "openvino", ("no_such_package",))
    assert choose.ways("auto", "auto", CPU) == (("eager", "float32"),)


def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(choose.ConfigError, match="float32, bf16, int8"):
        choose.ways("openvino", "fp16", CPU)
    with pytest.raises(choose.ConfigError, match="CPUs only"):
        choose.ways("openvino", "auto", torch.device("cuda"))
    monkeypatch.setitem(choose.NEEDS, "openvino", ("no_such_package",))
    with pytest.raises(choose.ConfigError, match="not installed: no_such_package"):
        choose.ways("openvino", "auto", CPU)
    with pytest.raises(choose.ConfigError, match="not installed: no_such_package"):
        choose.ways("auto", "int8", CPU)


def test_bf16_goes_by_the_processor() -> None:
    assert choose.ways("eager", "auto", CPU) == (("eager", "bf16" if use_bf16("auto", CPU) else "float32"),)
