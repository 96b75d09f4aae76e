"""DLC's ``pytorch_config.yaml``: read, written, made for a network, and turned into shoal's settings."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from shoal.errors import ConfigError
from shoal.io.artifacts import write_atomic
from shoal.io.dlc.config_file import DlcConfig

NETS: dict[str, tuple[str, str, int, int]] = {
    "resnet_50": ("ResNet", "resnet50_gn", 16, 2048),
    "resnet_101": ("ResNet", "resnet101", 16, 2048),
    "dlcrnet_stride16_ms5": ("DLCRNet", "resnet50", 16, 2304),
    "dlcrnet_stride32_ms5": ("DLCRNet", "resnet50", 32, 2304),
    "hrnet_w18": ("HRNet", "hrnet_w18", 4, 18),
    "hrnet_w32": ("HRNet", "hrnet_w32", 4, 32),
    "hrnet_w48": ("HRNet", "hrnet_w48", 4, 48),
}
"""net_type -> (backbone type, its model_name, stride, channels out)."""
MANY_EDGES = 105
"""From this many pairs on DLC learns a part of them only (its ``n_edges_threshold``)."""
EDGE_DEGREE = 6
LOCREF_STD = 7.2801


def net_types(net_type: str) -> str:
    """DLC's name of a bottom-up network, its aliases resolved.

    Raises:
        ConfigError: shoal does not have it; the message names those that it has.
    """
    name = {"dlcrnet_ms5": "dlcrnet_stride16_ms5"}.get(net_type, net_type)
    if name not in NETS:
        raise ConfigError(
            f"expected one of {', '.join(NETS)}, got '{net_type}'\nwhere: net_type",
            hint="top-down and other networks of DeepLabCut are not supported; resnet_50 is DeepLabCut's default",
        )
    return name


def read_pytorch_config(path: Path) -> dict[str, Any]:
    """A pytorch_config.yaml of any age; comments and unknown keys are kept for writing it again.

    Raises:
        ConfigError: missing, not YAML, or not a configuration of a network.
    """
    content = _read_yaml(path)
    if not isinstance(content.get("model"), dict):
        raise ConfigError(f"expected a pytorch_config.yaml with a section 'model', got something else\nwhere: {path}")
    return content


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = YAML().load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"expected a {path.name}, got: {reason}\nwhere: {path}") from error
    return content if isinstance(content, dict) else {}


def write_pytorch_config(path: Path, content: Mapping[str, Any]) -> None:
    """Write it aside and rename; what ``read_pytorch_config`` gave keeps its comments."""
    yaml, buffer = YAML(), io.StringIO()
    yaml.width = 1_000_000
    yaml.dump(content, buffer)
    write_atomic(path, buffer.getvalue().encode())


def update_pytorch_config(content: dict[str, Any], updates: Mapping[str, Any]) -> None:
    """Set dotted keys in place (DLC's ``pytorch_cfg_updates``).

    Raises:
        ConfigError: a key leads through a value that is no section.
    """
    for key, value in updates.items():
        section = content
        *parents, last = key.split(".")
        for name in parents:
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                raise ConfigError(f"expected a section at '{name}', got {section!r}\nwhere: {key}")
        section[last] = value


def graph_of(n_keypoints: int) -> list[list[int]]:
    """The limbs DLC learns: all pairs; of very many keypoints a connected part, the same one each time."""
    pairs = [[i, j] for i in range(n_keypoints) for j in range(i + 1, n_keypoints)]
    if len(pairs) < MANY_EDGES:
        return pairs
    chain = {(i, i + 1) for i in range(n_keypoints - 1)}
    wanted = -(-n_keypoints * EDGE_DEGREE // 2)
    rest = [(i, j) for i, j in pairs if (i, j) not in chain]
    order = np.random.default_rng(0).permutation(len(rest))[: max(wanted - len(chain), 0)]
    return [list(edge) for edge in sorted(chain | {rest[i] for i in order})]


def make_pytorch_config(config: DlcConfig, net_type: str, *, path: Path | None = None) -> dict[str, Any]:
    """The configuration that DLC 3.0.2 makes for a bottom-up multi-animal network.

    Single-animal projects get the same network with one animal (DLC's own have no limbs).

    Args:
        config: the project's.
        net_type: DLC's name of the network.
        path: of the file, which DLC writes into it.

    Raises:
        ConfigError: a network that shoal does not have.
    """
    net_type = net_types(net_type)
    is_resnet, is_dlcrnet, is_hrnet = (net_type.startswith(name) for name in ("resnet", "dlcrnet", "hrnet"))
    rates = (5e-4, [[1e-4], [1e-5]], [90, 120]) if is_resnet else (1e-4, [[1e-5], [1e-6]], [160, 190])
    padding: dict[str, Any] = {"auto_padding": {"pad_width_divisor": 32, "pad_height_divisor": 32}} if is_hrnet else {}
    return {
        "config_version": 0,
        "model": model_section(
            net_type, len(config.individuals), len(config.keypoints), len(config.unique),
            graph_of(len(config.keypoints)), identity=config.has_identity,
        ),
        "net_type": net_type,
        "method": "bu",
        "device": "auto",
        "metadata": {
            "project_path": str(config.path.parent),
            "pose_config_path": str(path or ""),
            "bodyparts": list(config.keypoints),
            "unique_bodyparts": list(config.unique),
            "individuals": list(config.individuals),
            "with_identity": config.has_identity,
        },
        "data": {
            "bbox_margin": 20,
            "colormode": "RGB",
            "gen_sampling": None,
            "inference": {"normalize_images": True, **padding},
            "train": {
                "affine": {"p": 0.5, "rotation": 30, "scaling": [0.5, 1.25], "translation": 0},
                "crop_sampling": {"width": 448, "height": 448, "max_shift": 0.1, "method": "hybrid"},
                "gaussian_noise": 12.75,
                "motion_blur": True,
                "normalize_images": True,
                **padding,
            },
            "loader": None,
        },
        "runner": {
            "type": "PoseTrainingRunner",
            "gpus": None,
            "device": "auto",
            "key_metric": "test.mAP",
            "key_metric_asc": True,
            "eval_interval": 25 if is_dlcrnet else 10,
            "optimizer": {"type": "AdamW", "params": {"lr": rates[0]}},
            "scheduler": {"type": "LRListScheduler", "params": {"lr_list": rates[1], "milestones": rates[2]}},
            "snapshots": {"max_snapshots": 5, "save_epochs": 25, "save_optimizer_state": False},
            "snapshot_prefix": None,
            "load_weights_only": None,
        },
        "train_settings": {
            "batch_size": 8, "dataloader_workers": 0, "dataloader_pin_memory": False, "display_iters": 500,
            "epochs": 200, "seed": 42, "weight_init": None,
        },
        "inference": {
            "multithreading": {"enabled": True, "queue_length": 4, "timeout": 30.0},
            "compile": {"enabled": False, "backend": "inductor"},
            "autocast": {"enabled": False},
            "conditions": None,
            "snapshot": None,
            "eval": {
                "mode": "all", "pcutoff": 0.6, "comparison_bodyparts": "all", "per_keypoint_evaluation": False,
                "force_multi_animal": False,
            },
            "output_dir": None,
        },
        "logger": None,
        "with_center_keypoints": False,
        "detector": None,
        "resume_training_from": None,
    }  # fmt: skip


def model_section(net_type: str, n: int, k: int, u: int, graph: list[list[int]], *, identity: bool) -> dict[str, Any]:
    """Section ``model``: N animals, K keypoints, U unique keypoints."""
    kind, name, stride, channels = NETS[net_type]
    backbone: dict[str, Any] = {"type": kind, "model_name": name}
    if kind == "HRNet":
        backbone |= {"freeze_bn_stats": True, "freeze_bn_weights": False}
        backbone |= {"interpolate_branches": False, "increased_channel_count": False}
    elif kind == "DLCRNet":
        backbone |= {"pretrained": True, "output_stride": stride}
    else:
        backbone |= {"output_stride": stride, "freeze_bn_stats": False, "freeze_bn_weights": False}
    heads: dict[str, Any] = {"bodypart": _limb_head(n, k, graph, channels, deep=stride == 32)}
    if u:
        heads["unique_bodypart"] = _unique_head(u, channels)
    if identity:
        heads["identity"] = _identity_head(n, channels)
    pose_model = {"pose_model": {"stride": 8}} if kind == "DLCRNet" else {}
    return {"backbone": backbone, "backbone_output_channels": channels, **pose_model, "heads": heads}


def _limb_head(n: int, k: int, graph: list[list[int]], channels: int, *, deep: bool) -> dict[str, Any]:
    def maps(out: int) -> dict[str, Any]:
        if deep:  # stride 32 needs one more deconvolution to reach stride 4
            return {"channels": [channels, channels // 2, out], "kernel_size": [3, 3], "strides": [2, 2]}
        return {"channels": [channels, out], "kernel_size": [3], "strides": [2]}

    return {
        "type": "DLCRNetHead",
        "predictor": {
            "type": "PartAffinityFieldPredictor", "num_animals": n, "num_multibodyparts": k, "num_uniquebodyparts": 0,
            "nms_radius": 5, "sigma": 1.0, "locref_stdev": LOCREF_STD, "min_affinity": 0.05,
            "graph": [list(edge) for edge in graph], "edges_to_keep": list(range(len(graph))), "apply_sigmoid": True,
            "clip_scores": False,
        },
        "target_generator": {
            "type": "SequentialGenerator",
            "generators": [
                {
                    "type": "HeatmapPlateauGenerator", "num_heatmaps": k, "pos_dist_thresh": 17,
                    "heatmap_mode": "KEYPOINT", "gradient_masking": False, "generate_locref": True,
                    "locref_std": LOCREF_STD,
                },
                {"type": "PartAffinityFieldGenerator", "graph": [list(edge) for edge in graph], "width": 20},
            ],
        },
        "criterion": {
            "heatmap": {"type": "WeightedBCECriterion", "weight": 1.0},
            "locref": {"type": "WeightedHuberCriterion", "weight": 0.05},
            "paf": {"type": "WeightedHuberCriterion", "weight": 0.1},
        },
        "heatmap_config": maps(k),
        "locref_config": maps(2 * k),
        "paf_config": maps(2 * len(graph)),
        "num_stages": 5,
    }  # fmt: skip


def _unique_head(u: int, channels: int) -> dict[str, Any]:
    return {
        "type": "HeatmapHead",
        "weight_init": "normal",
        "predictor": {
            "type": "HeatmapPredictor", "apply_sigmoid": False, "clip_scores": True, "location_refinement": True,
            "locref_std": LOCREF_STD,
        },
        "target_generator": {
            "type": "HeatmapGaussianGenerator", "num_heatmaps": u, "pos_dist_thresh": 17, "heatmap_mode": "KEYPOINT",
            "gradient_masking": False, "generate_locref": True, "locref_std": LOCREF_STD,
            "label_keypoint_key": "keypoints_unique",
        },
        "criterion": {
            "heatmap": {"type": "WeightedMSECriterion", "weight": 1.0},
            "locref": {"type": "WeightedHuberCriterion", "weight": 0.05},
        },
        "heatmap_config": {"channels": [channels, u], "kernel_size": [3], "strides": [2]},
        "locref_config": {"channels": [channels, 2 * u], "kernel_size": [3], "strides": [2]},
    }  # fmt: skip


def _identity_head(n: int, channels: int) -> dict[str, Any]:
    return {
        "type": "HeatmapHead",
        "predictor": {"type": "IdentityPredictor", "apply_sigmoid": True},
        "target_generator": {
            "type": "HeatmapPlateauGenerator", "num_heatmaps": n, "pos_dist_thresh": 17, "heatmap_mode": "INDIVIDUAL",
            "gradient_masking": False, "generate_locref": False,
        },
        "criterion": {"heatmap": {"type": "WeightedBCECriterion", "weight": 1.0}},
        "heatmap_config": {"channels": [channels, n], "kernel_size": [3], "strides": [2]},
    }  # fmt: skip


def graph_in(content: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Limbs of a configuration's network.

    Raises:
        ConfigError: it has none.
    """
    try:
        graph = content["model"]["heads"]["bodypart"]["predictor"]["graph"]
        return [(int(a), int(b)) for a, b in graph]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            "expected limbs at model.heads.bodypart.predictor.graph, got none\nwhere: pytorch_config.yaml",
            hint="only bottom-up multi-animal networks can be trained",
        ) from error


def kept_limbs(content: Mapping[str, Any]) -> list[int]:
    """Which limbs of the graph are used (``edges_to_keep``); all of them where nothing is said."""
    kept = content["model"]["heads"]["bodypart"]["predictor"].get("edges_to_keep")
    return list(range(len(graph_in(content)))) if kept is None else [int(limb) for limb in kept]


def set_kept_limbs(folder: Path, content: dict[str, Any], kept: Sequence[int]) -> None:
    """Write the limbs to use into both files of a shuffle's model folder, and into ``content``."""
    update_pytorch_config(content, {"model.heads.bodypart.predictor.edges_to_keep": list(kept)})
    write_pytorch_config(folder / "train" / "pytorch_config.yaml", content)
    pose = folder / "test" / "pose_cfg.yaml"
    if pose.is_file():
        write_pytorch_config(pose, {**_read_yaml(pose), "paf_best": list(kept)})
