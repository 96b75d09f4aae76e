"""How a video was analyzed: ``<base>_meta.pickle``; and the keys of frames in all of DLC's pickles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import ProjectError
from shoal.io.dlc.pickles import read_pickle, write_pickle


@dataclass(frozen=True, eq=False)
class Meta:
    """How a video was analyzed.

    Attributes:
        scorer: DLC's name of the network.
        n_frames: of the video.
        fps: of the video.
        size: (width, height) of what was analyzed, px.
        individuals: names.
        keypoints: multi-animal bodyparts.
        unique: unique bodyparts.
        cropping: (x1, x2, y1, y2) if only that part was analyzed: positions in the other files start there.
        started: epoch seconds.
        stopped: epoch seconds.
        batch_size: of the network.
        fraction: of images trained on.
        iteration: of the project.
        model: settings of the network; plain values only.
    """

    scorer: str
    n_frames: int
    fps: float = 0.0
    size: tuple[int, int] = (0, 0)
    individuals: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    cropping: tuple[int, int, int, int] | None = None
    started: float = 0.0
    stopped: float = 0.0
    batch_size: int = 1
    fraction: float = 0.95
    iteration: int = 0
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> tuple[int, int]:
        """Frame position of the analyzed part's upper left corner."""
        return (self.cropping[0], self.cropping[2]) if self.cropping else (0, 0)


def frame_key(frame: int, width: int) -> str:
    """Key of a frame.

    >>> frame_key(7, key_width(300))
    'frame007'
    """
    return f"frame{frame:0{width}d}"


def key_width(n_frames: int) -> int:
    """Digits of frame keys, as DLC counts them (one frame: none).

    >>> key_width(1000), key_width(1001), key_width(1)
    (3, 4, 0)
    """
    return math.ceil(math.log10(n_frames)) if n_frames > 0 else 0


def frame_number(key: Any) -> int | None:
    """Number of a frame key (``frame007``, 7); None = no frame key."""
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return int(key) if 0 <= key < 10**9 else None
    digits = key[5:] if isinstance(key, str) and key.startswith("frame") else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


def write_meta(path: Path, meta: Meta) -> None:
    """Write ``_meta.pickle``; it opens without DLC."""
    width, height = meta.size
    write_pickle(path, {"data": {
        "start": float(meta.started), "stop": float(meta.stopped),
        "run_duration": float(meta.stopped - meta.started),
        "Scorer": meta.scorer, "pytorch-config": dict(meta.model), "fps": float(meta.fps),
        "batch_size": int(meta.batch_size), "frame_dimensions": (int(width), int(height)),
        "nframes": int(meta.n_frames), "iteration (active-learning)": int(meta.iteration),
        "training set fraction": float(meta.fraction), "cropping": meta.cropping is not None,
        "cropping_parameters": [int(v) for v in meta.cropping or (0, width, 0, height)],
        "individuals": list(meta.individuals), "bodyparts": list(meta.keypoints),
        "unique_bodyparts": list(meta.unique),
    }})  # fmt: skip


def read_meta(path: Path) -> Meta:
    """Read a ``_meta.pickle`` of any engine.

    Raises:
        ProjectError: not such a file.
    """
    content = read_pickle(path)
    try:
        data = content["data"]
        crop = [int(v) for v in data.get("cropping_parameters") or ()]
        names = {key: tuple(str(n) for n in data.get(key) or ()) for key in ("individuals", "bodyparts")}
        size = tuple(int(v) for v in data.get("frame_dimensions") or (0, 0))
        if "pytorch-config" not in data:  # the TensorFlow engine writes (height, width)
            size = size[::-1]
        return Meta(
            scorer=str(data["Scorer"]), n_frames=int(data.get("nframes", 0)), fps=float(data.get("fps", 0.0)),
            size=(size[0], size[1]), individuals=names["individuals"], keypoints=names["bodyparts"],
            unique=tuple(str(n) for n in data.get("unique_bodyparts") or ()),
            cropping=(crop[0], crop[1], crop[2], crop[3]) if data.get("cropping") and crop else None,
            started=float(data.get("start", 0.0)), stopped=float(data.get("stop", 0.0)),
            batch_size=int(data.get("batch_size", 1)), fraction=float(data.get("training set fraction", 0.95)),
            iteration=int(data.get("iteration (active-learning)") or 0),
            model=dict(data.get("pytorch-config") or data.get("DLC-model-config file") or {}),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise ProjectError(f"expected a _meta.pickle of DeepLabCut, got {why(error)}\nwhere: {path}") from error


def why(error: Exception) -> str:
    """What a file lacks, from the error that looking for it raised."""
    if isinstance(error, KeyError):
        return f"one without {error}"
    return f"something else ({error})"
