"""Counts how often items are shown and clicked, so that `tastemaker.exploration` knows which to try.

Requests only add to sums in memory; every few seconds they travel to Redis. What Redis does not take is kept for the
next time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from redis.asyncio import Redis

from tastemaker import exploration
from tastemaker.errors import Unavailable
from tastemaker_serving.edge.breaker import Breaker

FLUSH_S: Final = 5.0


class ClickRates:
    """The sums of this edge; without a scene that explores, nothing is counted."""

    def __init__(self, redis: Redis, breaker: Breaker, *, wanted: bool) -> None:
        self._redis = redis
        self._breaker = breaker
        self._wanted = wanted
        self._shown: Counter[str] = Counter()
        self._clicked: Counter[str] = Counter()

    def shown(self, item_ids: Iterable[str]) -> None:
        """A slate with these items was computed and shown. From the cache again, it is no other impression."""
        if self._wanted:
            self._shown.update(item_ids)

    def clicked(self, item_id: str) -> None:
        """A user took to an item of a slate, for the first time on this day (`clicks`)."""
        if self._wanted:
            self._clicked[item_id] += 1

    async def flush(self) -> None:
        """Send the sums now.

        Raises:
            Unavailable: Redis did not take them; they are kept.
        """
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
