"""Which labelled frames are trained on and which are held out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray

from shoal.config.dataset import DatasetConfig
from shoal.errors import ConfigError

VERSION = 1

Rows = Int64[ndarray, "N"]


def split_labels(folder: Shaped[ndarray, "N"], frame: Int64[ndarray, "N"], config: DatasetConfig) -> tuple[Rows, Rows]:
    """Positions to train on and to hold out, each sorted; the same for the same seed.

    ``random`` mixes neighbouring frames into both parts, so its test error flatters; ``time`` holds out one
    block of consecutive labelled frames per folder; ``video`` holds out whole folders.

    Args:
        folder: which folder (video) each label belongs to; any sortable type.
        frame: frame number of each label.
        config: ``split`` (not ``shuffle``: that split is stored in the project), ``train_fraction``, ``seed``.

    Raises:
        ConfigError: nothing to train on, or ``video`` with a single folder.

    >>> train, test = split_labels(np.zeros(10), np.arange(10), DatasetConfig(split="time"))
    >>> len(train), np.diff(test).tolist()
    (8, [1])
    """
    n = len(folder)
    if not n:
        raise ConfigError("expected labelled frames to split, got none\nwhere: dataset")
    rng = np.random.default_rng(config.seed)
    _, group = np.unique(np.asarray(folder), return_inverse=True)
    group = np.asarray(group, np.int64).reshape(-1)
    if config.train_fraction == 1:
        return np.arange(n), np.zeros(0, np.int64)
    if config.split == "random":
        test = rng.permutation(n)[_n_train(n, config.train_fraction) :]
    elif config.split == "time":
        test = _time_blocks(group, frame, config.train_fraction, rng)
    elif config.split == "video":
        test = _whole_folders(group, config.train_fraction, rng)
    else:
        raise ConfigError(f"expected random, time or video, got '{config.split}'\nwhere: dataset.split")
    is_test = np.zeros(n, dtype=bool)
    is_test[test] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _n_train(n: int, fraction: float) -> int:
    """As DLC rounds, but neither part is left empty while there are two labels."""
    return int(np.clip(int(n * fraction), 1, max(n - 1, 1)))


def _time_blocks(group: Rows, frame: Rows, fraction: float, rng: np.random.Generator) -> Rows:
    """One run of consecutive labels per folder; rounding is carried on so that the total comes out right."""
    order: Rows = np.lexsort((frame, group))
    stop: Rows = np.cumsum(np.bincount(group))
    share = 1 - _n_train(len(group), fraction) / len(group)
    bounds: Rows = np.floor(np.append(0, stop) * share + 0.5).astype(np.int64)
    chosen: list[Rows] = []
    for i in range(len(stop)):
        n = int(bounds[i + 1] - bounds[i])
        first = int(stop[i - 1]) if i else 0
        begin = first + int(rng.integers(int(stop[i]) - first - n + 1))
        chosen.append(order[begin : begin + n])
    return np.concatenate(chosen)


def _whole_folders(group: Rows, fraction: float, rng: np.random.Generator) -> Rows:
    """Folders in random order, as long as each brings the held-out share nearer to the one asked for."""
    count = np.bincount(group)
    if len(count) < 2:
        raise ConfigError(
            "expected at least two folders for dataset.split=video, got one\nwhere: dataset.split",
            hint="use dataset.split=time",
        )
    wanted = len(group) * (1 - fraction)
    order = rng.permutation(len(count))
    held, total = [order[0]], count[order[0]]
    for number in order[1:-1]:
        if abs(total + count[number] - wanted) < abs(total - wanted):
            held.append(number)
            total += count[number]
    return np.flatnonzero(np.isin(group, held))
