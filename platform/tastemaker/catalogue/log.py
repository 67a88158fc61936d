"""The log of changes to the catalogue, in Redis: who follows it knows every item that was put or removed since.

    tm:catalogue:{items}:version   the version of the newest change
    tm:catalogue:{items}:changes   sorted set, item → version of its newest change
    tm:catalogue:{items}:items     hash, item → what it is since then, as JSON; `null` when it is gone

It is compacted: of an item only the newest change stays, so its size is that of the catalogue at most. Versions rise
with every change. They are the server's clock in microseconds, or one more than the last where that is higher: so they
go on rising even after a Redis that forgot everything, and a bundle's or a lake's version stays comparable.
The braces keep the keys on one node of a cluster, so that a change is one atomic step.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.types import Item

VERSION_KEY: Final = "tm:catalogue:{items}:version"
CHANGES_KEY: Final = "tm:catalogue:{items}:changes"
ITEMS_KEY: Final = "tm:catalogue:{items}:items"
PAGE: Final = 1000
"""Changes read in one go."""

# KEYS: version, changes, items. ARGV: item and document, in turn. Returns the version of the last change.
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
# Forgets items whose newest change is still the one named. KEYS: changes, items. ARGV: item and version, in turn.
FORGET = """
for i = 1, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
"""

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Item | None).decode


class Change(NamedTuple):
    """What became of an item: it is `item` now, or gone."""

    version: int
    item_id: str
    item: Item | None


async def publish(redis: AsyncRedis, items: Mapping[str, Item | None]) -> int:
    """Put or, where None, remove items, all or none; returns the version of the last of these changes.

    Raises:
        redis.RedisError: Redis did not take them.
    """
    arguments = [part for item_id, item in items.items() for part in (item_id, _encode(item))]
    script = redis.register_script(PUBLISH)
    return int(await script(keys=[VERSION_KEY, CHANGES_KEY, ITEMS_KEY], args=arguments))


async def follow(redis: AsyncRedis, after: int) -> list[Change]:
    """All changes of a version above `after`, oldest first. Raises redis.RedisError when they cannot be read."""
    if int(await redis.get(VERSION_KEY) or 0) <= after:
        return []
    found: list[Change] = []
    while True:
        scored: Any = await redis.zrangebyscore(CHANGES_KEY, f"({after}", "+inf", 0, PAGE, withscores=True)
        if scored:
            blobs = await cast(
                "Awaitable[list[bytes | None]]", redis.hmget(ITEMS_KEY, [item_id for item_id, _ in scored])
            )
            found += _changes(scored, blobs)
            after = int(scored[-1][1])
        if len(scored) < PAGE:
            return found


def read(redis: Redis, after: int) -> list[Change]:
    """The first changes of a version above `after`, oldest first, at most PAGE."""
    scored: Any = redis.zrangebyscore(CHANGES_KEY, f"({after}", "+inf", 0, PAGE, withscores=True)
    blobs: Any = redis.hmget(ITEMS_KEY, [item_id for item_id, _ in scored]) if scored else []
    return list(_changes(scored, blobs))


def forget(redis: Redis, before: int) -> int:
    """Drop the oldest changes, at most PAGE, of a version up to `before`; returns how many those were."""
    scored: Any = redis.zrangebyscore(CHANGES_KEY, "-inf", before, 0, PAGE, withscores=True)
    if scored:
        arguments = [part for item_id, version in scored for part in (item_id, f"{version:.0f}")]
        redis.register_script(FORGET)(keys=[CHANGES_KEY, ITEMS_KEY], args=arguments)
    return len(scored)


def _changes(scored: Sequence[tuple[bytes, float]], blobs: Sequence[bytes | None]) -> Iterator[Change]:
    """An item that changed again meanwhile comes with its newest document now, and once more later."""
    for (item_id, version), blob in zip(scored, blobs, strict=True):
        if blob is None:
            continue  # forgotten meanwhile
        try:
            yield Change(int(version), item_id.decode(), _decode(blob))
        except msgspec.DecodeError as error:
            log.warning("the change of item %r cannot be read and is skipped: %s", item_id, error)
