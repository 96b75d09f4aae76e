"""Videos analyzed with a DLC shuffle: results in DLC's files beside the video, shoal's own tables in the run folder.

What shoal wrote is taken from the run folder. A file that DLC wrote, or that somebody changed since, is taken as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from shoal.config.run import RunConfig, parse_config
from shoal.errors import ArtifactError, ConfigError, ProjectError, VideoError
from shoal.io.artifacts import file_digest, write_atomic
from shoal.io.dlc.config_file import DlcConfig, read_config
from shoal.io.dlc.detections import write_full
from shoal.io.dlc.meta import Meta, write_meta
from shoal.io.dlc.pose_table import read_pose_table, write_pose_table
from shoal.io.dlc.pytorch_config import read_pytorch_config
from shoal.io.dlc.results import POSES_KEY, read_tracks_file, write_tracks
from shoal.io.dlc.tracklets import SUFFIXES, write_assemblies, write_tracklets
from shoal.io.dlc.training_set import Shuffle, Snapshot, find_shuffle, scorer_name, select_snapshot
from shoal.io.video import count_frames, probe
from shoal.run.batch import Batch, for_each
from shoal.run.dlc_files import Kind, dlc_file, is_ours, write_dlc_files
from shoal.run.dlc_tracks import associate_dlc_files, stitch_dlc_files
from shoal.run.engine import Engine, load_engine
from shoal.run.folder import folders_of, read_card, read_part
from shoal.run.folder import read_config as read_settings
from shoal.run.plan import Part
from shoal.run.steps import analyze, track
from shoal.stages.filter import filter_tracks
from shoal.types import OnProgress, Skeleton, Tracks, no_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Network:
    """A trained shuffle, as DLC names it.

    Attributes:
        config: of the project.
        shuffle: that was trained.
        snapshot: that is used.
        scorer: its name in files.
    """

    config: DlcConfig
    shuffle: Shuffle
    snapshot: Snapshot
    scorer: str


@dataclass(frozen=True)
class Outputs:
    """Which files are written, and how.

    Attributes:
        dest: folder of files and run folders; None = beside each video.
        method: DLC's track method; it names the files.
        names: of animals; empty = the project's individuals.
        csv: csv twins of h5 files.
        has_tracks: tracklets and tracks too.
        has_table: ``<base>.h5`` too.
    """

    dest: Path | None = None
    method: str = "ellipse"
    names: tuple[str, ...] = ()
    csv: bool = False
    has_tracks: bool = True
    has_table: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Files of an analysis."""
        tracks: tuple[Kind, ...] = ("tracklets", "tracks") if self.has_tracks else ()
        return ("full", "meta", "assemblies", *(("poses",) if self.has_table else ()), *tracks)


def find_network(
    project: Path, shuffle: int = 1, fraction_index: int = 0, *, snapshot: int | str | None = None
) -> Network:
    """The network that DLC's keywords mean; ``snapshot`` None = ``snapshotindex`` of config.yaml.

    Raises:
        ProjectError: no such shuffle.
        CheckpointError: it has no such snapshot.
    """
    config = read_config(project)
    found = find_shuffle(project, shuffle, fraction_index)
    which: Any = config.content.get("snapshotindex") if snapshot is None else snapshot
    chosen = select_snapshot(found, -1 if which is None else which)
    return Network(config, found, chosen, scorer_name(config, found, chosen))


def base_of(video: Path, network: Network, dest: Path | None = None) -> Path:
    """``<folder>/<video stem><scorer>``: what the names of all results of a video begin with."""
    return (Path(dest) if dest else video.parent).absolute() / f"{video.stem}{network.scorer}"


def method_of(config: DlcConfig, method: str = "") -> str:
    """The track method asked for, or the project's; it decides how files end.

    Raises:
        ConfigError: not one of DLC's that shoal has.
    """
    name = method or str(config.content.get("default_track_method") or "ellipse")
    if name not in SUFFIXES:
        raise ConfigError(f"expected track_method to be one of {', '.join(SUFFIXES)}, got '{name}'")
    return name


def animal_names_of(individuals: Sequence[str], n_tracks: int | None, names: Sequence[str] | None) -> tuple[str, ...]:
    """One name per track: those given, or the project's, or those and ``ind<n>`` for more.

    Raises:
        ConfigError: names and number disagree.

    >>> animal_names_of(["ann", "bob"], 3, None)
    ('ann', 'bob', 'ind3')
    """
    if names:
        if n_tracks is not None and n_tracks != len(names):
            raise ConfigError(f"expected as many animal_names as n_tracks ({n_tracks}), got {len(names)}")
        return tuple(names)
    n = len(individuals) if n_tracks is None else n_tracks
    return (*individuals[:n], *(f"ind{i + 1}" for i in range(len(individuals), n)))


def run_settings(
    network: Network, *, n_tracks: int | None = None, batch_size: int | None = None,
    crop: Sequence[int] | None = None, device: str | None = None,
) -> RunConfig:  # fmt: skip
    """Settings of an analysis by DLC's keywords; ``n_tracks`` None = at most as many animals as the project names."""
    size = batch_size or int(network.config.content.get("batch_size") or 8)
    changed = {
        "predict": {"batch_size": size, "crop": tuple(int(v) for v in crop) if crop else None},
        "stitch": count_animals(len(network.config.individuals), n_tracks),
        "compute": {"device": device or "auto"},
    }
    return parse_config(RunConfig, changed, where="analyze_videos")


def count_animals(n_individuals: int, n_tracks: int | None) -> dict[str, Any]:
    """DLC's ``n_tracks`` as stitch settings: given = exactly, not given = at most one per individual."""
    count = "at-most" if n_tracks is None else "exact"
    return {"n_animals": n_individuals if n_tracks is None else int(n_tracks), "count": count}


def analyze_videos(
    network: Network,
    videos: Iterable[Path],
    outputs: Outputs,
    *,
    config: RunConfig,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Batch[Path]:
    """Analyze (and track) videos with a shuffle's network, and write DLC's files.

    A video that has all files is left alone; one whose files DLC made is only tracked. A video without a frame that
    can be decoded gets files without animals.

    Args:
        network: whose.
        videos: the files.
        outputs: what is written, and where.
        config: settings.
        overwrite: do everything again.
        on_progress: as ``analyze``.

    Returns:
        Base name of each video's files; and what failed.
    """

    @cache
    def engine() -> Engine:
        loaded = load_engine(network.snapshot.path, config)
        return replace(loaded, card=replace(loaded.card, name=network.scorer))

    digest = cache(lambda: file_digest(network.snapshot.path))

    def is_current(video: Path) -> bool:
        """Whether the run folder is of this very network: a shuffle trained again keeps its names."""
        run_dir = run_of(video, outputs.dest)
        try:
            card = read_card(run_dir) if run_dir else None
        except ArtifactError:
            return False
        return card is None or card.file == digest() or card.sha == engine().card.sha

    def one(video: Path) -> Path:
        base = base_of(video, network, outputs.dest)
        lacking = [kind for kind in outputs.kinds if not dlc_file(base, kind, method=outputs.method).is_file()]
        is_foreign = dlc_file(base, "full").is_file() and not run_of(video, outputs.dest)
        if not overwrite and not lacking and (is_foreign or is_current(video)):
            log.info("%s is analyzed already; overwrite=True does it again", video.name)
        elif not overwrite and is_foreign:
            _track_foreign(base, network, outputs, config)
        elif frames_of(video):
            run_dir = analyze(
                video, engine(), config=config, dest=outputs.dest, overwrite=overwrite, on_progress=on_progress
            )
            _write(run_dir, base, outputs, keep=not overwrite)
        else:
            log.warning("%s: no frame can be decoded; its files hold no animals", video.name)
            _write_nothing(video, base, network, outputs)
        return base

    log.info("Analyzing videos with %s", network.snapshot.path)
    return for_each(videos, one)


def track_video(
    network: Network, video: Path, outputs: Outputs, *, change: Callable[[RunConfig], RunConfig], output: str = ""
) -> tuple[Path, ...]:
    """Tracklets (and tracks) of an analyzed video again, with other settings, in DLC's files.

    Args:
        network: that analyzed it.
        video: the file.
        outputs: ``has_tracks`` False = tracklets only.
        change: the settings a run was made with (or the defaults) -> those to use.
        output: name of the tracks file, in the same folder; empty = DLC's.

    Returns:
        The files.

    Raises:
        ProjectError: not analyzed with this network.
    """
    base = base_of(video, network, outputs.dest)
    run_dir = run_of(video, outputs.dest)
    source: Kind = "tracklets" if outputs.has_tracks else "assemblies"
    path = dlc_file(base, source, method=outputs.method)
    is_own = run_dir is not None and read_card(run_dir).name == network.scorer
    if run_dir and is_own and not output and is_ours(run_dir, path, unknown=not path.is_file()):
        track(run_dir, change(read_settings(run_dir)))
        kinds: tuple[Kind, ...] = ("tracklets", "tracks") if outputs.has_tracks else ("tracklets",)
        return write_dlc_files(
            run_dir, base=base.name, scorer=network.scorer, dest=base.parent, what=kinds, method=outputs.method,
            csv=outputs.csv, names=outputs.names,
        )  # fmt: skip
    if is_own and not output:
        log.info("%s was written or changed by somebody else: taken as it is", path.name)
    config = change(RunConfig())
    if not outputs.has_tracks:
        return (associate_dlc_files(base, config=config.associate, method=outputs.method),)
    return (stitch_dlc_files(
        base, config=config.stitch, names=outputs.names, method=outputs.method, csv=outputs.csv,
        output=base.parent / output if output else None,
    ),)  # fmt: skip


def tracks_file(
    network: Network, video: Path, *, dest: Path | None = None, method: str = "ellipse", filtered: bool = False
) -> Path:
    """The tracks of an analyzed video.

    Raises:
        ProjectError: there are none; the hint says which step makes them.
    """
    path = dlc_file(base_of(video, network, dest), "tracks", method=method, filtered=filtered)
    if not path.is_file():
        step = "filterpredictions" if filtered else "analyze_videos (or stitch_tracklets)"
        there = ", ".join(p.name for p in sorted(path.parent.glob("*.h5")) if p.name.startswith(video.stem)) or "none"
        raise ProjectError(
            f"expected tracks of {video.name}, found none; other tables here: {there}\nwhere: {path}",
            hint=f"{step} makes them",
        )
    return path


def filter_video(
    path: Path, *, method: str = "median", window: int = 5, p_bound: float = 0.001, degrees: tuple[int, int] = (3, 1),
    csv: bool = True,
) -> Path:  # fmt: skip
    """``<base>_el.h5`` -> ``<base>_el_filtered.h5``: smoothed tracks, see ``stages.filter``.

    Raises:
        ProjectError: not a tracks file.
        InputError: an unknown method or a window that it cannot have.
    """
    found = read_tracks_file(path)
    smooth = filter_tracks(found.tracks, method=method, window=window, p_bound=p_bound, ar=degrees[0], ma=degrees[1])
    target = path.with_name(f"{path.stem}_filtered.h5")
    unique = found.unique if found.skeleton.unique else None
    for file in (target, target.with_suffix(".csv")) if csv else (target,):

        def write(aside: Path) -> None:
            write_tracks(
                aside, smooth, skeleton=found.skeleton, names=found.names, scorer=found.scorer, unique=unique,
                key=POSES_KEY,
            )  # fmt: skip

        write_atomic(file, write)
    return target


def results_to_csv(video: Path) -> tuple[Path, ...]:
    """Write a csv beside every h5 of a video's results."""
    written: list[Path] = []
    for file in sorted(video.parent.glob("*.h5")):
        if not file.name.startswith((f"{video.stem}DLC_", f"{video.stem}DeepCut_")):
            continue
        try:
            table = read_pose_table(file)
        except (OSError, ValueError) as error:
            log.warning("%s: %s; left out", file.name, error)
            continue
        written.append(file.with_suffix(".csv"))
        write_atomic(written[-1], lambda aside, table=table: write_pose_table(aside, table, key="", layout="table"))
    if not written:
        log.warning("%s: no tables beside it to convert", video.name)
    return tuple(written)


def run_of(video: Path, dest: Path | None = None) -> Path | None:
    """The run folder that shoal made of a video, if it did: the one used last of those with other crops."""
    try:
        info = probe(video)
    except VideoError:
        return None
    found = [folder for folder in folders_of(info, dest) if (folder / "model.json").is_file()]
    whole = [folder for folder in found if read_part(folder) == Part(0, info.n_frames)]
    return max(whole, key=lambda folder: (folder / "model.json").stat().st_mtime_ns, default=None)


def frames_of(video: Path) -> bool:
    """Whether a video has a frame that can be decoded.

    Raises:
        VideoError: it is not a video.
    """
    try:
        return probe(video).n_frames > 0
    except VideoError:
        count_frames(video)
        return False


def _write(run_dir: Path, base: Path, outputs: Outputs, *, keep: bool) -> None:
    """Write the files of a run; ``keep`` = those that somebody changed stay."""
    kinds: list[Kind] = []
    for kind in outputs.kinds:
        path = dlc_file(base, kind, method=outputs.method)
        if keep and path.is_file() and not is_ours(run_dir, path):
            log.info("%s was changed by somebody since: it stays; overwrite=True replaces it", path.name)
        else:
            kinds.append(kind)
    write_dlc_files(
        run_dir, base=base.name, scorer=read_card(run_dir).name, dest=base.parent, what=kinds, method=outputs.method,
        csv=outputs.csv, names=outputs.names,
    )  # fmt: skip


def _track_foreign(base: Path, network: Network, outputs: Outputs, config: RunConfig) -> None:
    """Tracklets and tracks of a video that DLC analyzed."""
    log.info("%s was analyzed by DeepLabCut: taken as it is", base.name)
    if outputs.has_tracks:
        if not dlc_file(base, "tracklets", method=outputs.method).is_file():
            associate_dlc_files(base, config=config.associate, method=outputs.method)
        stitch_dlc_files(base, config=config.stitch, names=outputs.names, method=outputs.method, csv=outputs.csv)


def _write_nothing(video: Path, base: Path, network: Network, outputs: Outputs) -> None:
    """DLC's files of a video without a readable frame: as many rows as it has frames, nobody in them."""
    about = read_pytorch_config(network.shuffle.config_path)["metadata"]
    keypoints, unique = tuple(about["bodyparts"]), tuple(about.get("unique_bodyparts") or ())
    individuals = tuple(about["individuals"])
    n = count_frames(video)
    skeleton, nobody = Skeleton(keypoints, unique=unique), Tracks.empty((0, n), len(keypoints))
    poses = nobody.poses
    names = outputs.names or individuals
    meta = Meta(network.scorer, n, individuals=individuals, keypoints=keypoints, unique=unique)

    def tracks_to(path: Path) -> None:
        write_tracks(path, nobody, skeleton=skeleton, names=names, scorer=network.scorer)

    writers: dict[Kind, Callable[[Path], None]] = {
        "full": lambda p: write_full(
            p, poses, keypoints=keypoints, n_frames=n, n_individuals=len(individuals), unique_names=unique
        ),
        "meta": lambda p: write_meta(p, meta),
        "assemblies": lambda p: write_assemblies(p, poses, n_frames=n),
        "poses": tracks_to,
        "tracklets": lambda p: write_tracklets(
            p, nobody, keypoints=keypoints, scorer=network.scorer, n_frames=n, unique_names=unique
        ),
        "tracks": tracks_to,
    }
    for kind in outputs.kinds:
        path = dlc_file(base, kind, method=outputs.method)
        write_atomic(path, writers[kind])
        if outputs.csv and path.suffix == ".h5":
            write_atomic(path.with_suffix(".csv"), writers[kind])
