from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tastemaker import config
from tastemaker.data_cli import data
from tastemaker.errors import InvalidInput
from tastemaker.lake import Lake


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASTEMAKER_HOME", str(tmp_path))
    config.load.cache_clear()
    file = tmp_path / "plays.csv"
    file.write_text("who,what,timestamp\nu,a,1577836800\nu,b,1577836900\n")
    return file


def test_the_flags_map_columns_and_the_report_is_json(events: Path) -> None:
    arguments = ["import", str(events), "--format", "csv", "--map", "user_id=who", "--map", "item_id=what"]
    result = CliRunner().invoke(data, [*arguments, "--event-type", "play", "--json"], catch_exceptions=False)

    report = json.loads(result.stdout)
    assert {**report, "seconds": 0} == {
        "events": 2,
        "new_events": 2,
        "items": 2,
        "untitled_items": 2,
        "bad_rows": 0,
        "first_bad": [],
        "seconds": 0,
    }
    assert Lake(config.load().lake).events().num_rows == 2

    again = CliRunner().invoke(data, [*arguments, "--event-type", "play"], catch_exceptions=False)
    assert "0 new events of 2" in again.stdout


def test_a_flag_that_maps_nothing_is_refused_with_an_example(events: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'user_id' is not OURS=THEIRS.*--map item_id=movieId"):
        CliRunner().invoke(data, ["import", str(events), "-f", "csv", "--map", "user_id"], catch_exceptions=False)


def test_help_teaches_the_columns() -> None:
    shown = CliRunner().invoke(data, ["import", "--help"]).stdout
    assert "timestamp (ISO 8601 or seconds since 1970)" in " ".join(shown.split())
