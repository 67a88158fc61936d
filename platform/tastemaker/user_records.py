"""One small document per user, online: what the edge was told of them and the Recommender reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec
from redis.asyncio import Redis

from tastemaker.features.trail import epoch_key
from tastemaker.user_keys import user_key

Record = TypeVar("Record", bound=msgspec.Struct)


class UserRecords(Generic[Record]):
    """The documents of one kind, as msgpack under `tm:{user}:NAME`.

    Args:
        kind: its fields all have defaults; a user without a document has those.
    """

    def __init__(self, name: str, kind: type[Record]) -> None:
        self._name = name
        self._absent = kind()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def key(self, user_id: str) -> str:
        """Key of a user's document."""
        return user_key(user_id, self._name)

    def decode(self, blob: bytes | None) -> Record:
        """The document that a Redis string holds; the defaults where there is none or another version wrote it."""
        if blob is None:
            return self._absent
        try:
            return self._decode(blob)
        except msgspec.DecodeError:
            return self._absent

    async def write(self, redis: Redis, user_id: str, record: Record) -> None:
        """Replace the user's document; slates that were cached before are out of date.

        Raises:
            redis.RedisError: Redis did not take it.
        """
        async with redis.pipeline(transaction=True) as pipe:
            pipe.set(self.key(user_id), self._encode(record))
            pipe.incr(epoch_key(user_id))
            await pipe.execute()

    async def read(self, redis: Redis, user_ids: Sequence[str]) -> list[Record]:
        """The documents of `user_ids`, in their order, in one round trip.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        if not user_ids:
            return []
        async with redis.pipeline(transaction=False) as pipe:
            for user_id in user_ids:
                pipe.get(self.key(user_id))
            return [self.decode(blob) for blob in await pipe.execute()]
