"""Reading the event stream beside the groups: for whoever keeps nothing in Redis and may begin anew.

An entry leaves its stream when the groups are done with it, and is in the lake by then (see `stream`). So a reader that
is a moment behind misses nothing; one that was away for longer is told, and finds what it missed in the lake.

    tm:events:readers   by reader, as JSON: the last entry of each shard that it is done with
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis import Redis, ResponseError

from tastemaker.events import schema
from tastemaker.events.schema import Record
from tastemaker.events.stream import FIELD, stream_key

READERS_KEY: Final = "tm:events:readers"
READERS_KEPT_S: Final = 60
BEGINNING: Final = "0-0"
MOST_ENTRIES: Final = 256  # of a shard in one reply


class Tail:
    """One reader's place in every shard. Not for use by several threads."""

    def __init__(self, redis: Redis, shards: int) -> None:
        self._redis = redis
        self._name = uuid.uuid4().hex
        self._after = [BEGINNING] * shards
        self._entries = [0] * shards  # ever added up to there

    def read(self) -> tuple[list[Record], bool]:
        """The events that came in since the last call, at first all there are; and whether others came and went."""
        records: list[Record] = []
        missed = False
        with self._redis.pipeline(transaction=False) as pipe:
            for shard, after in enumerate(self._after):
                pipe.xread({stream_key(shard): after}, count=MOST_ENTRIES)
                pipe.xinfo_stream(stream_key(shard))
            pipe.hset(READERS_KEY, self._name, msgspec.json.encode(self._after).decode())
            pipe.expire(READERS_KEY, READERS_KEPT_S)
            *replies, _, _ = pipe.execute(raise_on_error=False)
        for shard, (found, info) in enumerate(zip(replies[0::2], replies[1::2], strict=True)):
            for error in (found, info):
                if isinstance(error, Exception) and not isinstance(error, ResponseError):
                    raise error
            if isinstance(info, ResponseError):  # nobody has published to it yet, or Redis lost it
                missed |= self._begin_again(shard)
            else:
                records += self._take(shard, found)
                missed |= self._has_missed(shard, found, info)
        return records, missed

    def _take(self, shard: int, found: Any) -> list[Record]:
        records = []
        for _, entries in found or ():
            self._after[shard] = entries[-1][0].decode()
            for _, fields in entries:
                records += schema.decode(fields.get(FIELD, b"[]"))[0]
        return records

    def _has_missed(self, shard: int, found: Any, info: dict[str, Any]) -> bool:
        read = sum(len(entries) for _, entries in found or ())
        counted, last = self._entries[shard], info["last-generated-id"].decode()
        if _place(last) < _place(self._after[shard]):
            return self._begin_again(shard)
        if not info["length"]:
            self._after[shard] = last
        if last != self._after[shard]:  # more has come, or lies there
            self._entries[shard] += read
            return False
        self._entries[shard] = info["entries-added"]
        return counted + read < self._entries[shard]

    def _begin_again(self, shard: int) -> bool:
        was_further = self._after[shard] != BEGINNING
        self._after[shard], self._entries[shard] = BEGINNING, 0
        return was_further


def are_abreast(redis: Redis, shards: int) -> bool:
    """Whether there are readers, and every one came back for more after all that there is."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.hvals(READERS_KEY)
        for shard in range(shards):
            pipe.xinfo_stream(stream_key(shard))
        places, *infos = pipe.execute(raise_on_error=False)
    newest = [info["last-generated-id"].decode() if isinstance(info, dict) else BEGINNING for info in infos]
    return bool(places) and all(msgspec.json.decode(place, type=Sequence[str]) == newest for place in places)


def _place(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)
