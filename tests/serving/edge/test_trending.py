from __future__ import annotations

import time
from dataclasses import replace

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tastemaker.errors import Unavailable
from tastemaker.events.trending import EVERYBODY, WINDOW_S, Vote, Window, count, post
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
        post(redis, "1h", now)
    async with connect(redis_url) as client:
        trending = Trending(client, Breaker("Redis", probe, (RedisError, OSError)))
        await trending.refresh()
    assert [code for code, _ in trending.hot(shelf)] == [5, 9]


async def test_the_last_list_outlives_redis(shelf: Shelf, redis_url: str) -> None:
    now = int(time.time())
    with Redis.from_url(redis_url) as redis:
        count(redis, [Vote("a", "i3", now, 1.0)], now)
        post(redis, "1h", now)
    async with connect(redis_url) as client, connect(f"redis://127.0.0.1:{free_port()}") as gone:
        trending = Trending(client, Breaker("Redis", probe, (RedisError, OSError)))
        await trending.refresh()
        trending._redis = gone
        with pytest.raises(Unavailable):
            await trending.refresh()
        assert [code for code, _ in trending.hot(shelf)] == [3]
        turned = tuple(reversed(shelf.item_ids))
        other = replace(shelf, item_ids=turned, code_of={item_id: code for code, item_id in enumerate(turned)})
        assert [other.item_ids[code] for code, _ in trending.hot(other)] == ["i3"]


async def test_each_window_and_country_has_its_list(shelf: Shelf, redis_url: str) -> None:
    now = int(time.time())
    with Redis.from_url(redis_url) as redis:
        count(redis, [Vote("a", "i3", now, 1.0, "DE"), Vote("b", "i5", now - 7200, 1.0, "FR")], now)
        for window in WINDOW_S:
            post(redis, window, now)
    async with connect(redis_url) as client:
        trending = Trending(client, Breaker("Redis", probe, (RedisError, OSError)))
        await trending.refresh()

    def codes(window: Window, country: str = EVERYBODY) -> list[int]:
        return [code for code, _ in trending.hot(shelf, window, country)]

    assert codes("1h") == codes("24h", "DE") == [3]
    assert codes("24h") == codes("7d") == [3, 5]
    assert codes("7d", "FR") == [5]
    assert codes("1h", "FR") == codes("7d", "XX") == []
