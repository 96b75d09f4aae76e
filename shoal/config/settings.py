"""The parent of all settings: frozen, and strict about names."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen; an unknown key is an error (``run.py`` turns it into one with the nearest valid key)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
