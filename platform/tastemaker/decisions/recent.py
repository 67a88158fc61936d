"""Recent decisions in Redis: two bounded streams, which the lake is filled from, and where each request stands in them.

The bound is a number of entries, so that a log that nobody empties takes a known amount of memory; the oldest go, and
all that is no longer recent. Nothing is told of a user who has been erased since.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from redis.asyncio import Redis

from tastemaker import erasure
from tastemaker.decisions import record
from tastemaker.decisions.record import Decision
from tastemaker.decisions.sampling import Decisions, Detail

STREAMS: Final[Mapping[Detail, str]] = {"full": "tm:decisions:full", "slate": "tm:decisions:slates"}
FIELD: Final = b"decision"


def place_key(request_id: str) -> str:
    """Key of where a request's decision stands: the stream's detail and the entry's id, parted by a space."""
    return f"tm:decisions:of:{request_id}"


async def write(redis: Redis, decisions: Sequence[Decision], settings: Decisions) -> None:
    """Add `decisions`, in two round trips.

    Raises:
        redis.RedisError: Redis did not take all of them.
    """
    lengths: dict[Detail, int] = {"full": settings.recent_full, "slate": settings.recent_slates}
    oldest = f"{int((time.time() - settings.recent_s) * 1000)}-0"
    async with redis.pipeline(transaction=False) as pipe:
        for decision in decisions:
            length = lengths[decision.detail]
            pipe.xadd(STREAMS[decision.detail], {FIELD: record.encode(decision)}, maxlen=length, approximate=True)
        for stream in STREAMS.values():
            pipe.xtrim(stream, minid=oldest)
        entry_ids = (await pipe.execute())[: len(decisions)]
    async with redis.pipeline(transaction=False) as pipe:
        for decision, entry_id in zip(decisions, entry_ids, strict=True):
            place = f"{decision.detail} {entry_id.decode()}"
            pipe.set(place_key(decision.request_id), place, ex=settings.recent_s)
        await pipe.execute()


async def find(redis: Redis, request_id: str) -> Decision | None:
    """The decision of a request, that of a cached slate with the trace of the request that computed it.

    Returns:
        None where it was not logged, or is no longer recent.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    decision = await _find(redis, request_id)
    if decision is None or not decision.origin:
        return decision
    return decision.computed_by(await _find(redis, decision.origin))


async def _find(redis: Redis, request_id: str) -> Decision | None:
    place: bytes | None = await redis.get(place_key(request_id))
    if place is None:
        return None
    detail, entry_id = place.decode().split(" ")
    entries: Any = await redis.xrange(STREAMS["full" if detail == "full" else "slate"], entry_id, entry_id)
    decision = read(entries[0][1]) if entries else None
    if decision is None:
        return None
    erased_ms = await cast("Awaitable[bytes | None]", redis.hget(erasure.TOMBSTONES, decision.user_id))
    return None if is_erased(decision, erased_ms) else decision


def is_erased(decision: Decision, tombstone: bytes | None) -> bool:
    """Whether the user asked to be forgotten, and when (`erasure.TOMBSTONES`), after the decision."""
    return tombstone is not None and decision.time * 1000 <= int(tombstone)


def read(fields: Mapping[bytes, bytes] | None) -> Decision | None:
    """The decision in a stream entry; None where it was cut off meanwhile, or another version wrote it otherwise."""
    try:
        return record.decode((fields or {})[FIELD])
    except (KeyError, msgspec.DecodeError):
        return None
