"""A worker in this process, and what it made of events."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.config import Ingest, Settings
from tastemaker.events import ingest, stream
from tastemaker.events.stream import Entry, Group
from tastemaker.features import trail
from tastemaker.lake import Lake
from tastemaker.types import Event

SHARDS = 2


def event(number: int, user: str = "ann", item: str | None = None, event_type: str = "like") -> Event:
    return Event(f"e{number}", user, item or f"i{number}", event_type, datetime.now(UTC))


async def publish(url: str, events: list[Event]) -> None:
    async with AsyncRedis.from_url(url) as client:
        for some in range(0, len(events), 5):
            await stream.publish(client, events[some : some + 5], SHARDS)


def deliver(redis: Redis, settings: Settings) -> list[Entry]:
    """What a reader that acknowledges nothing gets: the same each time."""
    groups = [Group(redis, "test", shard, settings.event_types) for shard in range(SHARDS)]
    return [entry for group in groups for entry in group.read(1000)]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def trail_of(redis: Any, user: str = "ann") -> list[int]:
    return list(trail.decode(redis.get(trail.trail_key(user)))["item"].tolist())


def counted(redis: Any) -> dict[str, float]:
    totals: Counter[str] = Counter()
    for key in redis.keys("tm:trending:{*}"):
        totals.update({item.decode(): score for item, score in redis.zrange(key, 0, -1, withscores=True)})
    return dict(totals)


def unfinished(redis: Any) -> int:
    """Events that wait, of all groups; one that has not joined yet has everything before it."""
    return sum(stream.backlog(redis, SHARDS).values())


@pytest.fixture
def settings(tmp_path: object) -> Settings:
    return Settings(home=tmp_path, ingest=Ingest(shards=SHARDS, lake_flush_s=0.1, trail_length=5))


@contextmanager
def running(settings: Settings, url: str) -> Iterator[None]:
    stop = threading.Event()
    worker = threading.Thread(target=ingest.run, args=(settings, url, stop), daemon=True)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join(10)
        assert not worker.is_alive()


def written(settings: Settings) -> int:
    lake = Lake(settings.lake)
    return int(lake.scan(list(lake.event_files()), ["event_id"]).num_rows)
