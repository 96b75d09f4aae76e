"""Frames to label: taken from videos, drawn with their labels, found where tracking went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.deeplabcut.call import log, on_progress, step
from shoal.deeplabcut.videos import Paths, collect_videos
from shoal.errors import ConfigError

_BY_HAND = "shoal has no window; mode='automatic' picks frames, and DeepLabCut's own window works on the same project"


@step
def extract_frames(
    config: str,
    mode: str = "automatic",
    algo: str = "kmeans",
    crop: bool = False,
    userfeedback: bool = True,
    cluster_step: int = 1,
    cluster_resizewidth: int = 30,
    cluster_color: bool = False,
    opencv: bool = True,
    slider_width: int = 25,
    config3d: str | None = None,
    extracted_cam: int = 0,
    videos_list: Sequence[str] | None = None,
) -> None:
    """Save ``numframes2pick`` frames of each video into labeled-data.

    Nothing is asked: with ``userfeedback=True`` videos that have enough frames are left as they are,
    ``userfeedback=False`` takes more.
    """
    from shoal.run import labeling

    _check("mode", mode, ("automatic",), hint=_BY_HAND)
    _check("algo", algo, ("kmeans", "uniform"))
    if crop not in (True, False):
        raise ConfigError(f"expected crop=True or False, got {crop!r}", hint="crops are written in config.yaml")
    labeling.extract_frames(
        Path(config), algorithm="uniform" if algo == "uniform" else "kmeans", crop=crop, add=not userfeedback,
        step=cluster_step, width=cluster_resizewidth, only=[Path(v) for v in videos_list or ()],
        on_progress=on_progress,
    )  # fmt: skip


@step
def check_labels(
    config: str,
    Labels: Sequence[str] | None = None,
    scale: float = 1,
    dpi: int = 100,
    draw_skeleton: bool = True,
    visualizeindividuals: bool = True,
) -> None:
    """Draw all labels into ``labeled-data/<video>_labeled``."""
    from shoal.run import labeling

    labeling.draw_labels(Path(config), scale=scale, skeleton=draw_skeleton, on_progress=on_progress)


@step
def extract_outlier_frames(
    config: str,
    videos: Paths,
    video_extensions: Any = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    outlieralgorithm: str = "jump",
    frames2use: Sequence[int] | None = None,
    comparisonbodyparts: Any = "all",
    epsilon: float = 20,
    p_bound: float = 0.01,
    ARdegree: int = 3,
    MAdegree: int = 1,
    alpha: float = 0.01,
    extractionalgorithm: str = "kmeans",
    automatic: bool = False,
    cluster_resizewidth: int = 30,
    cluster_color: bool = False,
    opencv: bool = True,
    savelabeled: bool = False,
    copy_videos: bool = False,
    destfolder: str | None = None,
    modelprefix: str = "",
    track_method: str = "",
    snapshot_index: int | str | None = None,
) -> None:
    """Save badly tracked frames with their predictions as labels to correct; nothing is asked."""
    from shoal.run import labeling
    from shoal.run.dlc_videos import find_network, method_of, tracks_file

    _check("outlieralgorithm", outlieralgorithm, ("jump", "uncertain", "fitting", "list"), hint=_BY_HAND)
    _check("extractionalgorithm", extractionalgorithm, ("kmeans", "uniform"))
    if outlieralgorithm == "list" and not frames2use:
        raise ConfigError("expected frames2use=[...] with outlieralgorithm='list', got none")
    parts = () if comparisonbodyparts == "all" else [comparisonbodyparts]
    network = find_network(Path(config), shuffle, trainingsetindex, snapshot=snapshot_index)
    dest, method = Path(destfolder) if destfolder else None, method_of(network.config, track_method)
    for video in collect_videos(videos, video_extensions):
        tracks = tracks_file(network, video, dest=dest, method=method)
        labeling.extract_outliers(
            Path(config), video, tracks,
            rule=outlieralgorithm,  # type: ignore[arg-type]
            frames=list(frames2use or ()),
            keypoints=parts if not parts or isinstance(parts[0], str) else list(parts[0]),
            epsilon=epsilon, bound=p_bound, degrees=(ARdegree, MAdegree),
            algorithm="uniform" if extractionalgorithm == "uniform" else "kmeans",
            width=cluster_resizewidth, draw=savelabeled, copy=copy_videos, on_progress=on_progress,
        )  # fmt: skip
    log.info("Correct the machine labels, then merge_datasets, then create a new training dataset.")


def _check(name: str, value: str, known: Sequence[str], *, hint: str = "") -> None:
    if value not in known:
        raise ConfigError(f"expected {name} to be one of {', '.join(known)}, got '{value}'", hint=hint)
