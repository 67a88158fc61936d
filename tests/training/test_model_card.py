from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tastemaker.config import Funnel
from tastemaker.gates import Gates, evidence_of, judge
from tastemaker.manifest import FORMAT, Manifest
from tastemaker_training import recipes
from tastemaker_training.hardware import Hardware
from tastemaker_training.model_card import Made, model_card
from tastemaker_training.recipe_file import read


@pytest.fixture
def made() -> Made:
    manifest = Manifest(
        format=FORMAT,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        items=9742,
        dim=64,
        catalogue="c0ffee",
        feature_service="recommender",
        feature_schema="5c4e3a",
        data_window=(datetime(1996, 3, 29, tzinfo=UTC), datetime(2018, 9, 24, tzinfo=UTC)),
        libraries={},
        parts={},
    )
    return Made("smoke-0123", manifest, recipes.named("smoke"), Hardware(1, 4, gpu=True), Funnel())


def test_a_card_says_what_one_needs_to_know(made: Made, report: dict[str, Any]) -> None:
    report["models"]["served"]["intra_list_distance"] = 0.2
    card = model_card(made, report, judge(evidence_of(report), Gates()))
    for said in (
        "1996-03-29T00:00:00+00:00 to 2018-09-24T00:00:00+00:00",
        "80,000 trained on, 20,000 held out",
        "9,742, catalogue `c0ffee`",
        "schema `5c4e3a`",
        "`smoke`, seed 0",
        "| recall@20 | 0.080 | 0.200 [0.180, 0.220] |",
        "| reach | passed | 60.0% of the catalogue",
        "| intra_list_distance | **failed** | the items of a slate are 0.200 apart, more than 0.300 is asked |",
        "80.0% among their candidates (60.0% among their foremost, 5% of the catalogue each)",
        "head `click` are off by 0.0250 on average",
        "## Intended use",
        "## Limits",
        "tastemaker train --recipe smoke --seed 0 --workers 1-4 --gpu",
        "torch ",
        "steps 20",
    ):
        assert said in card, said


def test_a_recipe_of_ones_own_can_be_made_again_from_the_card(
    made: Made, report: dict[str, Any], tmp_path: Path
) -> None:
    own = replace(made.recipe, name="wide", two_tower=replace(made.recipe.two_tower, dim=32))
    card = model_card(replace(made, recipe=own), report, [])
    assert "tastemaker train --recipe wide.yaml --seed 0" in card
    (tmp_path / "wide.yaml").write_text(card.split("```yaml\n")[1].split("```")[0])
    assert read(tmp_path / "wide.yaml") == own


def test_what_matters_stands_where_the_registry_shows_it(made: Made, report: dict[str, Any]) -> None:
    card = model_card(made, report, judge(evidence_of(report), Gates()))
    assert card.index("## Gates") < card.index("## Metrics") < 3_000


def test_without_gates_it_says_so(made: Made, report: dict[str, Any]) -> None:
    assert "None was asked." in model_card(made, report, [])
