"""Video to detections."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings


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
        default=0.0, ge=0, le=1, description="frames are shrunk by this first; 0 = as the network was trained"
    )
    max_limbs: int = Field(default=3, gt=0, description="limb candidates kept per source peak and edge")
    min_affinity: float = Field(default=0.05, ge=0, description="limb candidates below are not kept")
    chunk_frames: int = Field(
        default=0, ge=0, description="frames per chunk file; 0 = about a minute's work, 64 to 4096"
    )
    crop: tuple[int, int, int, int] | None = Field(
        default=None, description="x1, x2, y1, y2: only this part of the frame is looked at; none = all of it"
    )
