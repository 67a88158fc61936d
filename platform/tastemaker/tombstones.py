"""Who asked to be forgotten: for whoever reads the lake, which still knows them, or keeps what users do in memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from redis import Redis

from tastemaker import columns
from tastemaker.erasure import TOMBSTONES

LOOK_S: Final = 5.0


@dataclass(frozen=True)
class Asked:
    """U users who asked to be forgotten, and when, in milliseconds since 1970."""

    users: pa.Array  # (U,)
    times_ms: pa.Array  # (U,)

    @classmethod
    def of(cls, tombstones: Mapping[bytes, bytes]) -> Asked:
        """Those of the hash `erasure.TOMBSTONES`."""
        users = pa.array([user.decode() for user in tombstones], pa.string())
        return cls(users, pa.array([int(when) for when in tombstones.values()], pa.int64()))

    def before(self, users: pa.ChunkedArray, moments_ms: pa.Array | pa.ChunkedArray | pa.Scalar) -> pa.ChunkedArray:
        """Which rows, by user and moment, are of a user who asked no earlier than that moment."""
        asked_ms = self.times_ms.take(pc.index_in(users, value_set=self.users).combine_chunks())
        return pc.fill_null(pc.less_equal(moments_ms, asked_ms), fill_value=False)


class Tombstones:
    """All that there are, as of a few seconds ago. Not for use by several threads."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: Mapping[bytes, bytes] = {}
        self._asked = Asked.of({})
        self._next_look = 0.0

    def look(self) -> list[str]:
        """The users who asked since the last call. Redis is asked every `LOOK_S` seconds.

        Raises:
            redis.RedisError: it did not answer.
        """
        if time.monotonic() < self._next_look:
            return []
        found: Mapping[bytes, bytes] = self._redis.hgetall(TOMBSTONES)  # type: ignore[assignment]
        new = [user.decode() for user, when in found.items() if self._known.get(user) != when]
        self._known, self._asked = found, Asked.of(found)
        self._next_look = time.monotonic() + LOOK_S
        return new

    def without(self, events: pa.Table) -> pa.Table:
        """`events` (lake.EVENT_SCHEMA) but for those of before their users asked."""
        if not self._known:
            return events
        moments_ms = pc.divide(events[columns.TIMESTAMP].cast(pa.int64()), 1000)
        return events.filter(pc.invert(self._asked.before(events[columns.USER_ID], moments_ms)))
