from __future__ import annotations

import importlib.metadata
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tastemaker.config import Settings
from tastemaker.papers import Papers
from tastemaker.registry import Registry
from tastemaker_training import recipes
from tastemaker_training.data import Data
from tastemaker_training.dataset import category_matrix
from tastemaker_training.hardware import Hardware
from tastemaker_training.interactions import from_lake, split_by_time
from tastemaker_training.job import Job
from tastemaker_training.narrator import Narrator
from tastemaker_training.run import register, run_name


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


def data(tables: tuple[pa.Table, pa.Table]) -> Data:
    events, items = tables
    split = split_by_time(from_lake(events, items, Settings()), 0.2)
    profiles = np.zeros((len(split.past.items) + 1, 6), dtype=np.float32)
    window = (datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(1, UTC))
    categories = category_matrix(items, ["Comedy", "Drama"])
    return Data(items, ["Comedy", "Drama"], categories, window, split, split, profiles, ())


def test_an_interrupted_run_is_found_again_where_its_checkpoints_fit(two_tastes: pa.Table, catalogue: pa.Table) -> None:
    recipe, known = recipes.smoke(), data((two_tastes, catalogue))
    name = run_name(recipe, known)
    assert name == run_name(recipe, data((two_tastes, catalogue)))

    one_more = data((two_tastes, pa.concat_tables([catalogue, catalogue.slice(0, 1)])))
    renamed = [f"{user}!" for user in known.known.user_ids]
    others = [
        one_more,
        replace(known, split=replace(known.split, past=replace(known.known, user_ids=renamed))),
        replace(known, vocabulary=["Comedy", "Drama", "Horror"]),
        replace(known, profiles=np.zeros((len(known.profiles), 7), dtype=np.float32)),
    ]
    names = {run_name(recipe, other) for other in others} | {run_name(replace(recipe, seed=1), known)}
    assert len(names - {name}) == len(others) + 1


def test_another_version_of_the_code_begins_afresh(
    two_tastes: pa.Table, catalogue: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = data((two_tastes, catalogue))
    name = run_name(recipes.smoke(), known)
    monkeypatch.setattr(importlib.metadata, "version", lambda library: "99.0")
    assert run_name(recipes.smoke(), known) != name
