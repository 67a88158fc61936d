from __future__ import annotations

import time

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tastemaker.errors import Unavailable
from tastemaker.events.trending import Vote, count
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.shelf import Shelf
from tastemaker_serving.edge.state import connect
from tastemaker_serving.edge.trending import Trending

from .conftest import free_port


async def probe() -> None: ...


async def test_hot_items_are_those_that_people_took_to(shelf: Shelf, redis_url: str) -> None:
    now = int(time.time())
    votes = [Vote(user_id, "i5", now, 1.0) for user_id in "ab"]
    votes += [Vote("a", "i9", now, 1.0), Vote("a", "outside the catalogue", now, 1.0)]
    with Redis.from_url(redis_url) as redis:
        count(redis, votes, now)
    async with connect(redis_url) as client:
        trending = Trending(client, Breaker("Redis", probe, (RedisError, OSError)), shelf)
        await trending.refresh()
    assert [code for code, _ in trending.hot] == [5, 9]


async def test_the_last_list_outlives_redis(shelf: Shelf) -> None:
    async with connect(f"redis://127.0.0.1:{free_port()}") as gone:
        trending = Trending(gone, Breaker("Redis", probe, (RedisError, OSError)), shelf)
        trending.hot = ((3, 1.0),)
        with pytest.raises(Unavailable):
            await trending.refresh()
        assert trending.hot == ((3, 1.0),)
