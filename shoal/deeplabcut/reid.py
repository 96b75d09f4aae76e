"""Re-identification: not built yet."""

from __future__ import annotations

from typing import Any

from shoal.deeplabcut.call import step
from shoal.errors import InputError

_LATER = "expected a function that is built, got {name}: it comes with the re-ID work"
_HINT = "stitch_tracklets joins tracklets by motion and body size; run it as it is"


@step
def transformer_reID(  # noqa: N802, RUF100 - DeepLabCut's name
    config: str,
    videos: Any,
    video_extensions: Any = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    track_method: str = "ellipse",
    n_tracks: int | None = None,
    n_triplets: int = 1000,
    train_epochs: int = 100,
    train_frac: float = 0.8,
    modelprefix: str = "",
    destfolder: str | None = None,
) -> None:
    """Learn who is who from appearance, and stitch with it.

    Raises:
        InputError: always, for now.
    """
    raise InputError(_LATER.format(name="transformer_reID"), hint=_HINT)


@step
def create_tracking_dataset(
    config: str,
    videos: Any,
    track_method: str,
    video_extensions: Any = None,
    shuffle: int = 1,
    trainingsetindex: int = 0,
    gputouse: int | None = None,
    destfolder: str | None = None,
    batch_size: int | None = None,
    cropping: list[int] | None = None,
    TFGPUinference: bool = True,
    modelprefix: str = "",
    robust_nframes: bool = False,
    n_triplets: int = 1000,
    engine: str | None = None,
) -> None:
    """Write triplets of animals for re-identification.

    Raises:
        InputError: always, for now.
    """
    raise InputError(_LATER.format(name="create_tracking_dataset"), hint=_HINT)
