"""Labelled videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.deeplabcut.call import finish, log, on_progress, step
from shoal.deeplabcut.results import named
from shoal.deeplabcut.videos import Paths, collect_videos
from shoal.errors import ConfigError


@step
def create_video_with_all_detections(
    config: str,
    videos: Paths,
    video_extensions: Any = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    displayedbodyparts: Any = "all",
    cropping: Sequence[int] | None = None,
    destfolder: str | None = None,
    modelprefix: str = "",
    confidence_to_alpha: bool = False,
    plot_bboxes: bool = True,
    bboxes_pcutoff: float | None = None,
    snapshot_index: int | str | None = None,
    overwrite: bool = False,
) -> None:
    """Draw everything that the network found, one colour per keypoint: ``<base>_full.mp4``."""
    from shoal.run.batch import for_each
    from shoal.run.dlc_render import Shown, dlc_look, render_dlc
    from shoal.run.dlc_videos import base_of, find_network

    network = find_network(Path(config), shuffle, trainingsetindex, snapshot=snapshot_index)
    dest = Path(destfolder) if destfolder else None
    look, _ = dlc_look(network.config.content, what="detections")
    shown = Shown(keypoints=named(displayedbodyparts))

    def one(video: Path) -> Path:
        base = base_of(video, network, dest)
        return render_dlc(video, base, config=look, shown=shown, overwrite=overwrite, on_progress=on_progress)

    done = for_each(collect_videos(videos, video_extensions), one)
    for file in done.results:
        log.info("wrote %s", file)
    finish(done)


@step
def create_labeled_video(
    config: str,
    videos: Paths,
    video_extensions: Any = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    filtered: bool = False,
    fastmode: bool = True,
    save_frames: bool = False,
    keypoints_only: bool = False,
    Frames2plot: Sequence[int] | None = None,
    displayedbodyparts: Any = "all",
    displayedindividuals: Any = "all",
    codec: str = "mp4v",
    outputframerate: float | None = None,
    destfolder: str | None = None,
    draw_skeleton: bool = False,
    trailpoints: int = 0,
    displaycropped: bool = False,
    color_by: str = "bodypart",
    modelprefix: str = "",
    init_weights: str = "",
    track_method: str = "",
    superanimal_name: str = "",
    pcutoff: float | None = None,
    skeleton: Sequence[Sequence[str]] | None = None,
    skeleton_color: str = "white",
    dotsize: int = 8,
    colormap: str = "rainbow",
    alphavalue: float = 0.5,
    overwrite: bool = False,
    confidence_to_alpha: bool = False,
    plot_bboxes: bool = True,
    bboxes_pcutoff: float | None = None,
    max_workers: int | None = None,
    snapshot_index: int | str | None = None,
) -> list[bool]:
    """Draw the tracks of videos: ``<base>_el_id_p60_labeled.mp4``; returns whether each video worked.

    As in DeepLabCut, ``dotsize``, ``colormap`` and ``alphavalue`` are config.yaml's.
    """
    from shoal.run.batch import for_each
    from shoal.run.dlc_render import Shown, dlc_look, render_dlc
    from shoal.run.dlc_videos import base_of, find_network, method_of, tracks_file

    if color_by not in ("bodypart", "individual"):
        raise ConfigError(f"expected color_by to be 'bodypart' or 'individual', got '{color_by}'")
    network = find_network(Path(config), shuffle, trainingsetindex, snapshot=snapshot_index)
    dest, method = Path(destfolder) if destfolder else None, method_of(network.config, track_method)
    look, pairs = dlc_look(
        network.config.content,
        color_by="individual" if color_by == "individual" else "keypoint",
        trail=trailpoints, skeleton=draw_skeleton, min_confidence=pcutoff,
    )  # fmt: skip
    if skeleton is not None:
        pairs = tuple((str(a), str(b)) for a, b in skeleton)
    shown = Shown(
        named(displayedbodyparts), named(displayedindividuals), pairs,
        None if Frames2plot is None else list(Frames2plot), background=not keypoints_only,
    )  # fmt: skip
    paths = collect_videos(videos, video_extensions)
    worked: dict[Path, bool] = dict.fromkeys(paths, False)

    def one(video: Path) -> Path:
        tracks_file(network, video, dest=dest, method=method, filtered=filtered)
        file = render_dlc(
            video, base_of(video, network, dest), config=look, shown=shown, method=method, filtered=filtered,
            overwrite=overwrite, on_progress=on_progress,
        )  # fmt: skip
        worked[video] = True
        return file

    done = for_each(paths, one)
    for file in done.results:
        log.info("wrote %s", file)
    finish(done)
    return list(worked.values())
