"""Reading the stream beside its groups, on a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.events import stream
from tastemaker.events.tail import Tail
from tastemaker.types import Event

SHARDS = 3


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


async def publish(redis_url: str, *names: str) -> None:
    events = [Event(name, f"user of {name}", "i", "click", datetime.now(UTC)) for name in names]
    async with AsyncRedis.from_url(redis_url) as redis:
        await stream.publish(redis, events, SHARDS)


def read(tail: Tail) -> tuple[set[str], bool]:
    records, missed = tail.read()
    return {record.event_id for record in records}, missed


def empty(redis: Redis) -> None:
    for shard in range(SHARDS):
        redis.xtrim(stream.stream_key(shard), maxlen=0)


async def test_every_reader_gets_every_event_once(redis: Redis, redis_url: str) -> None:
    first, second = Tail(redis, SHARDS), Tail(redis, SHARDS)
    assert read(first) == (set(), False)
    await publish(redis_url, "a", "b")
    assert read(first) == ({"a", "b"}, False)
    await publish(redis_url, "c")
    assert read(first) == ({"c"}, False)
    assert read(second) == ({"a", "b", "c"}, False)
    assert read(first) == (set(), False)


async def test_it_says_when_events_came_and_went(redis: Redis, redis_url: str) -> None:
    tail = Tail(redis, SHARDS)
    await publish(redis_url, "a")
    empty(redis)
    assert read(tail) == (set(), True), "before it began, too"
    assert read(tail) == (set(), False), "it says so once"
    await publish(redis_url, *(f"lost-{number}" for number in range(20)))
    empty(redis)
    assert read(tail) == (set(), True)
    await publish(redis_url, "b")
    empty(redis)
    await publish(redis_url, *(f"kept-{number}" for number in range(20)))
    found, missed = read(tail)
    assert (len(found), missed) == (20, True)


async def test_what_was_read_may_go(redis: Redis, redis_url: str) -> None:
    tail = Tail(redis, SHARDS)
    for name in "abcdef":
        await publish(redis_url, name)
        assert read(tail) == ({name}, False)
        empty(redis)


async def test_it_begins_again_when_redis_has_lost_the_stream(redis: Redis, redis_url: str) -> None:
    tail = Tail(redis, SHARDS)
    await publish(redis_url, *"abcdef")
    tail.read()
    redis.flushall()
    assert read(tail) == (set(), True)
    await publish(redis_url, "g")
    assert read(tail) == ({"g"}, False)
