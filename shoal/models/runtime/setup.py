"""What every runtime is given, and what it gives."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from shoal.models.checkpoint import LoadedModel
from shoal.models.pose import PoseMaps

Forward = Callable[[UInt8[Tensor, "B H W 3"]], PoseMaps]
"""Frames -> maps, strides in frame px. Several threads may call it; converted networks take one frame at a time."""


@dataclass(frozen=True, eq=False)
class Setup:
    """How a runtime is to be built.

    Attributes:
        precision: float32, bf16, fp16 or int8.
        threads: CPU threads in all.
        frames: real frames (H, W, 3) uint8 to calibrate int8 on; called only if needed.
    """

    precision: str
    threads: int = 1
    frames: Callable[[], Sequence[UInt8[ndarray, "H W 3"]]] = tuple


def cache_folder() -> Path:
    """Where converted networks and their parity are kept; safe to delete at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shoal" / "networks"


def cached(model: LoadedModel, kind: str, size: tuple[int, int], versions: Sequence[str], *, ending: str = "") -> Path:
    """Where something about a network at one frame size is kept.

    Args:
        model: the network.
        kind: what it is, and in which runtime.
        size: (height, width) of the frames.
        versions: of the programs that make it, and whatever else it depends on: other ones, another place.
        ending: of a file's name.
    """
    digest = hashlib.sha256(" ".join(versions).encode()).hexdigest()[:8]
    return cache_folder() / f"{model.sha[:16]}-{kind}-{size[1]}x{size[0]}-{digest}{ending}"


def converted(folder: Path, make: Callable[[Path], None]) -> Path:
    """The ``cached`` folder of a converted network, made now if it is not there; complete or not there at all.

    Args:
        folder: its place.
        make: writes into a folder.
    """
    if not folder.is_dir():
        aside = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            make(aside)
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process may have been first
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    os.utime(folder)
    return folder
