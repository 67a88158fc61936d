from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tastemaker import config
from tastemaker.config import EventType
from tastemaker.errors import InvalidInput


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    config.load.cache_clear()
    yield tmp_path
    config.load.cache_clear()


def test_with_nothing_configured_all_state_lives_under_home(elsewhere: Path) -> None:
    settings = config.load()
    assert settings.lake == str(elsewhere / ".tastemaker" / "lake")
    assert settings.tracking_uri == f"sqlite:///{elsewhere}/.tastemaker/mlflow.db"


def test_variables_win_over_the_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "tastemaker.yaml").write_text("edge: {port: 9001, deadline_ms: 50}\n")
    monkeypatch.setenv("TASTEMAKER_EDGE__PORT", "9002")
    edge = config.load().edge
    assert (edge.port, edge.deadline_ms) == (9002, 50)


def test_well_known_variables_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("TASTEMAKER_REDIS_URL", "redis://redis:6379/0")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    settings = config.load()
    assert settings.tracking_uri == "http://mlflow:5000"
    assert settings.redis_url == "redis://redis:6379/0"
    assert settings.ray_address == "ray://head:10001"


def test_an_unknown_field_of_the_file_is_named(elsewhere: Path) -> None:
    (elsewhere / "tastemaker.yaml").write_text("edge: {prot: 9001}\n")
    with pytest.raises(InvalidInput, match=r"'edge\.prot' has value 9001.*tastemaker\.yaml"):
        config.load()


def test_a_wrong_value_is_named_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_EDGE__PORT", "99999")
    with pytest.raises(InvalidInput, match=r"'edge\.port' has value '99999'.*TASTEMAKER_EDGE__PORT"):
        config.load()


def test_a_misspelt_variable_is_refused_with_the_near_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_EGDE__PORT", "9000")
    with pytest.raises(InvalidInput, match="TASTEMAKER_EDGE__PORT"):
        config.load()


def test_what_kubernetes_sets_in_a_pod_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TASTEMAKER_SERVICE_HOST", "TASTEMAKER_EDGE_PORT_8000_TCP_ADDR", "TASTEMAKER_REDIS_PORT"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:8000")
    assert config.load().edge.port == 8000


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_CONFIG", "nowhere.yaml")
    with pytest.raises(InvalidInput, match=r"nowhere\.yaml"):
        config.load()


def test_a_file_that_is_not_yaml_is_an_error(elsewhere: Path) -> None:
    (elsewhere / "tastemaker.yaml").write_text("edge: [1\n")
    with pytest.raises(InvalidInput, match="not YAML"):
        config.load()


@pytest.mark.parametrize(("value", "preference"), [(5.0, 1.0), (2.5, 0.0), (0.5, -0.8), (9.0, 1.0), (None, 1.0)])
def test_a_scaled_event_type_maps_its_value_to_a_preference(value: float | None, preference: float) -> None:
    rating = EventType(weight=1.0, neutral=2.5, full=5.0)
    assert rating.preference(value) == pytest.approx(preference)


def test_a_dislike_is_negative_whatever_its_value() -> None:
    assert EventType(weight=-1.0).preference(3.0) == -1.0


def test_half_a_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="both"):
        EventType(weight=1.0, neutral=2.5)


def test_an_undeclared_event_type_is_refused_with_the_declared_ones() -> None:
    with pytest.raises(InvalidInput, match="dislike, like"):
        config.load().event_type("lik")
