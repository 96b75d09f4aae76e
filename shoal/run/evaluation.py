"""Figures of a model on labelled frames, and of a run's tracks against true ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy import ndarray

from shoal.config.render import RenderConfig
from shoal.config.run import RunConfig
from shoal.errors import ArtifactError
from shoal.io.artifacts import write_atomic, write_json
from shoal.io.dlc.project import read_project
from shoal.io.dlc.results import name_tracks
from shoal.io.dlc.results import read_tracks as read_dlc_tracks
from shoal.io.overlay import draw_labels
from shoal.run.edits import read_names
from shoal.run.folder import fps_of, open_folder, read_animals, read_card
from shoal.run.models import find_model
from shoal.run.timeline import plot_identities, read_doubts
from shoal.stages import metrics, report
from shoal.stages.swaps import Switches, animal_figures, follow_animals, switch_figures
from shoal.types import OnProgress, Project, Regions, Tracks, no_progress

MAX_TRAIN_IMAGES = 100  # the gap between train and test needs no more


def evaluate(
    project: Path,
    *,
    name: str = "",
    config: RunConfig | None = None,
    plot: bool = False,
    on_progress: OnProgress = no_progress,
) -> dict[str, Any]:
    """Measure a model on the labelled frames that it was not trained on, and on some that it was.

    Args:
        project: the folder, its config.yaml, or the folder of one of its models.
        name: of the model; empty = the one trained last.
        config: settings; None = those the model was trained with.
        plot: write labelled test images into the model's folder.
        on_progress: called with ("evaluate", done, total).

    Returns:
        ``model``, ``test`` and ``train`` figures, ``keypoints`` and ``folders`` (errors in px), ``text``, ``files``.

    Raises:
        ProjectError: unreadable images, or labels of other keypoints.
        CheckpointError: no model.
    """
    from shoal.models.checkpoint import load_model
    from shoal.models.device import pick_device
    from shoal.training.evaluate import evaluate as measure
    from shoal.training.split import split_project

    file = find_model(project, name=name)
    loaded = load_model(file)
    config = config or loaded.config
    loaded = load_model(file, device=pick_device(config.compute))
    found = read_project(_project_root(project, file), exclude=config.dataset.exclude)
    train, test = split_project(found, config)
    some = train[:: max(1, math.ceil(len(train) / MAX_TRAIN_IMAGES))]
    seen = measure(loaded, found, some, config, on_progress=on_progress)
    judged = measure(loaded, found, test, config, on_progress=on_progress) if len(test) else seen
    folders = _folder_errors(found, judged.rows, judged.scores)
    names = [*loaded.skeleton.keypoints, *loaded.skeleton.unique]
    text = report.sentence(
        judged.scores, keypoints=names, train=seen.scores if len(test) else None, folder_errors=folders
    )
    if not len(test):
        text = f"No frame was held out: these figures are of frames trained on.\n{text}"
    result: dict[str, Any] = {
        "model": str(file.parent), "epoch": loaded.epoch, "test": judged.figures, "train": seen.figures,
        "test_images": len(test), "train_images": len(some),
        "keypoints": dict(zip(names, judged.scores.keypoint_error.tolist(), strict=True)),
        "folders": folders, "text": text,
    }  # fmt: skip
    files = [file.parent / "evaluation.json"]
    write_json(files[0], result)
    if plot:
        files += plot_images(file.parent / "evaluation", found, judged.rows, judged.predicted, config.render)
    return result | {"files": [str(path) for path in files]}


def evaluate_tracks(run_dir: Path, truth: Path, *, plot: bool = False) -> dict[str, Any]:
    """Figures of a run's tracks, and of its poses whoever they belong to, against true tracks.

    Args:
        run_dir: a tracked run folder.
        truth: DLC-style tracks (h5, csv), or the ``.truth.npz`` of a rendered video.
        plot: write ``export/identities.png`` into the run folder: who was taken for whom, when, how sure.

    Returns:
        ``run``, ``tracking`` and ``pose`` figures, ``animals`` (one row each), ``switches`` (one row each), ``text``,
        ``files``.

    Raises:
        ArtifactError: not tracked yet, or no truth there.
        ProjectError: not a tracks file.
    """
    about, card, predicted = open_folder(run_dir), read_card(run_dir), read_animals(run_dir)
    true, ignore, names = _read_truth(truth, card.skeleton.keypoints, predicted)
    fps = float(fps_of(about))
    figures = metrics.score_tracks(true, predicted, ignore=ignore, fps=fps)
    follows, changes = follow_animals(true, predicted, ignore=ignore)
    figures |= switch_figures(true, changes, fps=fps)
    scores = metrics.score_poses(true.poses, predicted.poses, ignore=ignore, mirror=card.skeleton.mirror)
    text = f"{report.sentence(scores, keypoints=card.skeleton.keypoints)}\n{report.tracking_sentence(figures)}"
    seen = name_tracks(read_names(run_dir), predicted.n_tracks)
    animals = [row | {"name": names[int(row["animal"])]} for row in animal_figures(true, follows, changes, fps=fps)]
    files: list[str] = []
    if plot:
        picture = plot_identities(
            Path(run_dir) / "export" / "identities.png", follows, changes, (names, seen), truth=true, fps=fps,
            doubts=read_doubts(Path(run_dir)),
        )  # fmt: skip
        files.append(str(picture))
    return {
        "run": str(run_dir), "tracking": figures, "pose": metrics.figures(scores), "text": text, "animals": animals,
        "switches": _switch_rows(changes, names, seen, fps), "files": files,
    }  # fmt: skip


def _switch_rows(changes: Switches, names: Sequence[str], seen: Sequence[str], fps: float) -> list[dict[str, Any]]:
    return [
        {
            "frame": int(changes.frame[i]), "seconds": round(float(changes.frame[i]) / fps, 3),
            "lost": int(changes.lost[i]), "animal": names[changes.animal[i]], "before": seen[changes.before[i]],
            "after": seen[changes.after[i]], "is_crossing": bool(changes.is_crossing[i]),
            "is_swap": bool(changes.is_swap[i]),
        }
        for i in range(len(changes))
    ]  # fmt: skip


def format_scores(found: Mapping[str, Any]) -> str:
    """A table of figures, then what they mean."""
    lines: list[str] = []
    if "tracking" in found:
        shown = ("HOTA", "DetA", "AssA", "IDF1", "MOTA", "recall", "precision", "switches", "fragmentations", "tracks")
        lines = [f"{name:<16}{found['tracking'][name]:>10.4g}" for name in shown]
        lines += [f"{name:<16}{found['pose'][name]:>10.4g}" for name in ("rmse", "mAP", "mAR", "pck")]
        lines += ["", *_animal_lines(found)]
    else:
        lines = [
            f"{'':<16}{'test':>10}{'train':>10}",
            f"{'images':<16}{found['test_images']:>10}{found['train_images']:>10}",
        ]
        names = [name for name, value in found["test"].items() if isinstance(value, int | float)]
        for name in names:
            test, train = found["test"][name], found["train"].get(name, math.nan)
            lines.append(f"{name:<16}{test if found['test_images'] else math.nan:>10.4g}{train:>10.4g}")
        lines += ["", f"{'error of':<26}px", *(f"  {k:<22}{v:>6.2f}" for k, v in found["keypoints"].items())]
    return "\n".join([*lines, "", found["text"]])


def _animal_lines(found: Mapping[str, Any]) -> list[str]:
    """Switches at crossings and elsewhere, then a row per animal."""
    t = found["tracking"]
    lines = [f"{'switches':<14}{'n':>8}{'per animal-hour':>18}"]
    for place in ("at_crossings", "elsewhere"):
        count, rate = t[f"switches_{place}"], t[f"switches_{place}_per_animal_hour"]
        lines.append(f"  {place.replace('_', ' '):<12}{count:>8.0f}{rate:>18.4g}")
    first = "never" if math.isnan(t["first_swap_s"]) else f"{t['first_swap_s']:.1f} s"
    lines += [f"  swaps {t['swaps']:.0f} (another animal's track), the first after: {first}", ""]
    lines.append(
        f"{'animal':<16}{'found':>8}{'tracks':>8}{'switches':>10}{'swaps':>7}{'first swap':>12}{'longest':>10}"
    )
    for row in found["animals"]:
        swap = "-" if math.isnan(row["first_swap_s"]) else f"{row['first_swap_s']:.1f} s"
        lines.append(
            f"{row['name'][:15]:<16}{row['found']:>8.1%}{row['tracks']:>8}{row['switches']:>10}{row['swaps']:>7}"
            f"{swap:>12}{row['longest_s']:>8.1f} s"
        )
    return lines


def plot_images(folder: Path, project: Project, rows: ndarray, predicted: Any, config: RenderConfig) -> list[Path]:
    """Write one PNG per labelled frame: labels as crosses, predictions as dots."""
    from shoal.training.data import read_image

    files: list[Path] = []
    for frame, row in enumerate(rows.tolist()):
        label = project.labels[row]
        image = np.array(read_image(label.image))
        draw_labels(image, label.xy, predicted.xy[predicted.frame == frame], config)
        files.append(folder / f"{label.video}-{label.image.stem}.png")
        _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        write_atomic(files[-1], png.tobytes())
    return files


def _project_root(given: Path, model: Path) -> Path:
    """The project that was meant: as given, or the one that the model lies in."""
    folder = given.parent if given.is_file() else given
    return folder if (folder / "config.yaml").is_file() else model.parent.parent.parent.parent


def _folder_errors(project: Project, rows: ndarray, scores: metrics.PoseScores) -> dict[str, float]:
    names = sorted({project.labels[int(row)].video for row in rows})
    number = [names.index(project.labels[int(row)].video) for row in rows]
    errors = metrics.folder_errors(scores, np.array(number, np.int64), len(names))
    return dict(zip(names, errors.tolist(), strict=True))


def _read_truth(path: Path, keypoints: tuple[str, ...], predicted: Tracks) -> tuple[Tracks, Regions, tuple[str, ...]]:
    from shoal.types import Skeleton

    if path.suffix == ".npz":
        from shoal.synthetic import truth as rendered

        if not path.name.endswith(".truth.npz"):
            raise ArtifactError(f"expected a .truth.npz, got another npz\nwhere: {path}")
        found = rendered.truth_of(path.with_name(path.name.removesuffix(".truth.npz") + ".mp4"))
        return rendered.visible_tracks(found), rendered.ignore_regions(found), found.names
    true, names = read_dlc_tracks(path, Skeleton(keypoints))
    if true.span[1] > predicted.span[1]:
        raise ArtifactError(
            f"expected truth of at most {predicted.span[1]} frames, got {true.span[1]}\nwhere: {path}",
            hint="is it of another video?",
        )
    return true, metrics.ignore_regions(true), names
