"""What newcomers said shapes the slate that the edge makes alone. Item c is in category c mod 3 of the tiny bundle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tastemaker.features import trail
from tastemaker.features.trail import trail_key

from .conftest import FakeRay, serving, settings_for

USER = "/v1/users/7"
SLATE = f"{USER}/recommendations"


@pytest.fixture(autouse=True)
def away(ray: FakeRay) -> None:
    """Ray answers nothing."""
    ray.healthy = False


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as redis:
        yield redis


async def slate(client: httpx.AsyncClient) -> tuple[str, list[dict[str, Any]]]:
    answer = (await client.get(SLATE, params={"n": 6})).json()
    return answer["served_from"], answer["items"]


async def test_named_categories_come_in_turn(client: httpx.AsyncClient) -> None:
    assert [item["item_id"] for item in (await slate(client))[1]] == ["i0", "i1", "i2", "i3", "i4", "i5"]
    await client.put(f"{USER}/preferences", json={"categories": ["Drama", "Thriller", "Nothing like it"]})
    rung, items = await slate(client)
    assert rung == "segment"
    assert [item["item_id"] for item in items] == ["i1", "i2", "i4", "i5", "i7", "i8"]
    assert items[0]["reason"] == "Popular in Drama"


async def test_named_items_lead_to_their_neighbours_and_are_not_shown_themselves(client: httpx.AsyncClient) -> None:
    await client.put(f"{USER}/preferences", json={"items": ["i0", "unknown"]})
    rung, items = await slate(client)
    assert rung == "session"
    assert [item["item_id"] for item in items] == ["i3", "i6", "i9", "i12", "i15", "i18"]
    assert items[0]["reason"] == "Because you liked Film 0"


async def test_a_history_speaks_for_itself(client: httpx.AsyncClient, redis: Redis) -> None:
    await client.put(f"{USER}/preferences", json={"categories": ["Drama"]})
    redis.set(trail_key("7"), trail.encode(trail.of_items([f"i{code}" for code in (0, 3, 6, 9, 12)], 1)))
    rung, items = await slate(client)
    assert rung == "session"
    assert {int(item["item_id"][1:]) % 3 for item in items} == {0}


async def test_without_redis_nothing_is_asked_twice(alone: httpx.AsyncClient) -> None:
    answer = (await alone.get(SLATE)).json()
    assert answer["items"]
    assert "preferences" not in answer["degraded"]


async def test_a_redis_that_hangs_does_not_hold_up_a_slate_that_comes_late(
    ray: FakeRay, bundle_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr("tastemaker_serving.edge.recommend.trails.read", hang)
    monkeypatch.setattr("tastemaker_serving.edge.cache.SlateCache.write", hang)
    async with serving(settings_for(ray.port, deadline_ms=100), bundle_path, redis_url) as client:
        async with asyncio.timeout(30):
            answer = (await client.get(SLATE)).json()
    assert answer["items"]
    assert answer["degraded"] == ["ray", "trail", "cache_write"]
