"""What stood in the stream and was no event. `Group.finish` puts it aside; people look at it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis import Redis

from tastemaker.events.stream import shards_in_use, stream_key


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
        found: Any = redis.xrevrange(f"{stream_key(shard)}:dead", count=count)
        for letter_id, fields in found:
            filed = datetime.fromtimestamp(int(letter_id.partition(b"-")[0]) / 1000, UTC)
            reason, payload, entry = (
                fields[name].decode(errors="replace") for name in (b"reason", b"payload", b"entry")
            )
            letters.append(DeadLetter(filed, shard, entry, reason, payload))
    return sorted(letters, key=lambda letter: letter.filed, reverse=True)[:count]
