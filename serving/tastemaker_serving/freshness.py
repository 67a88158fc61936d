"""The freshness benchmark: how long after an event its user's slate is another one, while other users are served.

A try has a user of its own. It asks for the user's slate until that comes from the cache, posts a rating of the first
item, and asks on until the models have made a slate without that item. Before the event is in the user's trail nothing
else can take the item away: the cached slate stands until ingest counts the event, and what is made then leaves out
what the trail holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
import msgspec
import numpy as np
from tenacity import AsyncRetrying, retry_if_result, stop_after_delay, wait_fixed

from tastemaker.errors import Unavailable
from tastemaker_serving.traffic import Crowd, Place, Tally

FRESH_MS = 1000.0
LONGEST_S = 10.0
"""A try is given up after so long, and counts with this time."""
POLL_S = 0.01
MOST_FAILED = 0.01
"""Share of the others' slates that may fail: who turns them away is quick to serve the rest."""
PERSONAL = frozenset({"ranked", "candidates", "cache"})
"""Rungs whose slates hold the watched item unless its event is known; on others it may be missing by chance."""


class Seen(msgspec.Struct):
    """What a try reads of a slate."""

    items: list[Place]
    served_from: str
    degraded: list[str]

    @property
    def story(self) -> str:
        """Where it came from, and what it had to do without."""
        return f"came from {self.served_from}" + (f", without {', '.join(self.degraded)}" if self.degraded else "")

    def lacks(self, item_id: str) -> bool:
        """Whether the slate shows that the event of the item is known."""
        known = self.served_from in PERSONAL and "cache" not in self.degraded
        return known and bool(self.items) and all(item.item_id != item_id for item in self.items)


@dataclass(frozen=True)
class Freshness:
    """Event posted → changed slate received; `stale` counts tries that took longer than `FRESH_MS`."""

    tries: int
    stale: int
    p50_ms: float
    p99_ms: float


_decode = msgspec.json.Decoder(Seen).decode


async def measure(crowd: Crowd, rate: float, user_ids: Sequence[str], tell: Callable[[int], None]) -> Freshness:
    """One try for each of `user_ids`, one after the other, while `crowd` asks for `rate` slates a second.

    Args:
        user_ids: none of the crowd's.
        tell: hears how many tries are done.

    Raises:
        Unavailable: a slate is not kept in the cache, an event is not accepted, or the crowd is not served.
    """
    others = asyncio.create_task(crowd.live(rate, None, _silent))
    timeout = aiohttp.ClientTimeout(total=LONGEST_S)
    took = []
    try:
        async with aiohttp.ClientSession(crowd.url, timeout=timeout) as session:
            for user_id in user_ids:
                took.append(await _try(session, user_id, crowd.api_key))
                tell(len(took))
    finally:
        others.cancel()
        with suppress(asyncio.CancelledError):
            await others
    tally = crowd.tally
    if tally.failed > MOST_FAILED * tally.requests:
        raise Unavailable(
            f"of {tally.requests} slates that others asked for {tally.failed} failed: {tally.failures[0]}",
            "Ask for fewer with --rate",
        )
    return result_of(took)


def result_of(took_ms: Sequence[float]) -> Freshness:
    """The tries in short."""
    p50, p99 = np.percentile(took_ms, [50, 99])
    stale = sum(took > FRESH_MS for took in took_ms)
    return Freshness(len(took_ms), stale, round(float(p50), 1), round(float(p99), 1))


async def _try(session: aiohttp.ClientSession, user_id: str, api_key: str | None) -> float:
    """Milliseconds from the event's posting to the changed slate's arrival."""
    last: Seen | None = None

    async def kept() -> bool:
        nonlocal last
        last = await _slate(session, user_id)
        return last is not None and last.served_from == "cache" and bool(last.items)

    async def changed() -> bool:
        slate = await _slate(session, user_id)
        return slate is not None and slate.lacks(watched)

    if not await _until(kept) or last is None:
        # One that had to do without something is not kept, so that the next is whole again.
        told = "none came at all" if last is None else f"the last one {last.story}"
        raise Unavailable(
            f"no slate of {user_id} was kept in the cache within {LONGEST_S:g} s: {told}",
            "Ask for fewer meanwhile with --rate, or on a machine with less to do",
        )
    watched = last.items[0].item_id
    event = {"user_id": user_id, "item_id": watched, "event_type": "rating", "value": 5.0}
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    started = time.perf_counter()
    async with session.post("/v1/events", json=event, headers=headers) as response:
        if response.status != 202:
            raise Unavailable(f"an event was answered {response.status}", "See the logs of the edge")
    fresh = await _until(changed)
    return (time.perf_counter() - started if fresh else LONGEST_S) * 1e3


async def _slate(session: aiohttp.ClientSession, user_id: str) -> Seen | None:
    with suppress(aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
        async with session.get(f"/v1/users/{quote(user_id, safe='')}/recommendations") as response:
            return _decode(await response.read()) if response.status == 200 else None
    return None


async def _until(holds: Callable[[], Awaitable[bool]]) -> bool:
    poll = AsyncRetrying(
        wait=wait_fixed(POLL_S),
        stop=stop_after_delay(LONGEST_S),
        retry=retry_if_result(lambda held: not held),
        retry_error_callback=lambda _: False,
    )
    return bool(await poll(holds))


def _silent(tally: Tally) -> None:
    """The crowd's own count is not asked for."""
