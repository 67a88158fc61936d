from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import cast

import httpx
import pytest
from prometheus_client import REGISTRY
from redis import Redis as Waiting
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tastemaker.errors import Unavailable
from tastemaker.exploration import CLICKED_KEY
from tastemaker.rollout import meter
from tastemaker.rollout.meter import Measured
from tastemaker_serving.edge.app import create_app
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.click_rates import ClickRates
from tastemaker_serving.edge.clicks import Click, Clicks
from tastemaker_serving.edge.meter import Meter

from .conftest import FakeRay, settings_for


async def probe() -> None:
    """Never asked."""


class Counters:
    """One edge's."""

    def __init__(self, redis: Redis) -> None:
        breaker = Breaker("Redis", probe, (RedisError, OSError))
        self.meter = Meter(redis, breaker)
        self.rates = ClickRates(redis, breaker, wanted=True)
        self.clicks = Clicks(redis, breaker, self.meter, self.rates)

    async def flush(self) -> None:
        await self.clicks.flush()
        await self.rates.flush()
        await self.meter.flush()


def counted() -> float:
    return REGISTRY.get_sample_value("tastemaker_clicks_total", {"scene": "home"}) or 0.0


def click(user_id: str, item_id: str, period: str = "p.1") -> Click:
    return Click(user_id, item_id, "home", "green", period)


async def measured(redis_url: str, period: str, colour: str = "green") -> Measured:
    with Waiting.from_url(redis_url) as redis:
        return meter.read(redis, period, colour)


async def test_a_users_click_on_an_item_counts_once_a_day_whichever_edge_hears_of_it(redis_url: str) -> None:
    before = counted()
    async with Redis.from_url(redis_url) as redis:
        one, other = Counters(redis), Counters(redis)
        for _ in range(1000):
            one.clicks.note(click("7", "i1"))
        await one.flush()
        other.clicks.note(click("7", "i1"))
        other.clicks.note(click("8", "i1"))
        one.clicks.note(click("7", "i2"))
        for edge in (one, other, one):
            await edge.flush()

        rates = await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(CLICKED_KEY))
        assert rates == {b"i1": b"2", b"i2": b"1"}
        assert (await measured(redis_url, "p.1")).clicks.sum() == 3
        assert counted() - before == 3


async def test_a_click_belongs_to_the_period_in_which_it_came(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        edge = Counters(redis)
        edge.clicks.note(click("7", "i1", period="p.1"))
        edge.clicks.note(click("7", "i2", period=""))
        edge.meter.period = "p.2"
        await edge.flush()
        assert [(await measured(redis_url, period)).clicks.sum() for period in ("p.1", "p.2")] == [1, 0]


async def test_clicks_wait_while_redis_does_not_answer(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis, Redis.from_url("redis://127.0.0.1:1") as gone:
        edge = Counters(gone)
        edge.clicks.note(click("7", "i1"))
        with pytest.raises(Unavailable):
            await edge.clicks.flush()
        edge.clicks._redis, edge.meter._redis = redis, redis
        await edge.clicks.flush()
        await edge.meter.flush()
        assert (await measured(redis_url, "p.1")).clicks.sum() == 1


async def test_an_event_that_is_sent_again_is_no_other_click(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    again = {"event_id": "same", "user_id": "7", "item_id": "i1", "event_type": "click", "request_id": "r1"}
    app = create_app(settings_for(ray.port), bundle_path, redis_url, "model-1")
    async with app.router.lifespan_context(app):
        edge = app.state.edge
        edge.colours.meter.period = "retries.1"
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://edge") as client:
            for event in [again] * 5 + [{**again, "user_id": "8"}]:
                assert (await client.post("/v1/events", json=event)).status_code == 202
        await edge.clicks.flush()
        await edge.colours.meter.flush()
        assert (await measured(redis_url, "retries.1", "blue")).clicks.sum() == 2
