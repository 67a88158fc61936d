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
    """What users do now, as of the last refresh; nothing until events arrive."""

    def __init__(self, redis: Redis, breaker: Breaker) -> None:
        self._redis = redis
        self._breaker = breaker
        self._counted: tuple[tuple[str, float], ...] = ()
        self._coded: tuple[Shelf | None, tuple[tuple[int, float], ...]] = (None, ())

    def hot(self, shelf: Shelf) -> tuple[tuple[int, float], ...]:
        """Codes of the trending items that are on the shelf, with their decayed counts, best first."""
        of, coded = self._coded
        if of is not shelf:
            code_of = shelf.code_of
            coded = tuple((code_of[item_id], score) for item_id, score in self._counted if item_id in code_of)
            self._coded = shelf, coded
        return coded

    async def refresh(self) -> None:
        """Read the counters once. Raises `Unavailable` when Redis does not answer; all stays as it was."""
        with self._breaker:
            counted = await trending.read(self._redis, WINDOW, int(time.time()))
        self._counted, self._coded = tuple(counted), (None, ())

    async def keep_fresh(self) -> None:
        """Refresh until cancelled."""
        while True:
            with suppress(Unavailable):
                await self.refresh()
            await asyncio.sleep(REFRESH_S)
