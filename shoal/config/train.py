"""Training of a pose network."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from shoal.config.settings import Settings

OPTIMIZERS = ("AdamW", "Adam", "SGD", "RMSprop", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta")
"""Of ``torch.optim``."""
SCHEDULES = (
    "one_cycle", "constant", "LRListScheduler", "StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR",
    "PolynomialLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "SequentialLR", "ChainedScheduler",
)  # fmt: skip
"""shoal's own, DLC's, and those of ``torch.optim.lr_scheduler`` that go by the epoch alone."""


class AugmentConfig(Settings):
    """What is done to a training crop, on the device."""

    affine: float = Field(default=1.0, ge=0, le=1, description="probability that a crop is turned, scaled and moved")
    rotation_deg: float = Field(default=180.0, ge=0, description="uniform in +- this")
    scale: tuple[float, float] = Field(default=(0.8, 1.25), description="uniform in log between these")
    log_scale: bool = Field(default=True, description="False: uniform between them instead, as DLC does")
    translate_px: float = Field(default=0.0, ge=0, description="moved by up to this, px at the network's scale")
    flip: float = Field(
        default=0.5, ge=0, le=1, description="probability of a mirror image (left and right names swap)"
    )
    brightness: float = Field(default=0.2, ge=0, description="+- this share of full range")
    contrast: float = Field(default=0.3, ge=0, description="factor 1 +- this")
    blur: float = Field(default=0.2, ge=0, le=1, description="probability of a blurred crop")
    color: float = Field(default=0.1, ge=0, description="gain of each colour channel 1 +- this")
    noise: float = Field(
        default=0.03, ge=0, description="largest standard deviation of added noise, share of full range"
    )
    noise_p: float = Field(default=1.0, ge=0, le=1, description="probability of noise")
    motion_blur: float = Field(default=0.0, ge=0, le=1, description="probability of a blur along a line of 3-7 px")
    cover: float = Field(default=0.0, ge=0, le=1, description="probability of up to 10 small black rectangles")
    equalize: float = Field(default=0.0, ge=0, le=1, description="probability of an equalized histogram")
    grey: float = Field(default=0.0, ge=0, le=1, description="probability that the colours are taken away")
    mirror: tuple[tuple[int, int], ...] | None = Field(
        default=None, description="keypoint numbers that swap in a mirror image; None = found by their names"
    )


class TrainConfig(Settings):
    """The recipe. Steps, not seconds, so that the same seed gives the same network."""

    epochs: int = Field(default=60, gt=0, description="passes over the labelled frames")
    batch_size: int = Field(default=8, gt=0, description="crops per step")
    crop_px: int = Field(
        default=0,
        ge=0,
        description="side of a training crop at the network's scale; 0 = by the body length, or whole images",
    )
    crop_height_px: int = Field(default=0, ge=0, description="if crops are no squares; 0 = crop_px")
    crop_method: Literal["near", "whole", "uniform", "keypoints", "density", "hybrid"] = Field(
        default="near",
        description="where crops lie: near: centred near animals, some anywhere; whole: no crops, images as they are; "
        "the others as DLC's KeypointAwareCrop",
    )
    crop_shift: float = Field(
        default=0.1, ge=0, description="keypoints, density, hybrid: largest shift, share of the side"
    )
    crops_per_image: float = Field(
        default=0.0, ge=0, description="crops per image and epoch; 0 = 1, more for few images"
    )
    learning_rate: float = Field(default=0.0, ge=0, description="peak; 0 = 2e-3 for light, 5e-4 for DLC's shapes")
    optimizer: str = Field(default="AdamW", description=f"of torch.optim: {', '.join(OPTIMIZERS)}")
    optimizer_params: dict[str, Any] = Field(default={}, description="its further parameters")
    schedule: str = Field(default="one_cycle", description=f"of the learning rate: {', '.join(SCHEDULES)}")
    schedule_params: dict[str, Any] = Field(default={}, description="its parameters; not for one_cycle and constant")
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of all steps")
    clip_norm: float = Field(default=5.0, gt=0, description="gradient norm limit")
    ema: float = Field(
        default=0.995, ge=0, lt=1, description="decay of the averaged weights that are evaluated and saved"
    )
    heat_sigma_px: float = Field(
        default=0.0, ge=0, description="Gaussian target, px at the network's scale; 0 = by the stride, or DLC's plateau"
    )
    limb_width_px: float = Field(
        default=0.0, ge=0, description="half width of a limb field, px likewise; 0 = by the stride"
    )
    limb_weight: float = Field(default=3.0, gt=0, description="of the limb loss")
    precision: Literal["auto", "float32", "bf16"] = Field(default="auto", description="auto: bf16 where it is fast")
    eval_every: int = Field(default=10, gt=0, description="epochs between evaluations on the test frames")
    eval_last: bool = Field(default=True, description="evaluate at the end whatever eval_every says")
    key_score: str = Field(default="mAP", description="score that decides which network is the best")
    key_ascending: bool = Field(default=True, description="larger scores are better")
    log_every: int = Field(default=0, ge=0, description="steps between lines with the loss; 0 = one line per epoch")
    freeze_norm_stats: bool = Field(default=False, description="batch statistics of the norm layers stay as they are")
    freeze_norm_weights: bool = Field(default=False, description="weights of the batch norm layers stay as they are")
    workers: int = Field(
        default=0, ge=0, description="threads that make batches; 0 = one beside a GPU, none on the CPU"
    )
    pin_memory: bool = Field(default=False, description="hand crops to the GPU through pinned memory")
    start_epoch: int = Field(default=0, ge=0, description="epochs done before by the network that this goes on from")
    save_minutes: float = Field(default=5.0, gt=0, description="a crash loses at most this much training")
    seed: int = 0
    augment: AugmentConfig = AugmentConfig()
