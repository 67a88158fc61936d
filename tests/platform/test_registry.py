from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.artifacts
import pytest
from mlflow.tracking import MlflowClient

from tastemaker.config import Settings
from tastemaker.errors import Conflict, NotFound
from tastemaker.gates import evidence_of
from tastemaker.manifest import MANIFEST
from tastemaker.papers import Papers, beginning
from tastemaker.registry import EXPERIMENT, Registry
from tastemaker.types import ModelRef


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(Settings(home=tmp_path_factory.mktemp("home")))


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / MANIFEST).write_text("{}")
    return tmp_path / "bundle"


def test_an_empty_registry_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="tastemaker train"):
        Registry(Settings(home=tmp_path)).resolve()


def test_a_version_is_found_by_number_and_alias(registry: Registry, bundle_path: Path) -> None:
    first = registry.register(bundle_path, {"ndcg@20": 0.1}, {"recipe": "smoke"})
    second = registry.register(bundle_path, {"ndcg@20": 0.2}, {"recipe": "smoke"})
    registry.point(first.version, "champion")
    assert registry.resolve("champion") == first
    assert registry.resolve("challenger") == second
    assert registry.resolve(second.version) == second
    newest = [(found.version, found.aliases) for found in registry.versions()[:2]]
    assert newest == [(second.version, ("challenger",)), (first.version, ("champion",))]
    assert (registry.download(first) / MANIFEST).read_text() == "{}"


def test_pointing_at_what_does_not_exist_changes_nothing(registry: Registry, bundle_path: Path) -> None:
    ref = registry.register(bundle_path, {}, {})
    registry.point(ref.version, "champion")
    with pytest.raises(NotFound, match="'99999'"):
        registry.point("99999", "champion")
    assert registry.resolve("champion") == ref


def test_whether_an_alias_names_a_version(registry: Registry, bundle_path: Path) -> None:
    ref = registry.register(bundle_path, {}, {}, "candidate")
    assert registry.has("candidate")
    assert registry.has(ref.version)
    assert not registry.has("nobody")


def test_a_version_says_what_its_bundle_says(registry: Registry, bundle_path: Path, report: dict[str, Any]) -> None:
    window = ["2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z"]
    (bundle_path / MANIFEST).write_text(json.dumps({"feature_schema": "abc", "data_window": window}))
    (bundle_path / "report.json").write_text(json.dumps(report))
    (bundle_path / "model_card.md").write_text("# A card")
    ref = registry.register(bundle_path, {}, {"recipe": "smoke", "seed": "3"}, papers=Papers("# A card\n\nshort"))
    found = registry.registered(ref.version)
    said = {name: found.tags[name] for name in ("recipe", "seed", "feature_schema", "data_from", "data_until")}
    expected = {"recipe": "smoke", "seed": "3", "feature_schema": "abc"}
    assert said == expected | {"data_from": window[0], "data_until": window[1]}
    assert found.evidence == evidence_of(report)
    assert found.description == "# A card\n\nshort"
    assert registry.card(ref.version) == "# A card"


def test_curves_and_files_lie_in_the_run(registry: Registry, bundle_path: Path) -> None:
    curve = [(step, 1 / (step + 1)) for step in range(1_500)]
    papers = Papers(curves={"loss@tower": curve}, files={"figures/training.png": b"png"})
    registry.register(bundle_path, {"recall@20": 0.2}, {}, "drawn", papers)
    client = MlflowClient(registry.settings.tracking_uri, registry.settings.tracking_uri)
    run_id = client.get_model_version_by_alias(registry.settings.model_name, "drawn").run_id or ""
    history = client.get_metric_history(run_id, "loss_at_tower")
    assert sorted((point.step, point.value) for point in history) == curve
    assert client.get_run(run_id).data.metrics["recall_at_20"] == 0.2
    assert [file.path for file in client.list_artifacts(run_id, "figures")] == ["figures/training.png"]


def placed(settings: Settings, bundle_path: Path, content: str) -> tuple[Registry, ModelRef]:
    """A version whose files its registry hands out, as a server does."""
    (bundle_path / MANIFEST).write_text(content)
    registry = Registry(settings)
    ref = registry.register(bundle_path, {}, {})
    run_id = MlflowClient(settings.tracking_uri).get_model_version(ref.name, ref.version).run_id
    return registry, replace(ref, path=f"runs:/{run_id}/bundle")


def test_versions_of_one_number_in_two_registries_are_two_bundles(tmp_path: Path, bundle_path: Path) -> None:
    found = []
    for name in ("staging", "production"):
        settings = Settings(home=tmp_path / "home", mlflow_tracking_uri=f"sqlite:///{tmp_path}/{name}.db")
        MlflowClient(settings.tracking_uri).create_experiment(EXPERIMENT, f"file://{tmp_path}/{name}")
        registry, ref = placed(settings, bundle_path, json.dumps({"where": name}))
        found.append((ref.version, json.loads((registry.download(ref) / MANIFEST).read_text())["where"]))
    assert found == [("1", "staging"), ("1", "production")]


def test_two_who_download_at_once_end_with_the_bundle_of_the_faster(
    tmp_path: Path, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, ref = placed(Settings(home=tmp_path / "home"), bundle_path, "{}")
    download, faster = mlflow.artifacts.download_artifacts, list[tuple[Path, int]]()

    def slow(**asked: Any) -> str:
        got = download(**asked)
        monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
        path = registry.download(ref)
        faster.append((path, (path / MANIFEST).stat().st_ino))
        return got

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", slow)
    path = registry.download(ref)
    assert faster == [(path, (path / MANIFEST).stat().st_ino)], "what the faster may have open is removed"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_no_whole_bundle_is_not_taken_for_one(tmp_path: Path, bundle_path: Path) -> None:
    registry, ref = placed(Settings(home=tmp_path / "home"), bundle_path, "{}")
    path = registry.download(ref)
    (path / MANIFEST).unlink()
    (path / "rest").write_text("")
    with pytest.raises(Conflict, match=f"{path}.*Remove"):
        registry.download(ref)


def test_a_description_ends_with_a_whole_paragraph() -> None:
    assert beginning("one\n\ntwo\n\nthree", 10) == "one\n\ntwo"
    assert beginning("one\n\ntwo", 10) == "one\n\ntwo"
    assert beginning("without end", 5) == ""
