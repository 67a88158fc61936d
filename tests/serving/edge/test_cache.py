from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tastemaker.errors import Unavailable
from tastemaker.features.trail import epoch_key, slate_key
from tastemaker.types import SlateItem
from tastemaker_serving.edge import recent
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.cache import Entry, Found, SlateCache, variant_of
from tastemaker_serving.edge.recent import Shown
from tastemaker_serving.edge.state import connect
from tastemaker_serving.wire import Query

from .conftest import free_port

TTL_S = 300
SHOWN = [Shown(0, ["i1"])]
ITEMS = (SlateItem("i1", 0.5, 0, "two-tower", "For you"),)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with connect(redis_url) as client:
        yield client


def cache_on(redis: Redis, clock: Callable[[], float] = lambda: 1000.0, stale_ttl_s: int = 86_400) -> SlateCache:
    async def probe() -> None: ...

    return SlateCache(redis, Breaker("Redis", probe, (OSError,)), stale_ttl_s, clock)


async def keep(cache: SlateCache, epoch: int, ttl_s: int = TTL_S) -> None:
    await cache.write("7", "v", Entry(epoch, 1000.0, "m", "Drama", ITEMS), "home", SHOWN, ttl_s=ttl_s)


async def test_an_entry_is_fresh_in_its_epoch(redis: Redis) -> None:
    cache = cache_on(redis)
    assert await cache.read("7", "v", "home", TTL_S) == Found(0)
    await keep(cache, 0)
    found = await cache.read("7", "v", "home", TTL_S)
    assert found.fresh
    assert found.entry is not None
    assert (found.entry.items, found.entry.segment, found.entry.model_version) == (ITEMS, "Drama", "m")
    assert (await cache.read("8", "v", "home", TTL_S)).entry is None


async def test_a_slate_computed_before_an_event_is_never_fresh_after_it(redis: Redis) -> None:
    cache = cache_on(redis)
    before = await cache.read("7", "v", "home", TTL_S)
    await redis.incr(epoch_key("7"))  # the event is applied while the slate is being computed
    await keep(cache, before.epoch)
    after = await cache.read("7", "v", "home", TTL_S)
    assert after.epoch == 1
    assert not after.fresh
    assert after.entry is not None


async def test_an_entry_grows_stale_but_stays_for_the_ladder(redis: Redis) -> None:
    now = 1000.0
    cache = cache_on(redis, lambda: now, stale_ttl_s=900)
    await keep(cache, 0)
    now += 299
    assert (await cache.read("7", "v", "home", TTL_S)).fresh
    now += 2
    found = await cache.read("7", "v", "home", TTL_S)
    assert found.entry is not None
    assert not found.fresh
    assert 890 < await redis.ttl(slate_key("7", "v")) <= 900


async def test_an_entry_in_another_form_is_a_miss(redis: Redis) -> None:
    await redis.set(slate_key("7", "v"), b"\x93\x01")
    assert await cache_on(redis).read("7", "v", "home", TTL_S) == Found(0)


async def test_no_life_switches_the_cache_off(redis: Redis) -> None:
    cache = cache_on(redis)
    await keep(cache, 0, ttl_s=0)
    assert await cache.read("7", "v", "home", 0) == Found()
    assert await redis.dbsize() == 0


async def test_a_dead_redis_is_unavailable() -> None:
    async def probe() -> None: ...

    async with connect(f"redis://127.0.0.1:{free_port()}") as gone:
        cache = SlateCache(gone, Breaker("Redis", probe, (RedisError, OSError)), 86_400)
        with pytest.raises(Unavailable, match="Redis does not answer"):
            await cache.read("7", "v", "home", TTL_S)


async def test_what_was_shown_is_known_beside_any_entry_of_the_scene(redis: Redis) -> None:
    cache = cache_on(redis)
    await keep(cache, 0)
    assert recent.decode((await cache.read("7", "v", "home", TTL_S)).shown) == tuple(SHOWN)
    assert recent.decode((await cache.read("7", "w", "home", TTL_S)).shown) == tuple(SHOWN)
    assert (await cache.read("7", "w", "news", TTL_S)).shown is None
    await cache.write("7", "w", None, "news", SHOWN, ttl_s=TTL_S)
    found = await cache.read("7", "w", "news", TTL_S)
    assert found.entry is None, "a slate that is not kept was shown all the same"
    assert recent.decode(found.shown) == tuple(SHOWN)


def test_a_variant_names_everything_that_a_slate_depends_on() -> None:
    plain = Query("r", "7", "home", None, 20)
    variants = {
        variant_of("v1", plain),
        variant_of("v2", plain),
        variant_of("v1", plain, page=1),
        variant_of("v1", plain, rules="a"),
        *(
            variant_of("v1", structs.replace(plain, **other))
            for other in ({"device": "tv"}, {"country": "DE"}, {"n": 10}, {"exclude": ["a"]}, {"exclude": ["a", "b"]})
        ),
    }
    assert len(variants) == 9
    assert variant_of("v1", structs.replace(plain, exclude=["b", "a", "a"], request_id="s", user_id="8")) in variants
