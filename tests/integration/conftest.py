"""The stand-in network as a module."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BLOBS = Path(__file__).with_name("blobs.py")


@pytest.fixture(scope="session")
def blobs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("blobs", BLOBS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def blob_video(blobs, tmp_path_factory) -> Path:
    """300 frames of 3 animals."""
    return blobs.make_video(tmp_path_factory.mktemp("blobs") / "three.mp4", 300)


@pytest.fixture(scope="session")
def blob_run(blobs, blob_video, tmp_path_factory) -> Path:
    """Its run folder, analyzed in chunks of 64; tests must not change it."""
    from shoal.run.steps import analyze

    dest = tmp_path_factory.mktemp("run")
    return analyze(blob_video, blobs.engine(), config=blobs.config("predict.chunk_frames=64"), dest=dest)
