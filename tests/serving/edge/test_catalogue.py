from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tastemaker.catalogue import log
from tastemaker.types import Item

from .conftest import SLATE, FakeRay, free_port, item_ids, serving, settings_for


async def change(client: httpx.AsyncClient, method: str, path: str, **body: Any) -> httpx.Response:
    """The answer once Redis took the change: on a busy machine it may be late."""
    async with asyncio.timeout(20):
        while (answer := await client.request(method, path, **body)).status_code == 503:
            await asyncio.sleep(0.1)
    assert answer.status_code == 202, answer.text
    return answer


async def put(client: httpx.AsyncClient, *items: dict[str, Any]) -> None:
    answer = await change(client, "PUT", "/v1/items", json=list(items))
    assert answer.json()["item_ids"] == [item["item_id"] for item in items]


async def test_a_removed_item_is_gone_at_once_from_cached_slates_too(client: httpx.AsyncClient, ray: FakeRay) -> None:
    assert item_ids(await client.get(SLATE, params={"n": 3})) == ["i59", "i58", "i57"]
    removed = await change(client, "DELETE", "/v1/items/i58")
    assert removed.json()["item_ids"] == ["i58"]

    after = await client.get(SLATE, params={"n": 3})
    # The stand-in for Ray does not know yet: the ladder fills the place.
    assert item_ids(after)[:2] == ["i59", "i57"]
    assert "i58" not in item_ids(after)
    assert len(ray.batches) == 2


async def test_an_unavailable_item_is_on_no_rung_and_comes_back(client: httpx.AsyncClient, ray: FakeRay) -> None:
    ray.healthy = False
    await put(client, {"item_id": "i0", "title": "Film 0", "available": False})
    for call in (SLATE, "/v1/items/i1/similar", "/v1/trending"):
        assert "i0" not in item_ids(await client.get(call, params={"n": 60}))
    await put(client, {"item_id": "i0", "title": "Film 0"})
    assert "i0" in item_ids(await client.get("/v1/trending", params={"n": 60}))


async def test_where_items_live_for_a_day_the_ladder_begins_with_what_is_new(
    client: httpx.AsyncClient, ray: FakeRay
) -> None:
    ray.healthy = False
    moment = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    await put(client, {"item_id": "new", "title": "News", "published_at": moment})
    listed = item_ids(await client.get(SLATE, params={"n": 5, "scene": "news"}))
    assert listed[0] == "new"
    assert len(listed) == 5  # the others are old, and better than nothing
    assert "new" not in item_ids(await client.get(SLATE, params={"n": 5}))


async def test_a_changed_title_appears_and_categories_move(client: httpx.AsyncClient) -> None:
    await put(client, {"item_id": "i0", "title": "Another", "categories": ["Western"]})
    similar = await client.get("/v1/items/i0/similar", params={"n": 1})
    assert similar.json()["items"][0]["reason"] == "Similar to Another"
    assert item_ids(await client.get("/v1/trending", params={"category": "Western"})) == ["i0"]
    assert "i0" not in item_ids(await client.get("/v1/trending", params={"category": "Comedy", "n": 60}))


async def test_a_new_item_is_in_the_catalogue_and_its_kin_are_similar(client: httpx.AsyncClient) -> None:
    await put(client, {"item_id": "new", "title": "Film", "categories": ["Drama"]})
    assert item_ids(await client.get("/v1/trending", params={"n": 61}))[-1] == "new"
    assert "new" in item_ids(await client.get("/v1/trending", params={"category": "Drama", "n": 61}))
    assert len(item_ids(await client.get("/v1/items/new/similar", params={"n": 4}))) == 4
    await put(client, {"item_id": "new", "title": "Film, again", "categories": ["Drama"]})
    assert (await client.get("/readyz")).json()["items"] == 61


async def test_search_finds_new_words_and_nothing_that_is_gone(client: httpx.AsyncClient) -> None:
    await put(client, {"item_id": "new", "title": "Xylophones"}, {"item_id": "i0", "title": "Zithers"})
    assert item_ids(await client.post("/v1/search", json={"query": "xylophones"})) == ["new"]
    assert item_ids(await client.post("/v1/search", json={"query": "zithers"})) == ["i0"]
    await change(client, "DELETE", "/v1/items/new")
    await put(client, {"item_id": "i0", "title": "Zithers", "available": False})
    assert item_ids(await client.post("/v1/search", json={"query": "xylophones"})) == []
    assert item_ids(await client.post("/v1/search", json={"query": "zithers"})) == []


async def test_another_edge_and_one_that_starts_again_know_it_too(
    client: httpx.AsyncClient, ray: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    async with serving(settings_for(ray.port), bundle_path, redis_url) as other:
        await change(client, "DELETE", "/v1/items/i59")
        async with asyncio.timeout(10):
            while "i59" in item_ids(await other.get(SLATE, params={"force_refresh": True})):
                await asyncio.sleep(0.05)
    async with serving(settings_for(ray.port), bundle_path, redis_url) as again:
        async with asyncio.timeout(10):
            while "i59" in item_ids(await again.get(SLATE, params={"force_refresh": True})):
                await asyncio.sleep(0.05)


async def test_new_items_come_although_the_files_of_the_bundle_are_gone(
    ray: FakeRay, bundle_path: Path, tmp_path: Path, redis_url: str
) -> None:
    cleared = shutil.copytree(bundle_path, tmp_path / "bundle")
    async with serving(settings_for(ray.port), cleared, redis_url) as client:
        shutil.rmtree(cleared)
        await put(client, {"item_id": "new", "title": "Film", "categories": ["Drama"]})
        async with Redis.from_url(redis_url) as redis:  # elsewhere
            await log.items.publish(redis, {"newer": Item("newer", "Film"), "i58": None})
        async with asyncio.timeout(10):
            while "i58" in item_ids(await client.get(SLATE, params={"force_refresh": True})):
                await asyncio.sleep(0.05)
        assert item_ids(await client.get("/v1/trending", params={"n": 62}))[-2:] == ["new", "newer"]


async def test_a_bundle_that_has_the_changes_is_not_changed_by_them(
    ray: FakeRay, bundle_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Redis.from_url(redis_url) as redis:
        version = await log.items.publish(redis, {"i0": Item("i0", "Older"), "i1": None})
    monkeypatch.setattr("tastemaker_serving.edge.shelf.version_of", lambda items: version)
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        await change(client, "DELETE", "/v1/items/i2")
        similar = await client.get("/v1/items/i0/similar", params={"n": 1})
        assert similar.json()["items"][0]["reason"] == "Similar to Film 0"
        listed = item_ids(await client.get("/v1/trending", params={"n": 3}))
        assert listed == ["i0", "i1", "i3"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ([{"item_id": "a"}], "item 0: title is missing"),
        ([{"item_id": "a", "title": "A", "colour": "red"}], "item 0: unknown field 'colour'"),
        ({"item_id": "a", "title": "A"}, "the body is"),
    ],
)
async def test_a_refusal_says_what_to_change(client: httpx.AsyncClient, body: Any, problem: str) -> None:
    answer = await client.put("/v1/items", json=body)
    assert (answer.status_code, problem in answer.json()["error"]) == (400, True)
    assert answer.json()["remedy"]


async def test_only_administrators_change_the_catalogue(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    settings = settings_for(ray.port, api_key="secret")
    async with serving(settings, bundle_path, redis_url) as client:
        item = [{"item_id": "a", "title": "A"}]
        assert (await client.put("/v1/items", json=item)).status_code == 401
        assert (await client.delete("/v1/items/a")).status_code == 401
        key = {"Authorization": "Bearer secret"}
        await change(client, "PUT", "/v1/items", json=item, headers=key)


async def test_without_redis_a_change_is_not_taken(bundle_path: Path) -> None:
    async with serving(settings_for(free_port()), bundle_path, f"redis://127.0.0.1:{free_port()}") as client:
        answer = await client.delete("/v1/items/i0")
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert "i0" in item_ids(await client.get(SLATE))
