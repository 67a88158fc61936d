"""`POST /v1/events`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tastemaker import config
from tastemaker.events.stream import GROUPS, Group, shard_of, stream_key

from .conftest import EVENT, FakeRay, serving, settings_for

SHARDS = config.Ingest().shards


async def test_events_are_accepted_once_the_stream_has_them(client: httpx.AsyncClient, redis_url: str) -> None:
    answer = await client.post("/v1/events", json=[EVENT, EVENT | {"event_id": "mine"}])
    assert answer.status_code == 202
    assert answer.json()["event_ids"][1] == "mine"
    with Redis.from_url(redis_url) as redis:
        assert redis.get(f"{stream_key(shard_of('7', SHARDS))}:published") == b"2"


async def test_events_are_held_back_while_too_many_wait(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    settings = settings_for(ray.port).model_copy(update={"ingest": config.Ingest(max_backlog=3)})
    async with serving(settings, bundle_path, redis_url) as client:
        assert (await client.post("/v1/events", json=[EVENT] * 2)).status_code == 202
        answer = await client.post("/v1/events", json=[EVENT] * 2)
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "5"
        assert "ingest.max_backlog" in answer.json()["error"]
        with Redis.from_url(redis_url) as redis:
            for name in GROUPS:
                group = Group(redis, name, shard_of("7", SHARDS), settings.event_types)
                group.finish(group.read(10), 0)
        await until(lambda: _posted(client))


async def _posted(client: httpx.AsyncClient) -> bool:
    return (await client.post("/v1/events", json=[EVENT] * 2)).status_code == 202


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 10
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


async def test_events_are_held_back_before_redis_is_full(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    settings = settings_for(ray.port)
    with Redis.from_url(redis_url) as redis:
        used: Any = redis.info("memory")
        try:
            redis.config_set("maxmemory", int(used["used_memory"] * 1.1))
            async with serving(settings, bundle_path, redis_url) as client:

                async def held_back() -> bool:
                    answer = await client.post("/v1/events", json=EVENT)
                    return answer.status_code == 429 and "ingest.max_memory" in answer.json()["error"]

                await until(held_back)
        finally:
            redis.config_set("maxmemory", 0)


async def test_a_full_redis_holds_events_back_and_still_answers_readers(
    ray: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    settings = settings_for(ray.port).model_copy(update={"ingest": config.Ingest(max_memory=1.0)})
    with Redis.from_url(redis_url) as redis:
        try:
            async with serving(settings, bundle_path, redis_url) as client:
                await asyncio.sleep(0.1)  # it has looked
                redis.config_set("maxmemory", 1)

                async def full() -> bool:
                    answer = await client.post("/v1/events", json=EVENT)
                    return answer.status_code == 429 and "no memory left" in answer.json()["error"]

                async def up() -> bool:
                    ready = (await client.get("/readyz")).json()
                    return bool(ready["dependencies"]["redis"]["up"])

                for condition in (full, full, full, full, up):
                    await until(condition)
        finally:
            redis.config_set("maxmemory", 0)


async def test_events_without_redis_may_be_sent_again(alone: httpx.AsyncClient) -> None:
    answer = await alone.post("/v1/events", json=EVENT)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "Redis" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "named"),
    [
        ("{", "application/json", 400, "JSON"),
        ('{"user_id": "7"}', "application/json", 400, "item_id"),
        ('{"user_id": "7", "item_id": "i1", "event_type": "stare"}', "application/json", 400, "stare"),
        ("{}", "text/plain", 415, "Content-Type"),
        (" " * (1 << 20) + "[]", "application/json", 413, "bytes"),
    ],
)
async def test_bad_events_are_refused(alone: httpx.AsyncClient, body: str, kind: str, status: int, named: str) -> None:
    answer = await alone.post("/v1/events", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert named in answer.json()["error"]
