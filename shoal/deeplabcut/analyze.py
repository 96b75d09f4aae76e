"""Videos to tracks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.deeplabcut.call import finish, on_progress, step
from shoal.deeplabcut.train import device_name
from shoal.deeplabcut.videos import Paths, collect_videos


@step
def analyze_videos(
    config: str,
    videos: Paths,
    video_extensions: Any = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    gputouse: int | None = None,
    save_as_csv: bool = False,
    in_random_order: bool = True,
    destfolder: str | None = None,
    batch_size: int | None = None,
    cropping: Sequence[int] | None = None,
    TFGPUinference: bool = True,
    dynamic: tuple[bool, float, int] = (False, 0.5, 10),
    modelprefix: str = "",
    robust_nframes: bool = False,
    allow_growth: bool = False,
    use_shelve: bool = False,
    auto_track: bool = True,
    n_tracks: int | None = None,
    animal_names: Sequence[str] | None = None,
    calibrate: bool = False,
    identity_only: bool = False,
    use_openvino: Any = None,
    engine: Any = None,
    overwrite: bool = False,
    snapshot_index: int | str | None = None,
    detector_snapshot_index: int | None = None,
    device: str | None = None,
    detector_batch_size: int | None = None,
    transform: Any = None,
    save_as_df: bool = False,
    show_gpu_memory: bool = False,
    inference_cfg: Any = None,
    ctd_conditions: Any = None,
    ctd_tracking: bool = False,
    top_down_dynamic: Any = None,
) -> str:
    """Find the animals of videos and, with ``auto_track``, track them; returns the scorer.

    One video that fails stops neither the others nor the script; it is named at the end. If all fail, that is an error.
    """
    from shoal.run.dlc_videos import Outputs, analyze_videos, animal_names_of, find_network, method_of, run_settings

    network = find_network(Path(config), shuffle, trainingsetindex, snapshot=snapshot_index)
    settings = run_settings(
        network, n_tracks=n_tracks, batch_size=batch_size, crop=cropping_of(config, cropping),
        device=device_name(device, gputouse),
    )  # fmt: skip
    outputs = Outputs(
        dest=Path(destfolder) if destfolder else None,
        method=method_of(network.config),
        names=animal_names_of(network.config.individuals, n_tracks, animal_names),
        csv=save_as_csv,
        has_tracks=auto_track,
        has_table=save_as_df,
    )
    done = analyze_videos(
        network, collect_videos(videos, video_extensions), outputs,
        config=settings, overwrite=overwrite, on_progress=on_progress,
    )  # fmt: skip
    finish(done, "The videos are analyzed; create_labeled_video shows the tracks.")
    return network.scorer


def cropping_of(config: str, cropping: Sequence[int] | None) -> Sequence[int] | None:
    """x1, x2, y1, y2: as given, or config.yaml's if its ``cropping`` is true."""
    from shoal.io.dlc.config_file import read_config

    content = read_config(Path(config)).content
    if cropping is None and content.get("cropping"):
        corners = [content.get(key) for key in ("x1", "x2", "y1", "y2")]
        return None if None in corners else corners  # type: ignore[return-value]
    return cropping
