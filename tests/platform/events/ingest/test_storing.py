"""What events and profiles become in the lake."""

from __future__ import annotations

import logging

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import profiles
from tastemaker.config import Ingest, Settings
from tastemaker.events import ingest, stream
from tastemaker.events.stream import LAKE, Group
from tastemaker.lake import Lake
from tastemaker.profiles import Profile

from .conftest import SHARDS, event, publish, running, trail_of, unfinished, until, written


async def test_the_last_file_is_written_at_the_stop(redis: Redis, redis_url: str, settings: Settings) -> None:
    slow = settings.model_copy(update={"ingest": Ingest(shards=SHARDS, lake_flush_s=60)})
    await publish(redis_url, [event(1), event(2)])
    with running(slow, redis_url):
        until(lambda: len(trail_of(redis)) == 2)
    assert Lake(settings.lake).events().num_rows == 2


async def test_a_profile_is_in_the_lake_at_the_stop(redis: Redis, redis_url: str, settings: Settings) -> None:
    async with AsyncRedis.from_url(redis_url) as client:
        await profiles.put(client, "ann", Profile(country="DE"))
    with running(settings, redis_url):
        pass
    assert Lake(settings.lake).users()["country"].to_pylist() == ["DE"]
    assert not redis.exists(profiles.changes.changes_key, profiles.changes.documents_key)


async def test_a_lake_that_fails_delays_no_trail_and_loses_nothing(
    redis: Redis, redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    draft = Lake.draft_events

    def fail(self: Lake, events: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Lake, "draft_events", fail)
    with running(settings, redis_url):
        await publish(redis_url, [event(1)])
        until(lambda: len(trail_of(redis)) == 1)
        until(lambda: "No space left" in caplog.text)
        monkeypatch.setattr(Lake, "draft_events", draft)
        until(lambda: unfinished(redis) == 0)
    assert Lake(settings.lake).events()["event_id"].to_pylist() == ["e1"]


async def test_a_file_that_was_promised_is_shown_by_whoever_comes_next(
    redis: Redis, redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(redis_url, [event(1)])
    shard = stream.shard_of("ann", SHARDS)
    lake, group = Lake(settings.lake), Group(redis, LAKE, shard, settings.event_types)

    def die(self: Lake, file: str) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "publish", die)
        with pytest.raises(OSError, match="killed"):
            ingest.store(lake, group, group.read(10))
    assert lake.event_files() == {}
    ingest.keep_promises(lake, group)
    assert lake.events()["event_id"].to_pylist() == ["e1"]
    assert group.promised() == []


async def test_of_two_workers_with_the_same_events_one_stores_them(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    await publish(redis_url, [event(1), event(2)])
    shard = stream.shard_of("ann", SHARDS)
    lake = Lake(settings.lake)
    one, other = (Group(redis, LAKE, shard, settings.event_types) for _ in range(2))
    mine, theirs = one.read(10), other.read(10)
    assert mine[0].entry_id == theirs[0].entry_id
    ingest.store(lake, one, mine)
    ingest.store(lake, other, theirs)
    assert written(settings) == 2
    assert other.read(10) == []
