"""What trends now, kept in memory: requests never wait for the counters, and an old list outlives Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from redis.asyncio import Redis

from tastemaker.errors import Unavailable
from tastemaker.events import trending
from tastemaker.events.trending import EVERYBODY, Lists, Window
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.shelf import Shelf

REFRESH_S = 3.0
WINDOW: Window = "1h"

Hot = tuple[tuple[int, float], ...]
"""Item codes of a shelf with their decayed counts, best first."""


class Trending:
    """What users do now, as of the last refresh; nothing until events arrive."""

    def __init__(self, redis: Redis, breaker: Breaker) -> None:
        self._redis = redis
        self._breaker = breaker
        self._lists: Mapping[Window, Lists] = {}
        self._shelf: Shelf | None = None
        self._coded: dict[tuple[Window, str], Hot] = {}

    def hot(self, shelf: Shelf, window: Window = WINDOW, country: str = EVERYBODY) -> Hot:
        """The items that trend and are on the shelf; nothing where nobody of the country did anything."""
        if self._shelf is not shelf:
            self._shelf, self._coded = shelf, {}
        coded = self._coded.get((window, country))
        if coded is None:
            counted = self._lists.get(window, {}).get(country, ())
            code_of = shelf.code_of
            coded = tuple((code_of[item_id], score) for item_id, score in counted if item_id in code_of)
            if counted:  # so that names that nobody has cannot fill the memory
                self._coded[window, country] = coded
        return coded

    async def refresh(self) -> None:
        """Fetch the lists once. Raises `Unavailable` when Redis does not answer; all stays as it was."""
        with self._breaker:
            lists = await trending.read(self._redis)
        self._lists, self._coded = lists, {}

    async def keep_fresh(self) -> None:
        """Refresh until cancelled."""
        while True:
            with suppress(Unavailable):
                await self.refresh()
            await asyncio.sleep(REFRESH_S)
