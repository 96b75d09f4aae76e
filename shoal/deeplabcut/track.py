"""Animals to tracklets, tracklets to tracks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.deeplabcut.call import finish, log, step
from shoal.deeplabcut.videos import Paths, collect_videos

if TYPE_CHECKING:
    from shoal.config.run import RunConfig


@step
def convert_detections2tracklets(
    config: str,
    videos: Paths,
    video_extensions: Any = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    overwrite: bool = False,
    destfolder: str | None = None,
    ignore_bodyparts: Sequence[str] | None = None,
    inferencecfg: Any = None,
    modelprefix: str = "",
    greedy: bool = False,
    calibrate: bool = False,
    window_size: int = 0,
    identity_only: bool = False,
    track_method: str = "",
    engine: Any = None,
    snapshot_index: int | str | None = None,
) -> None:
    """Join the animals of analyzed videos into tracklets (``_el.pickle``), anew if ``overwrite``.

    ``track_method`` names the files, and says how animals are compared if it is given.
    """
    from shoal.run.batch import for_each
    from shoal.run.dlc_files import dlc_file
    from shoal.run.dlc_videos import Outputs, base_of, find_network, method_of, track_video

    network = find_network(Path(config), shuffle, trainingsetindex, snapshot=snapshot_index)
    method = method_of(network.config, track_method)
    outputs = Outputs(Path(destfolder) if destfolder else None, method, has_tracks=False)

    def change(settings: RunConfig) -> RunConfig:
        if not track_method:
            return settings
        compared = settings.associate.model_copy(update={"similarity": method})
        return settings.model_copy(update={"associate": compared})

    def one(video: Path) -> None:
        path = dlc_file(base_of(video, network, outputs.dest), "tracklets", method=method)
        if path.is_file() and not overwrite:
            log.info("%s is there already; overwrite=True makes it again", path.name)
            return
        track_video(network, video, outputs, change=change)

    finish(
        for_each(collect_videos(videos, video_extensions), one),
        "The tracklets are made; stitch_tracklets joins them into tracks.",
    )


@step
def stitch_tracklets(
    config_path: str,
    videos: Paths,
    video_extensions: Any = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    n_tracks: int | None = None,
    animal_names: Sequence[str] | None = None,
    min_length: int = 10,
    split_tracklets: bool = True,
    prestitch_residuals: bool = True,
    max_gap: int | None = None,
    weight_func: Any = None,
    destfolder: str | None = None,
    modelprefix: str = "",
    track_method: str = "",
    output_name: str = "",
    transformer_checkpoint: str = "",
    save_as_csv: bool = False,
    snapshot_index: int | str | None = None,
    detector_snapshot_index: int | None = None,
) -> None:
    """Join tracklets into tracks (``_el.h5``). It always answers, and can be repeated with any ``n_tracks``."""
    from shoal.run.batch import for_each
    from shoal.run.dlc_videos import Outputs, animal_names_of, count_animals, find_network, method_of, track_video

    network = find_network(Path(config_path), shuffle, trainingsetindex, snapshot=snapshot_index)
    individuals = network.config.individuals
    outputs = Outputs(
        dest=Path(destfolder) if destfolder else None,
        method=method_of(network.config, track_method),
        names=animal_names_of(individuals, n_tracks, animal_names),
        csv=save_as_csv,
    )
    n_asked = len(animal_names) if animal_names else n_tracks
    wanted = count_animals(len(individuals), n_asked) | {"min_length": min_length, "max_gap": max_gap or 0}

    def change(settings: RunConfig) -> RunConfig:
        return settings.model_copy(update={"stitch": settings.stitch.model_copy(update=wanted)})

    def one(video: Path) -> None:
        for file in track_video(network, video, outputs, change=change, output=output_name):
            log.info("wrote %s", file)

    finish(for_each(collect_videos(videos, video_extensions), one))
