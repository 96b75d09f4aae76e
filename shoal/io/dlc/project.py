"""A DeepLabCut project folder -> ``Project``: the only reader of config.yaml and labels.

Nothing is fatal that concerns one folder or one image: it becomes a ``Problem``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shoal.errors import ProjectError
from shoal.io.dlc.config_file import DlcConfig, read_config, write_config
from shoal.io.dlc.exclude import read_excluded
from shoal.io.dlc.images import decode_error, image_size
from shoal.io.dlc.labels import FolderLabels, read_labels
from shoal.io.dlc.pose_table import split_path
from shoal.io.dlc.skeleton import mirror_index
from shoal.types import LabeledFrame, Problem, Project, Skeleton

__all__ = ["find_videos", "read_project", "skeleton_of", "write_config"]

_VIDEO = {".avi", ".mp4", ".mov", ".mpeg", ".mpg", ".mpv", ".mkv", ".flv", ".qt", ".yuv"}
_LISTED = 20
"""Problems quoted in the error about a project without any label."""


@dataclass(frozen=True, eq=False)
class _Folder:
    """A labeled-data folder and its annotation."""

    path: Path
    labels: FolderLabels


def read_project(root: Path, *, exclude: Sequence[str] = (), decode: bool = False) -> Project:
    """Read a DLC project: names, videos, labels, and everything that does not fit.

    Args:
        root: the project folder or its config.yaml. ``project_path`` inside is ignored.
        exclude: labeled-data folders to leave out, besides those on shoal's own list.
        decode: decode every image (slow); otherwise only its header and end are looked at.

    Raises:
        ProjectError: config.yaml is missing or unreadable, or not one label can be used; the message
            then has every problem found.

    >>> read_project(Path("nowhere"))
    Traceback (most recent call last):
    shoal.errors.ProjectError: ...
    """
    config = read_config(Path(root))
    folder = config.path.parent
    problems = [*config.problems, *_stale_path(config)]
    skeleton = skeleton_of(config)
    excluded = tuple(sorted({*read_excluded(folder), *exclude}))
    folders = _used_folders(config, skeleton, problems)
    labels = _frames(folders, folder, skeleton=skeleton, excluded=set(excluded), decode=decode, problems=problems)
    for name in excluded:
        known = (folder / "labeled-data" / name).is_dir()
        what = "left out on request" if known else "expected a folder to leave out, got no such folder"
        problems.append(Problem(f"labeled-data/{name}", what, skipped=known))
    if not any(frame.visible.any() or not np.isnan(frame.unique_xy).all() for frame in labels):
        raise _no_labels(folder, problems)
    return Project(
        root=folder,
        task=config.task,
        scorer=config.scorer,
        date=config.date,
        skeleton=skeleton,
        individuals=config.individuals,
        videos=find_videos(config),
        labels=labels,
        problems=tuple(problems),
        excluded=excluded,
        has_identity=config.has_identity,
    )


def skeleton_of(config: DlcConfig) -> Skeleton:
    """Keypoints, limbs between them, mirror pairs and unique keypoints of a config."""
    at = {name: i for i, name in enumerate(config.keypoints)}
    edges = [(at[a], at[b]) for a, b in config.skeleton if a in at and b in at]
    return Skeleton(
        keypoints=config.keypoints,
        edges=np.array(edges, np.int64).reshape(-1, 2),
        mirror=mirror_index(config.keypoints),
        unique=config.unique,
    )


def _stale_path(config: DlcConfig) -> list[Problem]:
    folder = config.path.parent
    written = config.project_path
    if written and split_path(written) != split_path(str(folder)) and (folder / written).resolve() != folder:
        what = f"is '{written}', expected '{folder}'; the folder wins"
        return [Problem("config.yaml: project_path", what)]
    return []


def _used_folders(config: DlcConfig, skeleton: Skeleton, problems: list[Problem]) -> list[_Folder]:
    """The folders with annotation that count by DLC's rule: video_sets chooses; if it chooses nothing, all count."""
    root = config.path.parent / "labeled-data"
    present = {p.name: p for p in sorted(root.iterdir()) if p.is_dir()} if root.is_dir() else {}
    if not present:
        problems.append(Problem("labeled-data", "expected folders of labelled images, got none", skipped=True))
    stems = _video_stems(config, present, problems)
    chosen = [present[stem] for stem in stems if stem in present]
    found, notes = _read_folders(chosen, config, skeleton)
    others = [p for name, p in present.items() if name not in stems and "_labeled" not in name]
    if found:
        problems += [
            Problem(f"labeled-data/{stem}", "is in video_sets but there is no such folder")
            for stem in stems
            if stem not in present
        ]
        problems += [
            Problem(f"labeled-data/{p.name}", "not in video_sets; ignored, as DLC does", skipped=True) for p in others
        ]
        return _sorted_problems(found, notes, problems)
    if config.videos and others:
        what = "no entry has usable labels; all folders of labeled-data are used, as DLC does"
        problems.append(Problem("config.yaml: video_sets", what))
    found, more = _read_folders(others, config, skeleton)
    return _sorted_problems(found, notes + more, problems)


def _sorted_problems(found: list[_Folder], notes: list[Problem], problems: list[Problem]) -> list[_Folder]:
    problems += sorted(notes, key=lambda p: p.where)
    return found


def _video_stems(config: DlcConfig, present: dict[str, Path], problems: list[Problem]) -> list[str]:
    """Folder name that each entry of video_sets stands for, each once."""
    stems: list[str] = []
    for video in config.videos:
        parts = split_path(video)
        name = parts[-1] if parts else ""
        stem = Path(name).stem
        if name != stem and name in present and stem not in present:
            what = f"'{name}' is a folder with a dot in its name; DLC itself looks for '{stem}'"
            problems.append(Problem("config.yaml: video_sets", what))
            stem = name
        if stem in stems:
            problems.append(Problem("config.yaml: video_sets", f"two entries mean '{stem}'; used once"))
        elif stem:
            stems.append(stem)
    return stems


def _read_folders(paths: Sequence[Path], config: DlcConfig, skeleton: Skeleton) -> tuple[list[_Folder], list[Problem]]:
    found: list[_Folder] = []
    problems: list[Problem] = []
    for path in paths:
        labels, notes = read_labels(path, scorer=config.scorer, skeleton=skeleton, individuals=config.individuals)
        problems += notes
        if labels is not None:
            found.append(_Folder(path, labels))
    return found, problems


def _frames(
    folders: Sequence[_Folder],
    root: Path,
    *,
    skeleton: Skeleton,
    excluded: set[str],
    decode: bool,
    problems: list[Problem],
) -> tuple[LabeledFrame, ...]:
    """One entry per usable image, in the order of DLC's merged table (sorted by path as text)."""
    rows = [
        (("labeled-data", *image), f, i)
        for f, folder in enumerate(folders)
        for i, image in enumerate(folder.labels.images)
    ]
    rows.sort(key=lambda row: row[0])
    files, bad = _check_images(folders, root, excluded=excluded, decode=decode, problems=problems)
    frames: list[LabeledFrame] = []
    seen: set[Path] = set()
    merged = -1
    for _, f, i in rows:
        folder = folders[f]
        merged += folder.labels.in_dlc
        path = files.get((f, i))
        if path is None or path in bad:
            continue
        if path in seen:
            problems.append(Problem(_where(path, root), "labelled twice in one table; the first is used", skipped=True))
            continue
        seen.add(path)
        frames.append(_frame(path, folder, i, row=merged if folder.labels.in_dlc else -1))
    return tuple(frames)


def _frame(path: Path, folder: _Folder, i: int, *, row: int) -> LabeledFrame:
    labels = folder.labels
    visible = ~np.isnan(labels.xy[i, ..., 0])
    animals = visible.any(axis=1)
    number = re.search(r"(\d+)$", path.stem)
    return LabeledFrame(
        image=path,
        video=folder.path.name,
        frame=int(number.group(1)) if number else -1,
        xy=labels.xy[i, animals],
        visible=visible[animals],
        individual=labels.individual[animals],
        unique_xy=labels.unique_xy[i],
        row=row,
    )


def _check_images(
    folders: Sequence[_Folder], root: Path, *, excluded: set[str], decode: bool, problems: list[Problem]
) -> tuple[dict[tuple[int, int], Path], set[Path]]:
    """Image file of each (folder, image), and the files that cannot be used."""
    files: dict[tuple[int, int], Path] = {}
    bad: set[Path] = set()
    for f, folder in enumerate(folders):
        if folder.path.name in excluded:
            continue
        sizes: dict[Path, tuple[int, int]] = {}
        renamed = 0
        for i, (written, name) in enumerate(folder.labels.images):
            path = folder.path / name
            renamed += written != folder.path.name
            files[f, i] = path
            try:
                sizes[path] = image_size(path)
                error = decode_error(path) if decode else ""
            except ValueError as reason:
                error = str(reason)
            if error:
                bad.add(path)
                problems.append(Problem(_where(path, root), f"expected an image, got {error}", skipped=True))
        if renamed:
            what = f"{renamed} label rows name another folder; taken as images of this one, DLC would look there"
            problems.append(Problem(f"labeled-data/{folder.path.name}", what))
        bad |= _odd_sizes({p: s for p, s in sizes.items() if p not in bad}, root, problems)
    return files, bad


def _odd_sizes(sizes: dict[Path, tuple[int, int]], root: Path, problems: list[Problem]) -> set[Path]:
    """Images of another size than their folder's others: stray files, unless there are many of them."""
    counts = Counter(sizes.values()).most_common()
    odd: set[Path] = set()
    for size, n in counts[1:]:
        usual, most = counts[0]
        is_stray = 2 * n <= most
        for path in (p for p, s in sizes.items() if s == size):
            what = f"expected {usual[0]} x {usual[1]} px as the folder's others, got {size[0]} x {size[1]}"
            problems.append(Problem(_where(path, root), what, skipped=is_stray))
            if is_stray:
                odd.add(path)
    return odd


def find_videos(config: DlcConfig) -> tuple[Path, ...]:
    """Video files of video_sets that exist (there, or moved along with the project) and those in ``videos/``."""
    root = config.path.parent
    local = [p for p in sorted((root / "videos").glob("*")) if _is_video(p)]
    found: dict[Path, Path] = {}
    for video in config.videos:
        parts = split_path(video)
        for path in (Path(video), root / video, root / "videos" / (parts[-1] if parts else "")):
            if _is_video(path):
                found.setdefault(path.resolve(), path)
                break
    for path in local:
        found.setdefault(path.resolve(), path)
    return tuple(sorted(found.values()))


def _is_video(path: Path) -> bool:
    # DLC writes its pictures of results beside the videos
    made_by_dlc = path.stem.endswith(("_labeled", "_full"))
    return path.suffix.lower() in _VIDEO and not made_by_dlc and path.is_file()


def _where(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _no_labels(root: Path, problems: Sequence[Problem]) -> ProjectError:
    lines = [f"- {p.where}: {p.what}" for p in problems[:_LISTED]]
    if len(problems) > _LISTED:
        lines.append(f"- and {len(problems) - _LISTED} more")
    message = "\n".join([f"expected labelled images, got none that can be used\nwhere: {root}", *lines])
    return ProjectError(message, hint="label some frames in DeepLabCut, or correct what is listed")
