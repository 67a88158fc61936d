"""Clicks on slates, counted once: of each user, item and day the first one, however often and to which edge it is sent.

So an event that is sent again is no other click, nor is a user who clicks all day. Requests only note clicks in memory;
once a second Redis says which of them are the first, and these count for Prometheus, for the rollout that measures and
for what is explored. While Redis does not answer they wait. Where it took them and its answer is lost they count for
nothing: rather too few than twice.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from redis.asyncio import Redis

from tastemaker import exploration
from tastemaker.exploration import DAY_S
from tastemaker.metrics import CLICKS
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.click_rates import ClickRates
from tastemaker_serving.edge.meter import Meter

FLUSH_S: Final = 1.0
MOST_WAITING: Final = 100_000
"""Clicks that are kept while Redis is away."""
AT_ONCE: Final = 200
"""Clicks of one round trip: some milliseconds in which this process does nothing else."""


class Click(NamedTuple):
    """A positive event that names the slate it came from."""

    user_id: str
    item_id: str
    scene: str
    """Empty where no such scene is declared."""
    colour: str
    """To which the user belonged, while `period` was measured (`Meter.period`)."""
    period: str


class Clicks:
    """The clicks that wait to be counted."""

    def __init__(self, redis: Redis, breaker: Breaker, meter: Meter, rates: ClickRates) -> None:
        self._redis = redis
        self._breaker = breaker
        self._meter = meter
        self._rates = rates
        self._waiting: dict[tuple[str, str], Click] = {}

    def note(self, click: Click) -> None:
        """Count a click soon."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.setdefault((click.user_id, click.item_id), click)

    async def flush(self) -> None:
        """Count what waits now.

        Raises:
            Unavailable: Redis did not answer; the clicks are kept.
        """
        waiting = list(self._waiting.values())
        for start in range(0, len(waiting), AT_ONCE):
            await self._count(waiting[start : start + AT_ONCE])

    async def _count(self, clicks: list[Click]) -> None:
        with self._breaker:
            first = await self._are_first(clicks)
        for click, is_first in zip(clicks, first, strict=True):
            del self._waiting[click.user_id, click.item_id]
            if is_first:
                CLICKS.labels(click.scene).inc()
                self._rates.clicked(click.item_id)
                self._meter.clicked(click.period, click.colour, click.user_id)

    async def _are_first(self, clicks: list[Click]) -> list[bool]:
        now = time.time()
        async with self._redis.pipeline(transaction=False) as pipe:
            for click in clicks:
                key = exploration.clicked_key(click.user_id, now)
                pipe.sadd(key, click.item_id)
                pipe.expire(key, DAY_S)
            replies = await pipe.execute()
        return [bool(added) for added in replies[::2]]
