"""Eight real fish: train on a few labelled frames, track the video, compare with every labelled frame.

``truth`` = pseudo_tracks of zebrafish8_a (silhouette midlines, identities by reading every crossing); fish that touch
have no label there and are ignore regions.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from command import real_data, shoal
from scipy.optimize import linear_sum_assignment

from shoal.io.dlc.project import read_project
from shoal.io.dlc.results import read_tracks
from shoal.stages.metrics import ignore_regions, pose_similarity, score_poses, score_tracks
from shoal.types import Poses, Tracks, body_length, select

SAME = 0.5  # similarity from which a prediction is that animal


def copy_project(name: str, folder: Path, *, before: int | None = None) -> Path:
    """A copy to work in; ``before`` leaves out labelled images from that frame on."""
    target = folder / name
    shutil.copytree(real_data(name), target)
    for path in target.rglob("*"):
        path.chmod(path.stat().st_mode | 0o200)
    if before is not None:
        for image in read_project(target).labels:
            if image.frame >= before:
                image.image.unlink()  # a label without its image is skipped and listed
    return target


def match(truth: Tracks, predicted: Tracks, length: float) -> tuple[np.ndarray, int]:
    """Distances of all keypoints of matched animals, px, and the number of matched animals."""
    distances, n_matched = [], 0
    for frame in np.unique(truth.poses.frame):
        true_xy = truth.poses.xy[truth.poses.frame == frame]
        seen_xy = predicted.poses.xy[predicted.poses.frame == frame]
        similarity = pose_similarity(true_xy, seen_xy, length)
        i, j = linear_sum_assignment(similarity, maximize=True)
        good = similarity[i, j] >= SAME
        n_matched += int(good.sum())
        d = np.linalg.norm(true_xy[i[good]] - seen_xy[j[good]], axis=-1)
        distances.append(d[np.isfinite(d)])
    return np.concatenate(distances), n_matched


def score(tracks_file: Path, truth_file: Path, *, trained: set[int], first: int = 0) -> dict[str, float]:
    """Figures on every frame from ``first`` on that was not trained on."""
    truth, _ = read_tracks(truth_file)
    predicted, _ = read_tracks(tracks_file)
    length = body_length(truth.poses.xy)
    regions = ignore_regions(truth)
    keep = np.array([f not in trained and f >= first for f in range(truth.span[1])])
    truth_kept = _frames(truth, keep)
    predicted_kept = _frames(predicted, keep)
    regions_kept = type(regions)(*(getattr(regions, c)[keep[regions.frame]] for c in ("frame", "xy", "radius")))
    error, n_matched = match(truth_kept, predicted_kept, length)
    poses = score_poses(truth_kept.poses, predicted_kept.poses, ignore=regions_kept)
    figures = score_tracks(truth_kept, predicted_kept, ignore=regions_kept)
    return {
        "frames": int(keep.sum()),
        "animals": len(truth_kept),
        "mean_px": float(error.mean()),
        "median_px": float(np.median(error)),
        "recall": n_matched / len(truth_kept),
        "precision": poses.precision,
        "mAP": poses.mAP,
        "mAR": poses.mAR,
        "HOTA": figures["HOTA"],
        "IDF1": figures["IDF1"],
        "switches": figures["switches"],
    }


def _frames(tracks: Tracks, keep: np.ndarray) -> Tracks:
    span = (0, len(keep))
    rows = (tracks.poses.frame < len(keep)) & keep[np.minimum(tracks.poses.frame, len(keep) - 1)]
    picked = select(tracks, rows)
    p = picked.poses
    return Tracks(Poses(p.frame, p.item, p.xy, p.confidence, p.score, span), picked.track)


def run(
    folder: Path, *, before: int | None = None, overrides: tuple[str, ...] = (), analysis: tuple[str, ...] = ()
) -> dict[str, float]:
    """check, train, evaluate, analyze, render on a copy in ``folder``; figures and seconds of each step.

    ``overrides`` are settings of training, ``analysis`` more words for ``shoal analyze``.
    """
    project = copy_project("zebrafish8_a", folder, before=before)
    settings = [part for value in ("dataset.train_fraction=1.0", *overrides) for part in ("--set", value)]
    seconds: dict[str, float] = {}
    _, seconds["check"] = shoal("check", project)
    trained, seconds["train"] = shoal("train", project, *settings)
    _, seconds["evaluate"] = shoal("evaluate", project)
    analyzed, seconds["analyze"] = shoal(
        "analyze", trained["model"], project / "test_A.avi", "--dest", folder / "run", "--animals", "8", *analysis
    )
    run_dir = Path(analyzed["runs"][0])
    exported, seconds["export"] = shoal("export", run_dir)
    rendered, seconds["render"] = shoal("render", run_dir)
    tracks_file = next(Path(f) for f in exported["files"] if f.endswith("_el.h5"))
    used = {image.frame for image in read_project(project).labels}
    figures = score(tracks_file, project / "pseudo_tracks.h5", trained=used, first=before or 0)
    return figures | {
        "minutes": sum(seconds.values()) / 60,
        "seconds": {k: round(v, 1) for k, v in seconds.items()},
        "video": Path(rendered["files"][0]).name,
    }


def run_mouse(folder: Path) -> dict[str, float]:
    """dlc_openfield: train on 80 % of the labels, split by blocks of time, measure the rest, analyse the video."""
    project = copy_project("dlc_openfield", folder)
    seconds: dict[str, float] = {}
    settings = ["--set", "dataset.split=time", "--set", "dataset.train_fraction=0.8"]
    trained, seconds["train"] = shoal("train", project, *settings)
    judged, seconds["evaluate"] = shoal("evaluate", project)
    video = next((project / "videos").glob("*.mp4"))
    analyzed, seconds["analyze"] = shoal("analyze", trained["model"], video, "--dest", folder / "run", "--animals", "1")
    exported, _ = shoal("export", analyzed["runs"][0])
    tracks, _ = read_tracks(next(Path(f) for f in exported["files"] if f.endswith("_el.h5")))
    return {
        "rmse": judged["test"]["rmse"],
        "recall": judged["test"]["recall"],
        "test_images": judged["test_images"],
        "frames": tracks.span[1],
        "frames_with_mouse": len(np.unique(tracks.poses.frame)),
        "minutes": sum(seconds.values()) / 60,
        "seconds": {k: round(v, 1) for k, v in seconds.items()},
    }
