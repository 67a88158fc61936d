"""Slates in Redis, fresh until the user's next event.

Ingest counts a user's applied events in an epoch. An entry carries the epoch that was read before its slate was
computed, so a slate that raced with an event is never served after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import NamedTuple

import msgspec
import xxhash
from msgspec import structs
from redis.asyncio import Redis

from tastemaker import keepsakes
from tastemaker.config import MicroBatch
from tastemaker.features.trail import epoch_key, shown_key, slate_key
from tastemaker.types import SlateItem
from tastemaker_serving.edge import recent
from tastemaker_serving.edge.batcher import Batcher
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.recent import Shown
from tastemaker_serving.wire import Query

READS = MicroBatch(max_size=64, max_in_flight=2, wait_ms=0)
"""A round trip costs the edge more than all else in a cached answer, so concurrent look-ups share one."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A cached slate. `created` is Unix time in seconds; `request_id` is of the request that computed it.

    One that was computed ahead of requests has a `life_s` of its own. `propensities` are those of a
    `wire.RankedSlate`, by item.
    """

    epoch: int
    created: float
    model_version: str
    segment: str | None
    items: tuple[SlateItem, ...]
    request_id: str = ""
    life_s: int = 0
    propensities: dict[str, float] = {}

    @property
    def is_ahead(self) -> bool:
        """Whether it was computed ahead of requests."""
        return self.life_s > 0


class Found(NamedTuple):
    """What a look-up gave: the user's epoch now, the entry, fresh or not, and what was shown (`recent.decode`)."""

    epoch: int = 0
    entry: Entry | None = None
    fresh: bool = False
    shown: bytes | None = None


encode_entry = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class SlateCache:
    """Slates, and which were shown. Reads and writes cost one round trip; both raise `Unavailable` without an answer.

    An entry is fresh for `ttl_s` seconds, and kept for `stale_ttl_s` at least; `ttl_s` 0 does without the cache.
    """

    def __init__(
        self, redis: Redis, breaker: Breaker, stale_ttl_s: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._redis = redis
        self._breaker = breaker
        self._stale_ttl_s = stale_ttl_s
        self._clock = clock
        self._reads = Batcher(self._mget, READS)

    async def read(self, user_id: str, variants: Sequence[str], scene: str, ttl_s: int, n: int) -> Found:
        """The user's epoch, the best entry of `variants`, cut to `n` items, and what `scene` showed the user lately.

        A fresh entry is better than one that is not, then a newer one. One that was computed ahead of requests, and is
        shorter than `n`, is none.
        """
        if not ttl_s:
            return Found()
        self._breaker.check()
        keys = (epoch_key(user_id), shown_key(user_id, scene), *(slate_key(user_id, variant) for variant in variants))
        epoch_blob, shown, *blobs = await self._reads.ask(keys)
        epoch = int(epoch_blob or 0)
        found = [self._found(epoch, entry, shown, ttl_s) for blob in blobs if (entry := _entry(blob, n)) is not None]
        return max(found, key=_merit, default=Found(epoch, shown=shown))

    async def close(self) -> None:
        """Break off the reads under way."""
        await self._reads.close()

    async def write(
        self,
        user_id: str,
        variant: str,
        entry: Entry | None,
        scene: str,
        shown: Sequence[Shown],
        *,
        epoch: int,
        ttl_s: int,
    ) -> None:
        """Keep what `scene` showed the user, newest first, and a slate; neither where the user was erased meanwhile.

        Args:
            epoch: of the user, read before the slate was computed.
        """
        if not ttl_s:
            return
        life = max(ttl_s, self._stale_ttl_s)
        kept = {shown_key(user_id, scene): recent.encode(shown)}
        if entry is not None:
            kept[slate_key(user_id, variant)] = encode_entry(entry)
        with self._breaker:
            async with self._redis.pipeline(transaction=False) as pipe:
                keepsakes.keep(pipe, user_id, epoch, kept, life)
                await pipe.execute()

    def _found(self, epoch: int, entry: Entry, shown: bytes | None, ttl_s: int) -> Found:
        age_s = self._clock() - entry.created
        return Found(epoch, entry, entry.epoch == epoch and age_s < (entry.life_s or ttl_s), shown)

    async def _mget(self, asked: list[tuple[str, ...]]) -> list[tuple[bytes | None, ...]]:
        with self._breaker:
            blobs = iter(await self._redis.mget(chain.from_iterable(asked)))
        return [tuple(islice(blobs, len(keys))) for keys in asked]


def variant_of(model_version: str, query: Query, page: int = 0, rules: str = "", *, any_length: bool = False) -> str:
    """A short name for everything, other than the user, that a slate depends on: another model's slates are not met.

    Args:
        rules: `scenes.stamp` of those in force.
        any_length: of slates whose beginnings serve requests for fewer items, too (`Scene.begins_alike`).
    """
    person, length = (query.device or "", query.country or ""), "" if any_length else str(query.n)
    parts = (model_version, query.scene, *person, length, str(page), rules, *sorted(set(query.exclude)))
    return xxhash.xxh3_64_hexdigest("\0".join(parts).encode())


def _merit(found: Found) -> tuple[bool, float]:
    return found.fresh, found.entry.created if found.entry is not None else 0.0


def _entry(blob: bytes | None, n: int) -> Entry | None:
    """None also for an entry that another version wrote in another form."""
    if blob is None:
        return None
    try:
        entry = _decode(blob)
    except msgspec.DecodeError:
        return None
    if not entry.is_ahead or len(entry.items) == n:
        return entry
    return structs.replace(entry, items=entry.items[:n]) if len(entry.items) > n else None
