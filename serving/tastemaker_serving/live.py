"""Candidate sources that change by the minute: what trends, and what is explored. Read in the background, never by a
request; an old reading outlives Redis.

B users, N items, M items of a list.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tastemaker import exploration
from tastemaker.candidates import EXPLORE, TRENDING, Codes, Explored
from tastemaker.events import trending
from tastemaker.events.trending import EVERYBODY
from tastemaker.exploration import Pool
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.ids import keys_of
from tastemaker.retrieval import Heard, Source, Wanted
from tastemaker.scenes import Scenes

TRENDING_S: Final = 5.0
COUNTS_S: Final = 15.0
TIMEOUT_S: Final = 2.0
WINDOW: Final[trending.Window] = "1h"

log = logging.getLogger(__name__)


class Live:
    """The two sources of one process. Nothing trends and nothing is explored before the first reading."""

    def __init__(self, redis_url: str, item_ids: Sequence[str], scenes: Scenes) -> None:
        self._redis_url = redis_url
        self._index = KeyIndex.of(item_ids)
        self._rules = {name: scene.explore for name, scene in scenes.by_name.items() if scene.explore.share > 0}
        self._hot: Mapping[str, Codes] = {}
        self._pools: Mapping[str, Pool] = {}
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._read, name="live sources", daemon=True)

    @property
    def sources(self) -> dict[int, Source]:
        """By their position in SOURCES."""
        return {TRENDING: self.trending, EXPLORE: self.explore}

    def follow(self, index: KeyIndex) -> None:
        """Know the items of `index` from the next reading on; those known so far keep their codes."""
        self._index = index

    def start(self) -> None:
        """Read in the background from now on."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def trending(self, wanted: Wanted, k: int) -> Heard:
        """What users take to now: first in the user's country, where it is known, then everywhere."""
        everybody = self._hot.get(EVERYBODY, np.empty(0, dtype=np.int32))
        proposed = np.tile(everybody[:k], (len(wanted.segment), 1))
        for row, person in enumerate(wanted.people):
            here = self._hot.get(person.country) if person.country else None
            if here is not None:
                both = list(dict.fromkeys([*here[:k].tolist(), *everybody[:k].tolist()]))
                proposed[row] = both[: proposed.shape[1]]
        return Heard(proposed)

    def explore(self, wanted: Wanted, k: int) -> Heard:
        """What is worth trying, drawn anew for each request."""
        assert wanted.exploring is not None
        codes = np.full((len(wanted.scene), k), -1, dtype=np.int32)
        chance = np.zeros(codes.shape, dtype=np.float32)
        pools = [self._pools.get(name) for name in wanted.scenes]
        for row in np.flatnonzero(wanted.exploring.expected).tolist():
            pool = pools[wanted.scene[row]]
            if pool is not None:
                drawn = pool.draw(int(wanted.exploring.seeds[row]), k)
                codes[row, : len(drawn)] = pool.codes[drawn]
                expected = float(wanted.exploring.expected[row])
                chance[row, : len(drawn)] = exploration.propensity(pool, drawn, expected)
        return Heard(codes, explored=Explored(codes, chance))

    async def read_trending(self, redis: Redis) -> None:
        """Read what trends once. Raises `RedisError` when Redis does not answer; all stays as it was."""
        lists = (await trending.read(redis))[WINDOW]
        coded = {
            country: self._index.find(keys_of(item_id for item_id, _ in counted))
            for country, counted in lists.items()
            if counted
        }
        self._hot = {country: codes[codes >= 0] for country, codes in coded.items()}

    async def read_counts(self, redis: Redis) -> None:
        """Read what was shown and clicked once, and choose what to explore. Raises as `read_trending` does."""
        if not self._rules:
            return
        counts = await exploration.read(redis, self._index)
        seed = int(time.time() // COUNTS_S)  # so that replicas explore the same
        self._pools = {name: exploration.pool_of(counts, rule, seed) for name, rule in self._rules.items()}

    def _read(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._keep_fresh())

    async def _keep_fresh(self) -> None:
        async with Redis.from_url(self._redis_url, socket_timeout=TIMEOUT_S) as redis:
            await asyncio.gather(
                self._again_and_again(self.read_trending, redis, TRENDING_S),
                self._again_and_again(self.read_counts, redis, COUNTS_S),
            )

    async def _again_and_again(self, reading: Callable[[Redis], Awaitable[None]], redis: Redis, pause_s: float) -> None:
        """Read until this is stopped; while Redis does not answer, what was read last holds."""
        away = False
        while not self._stopped.is_set():
            try:
                await reading(redis)
                away = False
            except (RedisError, OSError) as error:
                if not away:
                    log.warning("%s: Redis does not answer, the last reading holds: %s", reading.__name__, error)
                away = True
            except Exception:
                log.exception("%s failed, the last reading holds", reading.__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), pause_s)
