from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tastemaker import config
from tastemaker.config import Settings
from tastemaker.errors import Conflict
from tastemaker.registry import Registry
from tastemaker.registry_cli import registry


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: dict[str, Any]) -> Iterator[Path]:
    """An installation with a champion that passes every gate, and a challenger whose slates are all alike."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASTEMAKER_HOME", str(tmp_path / "home"))
    config.load.cache_clear()
    opened = Registry(Settings(home=tmp_path / "home"))
    for distance in (0.6, 0.1):
        report["models"]["served"]["intra_list_distance"] = distance
        draft = tmp_path / f"draft-{distance}"
        draft.mkdir()
        (draft / "manifest.json").write_text(json.dumps({"data_window": ["2020-01-01", "2020-02-01"]}))
        (draft / "report.json").write_text(json.dumps(report))
        (draft / "model_card.md").write_text(f"# A card of {distance}")
        opened.register(draft, {}, {"recipe": "smoke"})
    opened.point("1", "champion")
    yield tmp_path
    config.load.cache_clear()


def run(*arguments: str) -> str:
    return CliRunner().invoke(registry, arguments, catch_exceptions=False).output


def test_versions_are_listed_with_what_gates_say(home: Path) -> None:
    newest, oldest = json.loads(run("list", "--json"))
    assert (newest["version"], newest["aliases"], newest["recipe"]) == ("2", ["challenger"], "smoke")
    assert (newest["recall"], newest["data_until"]) == (0.2, "2020-02-01")
    assert (newest["failed"], oldest["failed"]) == (["intra_list_distance"], [])
    assert "champion" in run("list")


def test_a_version_shows_its_card_and_its_gates(home: Path) -> None:
    shown = " ".join(run("show", "challenger").split())
    assert "A card of 0.1" in shown
    assert "intra_list_distance: the items of a slate are 0.100 apart, more than 0.300 is asked" in shown
    document = json.loads(run("show", "1", "--json"))
    assert document["card"] == "# A card of 0.6"
    assert all(gate["passed"] for gate in document["gates"])


def test_promotion_is_refused_forced_and_remembered(home: Path) -> None:
    with pytest.raises(Conflict, match="gate intra_list_distance"):
        run("promote", "2")
    assert run("promote", "2", "--alias", "canary") == "tastemaker/2 is now canary.\n", "only the champion has gates"
    assert run("promote", "2", "--force", "one category only") == "tastemaker/2 is now champion.\n"
    newest, _ = json.loads(run("list", "--json"))
    assert newest["aliases"] == ["canary", "challenger", "champion"]
    assert newest["let_through"] == "waived: one category only"
    assert run("promote", "1") == "tastemaker/1 is now champion.\n", "it was champion before"


def test_a_waived_version_may_be_promoted(home: Path) -> None:
    assert run("waive", "challenger", "to be tried live") == "No gate stops tastemaker/2.\n"
    assert run("promote", "challenger") == "tastemaker/2 is now champion.\n"
