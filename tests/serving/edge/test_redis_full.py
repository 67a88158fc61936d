"""Redis that has no memory left refuses what is written, and still answers who reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from redis import Redis

SLATE = "/v1/users/7/recommendations"


@pytest.fixture
def full(client: httpx.AsyncClient, redis_url: str) -> Iterator[Redis]:
    """Call `config_set("maxmemory", 1)` on it when it shall be full."""
    with Redis.from_url(redis_url) as redis:
        yield redis
        redis.config_set("maxmemory", 0)


async def test_slates_of_the_cache_are_served_all_along(client: httpx.AsyncClient, full: Redis) -> None:
    assert (await client.get(SLATE)).json()["served_from"] == "ranked"
    full.config_set("maxmemory", 1)
    for _ in range(3):
        others = await asyncio.gather(*(client.get(f"/v1/users/u{user}/recommendations") for user in range(8)))
        for other in others:
            assert (other.json()["served_from"], other.json()["degraded"]) == ("ranked", ["cache_write"])
        assert (await client.get(SLATE)).json()["served_from"] == "cache"


async def test_what_cannot_be_written_is_refused_with_the_reason_and_does_not_stop_the_next(
    client: httpx.AsyncClient, full: Redis
) -> None:
    full.config_set("maxmemory", 1)
    for _ in range(10):
        refused = await client.put("/v1/users/7", json={})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "refuses this" in refused.json()["error"]
    full.config_set("maxmemory", 0)
    assert (await client.put("/v1/users/7", json={})).status_code == 200
