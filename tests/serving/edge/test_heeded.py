from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tastemaker import config, scenes
from tastemaker_serving.edge.app import create_app
from tastemaker_serving.edge.heeded import unheeded

from .conftest import free_port

BOOST = {"name": "new", "action": "boost", "by": 0.2, "categories": ["Drama"]}
BAN = {"name": "gone", "action": "ban", "items": ["i1"]}


def said(cache_ttl_s: int = 300, **declared: Any) -> list[str]:
    return list(unheeded(scenes.load(config.Settings(scenes=declared)), cache_ttl_s))


def test_the_packaged_scenes_say_nothing_in_vain() -> None:
    assert said() == []
    assert said(cache_ttl_s=0) == []


def test_what_a_list_does_not_go_by_is_named_with_the_call() -> None:
    (trending,) = said(trending={"sources": {"als": 1.0}, "freshness": {"boost": 0.5}, "rules": [BOOST, BAN]})
    assert trending.startswith("GET /v1/trending does not go by freshness, boosts, sources of the scene 'trending'")
    assert said(trending={"rules": [BAN], "caps": {"author": 1}}) == []


def test_what_a_list_goes_by_for_a_user_only_is_named_as_such() -> None:
    never, sometimes = said(similar={"sources": {"content": 1.0}, "diversity": {"weight": 0.3}})
    assert "similar does not go by sources of" in never
    assert "goes by diversity of the scene 'similar' only for a `user_id`" in sometimes


@pytest.mark.parametrize(("cache_ttl_s", "life"), [(0, None), (0, 60), (300, 0)])
def test_repetition_without_a_cache_is_named(cache_ttl_s: int, life: int | None) -> None:
    declared = {"repetition": {"discount": 0.5}, "cache_ttl_s": life}
    (sentence,) = said(cache_ttl_s, shorts=declared)
    assert "repetition of the scene 'shorts' does nothing" in sentence
    assert said(300, shorts=declared | {"cache_ttl_s": 60}) == []


def test_an_edge_says_so_when_it_starts(bundle_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = config.Settings(scenes={"search": {"cache_ttl_s": 60}})
    with caplog.at_level(logging.WARNING):
        create_app(settings, bundle_path, f"redis://127.0.0.1:{free_port()}", "model-1")
    assert "POST /v1/search does not go by cache_ttl_s of the scene 'search'" in caplog.text
