"""What property tests of several stages make their input with."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The makers of ``test_tracking_stages``."""
    spec = importlib.util.spec_from_file_location("made", Path(__file__).with_name("test_tracking_stages.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
