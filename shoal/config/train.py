"""Training of a pose network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shoal.config.settings import Settings


class AugmentConfig(Settings):
    """What is done to a training crop, on the device."""

    rotation_deg: float = Field(default=180.0, ge=0, description="uniform in +- this")
    scale: tuple[float, float] = Field(default=(0.8, 1.25), description="uniform in log between these")
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


class TrainConfig(Settings):
    """The recipe. Steps, not seconds, so that the same seed gives the same network."""

    epochs: int = Field(default=60, gt=0, description="passes over the labelled frames")
    batch_size: int = Field(default=8, gt=0, description="crops per step")
    crop_px: int = Field(
        default=0, ge=0, description="side of a training crop at the network's scale; 0 = by the body length"
    )
    crops_per_image: float = Field(
        default=0.0, ge=0, description="crops per image and epoch; 0 = 1, more for few images"
    )
    learning_rate: float = Field(default=0.0, ge=0, description="peak (AdamW); 0 = 2e-3 for light, 5e-4 for resnet_50")
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of all steps")
    clip_norm: float = Field(default=5.0, gt=0, description="gradient norm limit")
    ema: float = Field(
        default=0.995, ge=0, lt=1, description="decay of the averaged weights that are evaluated and saved"
    )
    heat_sigma_px: float = Field(
        default=0.0, ge=0, description="Gaussian target, px at the network's scale; 0 = by the stride"
    )
    limb_width_px: float = Field(
        default=0.0, ge=0, description="half width of a limb field, px likewise; 0 = by the stride"
    )
    limb_weight: float = Field(default=3.0, gt=0, description="of the limb loss")
    precision: Literal["auto", "float32", "bf16"] = Field(default="auto", description="auto: bf16 where it is fast")
    eval_every: int = Field(default=10, gt=0, description="epochs between evaluations on the test frames")
    save_minutes: float = Field(default=5.0, gt=0, description="a crash loses at most this much training")
    seed: int = 0
    augment: AugmentConfig = AugmentConfig()
