"""Files into other files, and the next round of labelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shoal.deeplabcut.call import log, step
from shoal.deeplabcut.videos import Paths, collect_videos


@step
def merge_datasets(config: str, forceiterate: int | None = None) -> None:
    """Count the project's ``iteration`` up, once every labeled-data folder has labels."""
    from shoal.run.projects import next_iteration

    next_iteration(Path(config), to=forceiterate)


@step
def convertcsv2h5(config: str, userfeedback: bool = True, scorer: str | None = None) -> None:
    """Write the h5 of all labels from their csv, which may have been edited; nothing is asked."""
    from shoal.run.projects import labels_from_csv

    del userfeedback  # True or False: all folders are converted
    labels_from_csv(Path(config), scorer=scorer or "")


@step
def analyze_videos_converth5_to_csv(video_folder: Paths, videotype: Any = None, listofvideos: bool = False) -> None:
    """Write a csv beside every h5 of the videos' results; ``listofvideos``: files are given, not a folder."""
    from shoal.run.dlc_videos import results_to_csv

    del listofvideos  # files and folders are told apart by looking
    for video in collect_videos(video_folder, videotype):
        for file in results_to_csv(video):
            log.info("wrote %s", file)
