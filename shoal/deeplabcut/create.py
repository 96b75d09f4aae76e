"""A new project, and more videos for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.deeplabcut.call import step
from shoal.deeplabcut.videos import Paths, collect_videos


@step
def create_new_project(
    project: str,
    experimenter: str,
    videos: Paths,
    working_directory: str | None = None,
    copy_videos: bool = False,
    video_extensions: Any = None,
    multianimal: bool = False,
    individuals: Sequence[str] | None = None,
) -> str:
    """Make a project folder; returns the path of its config.yaml."""
    from shoal.run.projects import create_project

    parent = Path(working_directory) if working_directory else None
    config = create_project(
        project, experimenter, collect_videos(videos, video_extensions),
        parent=parent, copy=copy_videos, individuals=individuals or (), is_multi=multianimal,
    )  # fmt: skip
    return str(config)


@step
def add_new_videos(
    config: str,
    videos: Paths,
    copy_videos: bool = False,
    coords: Sequence[Sequence[int]] | None = None,
    extract_frames: bool = False,
) -> None:
    """Add videos to a project; ``coords`` are crops x1, x2, y1, y2. Comments and unknown keys of the file stay."""
    from shoal.run import labeling
    from shoal.run.projects import add_videos

    crops = [tuple(crop) for crop in coords] if coords is not None else None
    added = add_videos(Path(config), collect_videos(videos), copy=copy_videos, crops=crops)  # type: ignore[arg-type]
    if extract_frames:
        labeling.extract_frames(Path(config), only=added)
