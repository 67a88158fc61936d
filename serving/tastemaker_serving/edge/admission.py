"""Who may do what, and how often: decided from memory, so that a request waits for nobody and Redis may be away."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from redis.asyncio import Redis

from tastemaker import keys
from tastemaker.config import Edge
from tastemaker.errors import Forbidden, InvalidInput, TooManyRequests, Unauthorized, Unavailable
from tastemaker.keys import Key, Scope
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.rates import RateLimiter

LOOK_S = 1.0
"""A new key works, and a revoked one no more, after so long."""
ANONYMOUS = ""
"""All who show no key share one rate."""

log = logging.getLogger(__name__)


def check_exposure(edge: Edge) -> None:
    """Refuse to listen beyond this machine without keys.

    Raises:
        InvalidInput: `edge.host` is not a loopback address and neither `edge.api_key` nor `edge.keys_file` is set.
    """
    if edge.api_key is None and edge.keys_file is None and not _is_loopback(edge.host):
        raise InvalidInput(
            f"edge.host is {edge.host!r}, which others can reach, and neither edge.api_key nor edge.keys_file is set",
            "Set TASTEMAKER_EDGE__API_KEY, or listen on 127.0.0.1",
        )


class Gate:
    """The keys that are known, and the rates of their holders.

    Known are `edge.api_key` (scope admin), those of `edge.keys_file`, and those in Redis as of the last look. As long
    as there is none at all, everyone may do everything: that is a laptop. Before the first look nobody knows whether
    there is none, so whoever needs a key and shows none that is known is asked to wait.

    Raises:
        InvalidInput: `edge.keys_file` cannot be read.
    """

    def __init__(self, settings: Edge, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._limiter = RateLimiter()
        self._of_settings = _of_settings(settings)
        self._by_digest = _by_digest(self._of_settings)
        self._has_looked = False

    def admit(self, authorization: str | None, scope: Scope) -> None:
        """Let a caller do what needs `scope`, by their `Authorization` header.

        Raises:
            Unauthorized: they show no key, or none that is known, where one is needed.
            Forbidden: their key has other scopes.
            Unavailable: whether they may do it depends on the keys in Redis, which did not answer yet.
            TooManyRequests: they ask more often than they may.
        """
        key = self.check(authorization, scope)
        self._count(key)

    def check(self, authorization: str | None, scope: Scope) -> Key | None:
        """As `admit`, for one who is admitted already: this is no other request. Returns the key that is shown."""
        key = self._key_of(authorization)
        if key is None:
            if not self._has_looked and self._depends_on_redis(authorization, scope):
                raise Unavailable("Redis has not said yet which API keys there are", "Try again in a moment")
            if not self._is_open(scope):
                raise _unauthorized(authorization)
        elif not key.allows(scope) and not self._is_open(scope):
            raise Forbidden(
                f"key {key.key_id} has the scopes {', '.join(key.scopes)}; this call needs {scope}",
                f"Use a key of `tastemaker keys create --scope {scope}`",
            )
        return key

    async def refresh(self, redis: Redis, breaker: Breaker) -> None:
        """Look at the keys in Redis once. Raises `Unavailable` when it does not answer; all stays as it was."""
        try:
            with breaker:
                found = await keys.read(redis)
        except msgspec.DecodeError as error:
            log.warning("the API keys in Redis cannot be read and stay as they were: %s", error)
            return
        self._by_digest = _by_digest([*self._of_settings, *found])
        self._has_looked = True

    async def keep_current(self, redis: Redis, breaker: Breaker) -> None:
        """Look again and again, until cancelled."""
        while True:
            with suppress(Unavailable):
                await self.refresh(redis, breaker)
            await asyncio.sleep(LOOK_S)

    def _key_of(self, authorization: str | None) -> Key | None:
        """The key that is shown, unless it is unknown or revoked.

        It is found by its hash: how long that takes tells nothing of the keys that are known.
        """
        if not authorization:
            return None
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = self._by_digest.get(keys.digest(secret))
        return None if key is None or key.revoked_at is not None else key

    def _depends_on_redis(self, authorization: str | None, scope: Scope) -> bool:
        """Whether a caller without a known key might be let in once the keys in Redis are known."""
        if scope == "read" and self._settings.open_reads:
            return False
        return bool(authorization) or self._is_open(scope)

    def _is_open(self, scope: Scope) -> bool:
        if scope == "read":
            return self._settings.open_reads
        return not self._by_digest and self._settings.keys_file is None

    def _count(self, key: Key | None) -> None:
        rate = self._settings.rate_limit if key is None or key.rate_limit is None else key.rate_limit
        if rate is None:
            return
        wait_s = self._limiter.wait_s(ANONYMOUS if key is None else key.key_id, rate, self._clock())
        if wait_s:
            whose = "callers without a key together" if key is None else f"key {key.key_id}"
            raise TooManyRequests(
                f"{whose} may send {rate:g} requests per second", "Wait as long as `Retry-After` says", wait_s
            )


def _of_settings(settings: Edge) -> list[Key]:
    found: list[Key] = []
    if settings.api_key is not None:
        hashed = keys.digest(settings.api_key.get_secret_value())
        found.append(Key(key_id="edge.api_key", digest=hashed, scopes=("admin",), created_at=datetime.now(UTC)))
    if settings.keys_file is not None:
        try:
            found += keys.decode_file(settings.keys_file.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise InvalidInput(
                f"edge.keys_file {str(settings.keys_file)!r} cannot be read: {error}",
                "Write it with `tastemaker keys export`",
            ) from error
    return found


def _by_digest(known: Iterable[Key]) -> Mapping[str, Key]:
    """Of two records of one key the revoked one counts, wherever it is."""
    found: dict[str, Key] = {}
    for key in known:
        before = found.get(key.digest)
        if before is None or before.revoked_at is None:
            found[key.digest] = key
    return found


def _unauthorized(authorization: str | None) -> Unauthorized:
    what = "the API key is not known, or was revoked" if authorization else "this call needs an API key"
    return Unauthorized(what, "Send `Authorization: Bearer KEY` with a key of `tastemaker keys create`")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
