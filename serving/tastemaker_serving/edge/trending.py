"""What trends now, kept in memory: requests never wait for the counters, and an old list outlives Redis."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from redis.asyncio import Redis

from tastemaker.errors import Unavailable
from tastemaker.events import trending
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.shelf import Shelf

REFRESH_S = 5.0
WINDOW: trending.Window = "1h"


class Trending:
    """`hot` are the codes of trending items with their decayed counts, best first; empty until events arrive."""

    def __init__(self, redis: Redis, breaker: Breaker, shelf: Shelf) -> None:
        self.hot: tuple[tuple[int, float], ...] = ()
        self._redis = redis
        self._breaker = breaker
        self._shelf = shelf

    async def refresh(self) -> None:
        """Read the counters once. Raises `Unavailable` when Redis does not answer; `hot` stays as it was."""
        with self._breaker:
            counted = await trending.read(self._redis, WINDOW, int(time.time()))
        code_of = self._shelf.code_of
        self.hot = tuple((code_of[item_id], score) for item_id, score in counted if item_id in code_of)

    async def keep_fresh(self) -> None:
        """Refresh until cancelled."""
        while True:
            with suppress(Unavailable):
                await self.refresh()
            await asyncio.sleep(REFRESH_S)
