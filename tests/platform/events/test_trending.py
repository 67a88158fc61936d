from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.events import trending
from tastemaker.events.trending import BUCKET_S, Vote

NOW = 1_800_000_000


async def read(url: str, window: trending.Window, n: int = 10) -> list[tuple[str, float]]:
    async with AsyncRedis.from_url(url) as client:
        return await trending.read(client, window, NOW, n)


async def test_a_user_counts_once_with_their_strongest_preference(redis: Redis, redis_url: str) -> None:
    votes = [
        Vote("ann", "a", NOW, 0.2),
        Vote("ann", "a", NOW, 1.0),
        Vote("ann", "a", NOW, 0.4),
        Vote("bob", "a", NOW, 0.5),
    ]
    for _ in range(2):
        trending.count(redis, votes, NOW)
    assert dict(await read(redis_url, "1h")) == pytest.approx({"a": 1.5})


async def test_dislikes_and_old_events_do_not_trend(redis: Redis, redis_url: str) -> None:
    trending.count(redis, [Vote("ann", "a", NOW, -1.0), Vote("ann", "b", NOW, 0.0), Vote("ann", "c", 0, 1.0)], NOW)
    assert await read(redis_url, "24h") == []
    assert redis.keys() == []


async def test_the_window_decides_what_counts(redis: Redis, redis_url: str) -> None:
    trending.count(redis, [Vote("ann", "old", NOW - 7200, 1.0), Vote("ann", "new", NOW, 0.2)], NOW)
    assert [item for item, _ in await read(redis_url, "1h")] == ["new"]
    assert [item for item, _ in await read(redis_url, "24h")] == ["old", "new"]
    assert [item for item, _ in await read(redis_url, "24h", n=1)] == ["old"]


def test_counters_expire(redis: Redis) -> None:
    now = int(time.time())
    trending.count(redis, [Vote("ann", "a", now, 1.0)], now)
    key = trending.bucket_key(now // BUCKET_S)
    bucket_life: Any = redis.ttl(key)
    users_life: Any = redis.ttl(f"{key}:users")
    assert 24.9 * 3600 < bucket_life <= trending.KEPT_S
    assert 0 < users_life <= trending.REMEMBERED_S


def test_a_bucket_weighs_half_of_the_one_a_half_life_later() -> None:
    assert trending.decayed([{"a": 1.0}, {}, {"a": 1.0, "b": 3.0}], half_life=2) == [("a", 1.5), ("b", 1.5)]
    assert trending.decayed([], half_life=3) == []


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(0.1, 9)), max_size=12))
def test_what_happened_later_never_weighs_less(counts: list[dict[str, float]]) -> None:
    now, later = (dict(trending.decayed(series, 3)) for series in (counts, [{}, *counts]))
    assert set(now) == set(later)
    assert all(now[item] >= later[item] for item in now)
