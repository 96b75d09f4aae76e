"""pytorch_config.yaml: made as DLC makes it, kept as the user wrote it, and every key does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shoal.config.run import load_config
from shoal.errors import ConfigError
from shoal.io.dlc.config_file import read_config
from shoal.io.dlc.pytorch_config import (
    NETS,
    graph_of,
    make_pytorch_config,
    read_pytorch_config,
    update_pytorch_config,
    write_pytorch_config,
)
from shoal.io.dlc.pytorch_settings import to_run_config

BASE = load_config()


@pytest.fixture
def content(project):
    return make_pytorch_config(read_config(project), "resnet_50")


def translated(content, **updates):
    update_pytorch_config(content, {key.replace("__", "."): value for key, value in updates.items()})
    return to_run_config(content, BASE)


def test_a_new_one_is_understood_completely(project, tmp_path):
    for net_type in NETS:
        made = make_pytorch_config(read_config(project), net_type, path=tmp_path / "c.yaml")
        write_pytorch_config(tmp_path / "c.yaml", made)
        read = read_pytorch_config(tmp_path / "c.yaml")
        assert read == made
        config, missing = to_run_config(read, BASE)
        assert missing == []
        assert config.model.name == net_type
        assert config.train.freeze_norm_stats == net_type.startswith("hrnet")  # as in the files of DLC 3.0.2


def test_heads_follow_the_project(project, edit):
    edit("uniquebodyparts: []", "uniquebodyparts: [lamp]")
    edit("identity: false", "identity: true")
    heads = make_pytorch_config(read_config(project), "dlcrnet_stride32_ms5")["model"]["heads"]
    assert list(heads) == ["bodypart", "unique_bodypart", "identity"]
    assert heads["bodypart"]["heatmap_config"] == {
        "channels": [2304, 1152, 3],
        "kernel_size": [3, 3],
        "strides": [2, 2],
    }
    assert heads["unique_bodypart"]["locref_config"]["channels"] == [2304, 2]
    assert heads["identity"]["heatmap_config"]["channels"] == [2304, 2]
    assert heads["bodypart"]["predictor"]["graph"] == [[0, 1], [0, 2], [1, 2]]


def test_many_keypoints_share_a_connected_part_of_the_graph():
    assert len(graph_of(14)) == 91
    graph = graph_of(20)
    assert len(graph) == 60
    assert graph == graph_of(20)
    assert all([i, i + 1] in graph for i in range(19))


def test_comments_and_unknown_keys_survive(tmp_path, content):
    path = tmp_path / "pytorch_config.yaml"
    write_pytorch_config(path, content)
    text = "# of the lab\n" + path.read_text().replace("  epochs: 200", "  epochs: 200  # overnight\n  of_ours: 3")
    path.write_text(text)
    read = read_pytorch_config(path)
    update_pytorch_config(read, {"train_settings.epochs": 7, "runner.gpus": [0, 1]})
    write_pytorch_config(path, read)
    now = path.read_text()
    assert "# of the lab" in now
    assert re.search("epochs: 7 +# overnight", now)
    assert "of_ours: 3" in now
    assert read_pytorch_config(path)["runner"]["gpus"] == [0, 1]
    assert to_run_config(read, BASE)[1] == ["runner.gpus: [0, 1] (trains on the first)", "train_settings.of_ours: 3"]


@pytest.mark.parametrize(
    ("key", "value", "setting", "expected"),
    [
        ("train_settings.batch_size", 3, "train.batch_size", 3),
        ("train_settings.dataloader_workers", 2, "train.workers", 2),
        ("train_settings.dataloader_pin_memory", True, "train.pin_memory", True),
        ("train_settings.display_iters", 50, "train.log_every", 50),
        ("train_settings.epochs", 12, "train.epochs", 12),
        ("train_settings.seed", 5, "train.seed", 5),
        ("runner.eval_interval", 300, "train.eval_every", 300),
        ("runner.key_metric", "test.rmse", "train.key_score", "rmse"),
        ("runner.key_metric_asc", False, "train.key_ascending", False),
        ("runner.optimizer", {"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9}}, "train.optimizer", "SGD"),
        ("runner.optimizer", {"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9}}, "train.learning_rate", 0.1),
        ("runner.optimizer", {"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9}}, "train.weight_decay", 0.0),
        (
            "runner.optimizer", {"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9}}, "train.optimizer_params",
            {"momentum": 0.9},
        ),
        ("runner.scheduler.params.milestones", [3, 4], "train.schedule_params.milestones", [3, 4]),
        ("runner.scheduler", {"type": "StepLR", "params": {"step_size": 2}}, "train.schedule", "StepLR"),
        ("runner.scheduler", None, "train.schedule", "constant"),
        ("runner.gpus", [1], "compute.device", "cuda:1"),
        ("device", "cpu", "compute.device", "cpu"),
        ("model.backbone.freeze_bn_stats", True, "train.freeze_norm_stats", True),
        ("model.backbone.freeze_bn_weights", True, "train.freeze_norm_weights", True),
        ("data.train.affine.p", 0.25, "train.augment.affine", 0.25),
        ("data.train.affine.rotation", 90, "train.augment.rotation_deg", 90.0),
        ("data.train.affine.scaling", [0.9, 1.1], "train.augment.scale", (0.9, 1.1)),
        ("data.train.affine.translation", 20, "train.augment.translate_px", 20.0),
        ("data.train.affine", None, "train.augment.rotation_deg", 0.0),
        ("data.train.hflip", True, "train.augment.flip", 0.5),
        ("data.train.hflip", {"p": 0.3, "symmetries": [[1, 2]]}, "train.augment.flip", 0.3),
        ("data.train.hflip", {"p": 0.3, "symmetries": [[1, 2]]}, "train.augment.mirror", ((1, 2),)),
        ("data.train.crop_sampling.width", 320, "train.crop_px", 320),
        ("data.train.crop_sampling.height", 240, "train.crop_height_px", 240),
        ("data.train.crop_sampling.method", "density", "train.crop_method", "density"),
        ("data.train.crop_sampling.max_shift", 0.4, "train.crop_shift", 0.4),
        ("data.train.crop_sampling", None, "train.crop_method", "whole"),
        ("data.train.crop_sampling", None, "train.crop_px", 0),
        ("data.train.gaussian_noise", 25.5, "train.augment.noise", 0.1),
        ("data.train.gaussian_noise", None, "train.augment.noise", 0.0),
        ("data.train.motion_blur", False, "train.augment.motion_blur", 0.0),
        ("data.train.covering", True, "train.augment.cover", 0.5),
        ("data.train.hist_eq", True, "train.augment.equalize", 0.5),
        ("data.train.grayscale", True, "train.augment.grey", 0.5),
    ],
)  # fmt: skip
def test_a_key_becomes_a_setting(content, key, value, setting, expected):
    update_pytorch_config(content, {key: value})
    config, missing = to_run_config(content, BASE)
    assert missing == []
    found = config
    for name in setting.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert found == pytest.approx(expected) if isinstance(expected, float) else found == expected
    assert to_run_config(content, BASE)[0] == config


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("runner.gpus", [0, 1], "trains on the first"),
        ("runner.key_metric", "test.mAP@50", "runner.key_metric"),
        ("runner.optimizer.type", "LBFGS", "AdamW is used"),
        ("runner.scheduler.type", "ReduceLROnPlateau", "runner.scheduler.type"),
        ("data.train.elastic_transform", True, "elastic_transform"),
        ("data.train.resize", {"width": 640}, "data.train.resize.width: 640"),
        ("data.train.affine.shear", 5, "data.train.affine.shear"),
        ("data.train.normalize_images", False, "always normalised"),
        ("data.gen_sampling", {"mode": "x"}, "gen_sampling"),
        ("runner.snapshot_prefix", "mine", "snapshot_prefix"),
        ("logger", {"type": "WandbLogger"}, "logger.type: WandbLogger"),
        ("inference.compile.enabled", True, "inference.compile.enabled"),
        ("inference.autocast.enabled", True, "inference.autocast.enabled"),
        ("train_settings.weight_init", {"snapshot_path": "x"}, "weight_init"),
        ("model.heads.bodypart.criterion.paf.weight", 0.5, "criterion.paf.weight"),
        ("model.backbone.model_name", "resnet50", "model.backbone.model_name: resnet50"),
    ],
)  # fmt: skip
def test_what_does_not_act_is_named(content, key, value, named):
    update_pytorch_config(content, {key: value})
    missing = to_run_config(content, BASE)[1]
    assert len(missing) == 1
    assert named in missing[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_settings.epochs", "many"), ("train_settings.epochs", 0), ("train_settings.batch_size", 2.5),
        ("runner.eval_interval", [1]), ("runner.optimizer.params.lr", "fast"), ("data.train.affine.rotation", "x"),
        ("data.train.affine.scaling", ["a", "b"]), ("data.train.hflip", {"symmetries": [1]}), ("net_type", "dekr_w32"),
        ("model.heads.bodypart.predictor.graph", None), ("model.heads", {}), ("runner.gpus", ["a"]),
        ("data.train.crop_sampling.width", "wide"), ("runner.snapshots", 3),
    ],
)  # fmt: skip
def test_wrong_values_are_clear_errors(content, key, value):
    update_pytorch_config(content, {key: value})
    if key == "runner.snapshots":
        assert to_run_config(content, BASE)[1] == ["runner.snapshots: 3"]
        return
    with pytest.raises(ConfigError, match="where: "):
        to_run_config(content, BASE)


def test_files_of_release_candidates(content):
    """rc5: fewer sections, other values; what the file says wins over today's defaults."""
    for key in ("config_version", "inference", "logger", "detector", "with_center_keypoints", "resume_training_from"):
        del content[key]
    content["runner"]["optimizer"]["params"]["lr"] = 1e-4
    content["runner"]["gpus"] = [0]
    content["model"]["backbone"]["freeze_bn_stats"] = True
    del content["data"]["train"]["crop_sampling"]
    config, missing = to_run_config(content, BASE)
    assert config.train.learning_rate == 1e-4
    assert config.train.freeze_norm_stats
    assert config.train.crop_method == "whole"  # what DeepLabCut 3.0.2 does with a file that lacks the section
    assert missing == []


@pytest.mark.parametrize("text", ["", "a: b: c", "[1, 2]", "model: 3", "\x00\x01", "model:\n  - x"])
def test_files_that_are_something_else(tmp_path: Path, text):
    path = tmp_path / "pytorch_config.yaml"
    path.write_bytes(text.encode())
    with pytest.raises(ConfigError, match=r"pytorch_config\.yaml"):
        read_pytorch_config(path)
    with pytest.raises(ConfigError):
        read_pytorch_config(tmp_path / "nowhere.yaml")
