"""Counts how often items are shown and clicked, so that `tastemaker.exploration` knows which to try.

Requests only add to sums in memory; every few seconds they travel to Redis. What Redis does not take is kept for the
next time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis

from tastemaker import exploration
from tastemaker.errors import Unavailable
from tastemaker.exploration import DAY_S
from tastemaker_serving.edge.breaker import Breaker

FLUSH_S: Final = 5.0
MOST_CLICKS: Final = 100_000
"""Clicks that are kept while Redis is away."""


class ClickRates:
    """The sums of this edge; without a scene that explores, nothing is counted."""

    def __init__(self, redis: Redis, breaker: Breaker, *, wanted: bool) -> None:
        self._redis = redis
        self._breaker = breaker
        self._wanted = wanted
        self._shown: Counter[str] = Counter()
        self._clicks: set[tuple[str, str]] = set()
        self._clicked: Counter[str] = Counter()

    def shown(self, item_ids: Iterable[str]) -> None:
        """A slate with these items was computed. One that comes from the cache again is no other impression."""
        if self._wanted:
            self._shown.update(item_ids)

    def clicked(self, user_id: str, item_id: str) -> None:
        """A user took to an item of a slate."""
        if self._wanted and len(self._clicks) < MOST_CLICKS:
            self._clicks.add((user_id, item_id))

    async def keep_flushing(self) -> None:
        """Send the sums every few seconds until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            with suppress(Unavailable):
                await self.flush()

    async def flush(self) -> None:
        """Send the sums now.

        Raises:
            Unavailable: Redis did not take them; they are kept.
        """
        if self._clicks:
            with self._breaker:
                await self._count_first_clicks()
        if not (self._shown or self._clicked):
            return
        # What comes in while Redis answers belongs to the next flush.
        shown, clicked = self._shown, self._clicked
        self._shown, self._clicked = Counter(), Counter()
        try:
            with self._breaker:
                async with self._redis.pipeline(transaction=False) as pipe:
                    exploration.record(pipe, shown, clicked)
                    await pipe.execute()
        except Unavailable:
            self._shown += shown
            self._clicked += clicked
            raise

    async def _count_first_clicks(self) -> None:
        """Of each user, item and day the first click counts, whichever edge heard of it."""
        clicks, now = list(self._clicks), time.time()
        async with self._redis.pipeline(transaction=False) as pipe:
            for user_id, item_id in clicks:
                pipe.sadd(exploration.clicked_key(user_id, now), item_id)
                pipe.expire(exploration.clicked_key(user_id, now), DAY_S)
            replies = await pipe.execute()
        self._clicks.difference_update(clicks)
        self._clicked.update(item_id for (_, item_id), new in zip(clicks, replies[::2], strict=True) if new)
