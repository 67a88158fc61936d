from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tastemaker import erasure
from tastemaker.decisions import recent
from tastemaker.decisions.sampling import Decisions

from .examples import decision, trace

SETTINGS = Decisions(recent_full=2, recent_slates=3, recent_s=60)


@pytest.fixture
async def online(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def test_what_was_written_is_found_by_its_request(online: Redis) -> None:
    both = [decision("a", trace()), decision("b")]
    await recent.write(online, both, SETTINGS)
    assert [await recent.find(online, request_id) for request_id in ("a", "b", "c")] == [*both, None]
    assert 0 < await online.ttl(recent.place_key("a")) <= 60


async def test_a_slate_from_the_cache_comes_with_the_trace_of_its_origin(online: Redis) -> None:
    await recent.write(online, [decision("a", trace()), decision("b", origin="a"), decision("c", origin="z")], SETTINGS)
    assert await recent.find(online, "b") == decision("b", trace(), origin="a")
    assert await recent.find(online, "c") == decision("c", origin="z")


async def test_the_oldest_go_beyond_the_bound(online: Redis) -> None:
    many = 400
    await recent.write(online, [decision(f"r{number}") for number in range(many)], SETTINGS)
    assert await online.xlen(recent.STREAMS["slate"]) < many / 2
    assert await recent.find(online, "r0") is None
    assert await recent.find(online, f"r{many - 1}") is not None


async def test_what_is_no_longer_recent_goes(online: Redis) -> None:
    old = f"{(int(time.time()) - 61) * 1000}-0"
    await online.xadd(recent.STREAMS["full"], {recent.FIELD: b"x"}, id=old)
    await recent.write(online, [decision("a")], SETTINGS)
    assert await online.xlen(recent.STREAMS["full"]) == 0


async def test_a_user_who_was_erased_is_not_told_of(online: Redis) -> None:
    await recent.write(online, [decision("a", time=time.time())], SETTINGS)
    await erasure.erase(online, "7")
    assert await recent.find(online, "a") is None
    later = decision("b", time=time.time() + 1)
    await recent.write(online, [later], SETTINGS)
    assert await recent.find(online, "b") == later


async def test_an_entry_of_another_form_is_none(online: Redis) -> None:
    entry = await online.xadd(recent.STREAMS["slate"], {recent.FIELD: b"other"})
    await online.set(recent.place_key("x"), b"slate " + entry)
    assert await recent.find(online, "x") is None
