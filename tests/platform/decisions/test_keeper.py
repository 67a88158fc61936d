from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import erasure
from tastemaker.config import Settings
from tastemaker.decisions import archive, keeper, recent
from tastemaker.decisions.record import Decision
from tastemaker.decisions.sampling import Decisions
from tastemaker.lake import Lake

from .examples import NOW, decision, trace


async def publish(redis_url: str, *decisions: Decision) -> None:
    async with AsyncRedis.from_url(redis_url) as online:
        await recent.write(online, decisions, Decisions())


async def test_decisions_reach_the_lake_as_they_were(redis: Redis, redis_url: str, settings: Settings) -> None:
    whole, plain = decision("a", trace(), scene="news"), decision("b", origin="a", device="tv")
    await publish(redis_url, whole, plain)
    assert keeper.drain(redis, settings.lake) == 2
    assert keeper.drain(redis, settings.lake) == 0
    lake = Lake(settings.lake)
    assert archive.find(lake, "a") == whole
    assert archive.find(lake, "b") == plain.computed_by(whole)
    assert archive.find(lake, "c") is None
    assert list(archive.traced(lake)) == [whole]
    assert list(archive.traced(lake, scene="home")) == []
    moment = datetime.fromtimestamp(NOW, UTC)
    assert list(archive.traced(lake, since=moment)) == [whole]
    assert list(archive.traced(lake, since=moment + timedelta(seconds=1))) == []


async def test_what_a_dead_worker_took_is_stored_by_another_and_counts_once(
    redis: Redis, redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(redis_url, decision("a", trace()))
    with monkeypatch.context() as dying:
        dying.setattr(Redis, "xack", _die)
        with pytest.raises(ValueError, match="killed"):
            keeper.drain(redis, settings.lake)
    monkeypatch.setattr(keeper, "CONSUMER", "another")
    assert keeper.drain(redis, settings.lake) == 0, "the first may have it still"
    assert keeper.drain(redis, settings.lake, given_up_ms=0) == 1
    lake = Lake(settings.lake)
    assert len(lake.files(archive.FOLDER)) == 2
    assert [found.request_id for found in archive.traced(lake)] == ["a"]


def _die(*_: object) -> None:
    raise ValueError("killed")


async def test_the_lake_gets_nothing_of_a_user_who_was_erased(redis: Redis, redis_url: str, settings: Settings) -> None:
    await publish(redis_url, decision("a", time=time.time()), decision("b", user_id="8"))
    async with AsyncRedis.from_url(redis_url) as online:
        await erasure.erase(online, "7")
    assert keeper.drain(redis, settings.lake) == 1
    assert archive.find(Lake(settings.lake), "a") is None


async def test_a_worker_keeps_on_through_failures_and_stores_the_last_at_its_stop(
    redis: Redis, redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = archive.append
    failures: list[object] = []

    def failing(lake: Lake, decisions: list[Decision]) -> None:
        if len(failures) < 2:
            failures.append(decisions)
            raise RuntimeError("the lake's own error")
        append(lake, decisions)

    monkeypatch.setattr(archive, "append", failing)
    quick = settings.model_copy(update={"decisions": Decisions(lake_flush_s=0.05)})
    stop = threading.Event()
    worker = threading.Thread(target=keeper.keep, args=(quick, redis_url, stop))
    worker.start()
    try:
        await publish(redis_url, decision("a"))
        until = time.monotonic() + 20
        while archive.find(Lake(settings.lake), "a") is None:
            assert time.monotonic() < until
            time.sleep(0.05)
        await publish(redis_url, decision("b"))
    finally:
        stop.set()
        worker.join(20)
    assert archive.find(Lake(settings.lake), "b") is not None


def test_an_empty_lake_has_no_decisions(settings: Settings) -> None:
    assert archive.find(Lake(settings.lake), "a") is None
    assert list(archive.traced(Lake(settings.lake))) == []
