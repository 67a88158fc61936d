"""What one edge process holds while it serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

from aiohttp import ClientSession, DummyCookieJar
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from tastemaker.config import Settings
from tastemaker.errors import Unavailable
from tastemaker.rollout.routing import Routing, Target
from tastemaker.scenes import Scenes
from tastemaker_serving.edge import background, click_rates, clicks, meter
from tastemaker_serving.edge.admission import Gate
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.cache import SlateCache
from tastemaker_serving.edge.click_rates import ClickRates
from tastemaker_serving.edge.clicks import Clicks
from tastemaker_serving.edge.colours import Colours
from tastemaker_serving.edge.decisions import DecisionLog
from tastemaker_serving.edge.meter import Meter
from tastemaker_serving.edge.pressure import Pressure
from tastemaker_serving.edge.shelf import Either, Shelf
from tastemaker_serving.edge.shelves import Shelves
from tastemaker_serving.edge.standing import Standing, standing
from tastemaker_serving.edge.trending import Trending

REDIS_TIMEOUT_S = 0.1
"""Redis answers in a millisecond; beyond this it hangs, and the ladder answers sooner."""
PATIENCE_S = 1.0
"""Where no rung stands in for Redis, a moment in which this process or the network is busy shall be no error."""


class Patient(NamedTuple):
    """Redis for calls that nothing else can answer: what is written, and what was logged."""

    redis: Redis
    breaker: Breaker


@dataclass(frozen=True)
class Edge:
    """The dependencies, each behind its breaker, and what needs none."""

    settings: Settings
    scenes: Scenes
    gate: Gate
    shelves: Shelves
    redis: Redis
    redis_breaker: Breaker
    patient: Patient
    cache: SlateCache
    decisions: DecisionLog
    colours: Colours
    trending: Trending
    pressure: Pressure
    click_rates: ClickRates
    clicks: Clicks

    def cache_ttl_s(self, scene: str) -> int:
        """Life of a cached slate of `scene`; 0: none are kept."""
        return self.scenes[scene].life_s(self.settings.edge.cache_ttl_s)

    def length(self, wanted: int | None) -> int:
        """Places of a slate of which so many are wanted, if it was said."""
        return wanted or self.settings.serving.funnel.slate

    @property
    def gone(self) -> Set[str]:
        """Items that are in no slate any more."""
        return frozenset() if self.shelves.current is None else self.shelves.current.gone

    def leaving_out(self, item_ids: Set[str]) -> Set[str]:
        """`item_ids`, and those that are gone."""
        gone = self.gone
        return Either(item_ids, gone) if gone else item_ids

    def standing(self, scene: str) -> Standing | None:
        """The hard rules of `scene` now; None while there is no catalogue that they could be about."""
        return None if self.shelves.current is None else standing(self.scenes[scene], self.shelves.current)

    @property
    def shelf(self) -> Shelf:
        """The catalogue in memory.

        Raises:
            Unavailable: no model was deployed yet.
        """
        if self.shelves.current is None:
            raise Unavailable("no model is deployed yet", "Import data and train one: see `tastemaker train --help`")
        return self.shelves.current


@asynccontextmanager
async def opened(
    settings: Settings, scenes: Scenes, gate: Gate, shelf: Shelf | None, redis_url: str
) -> AsyncIterator[Edge]:
    """An edge that serves. Neither Redis nor Ray need answer now or later.

    With a shelf, its version is what `settings.serving` answers until a routing document says otherwise.
    """
    async with ClientSession(cookie_jar=DummyCookieJar()) as client:
        edge = _assembled(settings, scenes, gate, shelf, connect(redis_url), connect(redis_url, PATIENCE_S), client)
        with suppress(Unavailable):
            await gate.refresh(edge.redis, edge.redis_breaker)
        with suppress(Unavailable):
            await edge.shelves.refresh()
        under_way = _begun(edge)
        try:
            yield edge
        finally:
            await background.ended(under_way)
            await _closed(edge)


def _assembled(
    settings: Settings,
    scenes: Scenes,
    gate: Gate,
    shelf: Shelf | None,
    redis: Redis,
    patient: Redis,
    client: ClientSession,
) -> Edge:
    breaker = _redis_breaker("Redis", redis)
    measured = Meter(redis, breaker)
    rates = ClickRates(redis, breaker, wanted=any(scenes[name].explore.share > 0 for name in scenes))
    return Edge(
        settings=settings,
        scenes=scenes,
        gate=gate,
        shelves=Shelves(shelf, redis, breaker),
        redis=redis,
        redis_breaker=breaker,
        patient=Patient(patient, _redis_breaker("Redis", patient)),
        cache=SlateCache(redis, breaker, settings.edge.stale_ttl_s),
        decisions=DecisionLog(redis, _redis_breaker("the decision log", redis), settings.decisions),
        colours=Colours(client, settings, measured, None if shelf is None else _alone(settings, shelf)),
        trending=Trending(redis, breaker),
        pressure=Pressure(redis, breaker, settings.ingest),
        click_rates=rates,
        clicks=Clicks(redis, breaker, measured, rates),
    )


def _begun(edge: Edge) -> list[asyncio.Task[None]]:
    """The edge's work in the background, under way."""
    redis, breaker = edge.redis, edge.redis_breaker
    return background.begun(
        {
            "trending items": edge.trending.keep_fresh,
            "back-pressure": edge.pressure.keep_current,
            "changes of routing": partial(edge.colours.keep_following, redis, breaker),
            "a new catalogue": partial(edge.shelves.keep_current, edge.colours),
            "changes of the catalogue": edge.shelves.keep_stocked,
            "changes of API keys": partial(edge.gate.keep_current, redis, breaker),
            "measuring": background.every(meter.FLUSH_S, edge.colours.meter.flush),
            "counting what is clicked": background.every(clicks.FLUSH_S, edge.clicks.flush),
            "counting what is explored": background.every(click_rates.FLUSH_S, edge.click_rates.flush),
            "the decision log": edge.decisions.keep_flushing,
        }
    )


async def _closed(edge: Edge) -> None:
    """Break off what is under way, write what waits to be logged, and let go of Redis."""
    await edge.colours.close()
    await edge.cache.close()
    await edge.decisions.close()
    await edge.redis_breaker.close()
    await edge.patient.breaker.close()
    await edge.redis.aclose()
    await edge.patient.redis.aclose()


def _redis_breaker(name: str, redis: Redis) -> Breaker:
    """What Redis answers with an error, such as a write that it has no memory for, says nothing of the next read."""
    return Breaker(
        name, lambda: cast("Awaitable[bool]", redis.ping()), (RedisError, OSError), refusals=(ResponseError,)
    )


def _alone(settings: Settings, shelf: Shelf) -> Routing:
    """Everyone belongs to the one Ray Serve that the settings name."""
    return Routing(Target("blue", f"http://{settings.serving.host}:{settings.serving.port}", shelf.version))


def connect(url: str, timeout_s: float = REDIS_TIMEOUT_S) -> Redis:
    """A client that gives up soon. Only a connection that the server closed meanwhile is tried again, at once."""
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
