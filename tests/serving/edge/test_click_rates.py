from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tastemaker.errors import Unavailable
from tastemaker.exploration import CLICKED_KEY, SHOWN_KEY
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.click_rates import ClickRates


async def probe() -> None:
    """Never asked."""


def breaker() -> Breaker:
    return Breaker("Redis", probe, (RedisError, OSError))


async def counted(redis: Redis, key: str) -> dict[str, int]:
    found = await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(key))
    return {item.decode(): int(count) for item, count in found.items()}


async def test_impressions_and_clicks_add_up(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        one, other = (ClickRates(redis, breaker(), wanted=True) for _ in range(2))
        one.shown(["i1", "i2"])
        one.shown(["i1"])
        one.clicked("i1")
        other.clicked("i1")
        for rates in (one, other, one):
            await rates.flush()

        assert await counted(redis, SHOWN_KEY) == {"i1": 2, "i2": 1}
        assert await counted(redis, CLICKED_KEY) == {"i1": 2}


async def test_what_redis_does_not_take_is_kept(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis, Redis.from_url("redis://127.0.0.1:1") as gone:
        rates = ClickRates(gone, breaker(), wanted=True)
        rates.shown(["i1"])
        rates.clicked("i1")
        with pytest.raises(Unavailable):
            await rates.flush()
        rates._redis = redis
        await rates.flush()

        assert await counted(redis, SHOWN_KEY) == await counted(redis, CLICKED_KEY) == {"i1": 1}


async def test_nothing_is_counted_where_no_scene_explores(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        rates = ClickRates(redis, breaker(), wanted=False)
        rates.shown(["i1"])
        rates.clicked("i1")
        await rates.flush()
        assert await redis.keys("*") == []
