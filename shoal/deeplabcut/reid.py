"""Re-identification: who is who from appearance, with DeepLabCut's transformer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.deeplabcut.analyze import analyze_videos
from shoal.deeplabcut.call import finish, log, on_progress, step
from shoal.deeplabcut.track import convert_detections2tracklets
from shoal.deeplabcut.videos import Paths, collect_videos

if TYPE_CHECKING:
    from shoal.run.batch import Batch
    from shoal.run.dlc_reid import Dataset
    from shoal.run.dlc_videos import Network


@step
def transformer_reID(  # noqa: N802, RUF100 - DeepLabCut's name
    config: str,
    videos: Paths,
    video_extensions: str | None = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    track_method: str = "ellipse",
    n_tracks: int | None = None,
    n_triplets: int = 1000,
    train_epochs: int = 100,
    train_frac: float = 0.8,
    modelprefix: str = "",
    destfolder: str | None = None,
    all_frames: bool = False,
) -> None:
    """Learn who is who from appearance, and stitch with it (``_el_tr.h5``). A missing analysis is run first.

    What was learned adds to motion and never overrides it. ``all_frames`` keeps the features of every frame.
    """
    from shoal.run.batch import for_each
    from shoal.run.dlc_reid import learn, stitch_with
    from shoal.run.dlc_videos import animal_names_of, find_network, run_settings

    network = find_network(Path(config), shuffle, trainingsetindex)
    done = _datasets(
        config, network, collect_videos(videos, video_extensions), track_method, n_triplets, all_frames,
        {"shuffle": shuffle, "trainingsetindex": trainingsetindex, "destfolder": destfolder}, {},
    )  # fmt: skip
    finish(done)
    checkpoint = learn(
        done.results, network.shuffle.train_folder, epochs=train_epochs, fraction=train_frac, on_progress=on_progress
    )
    log.info("Now running deeplabcut.stitch_tracklets()")
    settings = run_settings(network, n_tracks=n_tracks).stitch
    names = animal_names_of(network.config.individuals, n_tracks, None)

    def one(base: Path) -> None:
        log.info("wrote %s", stitch_with(base, checkpoint, settings, names=names, method=track_method))

    finish(for_each([dataset.base for dataset in done.results], one))


@step
def create_tracking_dataset(
    config: str,
    videos: Paths,
    track_method: str,
    video_extensions: str | None = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    gputouse: int | None = None,
    destfolder: str | None = None,
    batch_size: int | None = None,
    cropping: list[int] | None = None,
    TFGPUinference: bool = True,
    modelprefix: str = "",
    robust_nframes: bool = False,
    n_triplets: int = 1000,
    engine: str | None = None,
    all_frames: bool = False,
) -> None:
    """Write backbone features and triplets of animals (``_bpt_features.pickle``, ``_triplet_vector.npy``)."""
    from shoal.run.dlc_videos import find_network

    network = find_network(Path(config), shuffle, trainingsetindex)
    finish(_datasets(
        config, network, collect_videos(videos, video_extensions), track_method, n_triplets, all_frames,
        {"shuffle": shuffle, "trainingsetindex": trainingsetindex, "destfolder": destfolder},
        {"gputouse": gputouse, "batch_size": batch_size, "cropping": cropping},
    ))  # fmt: skip


def _datasets(
    config: str, network: Network, videos: list[Path], method: str, n_triplets: int, all_frames: bool,
    common: dict[str, Any], analysis: dict[str, Any],
) -> Batch[Dataset]:  # fmt: skip
    """Features and triplets of videos; what of their analysis is missing is made first."""
    from shoal.run import dlc_reid
    from shoal.run.batch import for_each
    from shoal.run.dlc_files import dlc_file
    from shoal.run.dlc_videos import base_of

    dest = Path(common["destfolder"]) if common["destfolder"] else None
    look = dlc_reid.backbone_look(network.snapshot.path)

    def one(video: Path) -> Dataset:
        base = base_of(video, network, dest)
        if not dlc_file(base, "assemblies").is_file():
            log.info("%s is not analyzed yet: that comes first", video.name)
            analyze_videos(config, [str(video)], **common, **analysis)
        if not dlc_file(base, "tracklets", method=method).is_file():
            convert_detections2tracklets(config, [str(video)], track_method=method, **common)
        return dlc_reid.make_dataset(
            video, base, look, method=method, n_triplets=n_triplets, all_frames=all_frames, on_progress=on_progress
        )

    return for_each(videos, one)
