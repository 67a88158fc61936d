"""`GET /v1/trending`."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
from prometheus_client import REGISTRY
from redis import Redis

from tastemaker.events.trending import WINDOW_S, Vote, count, post

from .conftest import FakeRay, item_ids, serving, settings_for


async def test_trending_falls_back_to_the_bundles_list(alone: httpx.AsyncClient) -> None:
    assert item_ids(await alone.get("/v1/trending", params={"n": 3})) == ["i0", "i1", "i2"]
    assert item_ids(await alone.get("/v1/trending", params={"n": 2, "category": "Drama"})) == ["i1", "i4"]
    unknown = await alone.get("/v1/trending", params={"category": "Opera"})
    assert unknown.status_code == 404
    assert "Comedy, Drama, Thriller" in unknown.json()["remedy"]


async def test_lists_are_counted_by_their_scene(client: httpx.AsyncClient) -> None:
    before = counted("static", "trending"), counted("session", "similar")
    await client.get("/v1/trending")
    await client.get("/v1/items/i0/similar")
    assert (counted("static", "trending"), counted("session", "similar")) == (before[0] + 1, before[1] + 1)


def counted(served_from: str, scene: str) -> float:
    labels = {"served_from": served_from, "scene": scene}
    return REGISTRY.get_sample_value("tastemaker_slates_total", labels) or 0.0


async def test_trending_in_a_country_and_a_window(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    now = int(time.time())
    votes = [Vote("ann", "i5", now, 1.0, "DE"), Vote("bob", "i6", now, 1.0, "FR"), Vote("cat", "i6", now, 1.0)]
    with Redis.from_url(redis_url) as redis:
        count(redis, votes, now)
        for window in WINDOW_S:
            post(redis, window, now)
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        await client.get("/readyz")  # by then the lists were fetched

        async def first(**wanted: str) -> str:
            return item_ids(await client.get("/v1/trending", params={"n": 1, **wanted}))[0]

        assert await first() == "i6"
        assert await first(window="7d", country="DE") == "i5"
        assert await first(country="DE", category="Thriller") == "i5"
        assert await first(country="XX") == "i0"
        wrong = await client.get("/v1/trending", params={"window": "2h"})
    assert wrong.status_code == 400
    assert "window" in wrong.json()["error"]
