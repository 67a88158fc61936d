"""`GET /v1/users/{user_id}/recommendations` while something fails."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx

from tastemaker_serving.edge.breaker import THRESHOLD

from .conftest import SLATE, FakeRay, item_ids, serving, settings_for, watch


async def test_a_short_answer_is_topped_up_from_the_ladder_without_seen_items(
    client: httpx.AsyncClient, ray: FakeRay, redis_url: str
) -> None:
    ray.short = 2
    watch(redis_url, "7", "i0")
    answer = await client.get(SLATE, params={"n": 4})
    assert item_ids(answer) == ["i59", "i58", "i3", "i6"]
    assert answer.json()["served_from"] == "ranked"


async def test_without_ray_an_old_slate_serves_then_the_session(
    client: httpx.AsyncClient, ray: FakeRay, redis_url: str
) -> None:
    await client.get(SLATE, params={"n": 3})
    ray.healthy = False
    watch(redis_url, "7", "i58")
    stale = await client.get(SLATE, params={"n": 3})
    assert stale.json()["served_from"] == "cache"
    assert stale.json()["degraded"] == ["ray"]
    assert item_ids(stale) == ["i59", "i57", "i1"]
    session = await client.get(SLATE, params={"n": 4})
    assert session.json()["served_from"] == "session"
    assert session.json()["items"][0]["reason"] == "Because you liked Film 58"


async def test_a_degraded_answer_is_counted_and_not_cached(client: httpx.AsyncClient, ray: FakeRay) -> None:
    ray.degraded = ["source:als"]
    first = await client.get(SLATE)
    assert 'tastemaker_degraded_total{stage="source:als"} 1.0' in (await client.get("/metrics")).text
    assert first.json()["degraded"] == ["source:als"]
    assert (await client.get(SLATE)).json()["served_from"] == "ranked"


async def test_with_everything_gone_an_answer_takes_under_ten_milliseconds(alone: httpx.AsyncClient) -> None:
    took = []
    for _ in range(20):
        started = time.perf_counter()
        answer = await alone.get(SLATE)
        took.append(time.perf_counter() - started)
        assert answer.json()["served_from"] == "static"
        assert answer.json()["degraded"] == ["cache", "ray", "trail"]
        assert len(item_ids(answer)) == 20
    assert sorted(took)[len(took) // 2] < 0.01


async def test_a_hanging_ray_costs_the_deadline_a_few_times_and_is_then_not_asked(
    bundle_path: Path, redis_url: str
) -> None:
    asked: list[bytes] = []

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.startswith(b"POST "):  # not the breaker's probe
                asked.append(line)
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as silent:
        settings = settings_for(silent.sockets[0].getsockname()[1], deadline_ms=50)
        async with serving(settings, bundle_path, redis_url) as client:
            for _ in range(THRESHOLD + 1):
                assert (await client.get(SLATE)).json()["degraded"] == ["ray"]
            given_up = len(asked)
            for _ in range(3):
                assert (await client.get(SLATE)).json()["degraded"] == ["ray"]
            assert len(asked) == given_up >= THRESHOLD
