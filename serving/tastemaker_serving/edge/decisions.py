"""Logs decisions without ever holding up a slate.

A request only adds to a list in memory, of bounded length; a task in the background sends it on. What Redis does not
take is dropped and counted, not tried again: the next slates matter more than a log of the last ones.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from redis.asyncio import Redis

from tastemaker.decisions import recent
from tastemaker.decisions.record import Decision, Shown, Trace
from tastemaker.decisions.sampling import Decisions, Detail
from tastemaker.errors import Unavailable
from tastemaker.metrics import DECISIONS
from tastemaker.types import Slate
from tastemaker_serving import wire
from tastemaker_serving.edge.breaker import Breaker

FLUSH_S = 0.25
MOST_WAITING = 1000
"""Decisions in memory. At 4,000 slates a second Redis still keeps up; one that does not shall not fill the edge."""
AT_ONCE = 50
"""Decisions in one write, so that it is done well within the client's timeout."""

_counted = cache(DECISIONS.labels)


class DecisionLog:
    """The decisions that wait to be written. Its breaker is its own: a log that Redis refuses says nothing of reads."""

    def __init__(self, redis: Redis, breaker: Breaker, settings: Decisions) -> None:
        self._redis = redis
        self._breaker = breaker
        self._settings = settings
        self._waiting: list[Decision] = []

    def detail_of(self, scene: str) -> Detail | None:
        """Whether a request that begins now is logged, and how: a matter of chance."""
        return self._settings.detail_of(scene, random.random())

    def note(self, decision: Decision) -> None:
        """Log a decision soon. Never waits, never raises."""
        if len(self._waiting) >= MOST_WAITING:
            _counted(decision.detail, "dropped").inc()
            return
        self._waiting.append(decision)

    async def keep_flushing(self) -> None:
        """Write what waits, four times a second, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), AT_ONCE):
            part = waiting[start : start + AT_ONCE]
            result = "logged"
            try:
                with self._breaker:
                    await recent.write(self._redis, part, self._settings)
            except Unavailable:
                result = "dropped"
            for detail, count in Counter(decision.detail for decision in part).items():
                _counted(detail, result).inc(count)

    async def close(self) -> None:
        """Write what waits, and stop asking whether Redis is back."""
        await self.flush()
        await self._breaker.close()


def decision_of(
    query: wire.Query,
    slate: Slate,
    colour: str,
    routing: str = "",
    *,
    propensities: Mapping[str, float] = MappingProxyType({}),
    origin: str = "",
    trace: Trace | None = None,
) -> Decision:
    """What is logged of a slate.

    Args:
        routing: digest of the routing document.
        propensities: by item, where chance had a part in the slate.
        origin: of a slate from the cache, the request that computed it.
        trace: of the models, where they were asked for it and answered.
    """
    return Decision(
        request_id=query.request_id,
        user_id=query.user_id,
        scene=query.scene,
        time=time.time(),
        n=query.n,
        device=query.device,
        exclude=query.exclude,
        colour=colour,
        routing=routing,
        experiments=slate.experiments,
        model_version=slate.model_version,
        served_from=slate.served_from,
        degraded=list(slate.degraded),
        stage_ms=slate.stage_ms,
        items=[
            Shown(item.item_id, item.score, item.source, item.reason, propensities.get(item.item_id))
            for item in slate.items
        ],
        origin=origin,
        trace=trace,
    )
