"""The machine."""

from __future__ import annotations

from pydantic import Field

from shoal.config.settings import Settings


class ComputeConfig(Settings):
    """Where things run; never part of a fingerprint except the device's kind."""

    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    threads: int = Field(default=0, ge=0, description="CPU threads of the network; 0 = all cores this process may use")
    decode_workers: int = Field(
        default=0,
        ge=0,
        description="stretches of a video decoded side by side; 0 = half the cores, at most 4: on two it gains nothing",
    )
