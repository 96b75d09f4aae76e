from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shoal.config.predict import PredictConfig
from shoal.errors import CheckpointError
from shoal.io.dlc.pytorch_config import graph_of, model_section, write_pytorch_config
from shoal.models.checkpoint import load_model
from shoal.models.detect import detect
from shoal.models.dlc_networks import DlcBody
from shoal.models.dlc_snapshots import in_dlc_order, load_snapshot, net_in, renumber_optimizer, save_snapshot
from shoal.models.pose import LightBody, PoseNet
from shoal.models.registry import IMAGENET
from shoal.types import FrameBatch

NAMES, UNIQUE, ANIMALS = ["nose", "lefteye", "righteye"], ["corner"], ["a", "b"]


def content(net: str = "hrnet_w18", keep: list[int] | None = None, *, identity: bool = True) -> dict[str, Any]:
    model = model_section(net, len(ANIMALS), len(NAMES), len(UNIQUE), graph_of(len(NAMES)), identity=identity)
    if keep is not None:
        model["heads"]["bodypart"]["predictor"]["edges_to_keep"] = keep
    metadata = {
        "project_path": "C:\\fish", "bodyparts": NAMES, "unique_bodyparts": UNIQUE, "individuals": ANIMALS,
        "with_identity": identity,
    }  # fmt: skip
    return {"model": model, "net_type": net, "method": "bu", "metadata": metadata}


@pytest.fixture(scope="module")
def body() -> DlcBody:
    torch.manual_seed(0)
    return DlcBody("hrnet_w18", (3, 6, 1, 2)).eval()


@pytest.fixture
def snapshot(tmp_path: Path, body: DlcBody) -> Path:
    train = tmp_path / "fishNov22-trainset95shuffle1" / "train"
    train.mkdir(parents=True)
    write_pytorch_config(train / "pytorch_config.yaml", content(keep=[2, 0]))
    save_snapshot(train / "snapshot-best-040.pt", body, epoch=40, metrics={"metrics/test.mAP": 61.5}, losses={})
    return train / "snapshot-best-040.pt"


def test_round_trip(snapshot: Path, body: DlcBody) -> None:
    model = load_model(snapshot)
    assert model.skeleton.keypoints == tuple(NAMES)
    assert model.skeleton.unique == ("corner",)
    assert model.skeleton.mirror.tolist() == [0, 2, 1]
    assert model.edges.tolist() == [[1, 2], [0, 1]]  # edges_to_keep, in its order
    assert (model.individuals, model.info.has_identity) == (("a", "b"), True)
    assert (model.epoch, model.scores) == (40, {"mAP": 61.5})
    assert model.scorer == "DLC_HrnetW18_fishNov22shuffle1_snapshot_best-40"
    assert (model.config.model.name, model.config.model.input_scale) == ("hrnet_w18", 1.0)
    assert np.isnan(model.info.body_length)
    whole = PoseNet(body, mean=IMAGENET[0], std=IMAGENET[1], input_scale=1.0)
    image = torch.randint(0, 255, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found, wanted = model.net(image), whole(image)
    assert torch.equal(found.heat, wanted.heat)
    assert torch.equal(found.limbs, wanted.limbs[:, [4, 5, 0, 1]])


def test_a_snapshot_sees_frames(snapshot: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (1, 50, 70, 3), dtype=np.uint8)
    detections, unique, features = detect(load_model(snapshot), FrameBatch(np.arange(1), images), PredictConfig())
    assert detections.identity.shape[1] == 2
    assert len(features) == len(detections)
    assert unique.xy.shape == (1, 1, 2)
    assert set(detections.edge.tolist()) <= {0, 1}


def test_nothing_is_found_in_what_is_padded(snapshot: Path) -> None:
    with torch.inference_mode():
        maps = load_model(snapshot).net(torch.zeros(1, 50, 70, 3, dtype=torch.uint8))
    assert maps.heat.shape == (1, 3, 50, 70)
    assert maps.identity.shape == (1, 2, 25, 35)


def test_what_deeplabcut_needs_is_in_the_file(tmp_path: Path, body: DlcBody) -> None:
    path = tmp_path / "snapshot-005.pt"
    optimizer = torch.optim.AdamW(body.parameters())
    save_snapshot(
        path, body, epoch=5, metrics={"metrics/test.mAP": np.float64(1.5)}, losses={"train.total_loss": 0.1},
        optimizer=optimizer.state_dict(), scheduler={"last_epoch": 5},
    )  # fmt: skip
    saved = torch.load(path, weights_only=True)
    assert saved["metadata"] == {"epoch": 5, "metrics": {"metrics/test.mAP": 1.5}, "losses": {"train.total_loss": 0.1}}
    assert type(saved["metadata"]["metrics"]["metrics/test.mAP"]) is float
    assert set(saved) == {"model", "metadata", "optimizer", "scheduler"}
    assert set(saved["model"]) == set(body.state_dict())
    assert not list(tmp_path.glob("*.part"))


def test_early_snapshots_hold_numpy_numbers(snapshot: Path, body: DlcBody) -> None:
    metadata = {"epoch": 7, "metrics": {"metrics/test.mAP": np.float64(3.5)}, "losses": {"x": np.float32(1)}}
    torch.save({"model": body.state_dict(), "metadata": metadata}, snapshot)
    assert load_model(snapshot).scores == {"mAP": 3.5}


def test_only_the_weights_are_needed(snapshot: Path, body: DlcBody) -> None:
    torch.save({"model": body.state_dict()}, snapshot)
    assert load_model(snapshot).epoch == 0


def test_no_configuration_beside_it(snapshot: Path) -> None:
    snapshot.with_name("pytorch_config.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"pytorch_config\.yaml beside") as error:
        load_model(snapshot)
    assert "copy it" in error.value.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "td", "net_type": "resnet_50"}, "top-down"),
        ({"method": "ctd", "net_type": "ctd_prenet_hrnet_w32"}, "ctd_prenet_hrnet_w32"),
        ({"backbone": {"type": "CSPNeXt", "model_name": "cspnext_s"}, "net_type": "cspnext_s"}, "cspnext_s"),
        ({"backbone": {"type": "ResNet", "model_name": "resnet50_gn", "output_stride": 8}}, "resnet50_gn"),
        ({"backbone": {"type": "HRNet", "model_name": "hrnet_w18", "interpolate_branches": True}}, "HRNet"),
        ({"head": "DEKRHead", "net_type": "dekr_w18"}, "DEKRHead"),
        ({"head": "RTMCCHead", "method": "TD", "net_type": "rtmpose_s"}, "RTMCCHead"),
        ({"head": "HeatmapHead"}, "HeatmapHead"),
        ({"model": None}, "backbone None"),
    ],
)
def test_other_networks_are_named(snapshot: Path, change: dict[str, Any], words: str) -> None:
    asked = content()
    if "backbone" in change:
        asked["model"]["backbone"] = change["backbone"]
    if "head" in change:
        asked["model"]["heads"]["bodypart"]["type"] = change["head"]
    asked |= {key: value for key, value in change.items() if key in asked}
    with pytest.raises(CheckpointError, match=words) as error:
        load_snapshot(snapshot, asked)
    assert "resnet_50, resnet_101, dlcrnet_stride16_ms5" in error.value.hint


@pytest.mark.parametrize(
    "net", ["resnet_50", "resnet_101", "dlcrnet_stride16_ms5", "dlcrnet_stride32_ms5", "hrnet_w48"]
)
def test_networks_are_known_by_their_layers(net: str) -> None:
    asked = content(net) | {"net_type": "anything"}
    assert net_in(asked, where="") == net


def test_weights_of_another_network(snapshot: Path, body: DlcBody) -> None:
    asked = content()
    asked["metadata"] = asked["metadata"] | {"bodyparts": [*NAMES, "tail"]}
    with pytest.raises(CheckpointError, match=r"of another shape \(heads\.bodypart\.convt1\.weight"):
        load_snapshot(snapshot, asked)
    state = body.state_dict()
    state.pop("backbone.model.conv1.weight")
    state["heads.extra.weight"] = torch.zeros(1)
    torch.save({"model": state}, snapshot)
    with pytest.raises(
        CheckpointError, match=r"1 missing \(backbone\.model\.conv1\.weight\); 1 unknown \(heads\.extra"
    ):
        load_model(snapshot)


@pytest.mark.parametrize("key", ["bodyparts", "individuals"])
def test_incomplete_descriptions(snapshot: Path, key: str) -> None:
    asked = copy.deepcopy(content())
    del asked["metadata"][key]
    with pytest.raises(CheckpointError, match=f"cannot be read.*{key}"):
        load_snapshot(snapshot, asked)


@pytest.mark.parametrize("edges", [[0, 7], "all", [[0]]])
def test_limbs_that_there_are_not(snapshot: Path, edges: Any) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_snapshot(snapshot, content(keep=edges))


@pytest.mark.parametrize("damage", [b"", b"garbage", pickle.dumps({"model": 1})])
def test_damaged_files(snapshot: Path, damage: bytes) -> None:
    snapshot.write_bytes(damage)
    with pytest.raises(CheckpointError, match="snapshot of DeepLabCut") as error:
        load_snapshot(snapshot, content())
    assert "damaged" in error.value.hint


def test_truncated_file(snapshot: Path) -> None:
    snapshot.write_bytes(snapshot.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="snapshot of DeepLabCut"):
        load_model(snapshot)


def test_code_in_a_snapshot_does_not_run(snapshot: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Evil()}, snapshot)
    with pytest.raises(CheckpointError):
        load_model(snapshot)
    assert not (tmp_path / "ran").exists()


def test_a_light_network_is_no_snapshot(tmp_path: Path) -> None:
    net = LightBody("test_resnet", (1, 0, 0, 0), stride=4, neck=8)
    with pytest.raises(CheckpointError, match="LightBody") as error:
        save_snapshot(tmp_path / "snapshot-001.pt", net, epoch=1, metrics={}, losses={})
    assert "resnet_50" in error.value.hint


def test_an_optimizers_numbers_are_those_of_the_weights_in_the_file(tmp_path: Path, body: DlcBody) -> None:
    """torch knows parameters by number only, and DeepLabCut's networks have the output layers before the others."""
    parameters = dict(body.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values())
    for value in parameters.values():
        optimizer.state[value] = {"exp_avg": value.detach().clone()}
    save_snapshot(tmp_path / "s.pt", body, epoch=1, metrics={}, losses={}, optimizer=optimizer.state_dict())
    saved = torch.load(tmp_path / "s.pt", weights_only=True)
    names = [name for name in saved["model"] if name in parameters]
    heads = [n.removesuffix(".weight") for n in names if n.startswith("heads.bodypart.") and n.endswith(".weight")]
    assert [n.split(".")[2] for n in heads][:4] == ["heatmap_head", "locref_head", "paf_head", "convt1"]
    assert len(saved["optimizer"]["state"]) == len(names)
    for number, name in enumerate(names):
        assert torch.equal(saved["optimizer"]["state"][number]["exp_avg"], parameters[name])
    back = renumber_optimizer(saved["optimizer"], names, list(parameters))
    assert all(torch.equal(v["exp_avg"], p) for v, p in zip(back["state"].values(), parameters.values(), strict=True))


def test_an_optimizer_of_other_parameters_is_refused() -> None:
    names = ["a", "b"]
    groups: list[dict[str, Any]] = [{"params": [0, 1, 2]}]
    with pytest.raises(ValueError, match="one group of 2 parameters, got 3 in 1"):
        renumber_optimizer({"state": {}, "param_groups": groups}, names, names)
    with pytest.raises(ValueError, match="one group of 2 parameters, got 2 in 2"):
        renumber_optimizer({"state": {}, "param_groups": [{"params": [0]}, {"params": [1]}]}, names, names)
    with pytest.raises(ValueError, match="same parameters"):
        renumber_optimizer({"state": {}, "param_groups": [{"params": [0, 1]}]}, names, ["a", "c"])
    assert in_dlc_order(names) == names
