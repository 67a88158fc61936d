"""A log of changes, in Redis: who follows it knows every row of a table that was put or removed since.

    PREFIX:version   the version of the newest change
    PREFIX:changes   sorted set, id → version of its newest change
    PREFIX:NAME      hash, id → what it is since then, as JSON; `null` when it is gone

It is compacted: of an id only the newest change stays, so its size is that of the table at most. Versions rise
with every change. They are the server's clock in microseconds, or one more than the last where that is higher: so they
go on rising even after a Redis that forgot everything, and a bundle's or a lake's version stays comparable.
Braces in the prefix keep the keys on one node of a cluster, so that a change is one atomic step.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

import msgspec
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

PAGE: Final = 1000
"""Changes read in one go."""

# KEYS: version, changes, documents. ARGV: id and document, in turn. Returns the version of the last change.
PUBLISH = """
local time = redis.call('TIME')
local version = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), time[1] * 1000000 + time[2])
for i = 1, #ARGV, 2 do
  version = version + 1
  redis.call('ZADD', KEYS[2], string.format('%.0f', version), ARGV[i])
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
end
redis.call('SET', KEYS[1], string.format('%.0f', version))
return string.format('%.0f', version)
"""
# Forgets ids whose newest change is still the one named. KEYS: changes, documents. ARGV: id and version, in turn.
FORGET = """
for i = 1, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
"""

Document = TypeVar("Document")

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Change(NamedTuple, Generic[Document]):
    """What became of an id: it is `document` now, or gone."""

    version: int
    id: str
    document: Document | None


class Page(NamedTuple, Generic[Document]):
    """Some changes of a log, oldest first."""

    changes: list[Change[Document]]
    version: int
    """Up to which these are all; of the last one, even if it cannot be read."""
    is_full: bool
    """Whether there may be more."""
    unreadable: int


class ChangeLog(Generic[Document]):
    """The changes of one table.

    Args:
        prefix: of its keys, with braces. name: of the rows, as its hash is called. kind: what a row is.
    """

    def __init__(self, prefix: str, name: str, kind: type[Document]) -> None:
        self.name = name
        self.version_key = f"{prefix}:version"
        self.changes_key = f"{prefix}:changes"
        self.documents_key = f"{prefix}:{name}"
        self._decode = msgspec.json.Decoder(kind | None).decode

    async def publish(self, redis: AsyncRedis, documents: Mapping[str, Document | None]) -> int:
        """Put or, where None, remove rows by their ids, all or none; returns the version of the last of these changes.

        Raises:
            redis.RedisError: Redis did not take them.
        """
        arguments = [part for id_, document in documents.items() for part in (id_, _encode(document))]
        script = redis.register_script(PUBLISH)
        return int(await script(keys=[self.version_key, self.changes_key, self.documents_key], args=arguments))

    async def follow(self, redis: AsyncRedis, after: int) -> list[Change[Document]]:
        """All changes of a version above `after`, oldest first. Raises redis.RedisError when they cannot be read."""
        if int(await redis.get(self.version_key) or 0) <= after:
            return []
        found: list[Change[Document]] = []
        while True:
            scored: Any = await redis.zrangebyscore(self.changes_key, f"({after}", "+inf", 0, PAGE, withscores=True)
            if scored:
                blobs = await cast(
                    "Awaitable[list[bytes | None]]", redis.hmget(self.documents_key, [id_ for id_, _ in scored])
                )
                found += self._changes(scored, blobs)
                after = int(scored[-1][1])
            if len(scored) < PAGE:
                return found

    def read(self, redis: Redis, after: int) -> Page[Document]:
        """The first changes of a version above `after`, at most PAGE."""
        scored: Any = redis.zrangebyscore(self.changes_key, f"({after}", "+inf", 0, PAGE, withscores=True)
        blobs: Any = redis.hmget(self.documents_key, [id_ for id_, _ in scored]) if scored else []
        changes = list(self._changes(scored, blobs))
        there = sum(blob is not None for blob in blobs)
        version = int(scored[-1][1]) if scored else after
        return Page(changes, version, is_full=len(scored) == PAGE, unreadable=there - len(changes))

    def forget(self, redis: Redis, before: int) -> int:
        """Drop the oldest changes, at most PAGE, of a version up to `before`; returns how many those were."""
        scored: Any = redis.zrangebyscore(self.changes_key, "-inf", before, 0, PAGE, withscores=True)
        if scored:
            arguments = [part for id_, version in scored for part in (id_, f"{version:.0f}")]
            redis.register_script(FORGET)(keys=[self.changes_key, self.documents_key], args=arguments)
        return len(scored)

    def _changes(
        self, scored: Sequence[tuple[bytes, float]], blobs: Sequence[bytes | None]
    ) -> Iterator[Change[Document]]:
        """One that changed again meanwhile comes with its newest document now, and once more later."""
        for (id_, version), blob in zip(scored, blobs, strict=True):
            if blob is None:
                continue  # forgotten meanwhile
            try:
                yield Change(int(version), id_.decode(), self._decode(blob))
            except msgspec.DecodeError as error:
                log.warning("change %.0f of %s cannot be read and is skipped: %s", version, self.changes_key, error)
