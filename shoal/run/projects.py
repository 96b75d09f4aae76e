"""Making and changing DLC projects: a new one, more videos, the next iteration, labels typed into a csv."""

from __future__ import annotations

import datetime
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from shoal.errors import ProjectError
from shoal.io.artifacts import write_atomic
from shoal.io.dlc.config_file import config_path, edit_config, read_config, video_size, write_config
from shoal.io.dlc.pose_table import PoseTable, read_pose_table, write_pose_table
from shoal.types import Skeleton

log = logging.getLogger(__name__)

BODYPARTS = ("bodypart1", "bodypart2", "bodypart3")
INDIVIDUALS = ("individual1", "individual2", "individual3")
FOLDERS = ("videos", "labeled-data", "training-datasets", "dlc-models")
REFINED = "MachineLabelsRefine.h5"
Crop = tuple[int, int, int, int]
"""x1, x2, y1, y2, as DLC orders them."""


def create_project(
    task: str,
    scorer: str,
    videos: Iterable[Path],
    *,
    parent: Path | None = None,
    copy: bool = False,
    individuals: Sequence[str] = (),
    is_multi: bool = True,
    today: datetime.date | None = None,
) -> Path:
    """Make ``<task>-<scorer>-<date>`` with its folders, links to the videos and a config.yaml to fill in.

    Args:
        task: name of the project.
        scorer: who labels.
        videos: to label frames of; others can be added later.
        parent: where the folder goes; None = the working directory.
        copy: copy the videos instead of linking to them.
        individuals: names; empty = three that DLC gives.
        is_multi: several animals.
        today: None = by the clock.

    Returns:
        config.yaml; that of the project that is there already, if it is.

    Raises:
        ProjectError: no readable video, or names that cannot be a folder.
    """
    day = today or datetime.date.today()
    for name in (task, scorer):
        if not name or name != Path(name).name:
            raise ProjectError(f"expected plain names for project and experimenter, got '{name}'")
    root = (Path(parent) if parent else Path.cwd()).absolute() / f"{task}-{scorer}-{day.isoformat()}"
    config = root / "config.yaml"
    if config.is_file():
        log.info("%s is there already and stays as it is", root)
        return config
    sizes = _sizes(videos)
    if not sizes:
        raise ProjectError(f"expected at least one readable video for a new project, got none\nwhere: {root}")
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    placed = {_place(root, video, copy=copy): size for video, size in sizes.items()}
    write_config(
        config, task=task, scorer=scorer, date=f"{day:%b}{day.day}",
        skeleton=Skeleton(BODYPARTS, np.array([[0, 1], [1, 2], [0, 2]])),
        individuals=tuple(individuals) or INDIVIDUALS, videos=placed, identity=False, is_multi=is_multi,
    )  # fmt: skip
    log.info("%s is made: name keypoints and animals in it, then extract frames and label them", config)
    return config


def add_videos(
    project: Path, videos: Iterable[Path], *, copy: bool = False, crops: Sequence[Crop] | None = None
) -> tuple[Path, ...]:
    """Put videos into a project: links (or copies), folders for labels, entries in config.yaml.

    Args:
        project: the folder or its config.yaml; everything else in that file stays as it is.
        videos: the files.
        copy: copy instead of linking.
        crops: x1, x2, y1, y2 of each video; None = the whole frame.

    Returns:
        The videos as the project knows them.

    Raises:
        ProjectError: unreadable videos, or not one crop per video.
    """
    path = config_path(Path(project))
    sizes = _sizes(videos)
    if crops is not None and len(crops) != len(sizes):
        raise ProjectError(f"expected one crop per video, got {len(crops)} for {len(sizes)} videos\nwhere: {path}")
    known = {Path(video).stem for video in read_config(path).videos}
    new: dict[str, Crop] = {}
    placed: list[Path] = []
    for i, (video, (width, height)) in enumerate(sizes.items()):
        at = _place(path.parent, video, copy=copy)
        placed.append(at)
        if video.stem in known:
            log.info("%s: the project has a video of that name already", video.name)
            continue
        new[str(at)] = tuple(crops[i]) if crops is not None else (0, width, 0, height)  # type: ignore[assignment]
    edit_config(path, videos=new)
    log.info("%d videos added to %s", len(new), path)
    return tuple(placed)


def next_iteration(project: Path, *, to: int | None = None) -> int:
    """Count DLC's ``iteration`` up, so that a new round of labels gets training sets of its own.

    Args:
        project: the folder or its config.yaml.
        to: the number; None = one more.

    Raises:
        ProjectError: a labeled-data folder has no labels yet.
    """
    config = read_config(Path(project))
    root = config.path.parent / "labeled-data"
    folders = [p for p in sorted(root.glob("*")) if p.is_dir() and "_labeled" not in p.name]
    names = (f"CollectedData_{config.scorer}.h5", REFINED)
    lacking = [p.name for p in folders if not any((p / name).is_file() for name in names)]
    if lacking or not folders:
        raise ProjectError(
            f"expected labels in every labeled-data folder, got none in: {', '.join(lacking) or 'any'}\nwhere: {root}",
            hint="label these frames, or take the folders away",
        )
    number = config.iteration + 1 if to is None else int(to)
    edit_config(config.path, values={"iteration": number})
    log.info("iteration is %d now: new training datasets get folders of their own", number)
    return number


def labels_from_csv(project: Path, *, scorer: str = "") -> tuple[Path, ...]:
    """Write ``CollectedData_<scorer>.h5`` of every labeled-data folder from its csv.

    Args:
        project: the folder or its config.yaml.
        scorer: the name written into both files; empty = config.yaml's.

    Returns:
        The h5 files written.

    Raises:
        ProjectError: a csv cannot be read; the other folders are done.
    """
    config = read_config(Path(project))
    name = scorer or config.scorer
    written: list[Path] = []
    faults: list[str] = []
    for folder in sorted(p for p in (config.path.parent / "labeled-data").glob("*") if p.is_dir()):
        source = folder / f"CollectedData_{config.scorer}.csv"
        if not source.is_file():
            log.warning("%s: no %s, left as it is", folder.name, source.name)
            continue
        try:
            table = read_pose_table(source)
        except (OSError, ValueError) as error:
            faults.append(f"{folder.name}: {error}")
            continue
        columns = tuple((name, *column[1:]) for column in table.columns)
        target = folder / f"CollectedData_{name}.h5"
        renamed = PoseTable(columns, table.index, table.values)
        save_labels(target, renamed)
        written.append(target)
    if faults:
        raise ProjectError("expected readable csv labels, got:\n" + "\n".join(faults))
    return tuple(written)


def save_labels(path: Path, table: PoseTable) -> None:
    """Write a table of labels as h5 and as the csv beside it."""
    for file in (path, path.with_suffix(".csv")):
        write_atomic(file, lambda aside: write_pose_table(aside, table, key="df_with_missing", layout="fixed"))


def _sizes(videos: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Width and height of each video; unreadable ones are left out and named.

    Raises:
        ProjectError: a file is missing.
    """
    sizes: dict[Path, tuple[int, int]] = {}
    for video in map(Path, videos):
        if not video.is_file():
            raise ProjectError(f"expected a video, found nothing\nwhere: {video}")
        try:
            sizes[video.absolute()] = video_size(video.parent, video)
        except ValueError:
            log.warning("%s cannot be opened and is left out", video)
    return sizes


def _place(root: Path, video: Path, *, copy: bool) -> Path:
    """The video's place in the project; its original where links are not possible."""
    target = root / "videos" / video.name
    (root / "labeled-data" / video.stem).mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() or target.is_symlink():
        return target
    if copy:
        write_atomic(target, lambda aside: _copy(video, aside))
        return target
    try:
        target.symlink_to(os.path.realpath(video))
    except OSError:
        return video
    return target


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def crop_of(crops: Mapping[str, Crop], video: Path) -> Crop | None:
    """The crop that config.yaml gives a video, found by its stem."""
    return next((crop for name, crop in crops.items() if Path(name).stem == video.stem), None)
