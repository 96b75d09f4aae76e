"""DLC's ``config.yaml``: reading any age of it, writing a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from shoal.errors import ProjectError
from shoal.io.artifacts import write_atomic
from shoal.io.dlc.pose_table import split_path
from shoal.types import Problem, Skeleton

MULTI = "MULTI!"
_DEFAULTS = {
    "start": 0, "stop": 1, "numframes2pick": 20, "pcutoff": 0.6, "dotsize": 12, "alphavalue": 0.7,
    "colormap": "rainbow", "skeleton_color": "black", "default_track_method": "ellipse", "batch_size": 8,
}  # fmt: skip
SINGLE_ANIMAL = "individual_1"
"""DLC's default name of the only animal."""


@dataclass(frozen=True)
class DlcConfig:
    """What shoal takes from config.yaml, aliases and defaults resolved.

    Attributes:
        path: the file.
        task: ``Task``.
        scorer: ``scorer``.
        date: ``date``.
        keypoints: multi-animal bodyparts, or the bodyparts of a single-animal project.
        unique: unique bodyparts.
        individuals: names; one default name in single-animal projects.
        skeleton: pairs of names.
        videos: keys of ``video_sets``, as written.
        is_multi: ``multianimalproject``.
        has_identity: ``identity``.
        engine: ``engine``.
        iteration: ``iteration``.
        fractions: ``TrainingFraction``.
        project_path: as written; the folder that holds the file wins.
        problems: what did not fit.
        content: the whole file as read, for settings that only DLC's own steps use.
    """

    path: Path
    task: str
    scorer: str
    date: str
    keypoints: tuple[str, ...]
    unique: tuple[str, ...]
    individuals: tuple[str, ...]
    skeleton: tuple[tuple[str, str], ...]
    videos: tuple[str, ...]
    is_multi: bool
    has_identity: bool
    engine: str
    iteration: int
    fractions: tuple[float, ...]
    project_path: str
    problems: tuple[Problem, ...] = field(default=())
    content: Mapping[str, Any] = field(default_factory=dict)


def config_path(root: Path) -> Path:
    """The config.yaml that ``root`` (the project folder, or the file itself) means.

    Raises:
        ProjectError: there is none.
    """
    root = Path(root)
    path = root if root.suffix.lower() in (".yaml", ".yml") else root / "config.yaml"
    if not path.is_file():
        raise ProjectError(
            f"expected a DeepLabCut project folder, got no config.yaml\nwhere: {root}",
            hint="give the folder that holds config.yaml, labeled-data and videos",
        )
    return path.resolve()


def read_config(root: Path) -> DlcConfig:
    """Read config.yaml of any DLC version; unknown keys are ignored.

    Raises:
        ProjectError: missing, not YAML, or without scorer or bodyparts.
    """
    path = config_path(root)
    data = _load(path)
    problems: list[Problem] = []
    is_multi = bool(data.get("multianimalproject")) or data.get("bodyparts") == MULTI
    multi = _names(data, "multianimalbodyparts", problems)
    bodyparts = _names(data, "bodyparts", problems)
    keypoints = (multi or bodyparts) if is_multi else bodyparts
    unique = _names(data, "uniquebodyparts", problems) or _names(data, "unique_bodyparts", problems)
    individuals = _names(data, "individuals", problems) if is_multi else ()
    scorer = _text(data.get("scorer"))
    if not scorer or not keypoints:
        lacks = "scorer" if not scorer else "multianimalbodyparts" if is_multi else "bodyparts"
        raise ProjectError(f"expected a value for '{lacks}', got {data.get(lacks)!r}\nwhere: {path}")
    identity = data.get("identity", data.get("with_identity"))
    return DlcConfig(
        path=path,
        task=_text(data.get("Task")),
        scorer=scorer,
        date=_text(data.get("date")),
        keypoints=keypoints,
        unique=tuple(name for name in unique if name not in keypoints) if is_multi else (),
        individuals=individuals or (SINGLE_ANIMAL,),
        skeleton=_pairs(data.get("skeleton"), {*keypoints, *unique}, problems),
        videos=_videos(data.get("video_sets"), problems),
        is_multi=is_multi,
        has_identity=bool(identity),
        engine=_text(data.get("engine")),
        iteration=_whole(data.get("iteration")),
        fractions=_fractions(data.get("TrainingFraction")),
        project_path=_text(data.get("project_path")),
        problems=tuple(problems),
        content=data,
    )


def write_config(
    path: Path,
    *,
    task: str,
    scorer: str,
    date: str,
    skeleton: Skeleton,
    individuals: Sequence[str],
    videos: Mapping[Path, tuple[int, int]] | Sequence[Path],
    identity: bool,
    is_multi: bool = True,
) -> None:
    """Write config.yaml of a new project; only keys that DLC 3.0.2 (strict) knows.

    Args:
        path: ``<project>/config.yaml``.
        task: project name.
        scorer: annotator.
        date: e.g. ``Nov22``.
        skeleton: keypoints, limbs, unique keypoints.
        individuals: names.
        videos: video -> (width, height) px; a plain sequence is looked into for the sizes.
        identity: the names mean the same animal in every video.
        is_multi: several animals; otherwise ``individuals`` and unique keypoints are left out.

    Raises:
        ValueError: a video's size is neither given nor found.
    """
    names = skeleton.keypoints
    sizes = videos if isinstance(videos, Mapping) else {video: video_size(path.parent, video) for video in videos}
    data: dict[str, Any] = {
        "config_version": 0,
        "Task": task,
        "scorer": scorer,
        "date": date,
        "multianimalproject": is_multi,
        "identity": bool(identity) if is_multi else None,
        "project_path": str(path.parent.resolve()),
        "engine": "pytorch",
        "video_sets": {str(video): {"crop": f"0, {w}, 0, {h}"} for video, (w, h) in sizes.items()},
        **(
            {
                "bodyparts": MULTI,
                "individuals": list(individuals),
                "uniquebodyparts": list(skeleton.unique),
                "multianimalbodyparts": list(names),
            }
            if is_multi
            else {"bodyparts": list(names)}
        ),
        "start": 0,
        "stop": 1,
        "numframes2pick": 20,
        "skeleton": [[names[a], names[b]] for a, b in skeleton.edges],
        "skeleton_color": "black",
        "pcutoff": 0.6,
        "dotsize": 12,
        "alphavalue": 0.7,
        "colormap": "rainbow",
        "TrainingFraction": [0.95],
        "iteration": 0,
        "default_net_type": "resnet_50",
        "default_augmenter": "albumentations",
        "default_track_method": "ellipse",
        "snapshotindex": -1,
        "detector_snapshotindex": -1,
        "batch_size": 8,
        "detector_batch_size": 1,
        "cropping": False,
        "corner2move2": [50, 50],
        "move2corner": True,
    }
    yaml = YAML()
    yaml.width = 1_000_000  # long paths must not be folded
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(data, file)


def edit_config(
    path: Path,
    *,
    values: Mapping[str, Any] | None = None,
    videos: Mapping[str, tuple[int, int, int, int]] | None = None,
) -> None:
    """Change config.yaml and nothing else in it: comments, order and unknown keys stay.

    Args:
        path: the file.
        values: key -> new value.
        videos: video -> crop (x1, x2, y1, y2), added to ``video_sets``; those that are there stay.

    Raises:
        ProjectError: it cannot be read, or its ``video_sets`` is no mapping.
    """
    _load(path)  # its errors say more
    yaml = YAML()
    yaml.width = 1_000_000  # long paths must not be folded
    yaml.preserve_quotes = True
    yaml.allow_duplicate_keys = True
    content: Any = yaml.load(path.read_text(encoding="utf-8-sig"))
    for key, value in (values or {}).items():
        content[key] = value
    if videos:
        sets = content.get("video_sets") or {}
        if not isinstance(sets, dict):
            raise ProjectError(f"expected video_sets to be video: crop, got {type(sets).__name__}\nwhere: {path}")
        new = [(video, crop) for video, crop in videos.items() if video not in sets]
        for place, (video, crop) in enumerate(new):
            entry = {"crop": ", ".join(str(int(v)) for v in crop)}
            if isinstance(sets, CommentedMap):  # at the end they would stand below the comments on the next key
                sets.insert(place, video, entry)
            else:
                sets[video] = entry
        content["video_sets"] = sets

    def write(aside: Path) -> None:
        with aside.open("w", encoding="utf-8") as file:
            yaml.dump(content, file)

    write_atomic(path, write)


def read_settings(root: Path) -> dict[str, Any]:
    """All keys of config.yaml as they are written there; DLC's defaults for frame picking and drawing are added.

    Args:
        root: the project folder or its config.yaml.

    Raises:
        ProjectError: missing or not YAML.
    """
    found = {key: value for key, value in _load(config_path(root)).items() if value is not None}
    return _DEFAULTS | found


def read_crops(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """``video_sets``: video, as written -> crop (x1, x2, y1, y2); videos without a usable crop are left out."""
    sets = read_settings(root).get("video_sets")
    crops: dict[str, tuple[int, int, int, int]] = {}
    for video, entry in sets.items() if isinstance(sets, dict) else ():
        crop = entry.get("crop") if isinstance(entry, dict) else None
        if crop is not None and _is_crop(crop):
            parts = crop if isinstance(crop, list) else str(crop).split(",")
            x1, x2, y1, y2 = (int(str(part)) for part in parts)
            crops[str(video)] = (x1, x2, y1, y2)
    return crops


def video_size(root: Path, video: Path) -> tuple[int, int]:
    """Width and height of a video, or of the first image of its labeled-data folder.

    Raises:
        ValueError: neither can be read.
    """
    import av
    import av.error

    from shoal.io.dlc.images import image_size

    if Path(video).is_file():
        try:
            with av.open(str(video)) as container:
                stream = container.streams.video[0]
                return stream.width, stream.height
        except (av.error.FFmpegError, IndexError):
            pass
    for image in sorted((root / "labeled-data" / Path(video).stem).glob("*.png"))[:1]:
        return image_size(image)
    raise ValueError(f"write_config: expected a readable video or (width, height), got {video}")


def _load(path: Path) -> dict[str, Any]:
    yaml = YAML(typ="safe", pure=True)  # YAML 1.2, as DLC reads it
    yaml.allow_duplicate_keys = True
    try:
        data = yaml.load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, YAMLError, ValueError) as error:
        raise ProjectError(f"expected readable YAML, got: {error}\nwhere: {path}") from error
    if not isinstance(data, dict):
        raise ProjectError(f"expected a mapping of settings, got {type(data).__name__}\nwhere: {path}")
    return data


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _fractions(value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(float(v) for v in values if isinstance(v, int | float))


def _names(data: dict[str, Any], key: str, problems: list[Problem]) -> tuple[str, ...]:
    value = data.get(key)
    if value in (None, "", MULTI):
        return ()
    if not isinstance(value, list):
        problems.append(Problem(f"config.yaml: {key}", f"expected a list of names, got {value!r}; ignored"))
        return ()
    names = tuple(dict.fromkeys(str(v) for v in value if v is not None))
    if len(names) != len(value):
        problems.append(Problem(f"config.yaml: {key}", "has empty or repeated names; each is used once"))
    return names


def _pairs(value: Any, known: set[str], problems: list[Problem]) -> tuple[tuple[str, str], ...]:
    pairs: dict[tuple[str, str], None] = {}
    for item in value if isinstance(value, list) else ():
        pair = tuple(str(name) for name in item) if isinstance(item, list) else ()
        if len(pair) != 2 or pair[0] == pair[1] or not known.issuperset(pair):
            problems.append(Problem("config.yaml: skeleton", f"expected a pair of bodyparts, got {item!r}; left out"))
        elif (pair[1], pair[0]) not in pairs:
            pairs[pair] = None
    return tuple(pairs)


def _videos(value: Any, problems: list[Problem]) -> tuple[str, ...]:
    if value in (None, ""):
        return ()
    if not isinstance(value, dict | list):
        problems.append(Problem("config.yaml: video_sets", f"expected video: crop, got {value!r}; ignored"))
        return ()
    videos = tuple(str(video) for video in value)
    for video in videos:
        crop = value[video].get("crop") if isinstance(value, dict) and isinstance(value.get(video), dict) else None
        if crop is not None and not _is_crop(crop):
            name = split_path(video)[-1] if split_path(video) else video
            what = f"expected crop 'x1, x2, y1, y2', got {crop!r}; not used by shoal"
            problems.append(Problem(f"config.yaml: video_sets: {name}", what))
    return videos


def _is_crop(crop: Any) -> bool:
    parts = crop if isinstance(crop, list) else str(crop).split(",")
    try:
        x1, x2, y1, y2 = (int(str(part)) for part in parts)
    except ValueError:
        return False
    return 0 <= x1 < x2 and 0 <= y1 < y2
