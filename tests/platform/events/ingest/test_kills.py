"""Workers that are killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from tastemaker.config import Settings
from tastemaker.ids import key_of
from tastemaker.lake import Lake
from tastemaker.types import Event

from .conftest import counted, publish, trail_of, unfinished, until, written

WORKER = """
import sys, threading
from pathlib import Path
from tastemaker.config import Ingest, Settings
from tastemaker.events import ingest
settings = Settings(home=Path(sys.argv[1]), ingest=Ingest(shards=2, batch=20, lake_flush_s=0.1))
ingest.run(settings, sys.argv[2], threading.Event())
"""


async def test_killed_workers_lose_nothing_and_repeat_nothing(redis: Redis, redis_url: str, settings: Settings) -> None:
    """Workers are killed while they work; afterwards every event is once in its trail, the counters and the lake."""
    rounds, share, users = 4, 600, 7
    happened = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
    events = [
        Event(f"e{number}", f"u{number % users}", f"i{number}", "like", happened + timedelta(seconds=number % 600))
        for number in range(rounds * share)
    ]
    chance = random.Random(7)
    cut_short = 0
    for kill in range(rounds):
        await publish(redis_url, events[kill * share : (kill + 1) * share] + events[:50])  # and some of them again
        with worker(settings, redis_url):
            until(lambda: claimed(redis, f"e{kill * share}"))  # noqa: B023
            time.sleep(chance.uniform(0, 0.1))
        cut_short += unfinished(redis) > 0
    with worker(settings, redis_url):
        until(lambda: unfinished(redis) == 0, 60)

    assert cut_short > 0
    for user in range(users):
        mine = [key_of(event.item_id) for event in events if event.user_id == f"u{user}"]
        assert sorted(trail_of(redis, f"u{user}")) == sorted(mine)
    assert counted(redis) == {event.item_id: 1.0 for event in events}
    stored = Lake(settings.lake).events()["event_id"].to_pylist()
    assert sorted(stored) == sorted(event.event_id for event in events)
    # Not even in the files is an event twice, but for those that were sent again.
    assert written(settings) == len(events) + rounds * 50


def claimed(redis: Any, event_id: str) -> bool:
    mark = key_of(event_id).to_bytes(8, "little")
    return any(mark in redis.get(key) for key in redis.keys("tm:*:claims"))


@contextmanager
def worker(settings: Settings, url: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(settings.home), url], env=os.environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
