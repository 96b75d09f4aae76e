"""Tracks smoothed and drawn as curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shoal.deeplabcut.call import finish, log, step
from shoal.deeplabcut.videos import Paths, collect_videos


@step
def filterpredictions(
    config: str,
    video: Paths,
    video_extensions: Any = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    filtertype: str = "median",
    windowlength: int = 5,
    p_bound: float = 0.001,
    ARdegree: int = 3,
    MAdegree: int = 1,
    alpha: float = 0.01,
    save_as_csv: bool = True,
    destfolder: str | None = None,
    modelprefix: str = "",
    track_method: str = "",
    return_data: bool = False,
    snapshot_index: int | str | None = None,
) -> dict[str, Any] | None:
    """Smooth tracks: ``_el_filtered.h5``; with ``return_data`` also returns {video: (tracks, file)}."""
    from shoal.io.dlc.results import read_tracks
    from shoal.run.batch import for_each
    from shoal.run.dlc_videos import filter_video, find_network, method_of, tracks_file

    network = find_network(Path(config), shuffle, trainingsetindex, snapshot=snapshot_index)
    dest, method = Path(destfolder) if destfolder else None, method_of(network.config, track_method)
    data: dict[str, Any] = {}

    def one(path: Path) -> Path:
        tracks = tracks_file(network, path, dest=dest, method=method)
        filtered = tracks.with_name(f"{tracks.stem}_filtered.h5")
        if filtered.is_file() and filtered.stat().st_mtime_ns >= tracks.stat().st_mtime_ns:
            log.info("%s is there already", filtered.name)
        else:
            filter_video(
                tracks, method=filtertype, window=windowlength, p_bound=p_bound, degrees=(ARdegree, MAdegree),
                csv=save_as_csv,
            )  # fmt: skip
            log.info("wrote %s", filtered)
        if return_data:
            data[str(path)] = (read_tracks(filtered)[0], str(filtered))
        return filtered

    finish(for_each(collect_videos(video, video_extensions), one))
    return data if return_data else None


@step
def plot_trajectories(
    config: str,
    videos: Paths,
    video_extensions: Any = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    filtered: bool = False,
    displayedbodyparts: Any = "all",
    displayedindividuals: Any = "all",
    showfigures: bool = False,
    destfolder: str | None = None,
    modelprefix: str = "",
    imagetype: str = ".png",
    resolution: int = 100,
    linewidth: float = 1.0,
    track_method: str = "",
    pcutoff: float | None = None,
    snapshot_index: int | str | None = None,
) -> None:
    """Draw each animal's path, positions and likelihoods: ``plot-poses/<video>/...png``."""
    from shoal.run import plots
    from shoal.run.batch import for_each
    from shoal.run.dlc_videos import find_network, method_of, tracks_file

    network = find_network(Path(config), shuffle, trainingsetindex, snapshot=snapshot_index)
    dest, method = Path(destfolder) if destfolder else None, method_of(network.config, track_method)
    content = network.config.content

    def one(path: Path) -> None:
        tracks = tracks_file(network, path, dest=dest, method=method, filtered=filtered)
        folder = (dest or path.parent) / "plot-poses" / path.stem
        files = plots.plot_trajectories(
            tracks, folder,
            suffix="_filtered" if filtered else "",
            keypoints=named(displayedbodyparts), individuals=named(displayedindividuals),
            pcutoff=float(content.get("pcutoff", 0.6)) if pcutoff is None else pcutoff,
            colormap=str(content.get("colormap") or "rainbow"),
            imagetype=imagetype, resolution=resolution, linewidth=linewidth,
        )  # fmt: skip
        log.info("%d figures are in %s", len(files), folder)

    finish(for_each(collect_videos(videos, video_extensions), one))


def named(names: Any) -> list[str] | None:
    """A list of names; None for "all" (and for DLC's other ways to say so)."""
    if names is None or (isinstance(names, str) and names in ("all", "")):
        return None
    return [names] if isinstance(names, str) else [str(name) for name in names]
