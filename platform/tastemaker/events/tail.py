"""Reading the event stream beside the groups: for whoever keeps nothing in Redis and may begin anew.

An entry leaves its stream when the groups are done with it, and is in the lake by then (see `stream`). So a reader that
is a moment behind misses nothing; one that was away for longer is told, and finds what it missed in the lake.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Final

from redis import Redis, ResponseError

from tastemaker.events import followers, schema
from tastemaker.events.followers import BEGINNING, Report, place
from tastemaker.events.schema import Record
from tastemaker.events.stream import FIELD, stream_key

MOST_ENTRIES: Final = 256  # of a shard in one reply


class Tail:
    """One reader's place in every shard. Not for use by several threads."""

    def __init__(self, redis: Redis, shards: int) -> None:
        self._redis = redis
        self._name = uuid.uuid4().hex
        self._after = [BEGINNING] * shards
        self._entries = [0] * shards  # ever added up to there

    def read(self, *, caught_up: bool = True, lost: int = 0) -> tuple[list[Record], bool]:
        """The events that came in since the last call, at first all there are; and whether others came and went.

        Whoever asks (`followers`) is told that the reader is done with what the last call gave.

        Args:
            caught_up: whether it has taken in what it had to begin with.
            lost: events of the last call that it could not take in.
        """
        records: list[Record] = []
        missed = False
        with self._redis.pipeline(transaction=False) as pipe:
            for shard, after in enumerate(self._after):
                pipe.xread({stream_key(shard): after}, count=MOST_ENTRIES)
                pipe.xinfo_stream(stream_key(shard))
            followers.report(pipe, self._name, Report(time.time(), self._after, caught_up), lost)
            replies = pipe.execute(raise_on_error=False)[: 2 * len(self._after)]
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

    def leave(self) -> None:
        """Say that there is no such reader any more."""
        self._redis.hdel(followers.FOLLOWERS_KEY, self._name)

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
        if place(last) < place(self._after[shard]):
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
