from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.events import stream
from tastemaker.events.stream import Entry, Group
from tastemaker.types import Event


def events(*numbers: int) -> list[Event]:
    return [Event(f"e{number}", "ann", str(number), "view", datetime(2026, 1, 1, tzinfo=UTC)) for number in numbers]


def ids(entries: list[Entry]) -> list[str]:
    return [entry.event.event_id for entry in entries if entry.event]


async def publish(url: str, *numbers: int, length: int = 1000) -> None:
    async with AsyncRedis.from_url(url) as client:
        await stream.publish(client, events(*numbers), length)


async def test_each_group_reads_every_event_in_order(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, 1, 2, 3)
    for name in ("online", "lake"):
        group = Group(redis, name)
        assert ids(group.read(2)) == ["e1", "e2"]
        assert ids(group.read(2)) == ["e3"]
        assert group.read(2) == []


async def test_what_was_not_acknowledged_comes_again_first(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, 1, 2, 3)
    before = Group(redis, "g")
    taken = before.read(3)
    assert not any(entry.redelivered for entry in taken)
    before.acknowledge(taken[:1])
    await publish(redis_url, 4)

    after = Group(redis, "g")
    assert ids(after.read(1)) == ["e2"]
    rest = after.read(5)
    assert ids(rest) == ["e3"]
    assert rest[0].redelivered
    assert ids(after.read(5)) == ["e4"]


async def test_rewinding_starts_with_unfinished_work(redis: Redis, redis_url: str) -> None:
    group = Group(redis, "g")
    await publish(redis_url, 1)
    group.read(1)
    group.rewind()
    assert ids(group.read(1)) == ["e1"]


async def test_unreadable_and_trimmed_entries_are_handed_out_empty(redis: Redis, redis_url: str) -> None:
    redis.xadd(stream.STREAM, {"event": b"nonsense"})
    redis.xadd(stream.STREAM, {"else": b"{}"})
    group = Group(redis, "g")
    assert [entry.event for entry in group.read(5)] == [None, None]
    redis.xtrim(stream.STREAM, maxlen=0, approximate=False)
    group.rewind()
    trimmed = group.read(5)
    assert [entry.event for entry in trimmed] == [None, None]
    group.acknowledge(trimmed)
    group.rewind()
    assert group.read(5) == []


async def test_the_stream_keeps_its_newest_events(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, *range(1000), length=100)
    kept: Any = redis.xlen(stream.STREAM)
    assert 100 <= kept <= 300  # whole nodes of a hundred entries go


async def test_the_backlog_is_what_nobody_read_yet(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, 1, 2, 3)
    group = Group(redis, "g")
    group.read(1)
    assert group.backlog() == 2
    assert Group(redis, "never").backlog() == 0
