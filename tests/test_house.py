"""What keeps the house in order: source roots that are no packages, modules of a size that one can read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
SOURCE_ROOTS = ("platform", "training", "serving", "monitoring")
LONGEST_MODULE = 300


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_source_roots_are_no_packages(root: str) -> None:
    assert not (HOUSE / root / "__init__.py").exists(), f"{root}/__init__.py would make the source root a package"


def test_pythons_own_platform_module_is_not_shadowed() -> None:
    code = "import platform; print(platform.system())"
    shown = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() in {"Linux", "Darwin"}


def test_no_module_is_too_long_to_read() -> None:
    modules = [module for root in SOURCE_ROOTS for module in (HOUSE / root).rglob("*.py")]
    lengths = {str(module.relative_to(HOUSE)): len(module.read_text().splitlines()) for module in modules}
    assert len(modules) > 30
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}
