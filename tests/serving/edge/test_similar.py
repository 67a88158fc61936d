"""`GET /v1/items/{item_id}/similar`."""

from __future__ import annotations

import httpx

from .conftest import FakeRay, item_ids, watch


async def test_similar_items_are_the_neighbours_without_what_the_user_saw(
    client: httpx.AsyncClient, ray: FakeRay, redis_url: str
) -> None:
    answer = await client.get("/v1/items/i0/similar", params={"n": 3})
    assert item_ids(answer) == ["i3", "i6", "i9"]
    assert answer.json()["items"][0]["reason"] == "Similar to Film 0"
    assert ray.batches == []
    watch(redis_url, "7", "i6")
    ray.healthy = False
    answer = await client.get("/v1/items/i0/similar", params={"n": 3, "user_id": "7"})
    assert item_ids(answer) == ["i3", "i9", "i12"]
    assert (answer.json()["served_from"], answer.json()["degraded"]) == ("session", ["ray"])


async def test_similar_items_for_a_user_are_in_the_models_order(
    client: httpx.AsyncClient, ray: FakeRay, redis_url: str
) -> None:
    watch(redis_url, "7", "i6")
    answer = await client.get("/v1/items/i0/similar", params={"n": 5, "user_id": "7"})
    (query,) = ray.batches[0]
    assert (query.scene, query.candidates) == ("similar", ["i3", "i9", "i12", "i15"])
    assert item_ids(answer) == ["i15", "i12", "i9", "i3", "i18"]
    assert answer.json()["served_from"] == "ranked"
    assert answer.json()["items"][0]["reason"] == "Similar to Film 0"


async def test_more_similar_items_than_neighbours_come_from_its_category(alone: httpx.AsyncClient) -> None:
    found = item_ids(await alone.get("/v1/items/i0/similar", params={"n": 16}))
    assert len(set(found)) == 16
    assert all(int(item_id[1:]) % 3 == 0 for item_id in found)


async def test_an_unknown_item_is_not_found(alone: httpx.AsyncClient) -> None:
    answer = await alone.get("/v1/items/nothing/similar")
    assert answer.status_code == 404
    assert "nothing" in answer.json()["error"]
