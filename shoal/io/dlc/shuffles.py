"""DLC's shuffles: training-datasets, metadata.yaml and model folders, complete or half deleted: reading them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from shoal.errors import CheckpointError, ProjectError
from shoal.io.dlc.config_file import DlcConfig, read_config
from shoal.io.dlc.pickles import read_pickle
from shoal.io.dlc.pose_table import read_pose_table
from shoal.types import Project

_DOCUMENTATION = re.compile(r"^Documentation_data-.*_(\d+)shuffle(\d+)\.pickle$")
_MODEL_FOLDER = re.compile(r"-trainset(\d+)shuffle(\d+)$")
_SNAPSHOT = re.compile(r"^snapshot(-best)?-(\d+)\.pt$")
_TF_SNAPSHOT = re.compile(r"^snapshot-(\d+)\.index$")
_NET_TYPE = re.compile(r"^net_type:\s*['\"]?([\w.-]+)", re.MULTILINE)
ENGINE_FOLDERS = {"pytorch": "dlc-models-pytorch", "tensorflow": "dlc-models"}


@dataclass(frozen=True)
class Snapshot:
    """A saved network of DLC.

    Attributes:
        path: ``.pt`` file (PyTorch) or ``.index`` file (TensorFlow).
        epoch: number in the name: epochs (PyTorch) or iterations (TensorFlow).
        is_best: saved because it was the best so far.
    """

    path: Path
    epoch: int
    is_best: bool = False


@dataclass(frozen=True, eq=False)
class Shuffle:
    """One training dataset of a DLC project, with what was trained on it.

    Attributes:
        index: shuffle number.
        fraction: share of images trained on.
        engine: ``pytorch``, ``tensorflow``, or empty if nothing tells.
        iteration: DLC's iteration number.
        folder: of its PyTorch models, ``.../dlc-models-pytorch/iteration-<i>/<name>``; it need not exist.
        net_type: of its ``pytorch_config.yaml``, empty if there is none.
        snapshots: sorted by epoch, best last, as DLC's snapshot index counts.
        train: rows of the merged label table, empty if the split is lost.
        test: rows of the merged label table.
        images: (folder, file) of each row of the merged table, empty if that is lost.
        notes: what does not fit, one sentence each.
    """

    index: int
    fraction: float
    engine: str
    iteration: int
    folder: Path
    net_type: str
    snapshots: tuple[Snapshot, ...]
    train: Int64[ndarray, "N"]
    test: Int64[ndarray, "N"]
    images: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``<Task><date>-trainset<percent>shuffle<index>``."""
        return self.folder.name

    @property
    def percent(self) -> int:
        """Share trained on as DLC's file names have it."""
        found = _MODEL_FOLDER.search(self.folder.name)
        return int(found.group(1)) if found else percent_of(self.fraction)

    @property
    def train_folder(self) -> Path:
        """Where snapshots, train.txt and learning_stats.csv are."""
        return self.folder / "train"

    @property
    def config_path(self) -> Path:
        """Its ``pytorch_config.yaml``."""
        return self.train_folder / "pytorch_config.yaml"


def read_shuffles(root: Path) -> tuple[Shuffle, ...]:
    """All shuffles of the project's current iteration of which anything is left, by (fraction, index).

    Args:
        root: the project folder or its config.yaml.

    Raises:
        ProjectError: config.yaml cannot be read.
    """
    config = read_config(root)
    folder = training_set_folder(config)
    documents = documents_of(folder)
    listed, notes = _metadata(folder)
    models = {engine: _model_folders(config, engine) for engine in ENGINE_FOLDERS}
    keys = sorted({*documents, *listed, *models["pytorch"], *models["tensorflow"]})
    images = merged_images(folder, config.scorer)
    return tuple(
        _shuffle(key, config, documents=documents, listed=listed, models=models, images=images, notes=notes)
        for key in keys
    )


def next_shuffle(root: Path) -> int:
    """Number of the next shuffle: one more than the largest of which anything is left, in any fraction or engine.

    DLC looks at Documentation pickles only, and would write into the model folder of a dataset deleted by hand.
    """
    return max((shuffle.index for shuffle in read_shuffles(root)), default=0) + 1


def find_shuffle(root: Path, index: int = 1, fraction_index: int = 0) -> Shuffle:
    """The PyTorch shuffle that DLC's ``shuffle`` and ``trainingsetindex`` mean.

    Args:
        root: the project folder or its config.yaml.
        index: shuffle number.
        fraction_index: position in ``TrainingFraction`` of config.yaml.

    Raises:
        ProjectError: there is no such shuffle, or it is TensorFlow's; the message names the usable ones.
    """
    config = read_config(root)
    shuffles = read_shuffles(root)
    usable = [s for s in shuffles if is_usable(s)]
    listed = ", ".join(f"{s.index} ({s.name})" for s in usable) or "none"
    make = "create_multianimaltraining_dataset makes a new one beside it; nothing has to be deleted"
    if not 0 <= fraction_index < max(len(config.fractions), 1):
        raise ProjectError(
            f"expected a trainingsetindex below {len(config.fractions)}, got {fraction_index}\n"
            f"where: TrainingFraction in {config.path}"
        )
    named = [s for s in shuffles if s.index == index]
    percent = percent_of(config.fractions[fraction_index]) if config.fractions else -1
    found = [s for s in named if s.percent == percent]
    if not found and fraction_index == 0 and len(named) == 1:
        found = named  # the fraction in config.yaml changed since, or the split was given by hand
    if not found:
        there = f"; it exists with fraction {', '.join(f'{s.fraction:g}' for s in named)}" if named else ""
        raise ProjectError(
            f"expected shuffle {index} of the project, got none{there}; usable shuffles: {listed}\n"
            f"where: {config.path}",
            hint=make,
        )
    if not is_usable(found[0]):
        raise ProjectError(
            f"expected a PyTorch shuffle, got shuffle {index}, which is TensorFlow's; "
            f"usable shuffles: {listed}\nwhere: {config.path}",
            hint=f"name one of the usable shuffles (shuffle=...), or {make}",
        )
    return found[0]


def is_usable(shuffle: Shuffle) -> bool:
    """Whether shoal can train or analyse with a shuffle: it is PyTorch's, or nothing says whose."""
    return shuffle.engine != "tensorflow"


def select_snapshots(shuffle: Shuffle, which: int | str | Sequence[str] = -1) -> tuple[Snapshot, ...]:
    """The snapshots that DLC's ``snapshotindex`` (or names of files) means.

    Args:
        shuffle: where to look.
        which: position in the list sorted by epoch with the best last, ``best``, ``all``, or names of snapshots.

    Raises:
        CheckpointError: there is no such snapshot; the message names those that are there.
    """
    there = shuffle.snapshots
    names = [s.path.stem for s in there]
    where = f"where: {shuffle.train_folder}"
    if not there:
        raise CheckpointError(f"expected a trained network, got no snapshot\n{where}", hint="train this shuffle first")
    if which == "all":
        return there
    wanted: list[Any] = list(which) if isinstance(which, list | tuple) else [which]
    found: list[Snapshot] = []
    for item in wanted:
        if isinstance(item, int) and -len(there) <= item < len(there):
            found.append(there[item])
        elif item == "best" and there[-1].is_best:
            found.append(there[-1])
        elif isinstance(item, str) and item.removesuffix(".pt") in names:
            found.append(there[names.index(item.removesuffix(".pt"))])
        else:
            raise CheckpointError(f"expected one of {', '.join(names)}, got {item!r}\n{where}")
    return tuple(found)


def select_snapshot(shuffle: Shuffle, which: int | str = -1) -> Snapshot:
    """One snapshot, to analyse with: as ``select_snapshots``; ``all`` means the last one, as in DLC.

    Raises:
        CheckpointError: there is no such snapshot.
    """
    return select_snapshots(shuffle, -1 if which == "all" else which)[0]


def scorer_name(config: DlcConfig, shuffle: Shuffle, snapshot: Snapshot) -> str:
    """DLC's name of a network, which is part of the name of every file that it makes.

    ``DLC_Resnet50_dlc_modelJul26shuffle1_snapshot_200``, or ``..._snapshot_best-190``.
    """
    net = "".join(part.capitalize() for part in (shuffle.net_type or "unknown").split("_"))
    uid = f"snapshot_{'best-' if snapshot.is_best else ''}{snapshot.epoch}"
    return f"DLC_{net}_{config.task}{config.date}shuffle{shuffle.index}_{uid}"


def percent_of(fraction: float) -> int:
    """A training fraction as DLC's names have it (truncated)."""
    return int(100 * fraction)


def shuffle_split(project: Project, shuffle: Shuffle) -> tuple[Int64[ndarray, "N"], Int64[ndarray, "N"]]:
    """A shuffle's split as positions in ``project.labels``.

    Images are found by name in the shuffle's own merged table where it is left, by row otherwise. Images
    that shoal skips or the user excluded are in neither part, nor are images labelled since.

    Raises:
        ProjectError: the split is lost, or no label of it is left.
    """
    if not len(shuffle.train):
        raise ProjectError(
            f"expected a split in shuffle {shuffle.index}, got none: {'; '.join(shuffle.notes)}\nwhere: {project.root}",
            hint="choose another split: --set dataset.split=random",
        )
    if shuffle.images:
        at: dict[Any, int] = {(f.video, f.image.name): i for i, f in enumerate(project.labels)}
        keys: Any = shuffle.images
    else:
        at = {f.row: i for i, f in enumerate(project.labels) if f.row >= 0}
        keys = range(max(int(shuffle.train.max()), int(shuffle.test.max(initial=-1))) + 1)
    parts = []
    for rows in (shuffle.train, shuffle.test):
        found = [at[keys[row]] for row in rows if row < len(keys) and keys[row] in at]
        parts.append(np.array(sorted(found), np.int64))
    if not len(parts[0]):
        raise ProjectError(
            f"expected images of shuffle {shuffle.index} among the labels, got none of {len(shuffle.train)}\n"
            f"where: {project.root}"
        )
    return parts[0], parts[1]


def _shuffle(
    key: tuple[int, int],
    config: DlcConfig,
    *,
    documents: dict[tuple[int, int], Path],
    listed: dict[tuple[int, int], str],
    models: dict[str, dict[tuple[int, int], Path]],
    images: tuple[tuple[str, str], ...],
    notes: tuple[str, ...],
) -> Shuffle:
    said = list(notes)
    snapshots = {engine: _snapshots(folders.get(key), engine) for engine, folders in models.items()}
    engine = listed.get(key, "")
    if not engine:
        engine = next((e for e in snapshots if snapshots[e]), next((e for e in models if key in models[e]), ""))
        said.append(f"engine not in metadata.yaml, taken from the model folder: {engine or 'unknown'}")
    other = [e for e in snapshots if e != engine and snapshots[e]]
    if other:
        said.append(f"is {engine or 'of unknown engine'}, but also has {other[0]} snapshots")
    fraction, train, test = key[0] / 100, np.zeros(0, np.int64), np.zeros(0, np.int64)
    if key in documents:
        try:
            fraction, train, test = read_split(documents[key])
        except ProjectError as error:
            said.append(error.message.replace("\n", ", "))
    else:
        listing = "; listed in metadata.yaml, which DLC then cannot save" if key in listed else ""
        said.append(f"no Documentation pickle, so its split is lost{listing}")
    if not any(key in folders for folders in models.values()):
        said.append("no model folder")
    return Shuffle(
        index=key[1],
        fraction=fraction,
        engine=engine,
        iteration=config.iteration,
        folder=models["pytorch"].get(key) or model_folder(config, *key),
        net_type=_net_type(models["pytorch"].get(key)),
        snapshots=snapshots.get(engine, ()),
        train=train,
        test=test,
        images=images,
        notes=tuple(said),
    )


def training_set_folder(config: DlcConfig) -> Path:
    """The folder that DLC would use; another one of the same iteration if the task was renamed."""
    parent = config.path.parent / "training-datasets" / f"iteration-{config.iteration}"
    folder = parent / f"UnaugmentedDataSet_{config.task}{config.date}"
    if not folder.is_dir():
        others = sorted(p for p in parent.glob("UnaugmentedDataSet_*") if p.is_dir())
        return others[0] if others else folder
    return folder


def documents_of(folder: Path) -> dict[tuple[int, int], Path]:
    """(percent, shuffle) -> Documentation pickle."""
    found = ((_DOCUMENTATION.match(p.name), p) for p in sorted(folder.glob("Documentation_data-*.pickle")))
    return {(int(m.group(1)), int(m.group(2))): p for m, p in found if m}


def _metadata(folder: Path) -> tuple[dict[tuple[int, int], str], tuple[str, ...]]:
    """(percent, shuffle) -> engine, from metadata.yaml."""
    path = folder / "metadata.yaml"
    if not path.is_file():
        return {}, ("metadata.yaml is missing: DLC would take this shuffle for TensorFlow",)
    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
        shuffles = data["shuffles"]
        listed = {}
        for name, entry in shuffles.items():
            found = _MODEL_FOLDER.search(str(name))
            percent = int(found.group(1)) if found else round(100 * float(entry["train_fraction"]))
            listed[percent, int(entry["index"])] = str(entry.get("engine") or "")
    except (OSError, UnicodeDecodeError, YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        return {}, (f"metadata.yaml is unreadable ({type(error).__name__})",)
    return listed, ()


def _model_folders(config: DlcConfig, engine: str) -> dict[tuple[int, int], Path]:
    parent = config.path.parent / ENGINE_FOLDERS[engine] / f"iteration-{config.iteration}"
    found = ((_MODEL_FOLDER.search(p.name), p) for p in sorted(parent.glob("*")) if p.is_dir())
    return {(int(m.group(1)), int(m.group(2))): p for m, p in found if m}


def model_folder(config: DlcConfig, percent: int, index: int) -> Path:
    """Folder that a shuffle's PyTorch models have in DLC."""
    parent = config.path.parent / ENGINE_FOLDERS["pytorch"] / f"iteration-{config.iteration}"
    return parent / f"{config.task}{config.date}-trainset{percent}shuffle{index}"


def _net_type(folder: Path | None) -> str:
    """From pytorch_config.yaml; a search, because reading all of it takes a tenth of a second per shuffle."""
    try:
        text = (folder / "train" / "pytorch_config.yaml").read_text(encoding="utf-8") if folder else ""
    except (OSError, UnicodeDecodeError):
        return ""
    found = _NET_TYPE.search(text)
    return found.group(1) if found else ""


def list_snapshots(folder: Path) -> tuple[Snapshot, ...]:
    """DLC's PyTorch snapshots in a train folder, by epoch, best last."""
    found = ((_SNAPSHOT.match(path.name), path) for path in folder.glob("snapshot-*.pt"))
    snapshots = [Snapshot(path, int(m.group(2)), is_best=bool(m.group(1))) for m, path in found if m]
    return tuple(sorted(snapshots, key=lambda s: (s.is_best, s.epoch)))


def _snapshots(folder: Path | None, engine: str) -> tuple[Snapshot, ...]:
    if folder is None:
        return ()
    if engine == "pytorch":
        return list_snapshots(folder / "train")
    found = ((_TF_SNAPSHOT.match(path.name), path) for path in (folder / "train").glob("snapshot-*.index"))
    return tuple(sorted((Snapshot(path, int(m.group(1))) for m, path in found if m), key=lambda s: s.epoch))


def read_split(path: Path) -> tuple[float, Int64[ndarray, "N"], Int64[ndarray, "N"]]:
    """Fraction, train and test rows; -1 pads a forced fraction and is dropped.

    Raises:
        ProjectError: not a Documentation pickle.
    """
    content = read_pickle(path)
    try:
        _, train, test, fraction = content
        train, test = (np.asarray(rows, np.int64).reshape(-1) for rows in (train, test))
        return float(fraction), train[train >= 0], test[test >= 0]
    except (TypeError, ValueError) as error:
        raise ProjectError(f"expected [data, train, test, fraction], got something else\nwhere: {path}") from error


def merged_images(folder: Path, scorer: str) -> tuple[tuple[str, str], ...]:
    """(folder, file) of each row of the merged label table, empty if that is lost."""
    for suffix in (".h5", ".csv"):
        path = folder / f"CollectedData_{scorer}{suffix}"
        if path.is_file():
            try:
                index = read_pose_table(path).index
            except (OSError, ValueError):
                continue
            if all(len(row) >= 2 for row in index):
                return tuple((row[-2], row[-1]) for row in index)
    return ()
