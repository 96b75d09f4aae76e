"""DeepLabCut's functions, by their names, keywords and files, on shoal's engine.

    import shoal.deeplabcut as deeplabcut

is the one line of a script that changes. Importing is quick; a call imports what it needs.
"""

from __future__ import annotations

from shoal import __version__
from shoal.deeplabcut.analyze import analyze_videos
from shoal.deeplabcut.annotate import check_labels, extract_frames, extract_outlier_frames
from shoal.deeplabcut.convert import analyze_videos_converth5_to_csv, convertcsv2h5, merge_datasets
from shoal.deeplabcut.create import add_new_videos, create_new_project
from shoal.deeplabcut.dataset import create_multianimaltraining_dataset, create_training_dataset
from shoal.deeplabcut.evaluate import evaluate_network
from shoal.deeplabcut.reid import create_tracking_dataset, transformer_reID
from shoal.deeplabcut.results import filterpredictions, plot_trajectories
from shoal.deeplabcut.track import convert_detections2tracklets, stitch_tracklets
from shoal.deeplabcut.train import train_network
from shoal.deeplabcut.video import create_labeled_video, create_video_with_all_detections
from shoal.errors import InputError

__all__ = [
    "__version__",
    "add_new_videos",
    "analyze_videos",
    "analyze_videos_converth5_to_csv",
    "check_labels",
    "convert_detections2tracklets",
    "convertcsv2h5",
    "create_labeled_video",
    "create_multianimaltraining_dataset",
    "create_new_project",
    "create_tracking_dataset",
    "create_training_dataset",
    "create_video_with_all_detections",
    "evaluate_network",
    "extract_frames",
    "extract_outlier_frames",
    "filterpredictions",
    "merge_datasets",
    "plot_trajectories",
    "stitch_tracklets",
    "train_network",
    "transformer_reID",
]

INSTEAD = {
    "launch_dlc": "shoal has no window for labelling; label in DeepLabCut or napari, the project stays the same",
    "label_frames": "label in DeepLabCut or napari, the project stays the same",
    "refine_labels": "correct machine labels in DeepLabCut or napari, the project stays the same",
    "refine_tracklets": "a page to review tracks comes later; `shoal track RUN --set ...` tracks again",
    "analyzeskeleton": "read the tracks with `shoal.io.dlc.results.read_tracks` and measure lengths there",
    "analyze_images": "shoal analyzes videos; make one of the images, or evaluate_network for labelled ones",
    "analyze_time_lapse_frames": "shoal analyzes videos; make one of the images",
    "create_training_model_comparison": "create_multianimaltraining_dataset once per net_type, with trainIndices",
    "create_training_dataset_from_existing_split": "create_multianimaltraining_dataset with trainIndices, testIndices",
    "extract_save_all_maps": "`shoal render RUN --detections` shows what the network saw",
    "export_model": "snapshots that shoal trains are DeepLabCut's own; nothing has to be exported",
    "find_outliers_in_raw_data": "extract_outlier_frames",
    "return_train_network_path": "shoal.io.dlc.training_set.find_shuffle(project, shuffle).train_folder",
    "load_demo_data": "`shoal demo` renders a project and does everything with it",
    "video_inference_superanimal": "SuperAnimal models cannot be used",
    "create_new_project_3d": "shoal has no 3-D",
    "triangulate": "shoal has no 3-D",
    "create_labeled_video_3d": "shoal has no 3-D",
    "DownSampleVideo": "predict on the video as it is; `ffmpeg` cuts and shrinks",
    "ShortenVideo": "`ffmpeg` cuts; `shoal render --start --stop` draws a part",
    "CropVideo": "analyze_videos(..., cropping=[x1, x2, y1, y2])",
}
"""Functions of DeepLabCut that shoal does not have, and what to use."""


class MissingFunctionError(InputError, AttributeError):
    """A function of DeepLabCut that shoal does not have."""


def __getattr__(name: str) -> object:
    if name in INSTEAD:
        raise MissingFunctionError(
            f"expected a function that shoal has, got deeplabcut.{name}: {INSTEAD[name]}", hint=INSTEAD[name]
        )
    raise AttributeError(f"module 'shoal.deeplabcut' has no attribute '{name}'")
