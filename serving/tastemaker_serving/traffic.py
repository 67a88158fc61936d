"""Simulated viewers: they ask for slates at a steady rate and click on what they like.

A viewer likes what the crowd likes: each item has an appeal, its rank among all items by the number of users who took
to it, and a viewer clicks on the first items of a slate with a chance that grows with it. So a model that ranks worse
is clicked less, and a rollout has something to measure where no real people are.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import numpy as np
import pyarrow as pa

from tastemaker import columns

TIMEOUT_S = 10.0
LOOKED_AT = 5
"""Items of a slate that a viewer considers."""
MOST_CHANCE = 0.15
"""Chance of a click on the most appealing item."""
STEEPNESS = 4
"""Power of an item's appeal: the lower half of the catalogue is hardly ever clicked."""
MOST_LATENCIES = 100_000
MOST_UNDER_WAY = 200
"""Requests at once: beyond them viewers turn away, as the servers have stopped to answer."""


class Place(msgspec.Struct):
    """What a viewer sees of an item."""

    item_id: str


class Shown(msgspec.Struct):
    """What a viewer sees of a slate."""

    request_id: str
    items: list[Place]
    model_version: str
    served_from: str


@dataclass
class Tally:
    """What came of the requests. `failures` holds the first few, in words; `slates` counts by model and rung."""

    requests: int = 0
    failed: int = 0
    clicks: int = 0
    failures: list[str] = field(default_factory=list)
    slates: dict[str, int] = field(default_factory=dict)
    latency_ms: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_LATENCIES))

    def failed_with(self, what: str) -> None:
        """Count a request that did not get what it asked for."""
        self.failed += 1
        if len(self.failures) < 20:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {what}")

    def summary(self) -> dict[str, Any]:
        """For people and scripts. Times are milliseconds; the percentiles are of the newest requests."""
        took = np.array(list(self.latency_ms) or [0.0])
        return {
            "requests": self.requests,
            "failed": self.failed,
            "clicks": self.clicks,
            "p50_ms": round(float(np.percentile(took, 50)), 1),
            "p99_ms": round(float(np.percentile(took, 99)), 1),
            "slates": dict(sorted(self.slates.items())),
            "failures": self.failures,
        }


def appeal_of(events: pa.Table) -> dict[str, float]:
    """How much the crowd likes each item, in (0, 1]: the share of items that fewer users took to."""
    counts = events.group_by(columns.ITEM_ID).aggregate([(columns.USER_ID, "count_distinct")])
    users = counts[f"{columns.USER_ID}_count_distinct"].to_numpy()
    ranks = np.argsort(np.argsort(users, kind="stable")) + 1
    return dict(zip(counts[columns.ITEM_ID].to_pylist(), (ranks / len(ranks)).tolist(), strict=True))


@dataclass
class Crowd:
    """Viewers before one edge."""

    url: str
    user_ids: Sequence[str]
    appeal: Mapping[str, float]
    api_key: str | None
    tally: Tally = field(default_factory=Tally)

    async def live(self, rate: float, seconds: float | None, tell: Callable[[Tally], None]) -> Tally:
        """Ask for `rate` slates a second until the time is over or until cancelled; `tell` hears of it every second."""
        chance = random.Random()
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        under_way: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession(self.url, timeout=timeout) as session:
            started = told = loop.time()
            sent = 0
            while seconds is None or loop.time() - started < seconds:
                # Open loop: viewers come when they come, whether or not the servers keep up.
                await asyncio.sleep(max(0.0, started + sent / rate - loop.time()))
                sent += 1
                if len(under_way) < MOST_UNDER_WAY:
                    task = loop.create_task(self._visit(session, chance))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                if loop.time() - told >= 1:
                    told = loop.time()
                    tell(self.tally)
            await asyncio.gather(*under_way)
        return self.tally

    async def _visit(self, session: aiohttp.ClientSession, chance: random.Random) -> None:
        user_id = chance.choice(self.user_ids)
        self.tally.requests += 1
        slate = await self._slate(session, user_id)
        if slate is None:
            return
        kind = f"{slate.model_version} {slate.served_from}"
        self.tally.slates[kind] = self.tally.slates.get(kind, 0) + 1
        if (liked := self._liked(slate, chance)) is not None:
            await self._click(session, user_id, slate, liked)

    async def _slate(self, session: aiohttp.ClientSession, user_id: str) -> Shown | None:
        path = f"/v1/users/{quote(user_id, safe='')}/recommendations"
        started = time.perf_counter()
        try:
            async with session.get(path) as response:
                body = await response.read()
            self.tally.latency_ms.append((time.perf_counter() - started) * 1e3)
            slate = _decode(body) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            self.tally.failed_with(f"{type(error).__name__}: {error}")
            return None
        if slate is not None and slate.items:
            return slate
        self.tally.failed_with(f"{response.status} {body[:120].decode(errors='replace')}")
        return None

    def _liked(self, slate: Shown, chance: random.Random) -> int | None:
        """The position of the item that the viewer clicks on."""
        for position, item in enumerate(slate.items[:LOOKED_AT]):
            if chance.random() < MOST_CHANCE * self.appeal.get(item.item_id, 0.0) ** STEEPNESS:
                return position
        return None

    async def _click(self, session: aiohttp.ClientSession, user_id: str, slate: Shown, position: int) -> None:
        click = {
            "user_id": user_id,
            "item_id": slate.items[position].item_id,
            "event_type": "click",
            "request_id": slate.request_id,
            "position": position,
        }
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        # An event that is not accepted could be sent again; these viewers do not insist.
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.post("/v1/events", json=click, headers=headers) as response:
                self.tally.clicks += response.status == 202


_decode = msgspec.json.Decoder(Shown).decode
