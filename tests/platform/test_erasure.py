"""What erasure finds of a user, on a real Valkey; what the API says of it stands with the edge's tests."""

from __future__ import annotations

import time
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import erasure, exploration, keepsakes, preferences, profiles
from tastemaker.features.trail import claims_key, epoch_key, erased_key, shown_key, slate_key, trail_key
from tastemaker.preferences import Preferences
from tastemaker.profiles import Profile


async def live(redis_url: str, user: str) -> None:
    """Leave one key of each kind."""
    async with AsyncRedis.from_url(redis_url) as client:
        await profiles.put(client, user, Profile("DE"))
        await preferences.records.write(client, user, Preferences(("Drama",)))
        async with client.pipeline(transaction=False) as pipe:
            pipe.set(trail_key(user), b"")
            pipe.set(claims_key(user), b"")
            for day in (-1, 0):
                pipe.sadd(exploration.clicked_key(user, time.time() + day * exploration.DAY_S), "i1")
            kept = {slate_key(user, "v"): b"", slate_key(user, "w"): b"", shown_key(user, "a scene of long ago"): b""}
            keepsakes.keep(pipe, user, 2, kept, 900)
            await pipe.execute()


def of(redis: Redis, user: str) -> set[bytes]:
    found: Any = redis.keys(f"tm:{{{user}}}:*")
    return set(found)


async def test_each_kind_of_key_goes_without_a_look_through_all_keys(redis: Redis, redis_url: str) -> None:
    for user in ("ann", "bob"):
        await live(redis_url, user)
    kept = of(redis, "bob")
    redis.config_resetstat()
    async with AsyncRedis.from_url(redis_url) as client:
        assert await erasure.erase(client, "ann") == 9
    looked: Any = redis.info("commandstats")
    assert not {"cmdstat_scan", "cmdstat_keys"} & set(looked)
    left = {epoch_key("ann").encode(), erased_key("ann").encode()}
    assert (of(redis, "ann"), of(redis, "bob")) == (left, kept)


async def test_erasing_again_erases_what_came_since(redis: Redis, redis_url: str) -> None:
    async with AsyncRedis.from_url(redis_url) as client:
        erased = []
        for _ in range(2):
            await live(redis_url, "ann")
            erased += [await erasure.erase(client, "ann"), await erasure.erase(client, "ann")]
    # What was cached without knowing of the new epoch is not kept the second time.
    assert erased == [9, 0, 6, 0]


async def test_what_broke_off_is_finished_and_what_was_done_is_left_alone(redis: Redis, redis_url: str) -> None:
    for user in ("ann", "bob"):
        await live(redis_url, user)
    redis.hset(erasure.TOMBSTONES, "ann", "1800000000000")  # and then the edge died
    asked = {"ann": 1_800_000_000_000}
    assert erasure.finish(redis, asked) == 9
    assert redis.get(erased_key("ann")) == b"1800000000000"
    redis.set(trail_key("ann"), b"since")
    assert erasure.finish(redis, asked) == 0
    assert redis.get(trail_key("ann")) == b"since"
    assert redis.exists(trail_key("bob"))
    assert erasure.finish(redis, {}) == 0
