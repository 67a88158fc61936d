"""A catalogue without items, and items of which nothing is known but the id."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tastemaker import bundle, columns
from tastemaker.lake import ITEM_SCHEMA

from .conftest import FakeRay, free_port, serving, settings_for

PATHS = (
    "/v1/users/u1/recommendations",
    "/v1/users/u1/recommendations?scene=news&country=BR",
    "/v1/trending",
)


def write(path: Path, item_ids: list[str]) -> Path:
    """A bundle of items of which nothing is known; the model files are placeholders."""
    count = len(item_ids)
    placeholder = path.with_suffix(".pt2")
    placeholder.write_bytes(b"not a model")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [{columns.ITEM_ID: item_id} for item_id in item_ids]
    parts: dict[str, bundle.PartValue] = {
        "items": pa.Table.from_pylist(rows, ITEM_SCHEMA),
        "item_vectors": np.zeros((count, 8), np.float32),
        "index": placeholder,
        "als_factors": np.zeros((count, 4), np.float32),
        "als_gram": np.eye(4, dtype=np.float32),
        "content_vectors": np.zeros((count, 4), np.float32),
        "content_idf": np.zeros(8, np.float32),
        "content_directions": np.zeros((8, 4), np.float16),
        "neighbours": np.full((count, 5), -1, np.int32),
        "neighbour_weights": np.zeros((count, 5), np.float32),
        "user_tower": placeholder,
        "ranker": placeholder,
        "ranker_items": np.zeros((count, 4), np.float16),
        "popularity": {"overall": [], "category": {}, "segment": {}},
        "vocabulary": ["Comedy"],
        "report": {},
        "recipe": {},
    }
    bundle.write(path, parts, feature_service="ranking_v1", feature_schema="test", data_window=(now, now))
    return path


@pytest.mark.parametrize("path", PATHS)
async def test_an_empty_catalogue_has_empty_slates(redis_url: str, tmp_path: Path, path: str) -> None:
    empty = write(tmp_path / "empty", [])
    async with serving(settings_for(free_port()), empty, redis_url) as edge:
        answer = await edge.get(path)

    assert answer.status_code == 200, answer.text
    assert answer.json()["items"] == []


async def test_a_search_of_an_empty_catalogue_finds_nothing(redis_url: str, tmp_path: Path) -> None:
    empty = write(tmp_path / "empty", [])
    async with serving(settings_for(free_port()), empty, redis_url) as edge:
        answer = await edge.post("/v1/search", json={"query": "film"})

    assert (answer.status_code, answer.json()["items"]) == (200, [])


async def test_items_without_features_are_shown_when_nothing_else_is(redis_url: str, tmp_path: Path) -> None:
    bare = write(tmp_path / "bare", ["a", "b", "c"])
    async with serving(settings_for(free_port()), bare, redis_url) as edge:
        slate = (await edge.get("/v1/users/u1/recommendations")).json()
        similar = await edge.get("/v1/items/a/similar")

    assert [item["item_id"] for item in slate["items"]] == ["a", "b", "c"]
    assert all(item["reason"] for item in slate["items"])
    assert {item["item_id"] for item in similar.json()["items"]} == {"b", "c"}


async def test_what_is_all_excluded_leaves_an_empty_slate(redis_url: str, bundle_path: Path, ray: FakeRay) -> None:
    everything: dict[str, Any] = {"exclude": [f"i{code}" for code in range(60)]}
    async with serving(settings_for(ray.port), bundle_path, redis_url) as edge:
        answer = await edge.get("/v1/users/u1/recommendations", params=everything)

    assert (answer.status_code, answer.json()["items"]) == (200, [])
