from __future__ import annotations

from pathlib import Path

import pytest

from tastemaker.bundle import MANIFEST
from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.registry import Registry


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
    registry.promote(first.version)
    assert registry.resolve("champion") == first
    assert registry.resolve("challenger") == second
    assert registry.resolve(second.version) == second
    assert registry.versions()[:2] == [(second.version, ("challenger",)), (first.version, ("champion",))]
    assert (registry.download(first) / MANIFEST).read_text() == "{}"


def test_promoting_what_does_not_exist_changes_nothing(registry: Registry, bundle_path: Path) -> None:
    ref = registry.register(bundle_path, {}, {})
    registry.promote(ref.version)
    with pytest.raises(NotFound, match="'99999'"):
        registry.promote("99999")
    assert registry.resolve("champion") == ref


def test_whether_an_alias_names_a_version(registry: Registry, bundle_path: Path) -> None:
    ref = registry.register(bundle_path, {}, {}, "candidate")
    assert registry.has("candidate")
    assert registry.has(ref.version)
    assert not registry.has("nobody")
