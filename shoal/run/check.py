"""What shoal understands of a project and of this machine, as plain data (``shoal check``)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from shoal.io.artifacts import outline_table, read_entry
from shoal.io.dlc.config_file import read_config
from shoal.io.dlc.describe import describe_file
from shoal.io.dlc.images import image_size
from shoal.io.dlc.project import read_project
from shoal.io.dlc.training_set import Shuffle, next_shuffle, read_shuffles
from shoal.io.video import probe
from shoal.run.folder import open_folder, read_card
from shoal.run.videos import VIDEO_SUFFIXES
from shoal.stages.plausibility import gather_labels, judge_labels
from shoal.types import Project

SUSPICIOUS = 0.5
"""Folders with this score or more are worth looking at before training."""


def check_project(root: Path, *, decode: bool = False) -> dict[str, Any]:
    """Read a DLC project and judge its labels.

    Args:
        root: the project folder or its config.yaml.
        decode: decode every image instead of looking at its header.

    Returns:
        JSON-ready: what was understood, ``shuffles``, ``problems``, and ``folders`` ranked most suspicious first.

    Raises:
        ProjectError: the project cannot be used at all.
    """
    project = read_project(root, decode=decode)
    config = read_config(project.root)
    skeleton = project.skeleton
    names = skeleton.keypoints
    mirror = skeleton.mirror if skeleton.mirror is not None else np.arange(len(names))
    n_animals = [len(label.xy) for label in project.labels]
    return {
        "root": str(project.root),
        "task": project.task,
        "scorer": project.scorer,
        "date": project.date,
        "engine": config.engine,
        "multi_animal": config.is_multi,
        "identity": project.has_identity,
        "individuals": list(project.individuals),
        "keypoints": list(names),
        "unique_keypoints": list(skeleton.unique),
        "limbs": [[names[a], names[b]] for a, b in skeleton.edges],
        "mirror_pairs": [[names[i], names[j]] for i, j in enumerate(mirror) if i < j],
        "videos": [str(video) for video in project.videos],
        "images": len(project.labels),
        "images_without_animals": n_animals.count(0),
        "animals": sum(n_animals),
        "excluded": list(project.excluded),
        "shuffles": [_shuffle(shuffle) for shuffle in read_shuffles(project.root)],
        "next_shuffle": next_shuffle(project.root),
        "problems": [{"where": p.where, "what": p.what, "skipped": p.skipped} for p in project.problems],
        "folders": rank_folders(project),
    }


def rank_folders(project: Project) -> list[dict[str, Any]]:
    """Labeled-data folders, most suspicious first, with the reasons."""
    labels, folders = gather_labels(project.labels, [image_size(label.image) for label in project.labels])
    result = judge_labels(labels, project.skeleton)
    return [
        {
            "folder": folders[folder],
            "score": round(float(result.score[i]), 3),
            "images": int(result.n_images[i]),
            "animals": int(result.n_animals[i]),
            "relative_size": None if math.isnan(result.size[i]) else round(float(result.size[i]), 3),
            "reasons": list(result.reasons[i]),
        }
        for i, folder in enumerate(result.folder.tolist())
    ]


def _shuffle(shuffle: Shuffle) -> dict[str, Any]:
    return {
        "index": shuffle.index,
        "fraction": shuffle.fraction,
        "engine": shuffle.engine or "unknown",
        "iteration": shuffle.iteration,
        "train": len(shuffle.train),
        "test": len(shuffle.test),
        "snapshots": [snapshot.path.name for snapshot in shuffle.snapshots],
        "notes": list(shuffle.notes),
    }


def check_path(path: Path, *, decode: bool = False) -> dict[str, Any]:
    """Say what a project, a run folder or any file of DLC or shoal is.

    Args:
        path: project folder, its config.yaml, run folder, or file.
        decode: of projects: decode every image.

    Returns:
        As ``check_project`` for projects; ``file``, ``kind``, ``says`` and figures otherwise.

    Raises:
        InputError: damaged, or of no kind that shoal knows.
    """
    path = Path(path)
    if (path / "video.json").is_file():
        return {"file": str(path)} | _run_folder(path)
    if path.is_dir() or path.name == "config.yaml" or not path.exists():
        return check_project(path, decode=decode)
    return {"file": str(path)} | _file(path)


def _file(path: Path) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        name, rows = outline_table(path)
        says = [f"{column}: {' x '.join(map(str, shape)) or 'one value'}" for column, shape in rows.items()]
        return {"kind": f"table {name} of a run folder", "says": says}
    if suffix in VIDEO_SUFFIXES:
        info = probe(path)
        seconds = info.n_frames / float(info.fps)
        says = [
            f"{info.n_frames} frames of {info.width} x {info.height} px, {seconds:.1f} s at {float(info.fps):.3f}/s"
        ]
        says.append(f"codec {info.codec}{', frame rate varies' if info.is_variable else ''}")
        return {"kind": "video", "says": says, "frames": info.n_frames, "size": [info.width, info.height]}
    return describe_file(path)


def _run_folder(path: Path) -> dict[str, Any]:
    about, card = open_folder(path), read_card(path)
    says = [f"what shoal found in {about['path']}: {about['n_frames']} frames"]
    says.append(f"network {card.name}; keypoints: {', '.join(card.skeleton.keypoints)}")
    stitched = read_entry(path, "stitch")
    says.append(f"{stitched['counts']['tracks']} tracks" if stitched else "not tracked yet")
    return {"kind": "run folder", "says": says, "frames": about["n_frames"]}
