"""Training sets: which labelled frames train, which test, and the network's settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.deeplabcut.call import log, on_progress, step
from shoal.errors import ConfigError


@step
def create_multianimaltraining_dataset(
    config: str,
    num_shuffles: int = 1,
    Shuffles: Sequence[int] | None = None,
    windows2linux: bool = False,
    net_type: str | None = None,
    detector_type: str | None = None,
    numdigits: int = 2,
    crop_size: tuple[int, int] = (400, 400),
    crop_sampling: str = "hybrid",
    paf_graph: Any = None,
    trainIndices: Sequence[Any] | None = None,
    testIndices: Sequence[Any] | None = None,
    n_edges_threshold: int = 105,
    paf_graph_degree: int = 6,
    userfeedback: bool = True,
    weight_init: Any = None,
    engine: Any = None,
    ctd_conditions: Any = None,
) -> None:
    """Make one or more shuffles; ``userfeedback=False`` replaces those named in ``Shuffles``.

    Without ``Shuffles`` the next free number is taken; nothing that exists has to be deleted.
    """
    from shoal.io.dlc.config_file import read_config
    from shoal.io.dlc.pytorch_config import graph_of, net_types
    from shoal.io.dlc.training_set import create_training_set

    if paf_graph is not None:
        raise ConfigError(
            f"expected no paf_graph, got {paf_graph!r}",
            hint="DeepLabCut's PyTorch engine ignores it too; edit the graph in pytorch_config.yaml",
        )
    found = read_config(Path(config))
    net_types(net_type or "resnet_50")  # an unknown one is an error before anything is printed
    log.info("Utilizing the following graph: %s", graph_of(len(found.keypoints)))
    create_training_set(
        Path(config), net_type=net_type or "", shuffles=Shuffles, n_shuffles=num_shuffles,
        train_rows=trainIndices, test_rows=testIndices, overwrite=not userfeedback, on_progress=on_progress,
    )  # fmt: skip


@step
def create_training_dataset(
    config: str,
    num_shuffles: int = 1,
    Shuffles: Sequence[int] | None = None,
    windows2linux: bool = False,
    userfeedback: bool = True,
    trainIndices: Sequence[Any] | None = None,
    testIndices: Sequence[Any] | None = None,
    net_type: str | None = None,
    detector_type: str | None = None,
    augmenter_type: str | None = None,
    posecfg_template: str | None = None,
    superanimal_name: str = "",
    weight_init: Any = None,
    engine: Any = None,
    ctd_conditions: Any = None,
) -> None:
    """As ``create_multianimaltraining_dataset``, which does it for every project."""
    create_multianimaltraining_dataset(
        config, num_shuffles, Shuffles, net_type=net_type, trainIndices=trainIndices, testIndices=testIndices,
        userfeedback=userfeedback,
    )  # fmt: skip
