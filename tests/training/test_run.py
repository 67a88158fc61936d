from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tastemaker.config import Settings
from tastemaker.papers import Papers
from tastemaker.registry import Registry
from tastemaker_training import recipes
from tastemaker_training.hardware import Hardware
from tastemaker_training.job import Job
from tastemaker_training.narrator import Narrator
from tastemaker_training.run import register


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def registered(settings: Settings, report: dict[str, Any], *, challenge: bool = False) -> str:
    draft = settings.home.parent / "draft"
    draft.mkdir(exist_ok=True)
    (draft / "manifest.json").write_text("{}")
    (draft / "report.json").write_text(json.dumps(report))
    job = Job(settings, recipes.named("smoke"), Hardware(), Narrator(), challenge)
    return register(job, draft, report, Papers("# A card")).version


def test_a_challenger_leaves_a_champion_in_place(settings: Settings, report: dict[str, Any]) -> None:
    first = registered(settings, report, challenge=True)
    registry = Registry(settings)
    assert registry.resolve("champion").version == first, "where there is none, somebody must serve"
    second = registered(settings, report, challenge=True)
    assert registry.resolve("champion").version == first
    assert registry.resolve("challenger").version == second
    third = registered(settings, report)
    assert registry.resolve("champion").version == third
    assert registry.registered(third).description == "# A card"


def test_a_version_that_a_gate_refuses_stays_challenger_and_says_why(
    settings: Settings, report: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first = registered(settings, report)
    report["models"]["served"]["recall@20"] = 0.05
    refused = registered(settings, report)
    registry = Registry(settings)
    assert (registry.resolve("champion").version, registry.resolve("challenger").version) == (first, refused)
    told = capsys.readouterr().err
    assert f"tastemaker/{refused} stays challenger" in told
    assert "gate over_popularity: recall@20 is 0.0500, more than 0.0800 is asked" in told
    assert (
        f"gate of_champion: recall@20 is 0.0500, at least 0.1900 is asked: 0.95 times the 0.2000 of version {first}"
        in told
    )
