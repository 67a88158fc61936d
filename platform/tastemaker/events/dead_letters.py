"""What stood in the stream and was no event. `Group.finish` puts it aside; people look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from redis import Redis

from tastemaker.events.stream import MAX_SHARDS, shards_in_use, stream_key

PAGE: Final = 1000
"""Letters that are looked at in one go."""


class DeadLetter(NamedTuple):
    """Something in the stream that was no event, as it was put aside: when, from where, why and what."""

    filed: datetime
    shard: int
    entry: str
    reason: str
    payload: str


def read(redis: Redis, shards: int, count: int) -> list[DeadLetter]:
    """The last `count` of them, the latest first."""
    letters: list[DeadLetter] = []
    for shard in shards_in_use(redis, shards):
        found: Any = redis.xrevrange(_key(shard), count=count)
        for letter_id, fields in found:
            filed = datetime.fromtimestamp(int(letter_id.partition(b"-")[0]) / 1000, UTC)
            reason, payload, entry = (
                fields[name].decode(errors="replace") for name in (b"reason", b"payload", b"entry")
            )
            letters.append(DeadLetter(filed, shard, entry, reason, payload))
    return sorted(letters, key=lambda letter: letter.filed, reverse=True)[:count]


def erase(redis: Redis, asked_ms: Mapping[str, int]) -> int:
    """Delete the letters of users who asked to be forgotten; returns how many.

    Gone is what reached the stream, or says that it happened, no later than its user asked. Whose a letter is can be
    told where it is JSON with a user in their place.

    Args:
        asked_ms: by user, in milliseconds since 1970.
    """
    erased = 0
    for shard in range(MAX_SHARDS):
        for page in _pages(redis, _key(shard)):
            gone = [letter_id for letter_id, fields in page if _is_gone(fields, asked_ms)]
            if gone:
                redis.xdel(_key(shard), *gone)
            erased += len(gone)
    return erased


def _key(shard: int) -> str:
    return f"{stream_key(shard)}:dead"


def _pages(redis: Redis, key: str) -> Iterator[list[tuple[bytes, dict[bytes, bytes]]]]:
    after = "-"
    while page := _page(redis, key, after):
        yield page
        after = f"({page[-1][0].decode()}"


def _page(redis: Redis, key: str, after: str) -> Any:
    return redis.xrange(key, min=after, count=PAGE)


def _is_gone(fields: Mapping[bytes, bytes], asked_ms: Mapping[str, int]) -> bool:
    user_id, happened_ms = _sender(fields[b"payload"])
    arrived_ms = int(fields[b"entry"].partition(b"-")[0])
    return user_id in asked_ms and min(arrived_ms, happened_ms or arrived_ms) <= asked_ms[user_id]


def _sender(payload: bytes) -> tuple[str, int | None]:
    """The user whose event it was meant to be, "" where that cannot be told, and when it happened, where it says so."""
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", None
    match document:
        case [_, str() | int() as user_id, _, _, int() as microseconds, *_]:
            return str(user_id), microseconds // 1000
        case [_, str() | int() as user_id, *_] | {"user_id": str() | int() as user_id}:
            return str(user_id), None
    return "", None
