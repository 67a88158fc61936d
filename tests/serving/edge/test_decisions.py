from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tastemaker.decisions import recent
from tastemaker.decisions.sampling import Decisions, Detail
from tastemaker.types import Slate, SlateItem
from tastemaker_serving import wire
from tastemaker_serving.edge import decisions
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.decisions import DecisionLog, decision_of
from tastemaker_serving.edge.state import connect

from .conftest import free_port

QUERY = wire.Query("r1", "7", "home", "tv", 2, ["x"])
ITEMS = SlateItem("a", 0.5, 0, "als", "For you"), SlateItem("b", 1.0, 1, "popular", "")
SLATE = Slate("r1", "7", "home", ITEMS, "m/1", "ranked")


def log_on(redis: Redis) -> DecisionLog:
    async def probe() -> None: ...

    return DecisionLog(redis, Breaker("the decision log", probe, (RedisError, OSError), threshold=1000), Decisions())


def counted(detail: Detail, result: str) -> float:
    return REGISTRY.get_sample_value("tastemaker_decisions_total", {"detail": detail, "result": result}) or 0.0


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with connect(redis_url) as client:
        yield client


async def test_what_is_noted_is_found_after_the_next_flush(redis: Redis) -> None:
    log, before = log_on(redis), counted("slate", "logged")
    answer = wire.RankedSlate(["b", "a"], [1, 0.5], ["", ""], ["", ""], "ranked", propensities=[0.1, 0.2])
    noted = decision_of(QUERY, SLATE, "green", "8c1f", propensities=answer.chances())
    log.note(noted)
    assert await recent.find(redis, "r1") is None
    await log.flush()
    assert await recent.find(redis, "r1") == noted
    assert [shown.propensity for shown in noted.items] == [0.2, 0.1]
    assert (noted.colour, noted.routing, noted.exclude, noted.device) == ("green", "8c1f", ["x"], "tv")
    assert counted("slate", "logged") == before + 1


async def test_what_redis_does_not_take_is_dropped_and_counted() -> None:
    before = counted("slate", "dropped")
    async with connect(f"redis://127.0.0.1:{free_port()}") as away:
        log = log_on(away)
        for _ in range(decisions.MOST_WAITING + 7):
            log.note(decision_of(QUERY, SLATE, "blue"))
        assert counted("slate", "dropped") == before + 7
        await log.flush()
        await log.flush()
    assert counted("slate", "dropped") == before + 7 + decisions.MOST_WAITING


async def test_a_full_redis_costs_decisions_only(redis: Redis) -> None:
    log, dropped, logged = log_on(redis), counted("slate", "dropped"), counted("slate", "logged")
    await redis.config_set("maxmemory", 1)
    try:
        log.note(decision_of(QUERY, SLATE, "blue"))
        await log.flush()
    finally:
        await redis.config_set("maxmemory", 0)
    log.note(decision_of(QUERY, SLATE, "blue"))
    await log.flush()
    assert (counted("slate", "dropped"), counted("slate", "logged")) == (dropped + 1, logged + 1)


async def test_many_are_written_in_parts(redis: Redis) -> None:
    log = log_on(redis)
    for _ in range(2 * decisions.AT_ONCE + 1):
        log.note(decision_of(QUERY, SLATE, "blue"))
    await log.flush()
    assert await redis.xlen(recent.STREAMS["slate"]) == 2 * decisions.AT_ONCE + 1


async def test_a_log_keeps_flushing(redis: Redis) -> None:
    log = log_on(redis)
    task = asyncio.create_task(log.keep_flushing())
    log.note(decision_of(QUERY, SLATE, "blue"))
    async with asyncio.timeout(10):
        while await recent.find(redis, "r1") is None:
            await asyncio.sleep(0.02)
    task.cancel()
