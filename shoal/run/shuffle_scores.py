"""One snapshot of a DLC shuffle measured on the labelled images, in DLC's files and in words."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from shoal.config.compute import ComputeConfig
from shoal.io.dlc import evaluation as files
from shoal.io.dlc.config_file import DlcConfig
from shoal.io.dlc.pytorch_config import graph_in, kept_limbs, set_kept_limbs
from shoal.io.dlc.shuffles import Shuffle, Snapshot, scorer_name, shuffle_split
from shoal.stages import report
from shoal.stages.metrics import score_poses
from shoal.stages.metrics_detections import detection_errors, identity_accuracy
from shoal.stages.metrics_pose import PoseScores
from shoal.types import OnProgress, Poses, Project

if TYPE_CHECKING:
    from shoal.training.evaluate import Evaluation

log = logging.getLogger(__name__)

MAX_LIMB_IMAGES = 100  # enough to compare graphs of limbs


def evaluate_snapshot(
    dlc: DlcConfig,
    shuffle: Shuffle,
    snapshot: Snapshot,
    content: Mapping[str, Any],
    project: Project,
    *,
    plotting: str,
    per_keypoint: bool,
    pcutoff: float,
    keypoints: Sequence[str],
    device: str,
    show_errors: bool,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """See ``shuffles.evaluate_shuffle``."""
    from shoal.models.device import pick_device
    from shoal.models.dlc_snapshots import load_snapshot
    from shoal.training.evaluate import evaluate

    scorer = scorer_name(dlc, shuffle, snapshot)
    model = load_snapshot(snapshot.path, content, device=pick_device(ComputeConfig(device=device)))
    split = dict(zip(("train", "test"), shuffle_split(project, shuffle), strict=True))
    seen = {
        name: evaluate(model, project, rows, model.config, pcutoff=pcutoff, is_single=not dlc.is_multi,
                       on_progress=on_progress)
        for name, rows in split.items()
    }  # fmt: skip
    names = [*project.skeleton.keypoints, *project.skeleton.unique]
    scores = {name: _scores(found, names, keypoints, dlc, pcutoff) for name, found in seen.items()}
    figures: dict[str, float] = {}
    for name, found in seen.items():
        figures |= {f"{name} {key}": value for key, value in _figures(found, scores[name], project, pcutoff).items()}
    folder = files.evaluation_folder(dlc, shuffle)
    results = files.Results({(shuffle.fraction, shuffle.index, snapshot.epoch, -1, pcutoff): figures})
    written = [folder / f"{scorer}.h5", folder / f"{scorer}-results.csv", folder.parent / files.COMBINED]
    files.merge_results(written[2], results)  # first: a damaged table stops here, before anything is written
    _write_predictions(written[0], scorer, dlc, shuffle, project, seen)
    files.write_results(written[1], results)
    if per_keypoint:
        written.append(folder / f"{scorer}-keypoint-results.csv")
        errors = [scores[name].keypoint_error.tolist() for name in ("train", "test")]
        judged = [name for name in names if not keypoints or name in keypoints]
        files.write_keypoint_results(written[-1], judged, *errors)
    if plotting:
        written += _plot(folder / f"LabeledImages_{scorer}", dlc, project, seen, plotting, pcutoff, on_progress)
    judged_on = "test" if len(split["test"]) else "train"
    text = report.sentence(
        scores[judged_on],
        keypoints=[name for name in names if not keypoints or name in keypoints],
        train=scores["train"] if judged_on == "test" else None,
    )
    if show_errors:
        _say(f"{scorer}-results.csv", figures, pcutoff, text)
    return {
        "scorer": scorer, "snapshot": str(snapshot.path), "figures": figures, "text": text,
        "files": [str(path) for path in written],
    }  # fmt: skip


def choose_used_limbs(
    shuffle: Shuffle,
    snapshot: Snapshot,
    content: dict[str, Any],
    project: Project,
    *,
    device: str,
    on_progress: OnProgress,
) -> None:
    """The limbs that assembly uses from now on, as DLC chooses them at a shuffle's first evaluation (``stages/graph``).

    They are judged on training images, so that test figures stay honest, and written where DLC reads them:
    ``edges_to_keep`` of pytorch_config.yaml and ``paf_best`` of test/pose_cfg.yaml. Nothing changes if a choice was
    made before, or if the network does not find animals yet.
    """
    from shoal.models.device import pick_device
    from shoal.models.dlc_snapshots import load_snapshot
    from shoal.stages.graph import choose_limbs
    from shoal.training.evaluate import evaluate

    n_limbs = len(graph_in(content))
    if len(kept_limbs(content)) < n_limbs or n_limbs < project.skeleton.n_keypoints:  # chosen, or a tree already
        return
    model = load_snapshot(snapshot.path, content, device=pick_device(ComputeConfig(device=device)))
    rows = shuffle_split(project, shuffle)[0][:MAX_LIMB_IMAGES]
    found = evaluate(model, project, rows, model.config, on_progress=on_progress)
    choice = choose_limbs(found.truth, found.detections, model.edges, model.config.assemble)
    if not choice.scores.max(initial=0.0) > 0:
        log.info("no animal is found on the training images yet, so all %d limbs stay in use", n_limbs)
        return
    kept = sorted(choice.limbs.tolist())
    log.info(
        "the %d of %d limbs that tell animals apart best are used from now on (mAP on training images %.1f, all: %.1f)",
        len(kept), n_limbs, choice.scores.max(), choice.scores[-1],
    )  # fmt: skip
    set_kept_limbs(shuffle.folder, content, kept)


def _scores(
    found: Evaluation, names: Sequence[str], keypoints: Sequence[str], dlc: DlcConfig, pcutoff: float
) -> PoseScores:
    """The scores, of some keypoints only if they are named."""
    if not keypoints:
        return found.scores
    k = found.truth.n_keypoints
    chosen = [i for i, name in enumerate(names) if name in keypoints]
    own, unique = [i for i in chosen if i < k], [i - k for i in chosen if i >= k]
    pair = (_columns(found.unique[0], unique), _columns(found.unique[1], unique)) if unique else None
    return score_poses(
        _columns(found.truth, own), _columns(found.predicted, own), unique=pair, pcutoff=pcutoff,
        is_single=not dlc.is_multi,
    )  # fmt: skip


def _columns(poses: Poses, chosen: list[int]) -> Poses:
    return replace(poses, xy=poses.xy[:, chosen], confidence=poses.confidence[:, chosen])


def _figures(found: Evaluation, scores: PoseScores, project: Project, pcutoff: float) -> dict[str, float]:
    """DLC's figures; identity as a share from 0 to 1, as DLC has it."""
    errors, confidence = detection_errors(found.truth, found.detections)
    sure = errors[confidence >= pcutoff]
    out = {
        "rmse": scores.rmse, "rmse_pcutoff": scores.rmse_pcutoff, "mAP": scores.mAP, "mAR": scores.mAR,
        "rmse_detections": float(errors.mean()) if len(errors) else np.nan,
        "rmse_detections_pcutoff": float(sure.mean()) if len(sure) else np.nan,
    }  # fmt: skip
    if found.detections.identity.shape[1]:
        rows = [project.labels[int(row)].individual for row in found.rows]
        who = np.concatenate([np.zeros(0, np.int64), *rows]).astype(np.int64)
        shares = identity_accuracy(found.truth, who, found.detections)
        for name, share in zip(project.skeleton.keypoints, shares.tolist(), strict=True):
            out[f"id_head_{name}_accuracy"] = share
    return out


def _write_predictions(
    path: Path, scorer: str, dlc: DlcConfig, shuffle: Shuffle, project: Project, seen: Mapping[str, Evaluation]
) -> None:
    """All rows of the merged table; images in neither part, and animals not found, are NaN."""
    images = shuffle.images or tuple((label.video, label.image.name) for label in project.labels)
    at = {image: row for row, image in enumerate(images)}
    k, u, n = project.skeleton.n_keypoints, len(project.skeleton.unique), len(project.individuals)
    poses = np.full((len(images), n, k, 3), np.nan, np.float32)
    single = np.full((len(images), u, 3), np.nan, np.float32)
    for found in seen.values():
        for frame, row in enumerate(found.rows.tolist()):
            label = project.labels[row]
            place = at[label.video, label.image.name]
            best = _of_frame(found.predicted, frame)[:n]
            poses[place, : len(best)] = best
            if u and len(once := _of_frame(found.unique[1], frame)):
                single[place] = once[0]
    individuals = project.individuals if dlc.is_multi else ("",)
    files.write_predictions(
        path, scorer=scorer, images=images, individuals=individuals, keypoints=project.skeleton.keypoints,
        poses=poses, unique=project.skeleton.unique, unique_poses=single,
    )  # fmt: skip


def _of_frame(poses: Poses, frame: int) -> ndarray:
    """(M, K, 3) x, y, confidence of a frame's rows, best first."""
    rows = np.flatnonzero(poses.frame == frame)
    rows = rows[np.argsort(-poses.score[rows], kind="stable")]
    return np.concatenate([poses.xy[rows], poses.confidence[rows][..., None]], axis=-1)


def _plot(
    folder: Path, dlc: DlcConfig, project: Project, seen: Mapping[str, Evaluation], color_by: str, pcutoff: float,
    on_progress: OnProgress,
) -> list[Path]:  # fmt: skip
    """LabeledImages: every labelled image with its labels and predictions."""
    from shoal.training.data import read_image

    style = {
        "colormap": str(dlc.content.get("colormap") or "rainbow"), "size": _number(dlc.content.get("dotsize"), 12),
        "alpha": _number(dlc.content.get("alphavalue"), 0.7),
    }  # fmt: skip
    total = sum(len(found.rows) for found in seen.values())
    out: list[Path] = []
    for name, found in seen.items():
        for frame, row in enumerate(found.rows.tolist()):
            label = project.labels[row]
            title = "Training" if name == "train" else "Test"
            out.append(folder / f"{title}-{label.video}-{label.image.stem}.png")
            predicted = _of_frame(found.predicted, frame)
            truth = np.concatenate([label.xy, np.full((0, *label.xy.shape[1:]), np.nan)])
            image = read_image(label.image)
            files.plot_labels(out[-1], image, truth, predicted, color_by=color_by, pcutoff=pcutoff, **style)
            on_progress("plot", len(out), total)
    return out


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _say(name: str, figures: Mapping[str, float], pcutoff: float, text: str) -> None:
    log.info("Evaluation results for %s (pcutoff: %g):", name, pcutoff)
    width = max(len(key) for key in figures)
    for key, value in figures.items():
        log.info("%-*s  %8s", width, key, f"{value:.2f}" if np.isfinite(value) else "NaN")
    log.info("%s", text)
