"""What any file of DLC contains, in words: the reading side of ``shoal check FILE``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from shoal.errors import ProjectError
from shoal.io.dlc.config_file import read_config
from shoal.io.dlc.detections import read_full
from shoal.io.dlc.meta import frame_number, read_meta
from shoal.io.dlc.pickles import read_pickle, read_torch_outline
from shoal.io.dlc.pose_table import PoseTable, read_pose_table, split_points
from shoal.io.dlc.tracklets import HEADER, SINGLE, read_assemblies, read_tracklets
from shoal.types import Poses

Found = dict[str, Any]
"""``kind``: what it is; ``says``: sentences; the rest: figures for programs."""


def describe_file(path: Path) -> Found:
    """Say what a file of DLC contains.

    Raises:
        ProjectError: damaged, or of no kind that shoal knows.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Found]] = {
        ".pickle": _pickle, ".pkl": _pickle, ".h5": _table, ".hdf5": _table, ".csv": _csv, ".yaml": _yaml,
        ".yml": _yaml, ".pt": _snapshot, ".pth": _snapshot,
    }  # fmt: skip
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise unknown(path)
    try:
        return reader(path)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise ProjectError(f"expected a file of DeepLabCut, got: {error}\nwhere: {path}") from error


def unknown(path: Path) -> ProjectError:
    """The error for a file of no kind that shoal knows."""
    return ProjectError(
        f"expected a file of DeepLabCut or shoal, got one of neither\nwhere: {path}",
        hint="known: config.yaml and other yaml, h5, csv, pickle, .pt, npz, videos, run folders, project folders",
    )


def _pickle(path: Path) -> Found:
    content = read_pickle(path)
    if isinstance(content, Mapping):
        return _pickled_results(path, content)
    if isinstance(content, list | tuple) and len(content) == 4 and isinstance(content[0], list | tuple):
        _, train, test, fraction = content
        n_train, n_test = int((np.asarray(train) >= 0).sum()), int((np.asarray(test) >= 0).sum())
        says = [f"which images train ({n_train}) and which test ({n_test}); {float(fraction):.0%} for training"]
        return {"kind": "split of a shuffle (Documentation)", "says": says, "train": n_train, "test": n_test}
    if isinstance(content, list) and content and isinstance(content[0], Mapping) and "image" in content[0]:
        joints = sum(len(_joints(image.get("joints"))) for image in content)
        says = [f"{len(content)} labelled images with {joints} animals"]
        return {"kind": "training images of a shuffle", "says": says, "images": len(content), "animals": joints}
    raise unknown(path)


def _joints(joints: Any) -> Any:
    return joints if isinstance(joints, Mapping | list | tuple) else ()


def _pickled_results(path: Path, content: Mapping[Any, Any]) -> Found:
    if HEADER in content:
        return _tracklets(path)
    if isinstance(content.get("metadata"), Mapping) and "all_joints_names" in content["metadata"]:
        return _full(path) if any(frame_number(key) is not None for key in content) else _evaluation(content)
    if isinstance(content.get("data"), Mapping) and "Scorer" in content["data"]:
        return _meta(path)
    if SINGLE in content or (content and all(frame_number(key) is not None for key in content)):
        return _assemblies(path)
    raise unknown(path)


def _meta(path: Path) -> Found:
    meta = read_meta(path)
    width, height = meta.size
    says = [f"how a video was analyzed, by {meta.scorer}"]
    if meta.n_frames:
        says.append(f"{meta.n_frames} frames of {width} x {height} px at {meta.fps:g} frames/s")
    if meta.cropping:
        says.append("only x {} to {}, y {} to {} was analyzed: positions count from there".format(*meta.cropping))
    if meta.keypoints:
        says.append(f"individuals: {_list(meta.individuals)}; keypoints: {_list(meta.keypoints)}")
    return {"kind": "analysis description (_meta)", "says": says, "scorer": meta.scorer, "frames": meta.n_frames}


def _full(path: Path) -> Found:
    full = read_full(path)
    n_frames = full.detections.span[1]
    form = "animals, assembled" if full.poses is not None else "raw peaks, not yet assembled"
    says = [f"every detection in {n_frames} frames: {form}"]
    if full.poses is not None:
        says.append(_animals(full.poses))
    says.append(f"{len(full.detections)} keypoints seen, {len(full.detections.limb_frame)} limb candidates")
    says.append(f"keypoints: {_list(full.keypoints)}")
    if full.detections.identity.shape[1]:
        says.append(f"how much each keypoint looks like each of {full.detections.identity.shape[1]} individuals")
    return {
        "kind": "detections (_full)", "says": says, "frames": n_frames, "peaks": len(full.detections),
        "assembled": full.poses is not None,
    }  # fmt: skip


def _evaluation(content: Mapping[Any, Any]) -> Found:
    n = len(content) - 1
    return {"kind": "detections on labelled images", "says": [f"what the network saw on {n} labelled images"]}


def _assemblies(path: Path) -> Found:
    found = read_assemblies(path)
    says = [_animals(found.poses), f"{found.poses.n_keypoints} keypoints each"]
    if found.unique.n_keypoints:
        says.append(f"{found.unique.n_keypoints} unique keypoints in {len(found.unique)} frames")
    if (found.identity >= 0).any():
        says.append(f"named: looks like one of at least {int(found.identity.max()) + 1} individuals")
    if found.affinity is not None:
        says.append("with the strength of each assembly")
    return {
        "kind": "assembled animals (_assemblies)", "says": says, "frames": found.poses.span[1],
        "animals": len(found.poses),
    }  # fmt: skip


def _animals(poses: Poses) -> str:
    n_frames = poses.span[1]
    per_frame = np.unique(poses.frame, return_counts=True)[1]
    return (
        f"{len(poses)} animals in {n_frames} frames, {len(poses) / max(n_frames, 1):.2f} per frame, "
        f"{int(per_frame.max(initial=0))} at most; {n_frames - len(per_frame)} frames without any"
    )


def _tracklets(path: Path) -> Found:
    found = read_tracklets(path)
    length = np.bincount(found.tracklets.track, minlength=1) if len(found.tracklets) else np.zeros(1, np.int64)
    length = length[length > 0]
    n = len(length)
    says = [f"{n} tracklets in frames 0-{max(found.tracklets.span[1] - 1, 0)}, made by {found.scorer}"]
    if n:
        says.append(
            f"{int(length.sum())} animals in them; lengths {int(length.min())} to {int(length.max())} frames, "
            f"median {int(np.median(length))}; {int((length < 10).sum())} shorter than 10"
        )
    says.append(f"keypoints: {_list(found.keypoints)}")
    if found.unique_names:
        says.append(f"unique keypoints: {_list(found.unique_names)}")
    return {
        "kind": "tracklets (_el, _bx, _sk)", "says": says, "tracklets": n, "scorer": found.scorer,
        "frames": found.tracklets.span[1],
    }  # fmt: skip


def _table(path: Path) -> Found:
    table = read_pose_table(path)
    return _labels(path, table) if "likelihood" not in table.names("coords") else _predictions(path, table)


def _labels(path: Path, table: PoseTable) -> Found:
    scorers, individuals = table.names("scorer"), [name for name in table.names("individuals") if name]
    folders = sorted({row[-2] for row in table.index if len(row) > 1})
    says = [f"labels by {_list(scorers)}: {len(table.index)} images in {len(folders)} folders"]
    labelled = int(np.isfinite(table.values).sum()) // 2
    says.append(f"{labelled} keypoints labelled; keypoints: {_list(table.names('bodyparts'))}")
    if individuals:
        says.append(f"individuals: {_list(individuals)}")
    return {"kind": "labels", "says": says, "images": len(table.index), "labelled": labelled}


def _predictions(path: Path, table: PoseTable) -> Found:
    individuals = [name for name in table.names("individuals") if name]
    values = table.gather(
        table.names("scorer")[0], individuals=individuals or [""], bodyparts=table.names("bodyparts"),
        coords=("x", "y", "likelihood"),
    )  # fmt: skip
    xy, confidence = split_points(values)
    seen = np.asarray((~np.isnan(xy[..., 0])).any(axis=2))
    is_images = any(len(row) > 1 for row in table.index)
    what = "images" if is_images else "frames"
    stem = path.stem
    kind = "predictions on labelled images" if is_images else "poses of a video, not tracked"
    if not is_images and any(stem.endswith(s) for s in ("_el", "_bx", "_sk", "_tr", "_ctd")):
        kind = "tracks of a video"
    elif stem.endswith("_filtered"):
        kind = "filtered tracks of a video"
    says = [f"{len(table.index)} {what}, by {_list(table.names('scorer'))}"]
    says += [
        f"{name}: in {int(seen[:, i].sum())} {what} ({seen[:, i].mean() if len(seen) else 0:.0%})"
        for i, name in enumerate(individuals[:20] or ["the animal"])
    ]
    if len(individuals) > 20:
        says.append(f"and {len(individuals) - 20} more individuals")
    shown = confidence[~np.isnan(xy[..., 0])]
    if len(shown):
        says.append(f"median likelihood {np.median(shown):.2f}, {np.mean(shown < 0.6):.0%} below 0.6")
    return {"kind": kind, "says": says, "rows": len(table.index), "individuals": individuals}


def _csv(path: Path) -> Found:
    try:
        return _table(path)
    except ValueError:
        pass
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = [row for row in csv.reader(file) if row]
    header = [cell.strip() for cell in rows[0]] if rows else []
    if "step" in header or any(cell.startswith(("losses/", "metrics/")) for cell in header):
        return _learning(header, rows[1:])
    if "%Training dataset" in header or "Shuffle number" in header:
        says = [f"{len(rows) - 1} evaluated snapshots: {_list([c for c in header if c][:30])}"]
        says += [", ".join(f"{h} {v}" for h, v in zip(header, row, strict=False) if v) for row in rows[1:6]]
        return {"kind": "evaluation results", "says": says, "snapshots": len(rows) - 1}
    if any(row[0].startswith(("Train error", "Test error")) for row in rows[1:]):
        says = [f"mean error of each keypoint: {_list(header[1:])}"]
        return {"kind": "evaluation results per keypoint", "says": says}
    raise unknown(path)


def _learning(header: list[str], rows: list[list[str]]) -> Found:
    says = [f"what a training reached, over {len(rows)} epochs"]
    for name, last in zip(header, rows[-1] if rows else [], strict=False):
        if last and name != "step":
            says.append(f"{name}: {last} at the end")
    return {"kind": "learning curve", "says": says, "epochs": len(rows)}


def _yaml(path: Path) -> Found:
    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, YAMLError) as error:
        raise ProjectError(f"expected readable YAML, got: {error}\nwhere: {path}") from error
    if not isinstance(data, Mapping):
        raise unknown(path)
    if "multianimalproject" in data or ("scorer" in data and "Task" in data):
        config = read_config(path)
        says = [f"project {config.task} by {config.scorer}", f"keypoints: {_list(config.keypoints)}"]
        says.append(f"individuals: {_list(config.individuals)}; {len(config.videos)} videos")
        return {"kind": "project settings (config.yaml)", "says": says}
    if isinstance(data.get("model"), Mapping) and isinstance(data.get("metadata"), Mapping):
        return _network(data)
    if isinstance(data.get("shuffles"), Mapping):
        says = [f"{name}: {_shuffle(entry)}" for name, entry in data["shuffles"].items()]
        return {"kind": "list of shuffles (metadata.yaml)", "says": says, "shuffles": len(says)}
    if "all_joints_names" in data:
        return {
            "kind": "test settings (pose_cfg.yaml)",
            "says": [f"keypoints: {_list(data['all_joints_names'] or ())}"],
        }
    raise unknown(path)


def _shuffle(entry: Any) -> str:
    entry = entry if isinstance(entry, Mapping) else {}
    return f"shuffle {entry.get('index')}, {entry.get('train_fraction')} for training, {entry.get('engine')}"


def _network(data: Mapping[str, Any]) -> Found:
    metadata, train = data["metadata"], data.get("train_settings")
    train = train if isinstance(train, Mapping) else {}
    says = [f"network {data.get('net_type')}, method {data.get('method')}"]
    says.append(f"keypoints: {_list(metadata.get('bodyparts') or ())}")
    if metadata.get("unique_bodyparts"):
        says.append(f"unique keypoints: {_list(metadata['unique_bodyparts'])}")
    says.append(f"individuals: {_list(metadata.get('individuals') or ())}")
    says.append(f"{train.get('epochs')} epochs of batches of {train.get('batch_size')}, seed {train.get('seed')}")
    return {"kind": "network settings (pytorch_config.yaml)", "says": says, "net_type": data.get("net_type")}


def _snapshot(path: Path) -> Found:
    content = read_torch_outline(path)
    weights = content.get("model", content.get("weights")) if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping):
        raise unknown(path)
    shapes = {str(name): getattr(value, "shape", ()) for name, value in weights.items()}
    n = sum(int(np.prod(shape)) for shape in shapes.values())
    parts = dict.fromkeys(name.partition(".")[0] for name in shapes)
    is_ours = "weights" in content
    says = [f"{'a network of shoal' if is_ours else 'a network'}: {len(shapes)} arrays, {n / 1e6:.1f} million values"]
    says.append(f"parts: {_list(parts)}")
    metadata = content if is_ours else content.get("metadata")
    if isinstance(metadata, Mapping):
        for key in ("epoch", "metrics", "losses", "scores"):
            if metadata.get(key) not in (None, {}):
                says.append(f"{key}: {_plain(metadata[key])}")
    if content.get("optimizer") or content.get("training"):
        says.append("with the state of the optimiser: training can go on from it")
    return {"kind": "snapshot of a network", "says": says, "values": n}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _list(names: Any) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
