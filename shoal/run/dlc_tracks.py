"""Tracklets and tracks of a video from DLC's files, whoever made those, into DLC's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shoal.config.associate import AssociateConfig
from shoal.config.stitch import StitchConfig
from shoal.io.artifacts import write_atomic
from shoal.io.dlc.results import TRACKS_KEY, write_tracks
from shoal.io.dlc.tracklets import write_tracklets
from shoal.run.dlc_files import DlcResult, dlc_file, read_dlc_files, shifted
from shoal.stages.associate import associate
from shoal.stages.stitch import stitch
from shoal.types import Evidence, Poses, Tracks


def associate_dlc_files(base: Path, *, config: AssociateConfig, method: str = "ellipse") -> Path:
    """Tracklets from a video's assembled animals, whoever made those: ``_assemblies.pickle`` -> ``_el.pickle``.

    Raises:
        ProjectError: no animals file, or damaged.
    """
    found = read_dlc_files(base, "poses", method=method)
    assert isinstance(found.table, Poses)
    tracklets, _ = associate(found.table, config)
    path, (tracklets, unique) = dlc_file(base, "tracklets", method=method), _back(found, tracklets)
    write_tracklets(
        path, tracklets, keypoints=found.skeleton.keypoints, scorer=found.scorer, n_frames=tracklets.span[1],
        unique=unique, unique_names=found.skeleton.unique, identity=found.identity,
    )  # fmt: skip
    return path


def stitch_dlc_files(
    base: Path,
    *,
    config: StitchConfig,
    names: Sequence[str] = (),
    method: str = "ellipse",
    output: Path | None = None,
    csv: bool = False,
    evidence: Evidence | None = None,
) -> Path:
    """Tracks from a video's tracklets, whoever made those: ``_el.pickle`` -> ``_el.h5``.

    Args:
        base: folder and base name of the files.
        config: settings; ``n_animals`` 0 = unknown.
        names: of individuals; empty = those of ``_meta.pickle``.
        method: of the tracklets.
        output: file to write; None = DLC's name.
        csv: a csv twin.
        evidence: who looks like whom, about the tracklets of the file in their order; added to motion.

    Raises:
        ProjectError: no tracklets file, or damaged.
    """
    found = read_dlc_files(base, "tracklets", method=method)
    assert isinstance(found.table, Tracks)
    tracks, _ = stitch(found.table, evidence, config)
    if config.n_animals:
        tracks = Tracks(tracks.poses, np.where(tracks.track < config.n_animals, tracks.track, -1))
    path = output or dlc_file(base, "tracks", method=method)
    tracks, unique = _back(found, tracks)
    for target in [path, path.with_suffix(".csv")] if csv else [path]:

        def write(aside: Path) -> None:
            write_tracks(
                aside, tracks, skeleton=found.skeleton, names=names or found.names, scorer=found.scorer,
                unique=unique if found.skeleton.unique else None, key=TRACKS_KEY,
            )  # fmt: skip

        write_atomic(target, write)
    return path


def _back(result: DlcResult, tracks: Tracks) -> tuple[Tracks, Poses]:
    """Tracks and unique keypoints as files have them: all of a base name count from the analyzed part's corner."""
    by = (-result.origin[0], -result.origin[1])
    return Tracks(shifted(tracks.poses, by), tracks.track), shifted(result.unique, by)
