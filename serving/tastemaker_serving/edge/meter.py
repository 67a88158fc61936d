"""Counts what each colour does: for Prometheus always, in Redis while a rollout measures (`tastemaker.rollout.meter`).

Requests only add to sums in memory; once a second they travel to Redis, all or none. What Redis does not take is kept
for the next second.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import xxhash
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from tastemaker import coverage
from tastemaker.errors import Unavailable
from tastemaker.metrics import COLOUR_REQUESTS, COLOUR_SECONDS, LATENCY_BUCKETS
from tastemaker.rollout.meter import (
    LIFE_S,
    MOST_USERS,
    bucket_of,
    items_key,
    remember,
    sums_key,
    users_key,
)
from tastemaker_serving import wire
from tastemaker_serving.edge.breaker import Breaker

Outcome = Literal["ok", "fallback", "error"]

FLUSH_S = 1.0
REMEMBERED = 32
"""Queries of a second that are kept for warming the next colour."""

_requests = cache(COLOUR_REQUESTS.labels)
_seconds = cache(COLOUR_SECONDS.labels)


@dataclass
class Tally:
    """What one colour did in one period since the last flush."""

    sums: Counter[str] = field(default_factory=Counter)
    users: set[bytes] = field(default_factory=set)
    items: set[str] = field(default_factory=set)


class Meter:
    """The sums of this edge. `period` names what is measured now; nothing is kept for Redis without one."""

    def __init__(self, redis: Redis, breaker: Breaker) -> None:
        self.period = ""
        self._redis = redis
        self._breaker = breaker
        self._tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
        self._known: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        self._shown: set[str] = set()
        self._queries: deque[wire.Query] = deque(maxlen=REMEMBERED)

    def saw(self, query: wire.Query) -> None:
        """Remember a query, so that a new colour can be warmed with it."""
        self._queries.append(query)

    def asked(self, colour: str, seconds: float, outcome: Outcome) -> None:
        """A colour was asked for a slate and took so long."""
        _requests(colour, outcome).inc()
        _seconds(colour).observe(seconds)
        if not self.period:
            return
        sums = self._tallies[self.period, colour].sums
        sums["requests"] += 1
        if outcome == "error":
            sums["errors"] += 1
            return
        sums[f"le:{bisect_left(LATENCY_BUCKETS, seconds)}"] += 1
        if outcome == "fallback":
            sums["fallbacks"] += 1

    def shown(self, colour: str, user_id: str, item_ids: Iterable[str]) -> None:
        """A user who belongs to this colour got a slate, from wherever: what was intended counts, not what came."""
        item_ids = list(item_ids)
        self._shown.update(item_ids)
        if not self.period:
            return
        place = self.period, colour
        tally = self._tallies[place]
        tally.sums[f"i:{bucket_of(user_id)}"] += 1
        tally.items.update(item_ids)
        user, known = xxhash.xxh3_64_digest(user_id.encode()), self._known[place]
        if user not in known and len(known) < MOST_USERS:
            known.add(user)
            tally.users.add(user)

    def clicked(self, period: str, colour: str, user_id: str) -> None:
        """A user who belonged to this colour took to an item of a slate while `period` was measured."""
        if period:
            self._tallies[period, colour].sums[f"c:{bucket_of(user_id)}"] += 1

    async def flush(self) -> None:
        """Send the sums now.

        Raises:
            Unavailable: Redis did not take them; they are kept.
        """
        tallies, shown, queries = dict(self._tallies), self._shown, list(self._queries)
        if not (tallies or shown or queries):
            return
        # What comes in while Redis answers belongs to the next flush.
        self._tallies, self._shown = defaultdict(Tally), set()
        self._queries.clear()
        try:
            with self._breaker:
                await self._send(tallies, shown, queries)
        except Unavailable:
            self._take_back(tallies, shown)
            raise
        for place in [place for place in self._known if place[0] != self.period]:
            del self._known[place]

    async def _send(self, tallies: dict[tuple[str, str], Tally], shown: set[str], queries: list[wire.Query]) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            for (period, colour), tally in tallies.items():
                _add(pipe, period, colour, tally)
            if shown:
                coverage.record(pipe, shown, time.time())
            if queries:
                remember(pipe, wire.encode_queries(queries))
            await pipe.execute()

    def _take_back(self, tallies: dict[tuple[str, str], Tally], shown: set[str]) -> None:
        self._shown |= shown
        for place, tally in tallies.items():
            kept = self._tallies[place]
            kept.sums += tally.sums
            kept.users |= tally.users
            kept.items |= tally.items


def _add(pipe: Pipeline, period: str, colour: str, tally: Tally) -> None:
    sums, users, items = sums_key(period, colour), users_key(period, colour), items_key(period, colour)
    for name, amount in tally.sums.items():
        pipe.hincrby(sums, name, amount)
    if tally.users:
        pipe.sadd(users, *tally.users)
    if tally.items:
        pipe.pfadd(items, *tally.items)
    for key in (sums, users, items):
        pipe.expire(key, LIFE_S)
