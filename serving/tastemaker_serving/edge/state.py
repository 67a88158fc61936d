"""What one edge process holds while it serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import cast

from aiohttp import ClientSession, DummyCookieJar
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from tastemaker.config import Settings
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.cache import SlateCache
from tastemaker_serving.edge.ray_serve import Recommender
from tastemaker_serving.edge.shelf import Shelf
from tastemaker_serving.edge.trending import Trending

REDIS_TIMEOUT_S = 0.1
"""Redis answers in a millisecond; beyond this it hangs, and the ladder answers sooner."""


@dataclass(frozen=True)
class Edge:
    """The dependencies, each behind its breaker, and what needs none."""

    settings: Settings
    shelf: Shelf
    redis: Redis
    redis_breaker: Breaker
    cache: SlateCache
    recommender: Recommender
    trending: Trending


@asynccontextmanager
async def opened(settings: Settings, shelf: Shelf, redis_url: str) -> AsyncIterator[Edge]:
    """An edge that serves. Neither Redis nor Ray need answer now or later."""
    redis = connect(redis_url)
    timeout_s = settings.edge.deadline_ms / 1000
    ray_url = f"http://{settings.serving.host}:{settings.serving.port}"
    async with ClientSession(cookie_jar=DummyCookieJar()) as client:
        redis_breaker = Breaker("Redis", lambda: cast("Awaitable[bool]", redis.ping()), (RedisError, OSError))
        edge = Edge(
            settings=settings,
            shelf=shelf,
            redis=redis,
            redis_breaker=redis_breaker,
            cache=SlateCache(redis, redis_breaker, settings.edge),
            recommender=Recommender(client, ray_url, settings.edge.batch, timeout_s),
            trending=Trending(redis, redis_breaker, shelf),
        )
        refreshing = asyncio.create_task(edge.trending.keep_fresh())
        try:
            yield edge
        finally:
            refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await refreshing
            await edge.recommender.close()
            await edge.cache.close()
            await redis_breaker.close()
            await redis.aclose()


def connect(url: str) -> Redis:
    """A client that gives up soon. Only a connection that the server closed meanwhile is tried again, at once."""
    return Redis.from_url(
        url,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
