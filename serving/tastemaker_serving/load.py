"""A closed-loop load generator: so many clients, each with one request under way.

aiohttp, whose parser is C, costs a quarter of httpx's CPU: on two cores the generator must not be what it measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from urllib.parse import quote

import aiohttp
import msgspec

TIMEOUT_S = 30.0
GOOD = "ranked"


class Answer(msgspec.Struct):
    """What the benchmark reads of a slate."""

    served_from: str
    items: list[msgspec.Raw]
    stage_ms: dict[str, float] = {}


@dataclass
class Load:
    """What came of the requests: an error is no answer, another status than 200, or no item; a slate from a lower rung
    of the ladder than `ranked` is degraded."""

    elapsed_s: float = 0.0
    errors: int = 0
    degraded: int = 0
    latency_ms: list[float] = field(default_factory=list)
    stage_ms: dict[str, list[float]] = field(default_factory=dict)


_decode = msgspec.json.Decoder(Answer).decode


async def drive(base_url: str, requests: int, concurrency: int, user_ids: Sequence[str]) -> Load:
    """Ask for slates of `user_ids` in turn, past the cache."""
    load = Load()
    waiting = islice(cycle(user_ids), requests)
    connector = aiohttp.TCPConnector(limit=concurrency)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(base_url, connector=connector, timeout=timeout) as session:
        start = time.perf_counter()
        await asyncio.gather(*(_client(session, waiting, load) for _ in range(concurrency)))
        load.elapsed_s = time.perf_counter() - start
    return load


async def _client(session: aiohttp.ClientSession, waiting: Iterator[str], load: Load) -> None:
    for user_id in waiting:
        path = f"/v1/users/{quote(user_id, safe='')}/recommendations?force_refresh=true"
        start = time.perf_counter()
        try:
            async with session.get(path) as response:
                body = await response.read()
                answer = _decode(body) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
            answer = None
        load.latency_ms.append((time.perf_counter() - start) * 1e3)
        if answer is None or not answer.items:
            load.errors += 1
            continue
        load.degraded += answer.served_from != GOOD
        for stage, took in answer.stage_ms.items():
            load.stage_ms.setdefault(stage, []).append(took)
