"""Where the sources and what is made of them lie, and the real promtool."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def house() -> Path:
    return HOUSE


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (it comes with Prometheus; Debian: apt-get install prometheus)")
    return found
