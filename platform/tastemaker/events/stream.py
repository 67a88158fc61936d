"""The event stream: Redis Streams with consumer groups (https://redis.io/docs/latest/develop/data-types/streams).

A user's events are all in one of `ingest.shards` streams. What one request brings for a shard is one entry. Each group
reads every entry and acknowledges it when its own work is done; what is not acknowledged is delivered again. An entry
leaves its stream when every group has acknowledged it, so what lies there is what is still to be done.

    tm:events:{3}             the stream of shard 3          tm:events:{3}:files   of the lake, promised (see `commit`)
    tm:events:{3}:published   events it has received         tm:events:{3}:dead    what in it was no event
    tm:events:{3}:finished    by group: events it is done with
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import Any, Final, NamedTuple, cast

from redis import Redis, ResponseError
from redis.asyncio import Redis as AsyncRedis

from tastemaker.events import schema
from tastemaker.events.schema import Record, Refused
from tastemaker.events.scripts import COMMIT, FINISH, KEEP, PUBLISH, TRIM
from tastemaker.ids import key_of
from tastemaker.types import Event

ONLINE, LAKE = "online", "lake"
GROUPS: Final = (ONLINE, LAKE)
"""Who must have read an entry before it may go."""

MAX_SHARDS: Final = 64
ENTRY_EVENTS: Final = 100  # in one entry, at most
READ_ENTRIES: Final = 64  # in one reply: with the above, some megabytes
MOST_ENTRIES: Final = 4096  # of one `read`, or some more: no script may take Redis for long
SIZE, FIELD = b"n", b"events"

# All processes of a group share one name. Two of them then still divide what is new; at a restart they may repeat one
# another's unfinished work, which every group must bear anyway, and no entry is left behind by a name that is gone.
CONSUMER = "ingest"

UNFINISHED, NEW = b"0", b">"  # where XREADGROUP begins


class Entry(NamedTuple):
    """One delivery: what one request brought for the shard, or a part of it that a reader can use, and the rest.

    `size`: events that it counts for. `redelivered`: a reader of this group had it before and did not acknowledge it.
    """

    entry_id: bytes
    records: Sequence[Record]
    refused: Sequence[Refused]
    size: int
    redelivered: bool

    @property
    def arrived_ms(self) -> int:
        """When Redis received the entry, in milliseconds since the epoch."""
        return int(self.entry_id.partition(b"-")[0])


class Load(NamedTuple):
    """By group the events that it is not done with; the share of its memory that Redis has used, 0 where it evicts."""

    waiting: Mapping[str, int]
    memory: float


def stream_key(shard: int) -> str:
    """Key of a shard's stream; the braces keep all keys of a shard on one node of a Redis Cluster."""
    return f"tm:events:{{{shard}}}"


def shard_of(user_id: str, shards: int) -> int:
    """The shard that has a user's events."""
    return key_of(user_id) % shards


async def publish(redis: AsyncRedis, events: Sequence[Event], shards: int) -> None:
    """Append `events` in one round trip.

    Raises:
        redis.RedisError: Redis did not take them all; it may have taken some.
    """
    by_shard: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        by_shard[shard_of(event.user_id, shards)].append(event)
    async with redis.pipeline(transaction=False) as pipe:
        for shard, share in by_shard.items():
            key = stream_key(shard)
            for part in range(0, len(share), ENTRY_EVENTS):
                some = share[part : part + ENTRY_EVENTS]
                pipe.eval(PUBLISH, 2, key, f"{key}:published", len(some), schema.encode(schema.records_of(some)))
        await pipe.execute()


async def load(redis: AsyncRedis, shards: int) -> Load:
    """How full the stream and Redis are, in one round trip."""
    async with redis.pipeline(transaction=False) as pipe:
        _ask_backlog(pipe, shards, GROUPS)
        pipe.info("memory")
        *replies, memory = await pipe.execute()
    available = int(memory.get("maxmemory") or memory.get("total_system_memory") or 0)
    # One that evicts the cache is always full; it says itself when there is no cache left to evict.
    fills = available and memory.get("maxmemory_policy", "noeviction") == "noeviction"
    return Load(_backlog(replies, GROUPS), int(memory["used_memory"]) / available if fills else 0.0)


def backlog(redis: Redis, shards: int, groups: Collection[str] = GROUPS) -> dict[str, int]:
    """By group: the events that it is not done with."""
    with redis.pipeline(transaction=False) as pipe:
        _ask_backlog(pipe, shards, groups)
        return _backlog(pipe.execute(), groups)


def shards_in_use(redis: Redis, shards: int) -> list[int]:
    """The configured shards, and whichever a larger number of them has left behind."""
    with redis.pipeline(transaction=False) as pipe:
        for shard in range(shards, MAX_SHARDS):
            pipe.exists(stream_key(shard))
        left = pipe.execute()
    return [*range(shards), *(shard for shard, exists in enumerate(left, start=shards) if exists)]


def settled_until_ms(redis: Redis) -> float:
    """When Redis received the oldest entry that a group is not done with, in ms since 1970; inf where there is none.

    A file that is promised and may not be in its place yet has entries of any age: 0.
    """
    with redis.pipeline(transaction=False) as pipe:
        for shard in range(MAX_SHARDS):
            pipe.xrange(stream_key(shard), count=1)
            pipe.exists(f"{stream_key(shard)}:files")
        replies = pipe.execute()
    oldest = (entry_id for entries in replies[0::2] for entry_id, _ in entries)
    return 0 if any(replies[1::2]) else min((float(entry_id.partition(b"-")[0]) for entry_id in oldest), default=inf)


def trim(redis: Redis, shard: int, groups: Collection[str]) -> int:
    """Remove what every group of the shard, `groups` among them, has acknowledged; returns the entries removed."""
    key = stream_key(shard)
    keys = [key, f"{key}:published", f"{key}:finished", f"{key}:files"]
    return int(cast("int", redis.eval(TRIM, len(keys), *keys, *groups)))


class Group:
    """One consumer group's place in one shard. Not for use by several threads.

    Args:
        declared: event types; an event of another one is refused.
    """

    def __init__(self, redis: Redis, name: str, shard: int, declared: Collection[str]) -> None:
        self._redis = redis
        self.name = name
        self.shard = shard
        self._key = stream_key(shard)
        self._declared = declared
        self._after: bytes | None = None
        self.caught_up = False
        """Whether the last `read` left nothing that was there."""

    def read(self, events: int, block_ms: int | None = None) -> list[Entry]:
        """Entries with `events` events or some more: first what was delivered but never acknowledged, then what is new.

        Waits up to `block_ms` for the first new one; without it, not at all.
        """
        if self._after is None:
            self._join()
            self._after = UNFINISHED
        if self._after != NEW:
            unfinished = self._collect(events, None)
            if unfinished:
                return unfinished
            self._after = NEW
        return self._collect(events, block_ms)

    def finish(self, entries: Sequence[Entry], kept: int) -> int:
        """Say that the group's work on `entries` is done and file what in them is no event.

        Args:
            kept: dead letters that the shard keeps at least.

        Returns:
            The dead letters that were filed.
        """
        if not entries:
            return 0
        arguments: list[Any] = [self.name, kept]
        for entry in entries:
            arguments += [entry.entry_id, entry.size, len(entry.refused)]
            for refused in entry.refused:
                arguments += [refused.reason, refused.payload]
        keys = [self._key, f"{self._key}:finished", f"{self._key}:dead"]
        return int(cast("int", self._redis.eval(FINISH, len(keys), *keys, *arguments)))

    def commit(self, entries: Sequence[Entry], file: str) -> bool:
        """Acknowledge `entries` and promise that `file` (empty: none) has them, in one step.

        False, and nothing changed, where another process did some of that work. A `file` stays in `promised`, and its
        events in the backlog, until `keep`; so whoever dies in between leaves the rest to others.
        """
        keys = [self._key, f"{self._key}:finished", f"{self._key}:files"]
        size = sum(entry.size for entry in entries)
        ids = [entry.entry_id for entry in entries]
        return bool(self._redis.eval(COMMIT, len(keys), *keys, self.name, file, size, *ids))

    def promised(self) -> list[str]:
        """Files of `commit` that are not known to be in their place."""
        return sorted(file.decode() for file in cast("list[bytes]", self._redis.hkeys(f"{self._key}:files")))

    def keep(self, file: str) -> None:
        """Say that a promised file is in its place."""
        self._redis.eval(KEEP, 2, f"{self._key}:finished", f"{self._key}:files", self.name, file)

    def rewind(self) -> None:
        """Begin again with what was not acknowledged: after an error, or when Redis lost the group."""
        self._after = None

    def _collect(self, events: int, block_ms: int | None) -> list[Entry]:
        entries: list[Entry] = []
        found = 0
        while found < events and len(entries) < MOST_ENTRIES:
            some = self._deliver(block_ms)
            entries += some
            self.caught_up = self._after == NEW and len(some) < READ_ENTRIES
            if len(some) < READ_ENTRIES:
                break
            found += sum(max(1, entry.size) for entry in some)
            block_ms = None
        return entries

    def _join(self) -> None:
        try:
            self._redis.xgroup_create(self._key, self.name, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _deliver(self, block_ms: int | None) -> list[Entry]:
        assert self._after is not None
        redelivered = self._after != NEW
        replies: Any = self._redis.xreadgroup(
            self.name, CONSUMER, {self._key: self._after}, count=READ_ENTRIES, block=block_ms
        )
        entries = [self._entry(entry_id, fields, redelivered) for _, found in replies for entry_id, fields in found]
        if entries and redelivered:
            self._after = entries[-1].entry_id
        return entries

    def _entry(self, entry_id: bytes, fields: dict[bytes, bytes] | None, redelivered: bool) -> Entry:
        """What was delivered, sorted into events and what is none. `fields` are missing where the entry is gone."""
        blob = (fields or {}).get(FIELD)
        if fields is None or blob is None:
            why = "removed from the stream before it was read" if not fields else f"without a field {FIELD.decode()}"
            return Entry(entry_id, (), (Refused(repr(fields).encode(), why),), _size(fields), redelivered)
        records, refused = schema.decode(blob)
        known = [record for record in records if record.event_type in self._declared]
        if len(known) < len(records):
            refused += [
                Refused(schema.encode(record), f"undeclared event_type {record.event_type!r}")
                for record in records
                if record.event_type not in self._declared
            ]
        return Entry(entry_id, known, refused, _size(fields), redelivered)


def _size(fields: Mapping[bytes, bytes] | None) -> int:
    number = (fields or {}).get(SIZE, b"")
    return int(number) if number.isdigit() else 0


def _ask_backlog(pipe: Any, shards: int, groups: Collection[str]) -> None:
    for shard in range(shards):
        key = stream_key(shard)
        pipe.get(f"{key}:published")
        pipe.hmget(f"{key}:finished", list(groups))


def _backlog(replies: Sequence[Any], groups: Collection[str]) -> dict[str, int]:
    published = sum(int(number or 0) for number in replies[0::2])
    finished = zip(*replies[1::2], strict=True)
    return {
        group: max(0, published - sum(int(number or 0) for number in done))
        for group, done in zip(groups, finished, strict=True)
    }
