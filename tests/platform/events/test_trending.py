from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.events import trending
from tastemaker.events.trending import BUCKET_S, EVERYBODY, HOUR_S, Vote

# Counters expire by Redis's own clock: this is the middle of the present hour.
NOW = int(time.time()) // 3600 * 3600 + 1800


def items(redis: Redis, window: trending.Window, country: str = EVERYBODY) -> list[str]:
    return [item for item, _ in trending.rank(redis, window, NOW)[country]]


@pytest.mark.parametrize("window", ["1h", "24h", "7d"])
def test_a_user_counts_once_with_their_strongest_preference(redis: Redis, window: trending.Window) -> None:
    votes = [
        Vote("ann", "a", NOW, 0.2),
        Vote("ann", "a", NOW, 1.0),
        Vote("ann", "a", NOW, 0.4),
        Vote("bob", "a", NOW, 0.5),
    ]
    for _ in range(2):
        trending.count(redis, votes, NOW)
    assert dict(trending.rank(redis, window, NOW)[EVERYBODY]) == pytest.approx({"a": 1.5})


def test_a_thousand_clicks_of_one_user_weigh_less_than_two_users(redis: Redis) -> None:
    for _ in range(10):
        trending.count(redis, [Vote("eve", "pushed", NOW, 1.0, "DE")] * 100, NOW)
    trending.count(redis, [Vote(user, "liked", NOW, 0.6, "DE") for user in "ab"], NOW)
    for country in (EVERYBODY, "DE"):
        assert items(redis, "1h", country) == ["liked", "pushed"]


def test_dislikes_and_old_events_do_not_trend(redis: Redis) -> None:
    trending.count(redis, [Vote("ann", "a", NOW, -1.0), Vote("ann", "b", NOW, 0.0), Vote("ann", "c", 0, 1.0)], NOW)
    assert items(redis, "7d") == []
    assert redis.keys() == []


def test_the_window_decides_what_counts(redis: Redis) -> None:
    day = 24 * HOUR_S
    votes = [
        Vote("ann", "ancient", NOW - 3 * day, 1.0),
        Vote("bob", "ancient", NOW - 3 * day, 1.0),
        Vote("ann", "old", NOW - 2 * HOUR_S, 1.0),
        Vote("ann", "new", NOW, 0.2),
    ]
    trending.count(redis, votes, NOW)
    assert items(redis, "1h") == ["new"]
    assert items(redis, "24h") == ["old", "new"]
    assert items(redis, "7d") == ["old", "ancient", "new"]


def test_a_country_counts_its_own_and_everybody_counts_all(redis: Redis) -> None:
    votes = [Vote("ann", "a", NOW, 1.0, "DE"), Vote("bob", "b", NOW, 1.0, "FR"), Vote("cat", "b", NOW, 1.0)]
    trending.count(redis, votes, NOW)
    lists = trending.rank(redis, "1h", NOW)
    assert {country: dict(ranked) for country, ranked in lists.items()} == {
        EVERYBODY: {"a": 1.0, "b": 2.0},
        "DE": {"a": 1.0},
        "FR": {"b": 1.0},
    }


async def test_posted_lists_are_read_as_they_were_ranked(redis: Redis, redis_url: str) -> None:
    trending.count(redis, [Vote("ann", "a", NOW, 1.0, "DE")], NOW)
    trending.post(redis, "1h", NOW)
    async with AsyncRedis.from_url(redis_url) as client:
        lists = await trending.read(client)
    assert lists == {"1h": {EVERYBODY: [("a", 1.0)], "DE": [("a", 1.0)]}, "24h": {}, "7d": {}}


def test_counters_expire(redis: Redis) -> None:
    now = int(time.time())
    trending.count(redis, [Vote("ann", "a", now, 1.0, "DE")], now)
    bucket, hour = now // BUCKET_S, now // HOUR_S

    def life(key: str) -> int:
        left: Any = redis.ttl(key)
        return int(left)

    for country in (EVERYBODY, "DE"):
        assert 0 < life(trending.bucket_key(bucket, country)) <= trending.BUCKET_KEPT_S
        assert 7 * 24 * 3600 <= life(trending.hour_key(hour, country)) <= trending.KEPT_S
    assert 7 * 24 * 3600 <= life(f"{trending.hour_key(hour)}:countries") <= trending.KEPT_S
    assert 0 < life(f"{trending.bucket_key(bucket)}:users") <= trending.REMEMBERED_S
    keys: Any = redis.keys()
    assert len(keys) == 6


def test_counters_that_change_together_are_on_one_node(redis: Redis) -> None:
    trending.count(redis, [Vote("ann", "a", int(time.time()), 1.0, "DE")], int(time.time()))
    keys: Any = redis.keys()
    assert len({redis.cluster("KEYSLOT", key) for key in keys}) == 1


def test_a_bucket_weighs_half_of_the_one_a_half_life_later() -> None:
    assert trending.decayed([{"a": 1.0}, {}, {"a": 1.0, "b": 3.0}], half_life=2) == [("a", 1.5), ("b", 1.5)]
    assert trending.decayed([], half_life=3) == []


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(0.1, 9)), max_size=12))
def test_what_happened_later_never_weighs_less(counts: list[dict[str, float]]) -> None:
    now, later = (dict(trending.decayed(series, 3)) for series in (counts, [{}, *counts]))
    assert set(now) == set(later)
    assert all(now[item] >= later[item] for item in now)
