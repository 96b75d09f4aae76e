"""Evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.deeplabcut.call import log, on_progress, step
from shoal.deeplabcut.train import device_name
from shoal.errors import ConfigError


@step
def evaluate_network(
    config: str,
    shuffles: Any = (1,),
    trainingsetindex: Any = 0,
    plotting: bool | str = False,
    show_errors: bool = True,
    comparison_bodyparts: Any = "all",
    gputouse: int | None = None,
    rescale: bool = False,
    modelprefix: str = "",
    per_keypoint_evaluation: bool = False,
    snapshots_to_evaluate: Sequence[str] | None = None,
    pcutoff: Any = None,
    engine: Any = None,
    snapshot_index: int | str | None = None,
    device: str | None = None,
    transform: Any = None,
    detector_snapshot_index: int | None = None,
) -> None:
    """Compare predictions with labels on train and test images; writes ``evaluation-results-pytorch``.

    ``plotting``: True or "bodypart" or "individual" draws every image.
    """
    from shoal.io.dlc.config_file import read_config
    from shoal.run.shuffles import evaluate_shuffle

    if plotting not in (False, True, "bodypart", "individual"):
        raise ConfigError(f"expected plotting to be False, True, 'bodypart' or 'individual', got {plotting!r}")
    n_fractions = max(len(read_config(Path(config)).fractions), 1)
    fractions = range(n_fractions) if trainingsetindex == "all" else [int(trainingsetindex)]
    which: Any = list(snapshots_to_evaluate) if snapshots_to_evaluate else snapshot_index
    for shuffle in [shuffles] if isinstance(shuffles, int) else list(shuffles):
        for fraction in fractions:
            found = evaluate_shuffle(
                Path(config), shuffle, fraction,
                snapshots=which, plotting="bodypart" if plotting is True else plotting or "",
                per_keypoint=per_keypoint_evaluation, pcutoff=pcutoff,
                keypoints=() if comparison_bodyparts == "all" else comparison_bodyparts,
                device=device_name(device, gputouse), show_errors=show_errors, on_progress=on_progress,
            )  # fmt: skip
            for snapshot in found:
                _say_where([Path(file) for file in snapshot["files"]])


def _say_where(files: Sequence[Path]) -> None:
    """The table of figures, and the folder of pictures with their number."""
    pictures = [file for file in files if file.suffix == ".png"]
    log.info("wrote %s", next(file for file in files if file.name.endswith("-results.csv")))
    if pictures:
        log.info("wrote %s: %d images, + labels, dots predictions", pictures[0].parent, len(pictures))
