"""What events do online: trails, epochs, counters."""

from __future__ import annotations

import time
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import OutOfMemoryError

from tastemaker import profiles
from tastemaker.config import Settings
from tastemaker.events import online, trending
from tastemaker.events.stream import Group
from tastemaker.events.trending import EVERYBODY
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker.profiles import Profile

from .conftest import SHARDS, counted, deliver, event, publish, trail_of


async def test_a_repeated_event_counts_once(redis: Redis, redis_url: str, settings: Settings) -> None:
    await publish(redis_url, [event(1), event(1), event(2)])
    entries = deliver(redis, settings)
    before = applied("like")
    online.apply(redis, entries, settings)
    online.apply(redis, entries, settings)
    assert trail_of(redis) == [key_of("i1"), key_of("i2")]
    assert redis.get(trail.epoch_key("ann")) == b"1"
    assert counted(redis) == {"i1": 1.0, "i2": 1.0}
    assert applied("like") - before == 2


async def test_votes_count_in_the_country_of_the_users_profile(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    async with AsyncRedis.from_url(redis_url) as client:
        await profiles.records.write(client, "ann", Profile(country="DE"))
    await publish(redis_url, [event(1), event(2, user="bob")])
    online.apply(redis, deliver(redis, settings), settings)
    lists = trending.rank(redis, "1h", int(time.time()))
    assert {country: sorted(item for item, _ in ranked) for country, ranked in lists.items()} == {
        EVERYBODY: ["i1", "i2"],
        "DE": ["i1"],
    }


def applied(event_type: str) -> float:
    return REGISTRY.get_sample_value("tastemaker_events_total", {"event_type": event_type, "result": "applied"}) or 0.0


async def test_a_redis_without_memory_takes_nothing_of_an_event(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    await publish(redis_url, [event(1)])
    entries = deliver(redis, settings)
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            online.append(redis, online._by_user(entries, settings.event_types), settings)
    finally:
        redis.config_set("maxmemory", 0)
    assert redis.keys("tm:{ann}:*") == []


async def test_ids_are_remembered_for_a_while_and_the_newest_only(
    redis: Any, redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, now = trail.claims_key("ann"), time.time()

    async def send(number: int, seconds: float) -> None:
        """An event of that moment."""
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        await publish(redis_url, [event(number)])
        (entry,) = (entry for group in groups for entry in group.read(10))
        online.apply(redis, [entry], settings)

    groups = [Group(redis, "test", shard, settings.event_types) for shard in range(SHARDS)]
    dedupe_s = settings.ingest.dedupe_s
    for number, seconds in ((1, 0), (2, 10), (1, dedupe_s - 1), (1, dedupe_s), (2, dedupe_s + 9)):
        await send(number, seconds)
    assert trail_of(redis) == [key_of(item) for item in ("i1", "i2", "i1")]
    assert redis.ttl(claims) == dedupe_s
    monkeypatch.setattr(online, "MOST_CLAIMS", 2)
    for number in (3, 1, 2):
        await send(number, dedupe_s + 9)
    assert redis.strlen(claims) == 2 * online.CLAIM
    assert trail_of(redis) == [key_of(item) for item in ("i1", "i2", "i1", "i3", "i2")]


async def test_a_vote_that_was_cut_short_is_made_up_for(redis: Redis, redis_url: str, settings: Settings) -> None:
    await publish(redis_url, [event(1)])
    online.append(redis, online._by_user(deliver(redis, settings), settings.event_types), settings)  # and then it died
    online.apply(redis, deliver(redis, settings), settings)
    assert counted(redis) == {"i1": 1.0}
    assert trail_of(redis) == [key_of("i1")]


async def test_a_trail_keeps_its_newest_events(redis: Redis, redis_url: str, settings: Settings) -> None:
    await publish(redis_url, [event(number) for number in range(4)])
    online.apply(redis, deliver(redis, settings), settings)
    await publish(redis_url, [event(number) for number in range(4, 8)])
    online.apply(redis, deliver(redis, settings), settings)  # the first four again: nothing was acknowledged
    groups = [Group(redis, "test", shard, settings.event_types) for shard in range(SHARDS)]
    for group in groups:
        group.read(10)
        online.apply(redis, group.read(10), settings)
    assert trail_of(redis) == [key_of(f"i{number}") for number in range(3, 8)]


async def test_events_of_all_users_are_applied_in_one_batch(redis: Redis, redis_url: str, settings: Settings) -> None:
    await publish(redis_url, [event(number, user=f"u{number % 3}") for number in range(9)])
    online.apply(redis, deliver(redis, settings), settings)
    assert [trail_of(redis, f"u{user}") for user in range(3)] == [
        [key_of(f"i{number}") for number in range(user, 9, 3)] for user in range(3)
    ]
