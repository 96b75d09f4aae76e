"""Which files are meant by videos: those given, and those in folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from shoal.errors import VideoError
from shoal.run.folder import SUFFIX

VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".webm", ".h264", ".ts", ".mts"}
MADE = ("_labeled", "_full")  # ends of names that labelled videos have, shoal's and DeepLabCut's


def expand_videos(paths: Iterable[Path], *, is_recursive: bool = False) -> list[Path]:
    """Files as they are, folders as the videos in them, each once; what shoal and DeepLabCut made is left out.

    Args:
        paths: files and folders.
        is_recursive: look into folders of folders, except run folders.

    Raises:
        VideoError: a folder without videos.
    """
    videos: dict[Path, Path] = {}
    for path in map(Path, paths):
        found = sorted(videos_in(path, is_recursive)) if path.is_dir() else [path]
        if not found:
            raise VideoError(
                f"expected videos, found none of {', '.join(sorted(VIDEO_SUFFIXES))}\nwhere: {path}",
                hint="" if is_recursive else "--recursive looks into the folders in it",
            )
        for video in found:
            videos.setdefault(video.resolve(), video)
    return list(videos.values())


def videos_in(folder: Path, is_recursive: bool) -> Iterator[Path]:
    """The videos of a folder, and of the folders in it if so wished, in no order; not what was made of videos."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if is_recursive and path.suffix != SUFFIX:
                yield from videos_in(path, is_recursive)
        elif path.suffix.lower() in VIDEO_SUFFIXES and not path.stem.endswith(MADE):
            yield path
