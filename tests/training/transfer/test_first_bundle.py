from __future__ import annotations

import importlib.metadata
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
from typer.testing import CliRunner

from tastemaker import bundle, columns, config
from tastemaker.errors import InvalidInput, NotFound
from tastemaker.features import cross, trail
from tastemaker.features.definitions import schema_hash
from tastemaker.features.profile import profile_width
from tastemaker.ids import key_of
from tastemaker.lake import EVENT_SCHEMA, ITEM_SCHEMA, Lake
from tastemaker.registry import CHALLENGER, CHAMPION, Registry
from tastemaker_training import recipes
from tastemaker_training.narrator import Narrator
from tastemaker_training.report import evaluate
from tastemaker_training.transfer import first_bundle
from tastemaker_training.transfer.catalogue_match import Match
from tastemaker_training.transfer.cli import import_model
from tastemaker_training.transfer.donor import Donor
from tastemaker_training.transfer.models import AverageTower, export_tower

ITEMS = 40
"""Even ones comedies, odd ones dramas; the donor's vectors tell them apart, and it lacks the last two."""
KNOWN = ITEMS - 2


def catalogue(prefix: str, count: int) -> pa.Table:
    rows = [
        {
            columns.ITEM_ID: f"{prefix}{code}",
            columns.TITLE: f"Film number{code}",
            columns.CATEGORIES: [("Comedy", "Drama")[code % 2]],
            columns.RELEASE_YEAR: 1990,
        }
        for code in range(count)
    ]
    return pa.Table.from_pylist(rows, ITEM_SCHEMA)


def vectors() -> np.ndarray:
    random = np.random.default_rng(0)
    around = np.array([[1.0, 0.0, 0.0, 5.0], [0.0, 1.0, 0.0, 5.0]])[np.arange(KNOWN) % 2]
    return (around + 0.1 * random.standard_normal(around.shape)).astype(np.float32)


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> config.Settings:
    monkeypatch.setenv("TASTEMAKER_HOME", str(tmp_path / "home"))
    config.load.cache_clear()
    settings = config.load()
    Lake(settings.lake).replace_items(catalogue("ours", ITEMS))
    return settings


def a_donor() -> Donor:
    return Donor("theirs", catalogue("theirs", KNOWN), vectors(), {"overall": [4, 3, 37]}, same_ids=False)


def slates(opened: bundle.Bundle, histories: list[list[str]]) -> list[list[str]]:
    (entry,) = importlib.metadata.entry_points(group="tastemaker.pipelines", name="served")
    trails = [np.array([(key_of(item), 1_700_000_000, 1.0) for item in items], trail.RECORD) for items in histories]
    profiles = np.zeros((len(trails), profile_width(2)), dtype=np.float32)
    users = [f"u{user}" for user in range(len(trails))]
    codes = entry.load()(opened, config.load(), users, trails, profiles, 1_700_000_100, 5).slates
    items = opened.table("items")[columns.ITEM_ID].to_pylist()
    return [[items[code] for code in row if code >= 0] for row in codes]


def test_a_platform_without_events_serves_what_a_donor_knows(platform: config.Settings) -> None:
    ref, report = first_bundle.import_model(a_donor(), platform, Narrator(quiet=True))
    opened = bundle.read(Registry(platform).download(ref), feature_schema=schema_hash())

    assert (report["title"], report["unmatched"], report["from_content"], report["without_vector"]) == (KNOWN, 2, 2, 0)
    assert opened.json("report")["imported"]["donor"] == "theirs"
    comedy, drama, nobody = slates(opened, [["ours0", "ours2"], ["ours1"], []])
    assert all(int(item.removeprefix("ours")) % 2 == 0 for item in comedy)
    assert all(int(item.removeprefix("ours")) % 2 == 1 for item in drama if item != "ours4")
    assert nobody[0] == "ours4"
    near = opened.array("neighbours")
    assert all(code % 2 == other % 2 for code, row in enumerate(near) for other in row[:5])
    assert all(code not in row for code, row in enumerate(near.tolist()))


def test_an_imported_version_has_honest_papers(platform: config.Settings) -> None:
    ref, _ = first_bundle.import_model(a_donor(), platform, Narrator(quiet=True))
    registry = Registry(platform)
    found, card = registry.registered(ref.version), registry.card(ref.version)
    assert found.tags["data_from"] == found.tags["data_until"]
    assert (found.tags["feature_schema"], found.evidence) == (schema_hash(), None)
    for said in (
        "**It is not evaluated.**",
        "`theirs`: 38 items, vectors 4 wide",
        "data window | none; imported at",
        "| by title and year | 38 | 95.0% |",
        "| not found, and given the mean vector of items like it | 2 | 5.0% |",
    ):
        assert said in card, said
    assert found.description.startswith("# imported")
    opened = bundle.read(registry.download(ref))
    assert "no events" in opened.json("report")["not_evaluated"]

    rows = [{"event_id": "e", "user_id": "u", "item_id": "ours1", "event_type": "like", "timestamp": datetime.now(UTC)}]
    Lake(platform.lake).append_events(pa.Table.from_pylist(rows, EVENT_SCHEMA))
    with pytest.raises(NotFound, match=r"imported on .* no data window.*`tastemaker train`"):
        evaluate(opened, platform, recipes.default())


def test_popularity_comes_over_with_the_items_that_are_here() -> None:
    found = Match(np.array([2, -1, 0]), np.array([1, -1, 1], np.int8))
    document = {"overall": [2, 1, 0], "demographic": {"country": {"DE": [0, 5]}}}
    assert first_bundle.carried(document, found, catalogue("ours", 3), ["Comedy", "Drama"]) == {
        "overall": [0, 2],
        "category": {"Comedy": [0, 2], "Drama": []},
        "segment": {"Comedy": [0, 2], "Drama": []},
        "demographic": {"country": {"DE": [2]}},
    }


def test_the_first_import_is_champion_and_the_next_one_challenger(platform: config.Settings) -> None:
    first, report = first_bundle.import_model(a_donor(), platform, Narrator(quiet=True))
    second, then = first_bundle.import_model(a_donor(), platform, Narrator(quiet=True))
    registry = Registry(platform)
    assert (report["champion"], then["champion"]) == (True, False)
    assert (registry.resolve(CHAMPION).version, registry.resolve(CHALLENGER).version) == (first.version, second.version)


def test_a_donor_of_strangers_is_refused(platform: config.Settings) -> None:
    ids = pa.table({columns.ITEM_ID: ["x", "y"]})
    strangers = pa.table(
        [ids[f.name] if f.name in ids.column_names else pa.nulls(2, f.type) for f in ITEM_SCHEMA], schema=ITEM_SCHEMA
    )
    donor = Donor("strangers.npy", strangers, np.eye(2, dtype=np.float32), {"overall": []}, same_ids=True)
    with pytest.raises(InvalidInput, match=r"none of the 40 items .* ours begin with 'ours0', theirs with 'x'"):
        first_bundle.import_model(donor, platform, Narrator(quiet=True))


def test_the_command_reads_a_file_and_says_how_items_were_found(platform: config.Settings, tmp_path: Path) -> None:
    ids = [f"ours{code}" for code in range(KNOWN)]
    pq.write_table(pa.table({"item_id": ids, "vector": vectors().tolist()}), tmp_path / "v.parquet")
    app = typer.Typer()
    app.command()(import_model)
    result = CliRunner().invoke(app, [str(tmp_path / "v.parquet"), "--json"], catch_exceptions=False)
    answer = json.loads(result.stdout)
    assert (answer["id"], answer["unmatched"], answer["champion"]) == (KNOWN, 2, True)


def test_the_tower_is_the_mean_of_what_is_liked_by_liking_and_recency() -> None:
    table = np.eye(3, dtype=np.float32)
    program = export_tower(AverageTower(table, np.array([0, 0, 1], np.float32)), profile=2).module()
    history = torch.tensor([[-1, 0, 1], [-1, -1, 0], [-1, -1, -1]])
    preference = torch.tensor([[0.0, 0.6, 0.2], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    made = program(history, preference, torch.zeros(3, 3), torch.zeros(3, 2, dtype=torch.long), torch.zeros(3, 2))

    older, newer = cross.liking(np.array([0.6, 0.2], np.float32)) * np.array([2**-cross.LASTING.decay, 1.0])
    wanted = np.array([older, newer, 0]) / np.hypot(older, newer)
    assert made[0].numpy() == pytest.approx(wanted, abs=1e-6)
    assert made[1:].tolist() == [[0, 0, 1], [0, 0, 1]], "who liked nothing is as the popular"
