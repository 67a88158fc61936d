"""Back-pressure: events are held back before the stream fills Redis."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from redis.asyncio import Redis

from tastemaker.config import Ingest
from tastemaker.errors import TooManyRequests, Unavailable
from tastemaker.events import stream
from tastemaker_serving.edge.breaker import Breaker

LOOK_S = 1.0
RETRY_AFTER_S = 5.0
"""What waits is worked off at some ten thousand events per second and worker."""


class Pressure:
    """How full the stream and Redis were at the last look, and what this process has added since.

    So an event costs no look of its own. What other edges add between two looks comes on top: the limits leave room.
    """

    def __init__(self, redis: Redis, breaker: Breaker, limits: Ingest) -> None:
        self._redis = redis
        self._breaker = breaker
        self._limits = limits
        self._waiting = 0
        self._memory = 0.0

    def check(self, events: int) -> None:
        """Let so many events into the stream.

        Raises:
            TooManyRequests: too many wait already, or Redis has too little memory left.
        """
        if self._waiting + events > self._limits.max_backlog:
            raise held_back(f"{self._waiting} events wait for the ingest worker (ingest.max_backlog)")
        if self._memory >= self._limits.max_memory:
            raise held_back(f"{self._memory:.0%} of Redis's memory is in use (ingest.max_memory)")
        self._waiting += events

    async def refresh(self) -> None:
        """Look once. Raises `Unavailable` when Redis does not answer; all stays as it was."""
        with self._breaker:
            load = await stream.load(self._redis, self._limits.shards)
        self._waiting, self._memory = max(load.waiting.values()), load.memory

    async def keep_current(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(Unavailable):
                await self.refresh()


def held_back(why: str) -> TooManyRequests:
    """The answer to events that are not taken now."""
    return TooManyRequests(
        why, "Keep the events, wait as long as `Retry-After` says, and send them again", RETRY_AFTER_S
    )
