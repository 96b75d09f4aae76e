"""Training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoal.deeplabcut.call import log, on_progress, step


@step
def train_network(
    config: str,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    max_snapshots_to_keep: int | None = None,
    display_iters: int | None = None,
    save_iters: int | None = None,
    max_iters: int | None = None,
    epochs: int | None = None,
    save_epochs: int | None = None,
    allow_growth: bool = True,
    gputouse: int | None = None,
    autotune: bool = False,
    keepdeconvweights: bool = True,
    modelprefix: str = "",
    superanimal_name: str = "",
    superanimal_transfer_learning: bool = False,
    engine: Any = None,
    device: str | None = None,
    snapshot_path: str | None = None,
    detector_path: str | None = None,
    batch_size: int | None = None,
    detector_batch_size: int | None = None,
    detector_epochs: int | None = None,
    detector_save_epochs: int | None = None,
    pose_threshold: float = 0.1,
    pytorch_cfg_updates: Mapping[str, Any] | None = None,
) -> None:
    """Train a shuffle as its pytorch_config.yaml says; keywords that are given win over the file.

    An interrupted training goes on. With ``snapshot_path`` it trains ``epochs`` more from that snapshot (of which
    ``keepdeconvweights=False`` takes only the backbone). A finished one is replaced, after saying so.
    """
    from shoal.run.shuffles import train_shuffle

    changed = {
        "runner.snapshots.max_snapshots": max_snapshots_to_keep,
        "runner.snapshots.save_epochs": save_epochs,
        "train_settings.display_iters": display_iters,
        "train_settings.epochs": epochs,
        "train_settings.batch_size": batch_size,
        "device": device_name(device, gputouse),
    }
    updates = {key: value for key, value in changed.items() if value is not None} | dict(pytorch_cfg_updates or {})
    trained = train_shuffle(
        Path(config), shuffle, trainingsetindex,
        updates=updates, snapshot=Path(snapshot_path) if snapshot_path else None, keep_heads=bool(keepdeconvweights),
        on_progress=on_progress,
    )  # fmt: skip
    log.info("The network is trained: %s. Use the function 'evaluate_network' to evaluate it.", trained.name)


def device_name(device: Any, gputouse: Any) -> str | None:
    """``device`` wins; ``gputouse=1`` means ``cuda:1``, None leaves it to the settings."""
    if device is not None:
        return str(device)
    return None if gputouse is None or gputouse is False else f"cuda:{int(gputouse)}"
