from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tastemaker import erasure, keepsakes
from tastemaker.errors import Unavailable
from tastemaker.features.trail import epoch_key, shown_key, slate_key
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
    entry = Entry(epoch, 1000.0, "m", "Drama", ITEMS, "r")
    await cache.write("7", "v", entry, "home", SHOWN, epoch=epoch, ttl_s=ttl_s)


async def test_an_entry_is_fresh_in_its_epoch(redis: Redis) -> None:
    cache = cache_on(redis)
    assert await cache.read("7", ["v"], "home", TTL_S, 1) == Found(0)
    await keep(cache, 0)
    found = await cache.read("7", ["v"], "home", TTL_S, 1)
    assert found.fresh
    assert found.entry is not None
    assert (found.entry.items, found.entry.segment, found.entry.model_version) == (ITEMS, "Drama", "m")
    assert (await cache.read("8", ["v"], "home", TTL_S, 1)).entry is None


async def test_a_slate_computed_before_an_event_is_never_fresh_after_it(redis: Redis) -> None:
    cache = cache_on(redis)
    before = await cache.read("7", ["v"], "home", TTL_S, 1)
    await redis.incr(epoch_key("7"))  # the event is applied while the slate is being computed
    await keep(cache, before.epoch)
    after = await cache.read("7", ["v"], "home", TTL_S, 1)
    assert after.epoch == 1
    assert not after.fresh
    assert after.entry is not None


async def test_an_entry_grows_stale_but_stays_for_the_ladder(redis: Redis) -> None:
    now = 1000.0
    cache = cache_on(redis, lambda: now, stale_ttl_s=900)
    await keep(cache, 0)
    now += 299
    assert (await cache.read("7", ["v"], "home", TTL_S, 1)).fresh
    now += 2
    found = await cache.read("7", ["v"], "home", TTL_S, 1)
    assert found.entry is not None
    assert not found.fresh
    assert 890 < await redis.ttl(slate_key("7", "v")) <= 900


async def test_an_entry_in_another_form_is_a_miss(redis: Redis) -> None:
    await redis.set(slate_key("7", "v"), b"\x93\x01")
    assert await cache_on(redis).read("7", ["v"], "home", TTL_S, 1) == Found(0)


async def test_no_life_switches_the_cache_off(redis: Redis) -> None:
    cache = cache_on(redis)
    await keep(cache, 0, ttl_s=0)
    assert await cache.read("7", ["v"], "home", 0, 1) == Found()
    assert await redis.dbsize() == 0


async def test_a_dead_redis_is_unavailable() -> None:
    async def probe() -> None: ...

    async with connect(f"redis://127.0.0.1:{free_port()}") as gone:
        cache = SlateCache(gone, Breaker("Redis", probe, (RedisError, OSError)), 86_400)
        with pytest.raises(Unavailable, match="Redis does not answer"):
            await cache.read("7", ["v"], "home", TTL_S, 1)


async def test_what_was_shown_is_known_beside_any_entry_of_the_scene(redis: Redis) -> None:
    cache = cache_on(redis)
    await keep(cache, 0)
    assert recent.decode((await cache.read("7", ["v"], "home", TTL_S, 1)).shown) == tuple(SHOWN)
    assert recent.decode((await cache.read("7", ["w"], "home", TTL_S, 1)).shown) == tuple(SHOWN)
    assert (await cache.read("7", ["w"], "news", TTL_S, 1)).shown is None
    await cache.write("7", "w", None, "news", SHOWN, epoch=0, ttl_s=TTL_S)
    found = await cache.read("7", ["w"], "news", TTL_S, 1)
    assert found.entry is None, "a slate that is not kept was shown all the same"
    assert recent.decode(found.shown) == tuple(SHOWN)


async def test_a_slate_that_was_under_way_when_its_user_was_erased_is_not_kept(redis: Redis) -> None:
    cache = cache_on(redis)
    await redis.set(epoch_key("7"), 3)
    await erasure.erase(redis, "7")  # while the slate is being computed
    await keep(cache, 3)
    found = await cache.read("7", ["v"], "home", TTL_S, 1)
    assert (found.entry, found.shown) == (None, None)
    await keep(cache, found.epoch)
    assert (await cache.read("7", ["v"], "home", TTL_S, 1)).fresh, "they came back"


async def test_the_index_of_what_is_kept_lasts_as_long_as_that_and_forgets_what_is_gone(redis: Redis) -> None:
    await keep(cache_on(redis, stale_ttl_s=900), 0)
    index = keepsakes.index_key("7")
    assert await redis.zrange(index, 0, -1) == [shown_key("7", "home").encode(), slate_key("7", "v").encode()]
    await keep(cache_on(redis, stale_ttl_s=0), 0)
    assert 890 < await redis.ttl(index) <= 900
    await redis.zadd(index, {"gone": 1.0})
    await keep(cache_on(redis), 0)
    assert await redis.zscore(index, "gone") is None


async def test_the_beginning_of_a_slate_that_was_computed_ahead_serves_for_fewer(redis: Redis) -> None:
    cache = cache_on(redis)
    items = tuple(SlateItem(f"i{place}", 0.5, place, "two-tower", "For you") for place in range(3))
    ahead = Entry(0, 900.0, "m", "Drama", items, life_s=200)
    await cache.write("7", "ahead", ahead, "home", SHOWN, epoch=0, ttl_s=TTL_S)
    for n, there in ((2, items[:2]), (3, items), (4, None)):
        entry = (await cache.read("7", ["own", "ahead"], "home", TTL_S, n)).entry
        assert (entry and entry.items) == there
    computed = structs.replace(ahead, items=items[:1], request_id="r", created=950.0, life_s=0)
    await cache.write("7", "own", computed, "home", SHOWN, epoch=0, ttl_s=TTL_S)
    found = await cache.read("7", ["own", "ahead"], "home", TTL_S, 2)
    assert (found.entry, found.fresh) == (computed, True), "the newer one, though there were no more items"
    outdated = structs.replace(computed, epoch=5)
    await cache.write("7", "own", outdated, "home", SHOWN, epoch=0, ttl_s=TTL_S)
    found = await cache.read("7", ["own", "ahead"], "home", TTL_S, 2)
    assert (found.entry and found.entry.items, found.fresh) == (items[:2], True)


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
    assert len({variant_of("v1", structs.replace(plain, n=n), any_length=True) for n in (10, 20)} - variants) == 1
    assert variant_of("v1", structs.replace(plain, exclude=["b", "a", "a"], request_id="s", user_id="8")) in variants
