"""Video to detections."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from shoal.config.settings import Settings

TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)s?")


class PredictConfig(Settings):
    """The streaming loop and the caps on what it keeps."""

    batch_size: int = Field(default=8, gt=0, description="frames handed to the device together")
    min_confidence: float = Field(default=0.1, ge=0, le=1, description="peaks below are not kept")
    max_peaks: int = Field(default=0, ge=0, description="peaks kept per keypoint and frame; 0 = 3 x animals + 10")
    runtime: Literal["auto", "eager", "compiled", "openvino", "onnx"] = Field(
        default="auto",
        description="what computes the network; auto: the fastest that is installed and passes the check",
    )
    precision: Literal["auto", "float32", "bf16", "fp16", "int8"] = Field(
        default="auto", description="auto: bf16 where the device is fast at it; int8: calibrated on training images"
    )
    input_scale: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="frames are shrunk by this first; 0 = as the network was trained; others cost most of its accuracy",
    )
    max_limbs: int = Field(default=3, gt=0, description="limb candidates kept per source peak and edge")
    min_affinity: float = Field(default=0.05, ge=0, description="limb candidates below are not kept")
    chunk_frames: int = Field(
        default=0, ge=0, description="frames per chunk file; 0 = about a minute's work, 64 to 4096"
    )
    crop: tuple[int, int, int, int] | None = Field(
        default=None, description="x1, x2, y1, y2: only this part of the frame is looked at; none = all of it"
    )
    start: int | str = Field(default=0, description="first frame, or its time: 90s, 1:30, 1:02:30.5")
    stop: int | str | None = Field(default=None, description="after the last frame, or its time; none = the end")
    every: int = Field(default=1, gt=0, description="only the first and every n-th frame after it are looked at")

    @field_validator("start", "stop")
    @classmethod
    def _is_place(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        if isinstance(value, str):
            seconds_of(value)
        elif value is not None and value < 0:
            raise ValueError("expected a frame from 0 on")
        return value


def seconds_of(time: str) -> float:
    """Seconds of a time as people write it; a plain integer is none: it would be a frame.

    Raises:
        ValueError: not a time.

    >>> seconds_of("90s"), seconds_of("1:30"), seconds_of("1:02:30.5")
    (90.0, 90.0, 3750.5)
    """
    found = TIME.fullmatch(time.strip())
    if found is None or time.strip().isdecimal():
        raise ValueError("expected a frame (2700) or a time (90s, 1:30, 1:02:30.5)")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds
