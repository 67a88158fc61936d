"""Which colour a user belongs to: one small document, written by whoever leads the rollout, read by every edge.

It lies in Redis; edges look twice a second and keep the last one they saw. A user's place is a hash of the document's
salt and their id, and the newcomer's share grows from zero: a larger weight moves no one back who saw the new colour.
"""

from __future__ import annotations

from typing import Final

import msgspec
import xxhash
from redis import Redis

KEY: Final = "tm:routing"
"""Holds the document."""

WHOLE: Final = 1 << 64


class Target(msgspec.Struct, frozen=True):
    """A colour that may get requests."""

    colour: str
    url: str
    """Of its Recommender: scheme, host and port."""
    version: str
    """What the colour's answers call their model, e.g. tastemaker/3."""


class Routing(msgspec.Struct, frozen=True):
    """Everything an edge needs to know. Without a candidate everyone belongs to the stable colour."""

    stable: Target
    candidate: Target | None = None
    weight: float = 0.0
    """Per cent of the users who get the candidate."""
    shadow: float = 0.0
    """Per cent of the requests that are copied to the candidate."""
    salt: str = ""
    period: str = ""
    """Name under which edges count what each colour does (meter.py); nothing is counted without one."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Routing).decode


def encode(routing: Routing) -> bytes:
    """The document as JSON."""
    return _encode(routing)


def digest(routing: Routing) -> str:
    """A short name of the document, the same wherever it is read."""
    return xxhash.xxh3_64_hexdigest(_encode(routing))


def decode(document: bytes | str) -> Routing:
    """The routing that a document holds.

    Raises:
        msgspec.DecodeError: it holds none.
    """
    return _decode(document)


def read(redis: Redis) -> Routing | None:
    """The routing that edges follow; None where none was ever written."""
    document: bytes | None = redis.get(KEY)  # type: ignore[assignment]
    return None if document is None else decode(document)


def write(redis: Redis, routing: Routing) -> bool:
    """Make every edge follow `routing`. Returns whether it was another one before."""
    document = encode(routing)
    return redis.set(KEY, document, get=True) != document


def place(salt: str, user_id: str) -> float:
    """Where a user stands in [0, 100); another salt shuffles all users."""
    return xxhash.xxh3_64_intdigest(f"{salt}\0{user_id}".encode()) / WHOLE * 100


def target_of(routing: Routing, user_id: str) -> Target:
    """The colour that answers this user."""
    if routing.candidate is None or place(routing.salt, user_id) >= routing.weight:
        return routing.stable
    return routing.candidate
