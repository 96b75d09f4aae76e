"""Which videos a call means: DeepLabCut's rule for files, folders and extensions."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from pathlib import Path

from shoal.errors import VideoError

EXTENSIONS = (".avi", ".mp4", ".mov", ".mpeg", ".mpg", ".mpv", ".mkv", ".flv", ".qt", ".yuv")
MADE = ("*_labeled.*", "*_full.*")
"""Videos that DeepLabCut and shoal made themselves."""

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def collect_videos(videos: Paths, extensions: str | Iterable[str] | None = None) -> list[Path]:
    """Files as they are, folders as the videos directly in them; absolute, each once, sorted.

    Args:
        videos: one path or several.
        extensions: with or without the dot; None or "" = every file given, usual extensions in folders.

    Raises:
        VideoError: a path does not exist, or none is a video.
    """
    paths = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
    wanted = _dotted(extensions)
    found: set[Path] = set()
    for path in (Path(p).expanduser().absolute() for p in paths):
        if path.is_dir():
            chosen = [p for p in path.iterdir() if p.is_file() and p.suffix.lower() in (wanted or EXTENSIONS)]
            found.update(p for p in chosen if not p.name.startswith("."))
        elif path.is_file():
            if not wanted or path.suffix.lower() in wanted:
                found.add(path)
        else:
            raise VideoError(f"expected a video or a folder of videos, found nothing\nwhere: {path}")
    kept = sorted(p for p in found if not any(fnmatch.fnmatch(p.name, pattern) for pattern in MADE))
    if not kept:
        kinds = ", ".join(wanted or EXTENSIONS)
        raise VideoError(
            f"expected videos ({kinds}), got none\nwhere: {', '.join(str(p) for p in paths)}",
            hint=f"files named like {' or '.join(MADE)} are results and left out",
        )
    return kept


def _dotted(extensions: str | Iterable[str] | None) -> tuple[str, ...]:
    if not extensions:
        return ()
    names = [extensions] if isinstance(extensions, str) else list(extensions)
    return tuple(f".{name.strip().lower().lstrip('.')}" for name in names if name.strip())
