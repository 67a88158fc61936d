"""The event stream: a Redis Stream with consumer groups (https://redis.io/docs/latest/develop/data-types/streams).

Each group reads every event, in order, and acknowledges it when its own work is done; what is not acknowledged is
delivered again after a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from redis import Redis, ResponseError
from redis.asyncio import Redis as AsyncRedis

from tastemaker.events import schema
from tastemaker.types import Event

STREAM = "tm:events"
FIELD = "event"

# All processes of a group share one name. Two of them then still divide what is new; at a restart they may repeat one
# another's unfinished work, which every group must bear anyway, and no entry is left behind by a name that is gone.
CONSUMER = "ingest"

UNFINISHED, NEW = b"0", b">"  # where XREADGROUP begins

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """One delivery. `event` is None where the entry cannot be read, or was cut from the stream before it was.

    `redelivered`: a reader of this group had it before and did not acknowledge it.
    """

    entry_id: bytes
    event: Event | None
    redelivered: bool

    @property
    def arrived_ms(self) -> int:
        """When Redis received the event, in milliseconds since the epoch."""
        return int(self.entry_id.partition(b"-")[0])


async def publish(redis: AsyncRedis, events: Sequence[Event], length: int) -> None:
    """Append `events` in one round trip, all or none; the stream keeps at least its newest `length` events.

    Raises:
        redis.RedisError: Redis did not take them.
    """
    async with redis.pipeline(transaction=True) as pipe:
        for event in events:
            pipe.xadd(STREAM, {FIELD: schema.encode(event)}, maxlen=length, approximate=True)
        await pipe.execute()


class Group:
    """One consumer group's place in the stream. Not for use by several threads."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self.name = name
        self._after: bytes | None = None

    def read(self, count: int, block_ms: int | None = None) -> list[Entry]:
        """Up to `count` entries: first what was delivered but never acknowledged, then what is new.

        Waits up to `block_ms` for the first new one; without it, not at all.
        """
        if self._after is None:
            self._join()
            self._after = UNFINISHED
        if self._after != NEW:
            unfinished = self._deliver(count, None)
            self._after = unfinished[-1].entry_id if unfinished else NEW
            if unfinished:
                return unfinished
        return self._deliver(count, block_ms)

    def acknowledge(self, entries: Sequence[Entry]) -> None:
        """Say that the group's work on `entries` is done."""
        if entries:
            self._redis.xack(STREAM, self.name, *(entry.entry_id for entry in entries))

    def rewind(self) -> None:
        """Begin again with what was not acknowledged: after an error, or when Redis lost the group."""
        self._after = None

    def backlog(self) -> int:
        """Entries that the group has not read yet, by Redis's own count; 0 where Redis cannot tell."""
        groups: Any = self._redis.xinfo_groups(STREAM) if self._redis.exists(STREAM) else []
        return next((int(group["lag"] or 0) for group in groups if group["name"] == self.name.encode()), 0)

    def _join(self) -> None:
        try:
            self._redis.xgroup_create(STREAM, self.name, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _deliver(self, count: int, block_ms: int | None) -> list[Entry]:
        assert self._after is not None
        replies: Any = self._redis.xreadgroup(self.name, CONSUMER, {STREAM: self._after}, count=count, block=block_ms)
        return [
            Entry(entry_id, _event(entry_id, fields), self._after != NEW)
            for _, entries in replies
            for entry_id, fields in entries
        ]


def _event(entry_id: bytes, fields: dict[bytes, bytes] | None) -> Event | None:
    try:
        return schema.decode((fields or {})[FIELD.encode()])
    except (KeyError, msgspec.DecodeError) as error:
        log.warning("stream entry %s cannot be read and is skipped: %s", entry_id.decode(), error)
        return None
