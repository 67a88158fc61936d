"""Events of users who asked to be forgotten while they waited in the stream."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import erasure, retention
from tastemaker.config import Settings
from tastemaker.events import ingest, online
from tastemaker.events.stream import GROUPS, LAKE, Group, trim
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker.lake import Lake
from tastemaker.retention import Erased
from tastemaker.types import Event

from .conftest import SHARDS, counted, deliver, event, publish, trail_of

LATER = timedelta(seconds=1)
"""Beyond the moment in which users are erased here."""


async def erase(redis_url: str, *users: str) -> None:
    async with AsyncRedis.from_url(redis_url) as client:
        for user in users:
            await erasure.erase(client, user)


def run(lake: Lake, redis: Redis) -> Erased:
    """The job, long after they asked."""
    much_later = datetime.now(UTC) + timedelta(milliseconds=2 * retention.KEPT_MS)
    return retention.erase(lake, redis, None, lambda users: None, now=much_later)


def since(number: int, user: str = "ann") -> Event:
    return Event(f"e{number}", user, f"i{number}", "like", datetime.now(UTC) + LATER)


async def test_what_waited_when_its_user_asked_is_never_applied(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    await publish(redis_url, [event(1), event(2), event(3, "bob")])
    await erase(redis_url, "ann")
    for _ in range(2):  # once more, as after a worker that died: a vote is not made up for, either
        online.apply(redis, deliver(redis, settings), settings)
    assert not redis.exists(trail.claims_key("ann"))
    assert (trail_of(redis), trail_of(redis, "bob")) == ([], [key_of("i3")])
    assert counted(redis) == {"i3": 1.0}


async def test_what_a_user_does_after_they_asked_counts_and_what_comes_late_does_not(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    await erase(redis_url, "ann")
    late = Event("late", "ann", "i0", "like", datetime.now(UTC) - timedelta(hours=1))
    await asyncio.sleep(0.01)  # beyond the millisecond in which they asked
    await publish(redis_url, [late, since(1), since(2)])
    online.apply(redis, deliver(redis, settings), settings)
    assert trail_of(redis) == [key_of("i1"), key_of("i2")]
    assert counted(redis) == {"i1": 1.0, "i2": 1.0}


async def test_a_tombstone_stays_until_nothing_of_before_waits_and_the_lake_has_lost_it(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    lake = Lake(settings.lake)
    await publish(redis_url, [event(1), event(2, "bob")])
    await erase(redis_url, "ann")
    assert run(lake, redis).events == 0, "it waits"
    for shard in range(SHARDS):
        for name in GROUPS:
            group = Group(redis, name, shard, settings.event_types)
            entries = group.read(100)
            if name == LAKE:
                ingest.store(lake, group, entries)
            else:
                group.finish(entries, 10)
    assert redis.hkeys(erasure.TOMBSTONES) == [b"ann"]
    assert run(lake, redis).events == 1
    assert lake.events()["user_id"].to_pylist() == ["bob"]
    for shard in range(SHARDS):
        trim(redis, shard, GROUPS)
    assert redis.hkeys(erasure.TOMBSTONES) == [b"ann"]
    run(lake, redis)
    assert redis.hkeys(erasure.TOMBSTONES) == []


async def test_a_promised_file_may_hold_events_of_before(redis: Redis, redis_url: str, settings: Settings) -> None:
    await erase(redis_url, "ann")
    redis.hset("tm:events:{0}:files", "events/date=2026-01-01/1-a.parquet", "1")
    for kept in ([b"ann"], []):
        run(Lake(settings.lake), redis)
        assert redis.hkeys(erasure.TOMBSTONES) == kept
        redis.delete("tm:events:{0}:files")


async def test_filling_trails_from_the_lake_brings_nothing_back(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    lake = Lake(settings.lake)
    await erase(redis_url, "ann")
    await publish(redis_url, [event(1), event(2, "bob")])
    for shard in range(SHARDS):
        group = Group(redis, LAKE, shard, settings.event_types)
        ingest.store(lake, group, group.read(100))
    assert trail.fill(redis, trail.from_events(lake.events(), settings)) == 1
    assert (trail_of(redis), trail_of(redis, "bob")) == ([], [key_of("i2")])
