"""API keys: random, shown once, kept as hashes.

A key is `tm_` + its public id + `_` + 256 random bits, and what is kept is its SHA-256. Slow, salted hashes (scrypt,
Argon2) make guessing dear where people choose secrets; here there is nothing to guess, since 2^256 tries are out of
reach whatever one of them costs, and a fast hash keeps verification at a microsecond per request.

Keys lie in the Redis hash `tm:keys`. A revoked key stays there, so that an edge refuses it even where its file of keys
(`edge.keys_file`) still has it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Iterable
from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast, get_args

import msgspec
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.errors import NotFound

Scope = Literal["read", "write", "admin"]
"""`read`: slates, lists, search. `write`: events, profiles, preferences. `admin`: everything, the catalogue and erasure
included."""
SCOPES: Final = get_args(Scope)

PREFIX: Final = "tm"
REDIS_KEY: Final = "tm:keys"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a key."""

    key_id: str
    digest: str
    """SHA-256 of the key, hexadecimal."""
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)]
    created_at: datetime
    note: str = ""
    rate_limit: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Requests per second, in place of `edge.rate_limit`."""
    revoked_at: datetime | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether who shows this key may do what needs `scope`."""
        return self.revoked_at is None and (scope in self.scopes or "admin" in self.scopes)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Key).decode


def make(scopes: Iterable[str], now: datetime, note: str = "", rate_limit: float | None = None) -> tuple[str, Key]:
    """A new key: what its holder gets, and what is kept.

    Raises:
        msgspec.ValidationError: a scope is unknown, there is none, or the rate is not above 0.
    """
    key_id = secrets.token_hex(6)
    secret = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    fields = {
        "key_id": key_id,
        "digest": digest(secret),
        "scopes": tuple(dict.fromkeys(scopes)),
        "created_at": now,
        "note": note,
        "rate_limit": rate_limit,
    }
    return secret, msgspec.convert(fields, Key)


def digest(secret: str) -> str:
    """What is kept of a key, 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add(redis: Redis, key: Key) -> None:
    """Keep `key`, or replace it."""
    redis.hset(REDIS_KEY, key.key_id, _encode(key).decode())


def known(redis: Redis) -> list[Key]:
    """All keys, revoked ones included, oldest first."""
    blobs: Any = redis.hvals(REDIS_KEY)
    return _in_order(blobs)


def revoke(redis: Redis, key_id: str, now: datetime) -> Key:
    """Revoke a key for good; it is still listed.

    Raises:
        NotFound: there is no such key.
    """
    blob: Any = redis.hget(REDIS_KEY, key_id)
    if blob is None:
        raise NotFound(f"no key {key_id!r}", "`tastemaker keys list` shows them")
    key = _decode(blob)
    if key.revoked_at is None:
        key = msgspec.structs.replace(key, revoked_at=now)
        add(redis, key)
    return key


async def read(redis: AsyncRedis) -> list[Key]:
    """As `known`, for the edge."""
    return _in_order(await cast("Awaitable[list[bytes]]", redis.hvals(REDIS_KEY)))


def decode_file(text: bytes) -> list[Key]:
    """Keys as `tastemaker keys export` prints them.

    Raises:
        msgspec.DecodeError: the text is something else.
    """
    return msgspec.json.decode(text, type=list[Key])


def encode_file(keys: Iterable[Key]) -> bytes:
    """JSON for `edge.keys_file`."""
    return msgspec.json.format(_encode(list(keys)), indent=2)


def _in_order(blobs: Iterable[bytes]) -> list[Key]:
    return sorted(map(_decode, blobs), key=lambda key: (key.created_at, key.key_id))
