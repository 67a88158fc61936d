from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tastemaker.config import Settings
from tastemaker.registry import Registry
from tastemaker_training import recipes
from tastemaker_training.cluster import Hardware
from tastemaker_training.job import Job
from tastemaker_training.narrator import Narrator
from tastemaker_training.run import register

BETTER = {"recall@20": 0.2, "ndcg@20": 0.2, "coverage": 0.5, "diversity": 0.5}
WORSE = {name: value / 10 for name, value in BETTER.items()}


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft" / "manifest.json").write_text("{}")
    return tmp_path / "draft"


def registered(settings: Settings, draft: Path, report: dict[str, Any], *, challenge: bool) -> str:
    job = Job(settings, recipes.named("smoke"), Hardware(1, False), Narrator(quiet=True), challenge)
    return register(job, draft, report).version


def test_a_challenger_leaves_a_champion_in_place(tmp_path: Path, draft: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    report = {"models": {"served": BETTER, "popularity": WORSE}, "split": {"items": 10}}
    first = registered(settings, draft, report, challenge=True)
    registry = Registry(settings)
    assert registry.resolve("champion").version == first, "where there is none, somebody must serve"
    second = registered(settings, draft, report, challenge=True)
    assert registry.resolve("champion").version == first
    assert registry.resolve("challenger").version == second
    third = registered(settings, draft, report, challenge=False)
    assert registry.resolve("champion").version == third
