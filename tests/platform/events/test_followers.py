"""What followers say of themselves, and what is seen of them, on a real Valkey."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.events import followers, stream
from tastemaker.events.followers import FOLLOWERS_KEY, KEPT_S, Followers
from tastemaker.events.tail import Tail
from tastemaker.types import Event

SHARDS = 3


async def publish(redis_url: str, *names: str) -> None:
    events = [Event(name, f"user of {name}", "i", "click", datetime.now(UTC)) for name in names]
    async with AsyncRedis.from_url(redis_url) as redis:
        await stream.publish(redis, events, SHARDS)


def look(redis: Redis, later_s: float = 0.0) -> Followers:
    return followers.look(redis, SHARDS, time.time() + later_s)


async def test_all_are_abreast_when_each_came_back_for_more(redis: Redis, redis_url: str) -> None:
    assert not look(redis).are_abreast, "nobody reads"
    first, second = Tail(redis, SHARDS), Tail(redis, SHARDS)
    await publish(redis_url, *"abcdef")
    first.read()
    second.read()
    assert not look(redis).are_abreast, "they may still be at work on it"
    first.read()
    assert not look(redis).are_abreast
    second.read()
    assert look(redis).are_abreast
    await publish(redis_url, "g")
    assert not look(redis).are_abreast


async def test_the_lag_is_the_age_of_the_oldest_event_that_one_is_not_done_with(redis: Redis, redis_url: str) -> None:
    assert look(redis).lag_s(time.time()) is None
    quick, slow = Tail(redis, SHARDS), Tail(redis, SHARDS)
    for tail in (quick, slow):
        tail.read()
    assert look(redis).lag_s(time.time()) == 0
    before = time.time()
    await publish(redis_url, "a")
    await publish(redis_url, *"bcdefgh")
    quick.read()
    quick.read()
    assert look(redis).lag_s(before + 100) == pytest.approx(100, abs=1)
    for shard in range(SHARDS):
        redis.xtrim(stream.stream_key(shard), maxlen=0)
    assert look(redis).lag_s(before + 100) == pytest.approx(100, abs=1), "what left the stream is still to be found"
    slow.read()
    slow.read()
    assert look(redis).lag_s(before + 100) == 0


def test_who_still_begins_has_not_caught_up(redis: Redis) -> None:
    Tail(redis, SHARDS).read()
    beginner = Tail(redis, SHARDS)
    beginner.read(caught_up=False)
    found = look(redis)
    assert (found.caught_up, found.catching_up, found.are_abreast) == (1, 1, False)
    beginner.read(caught_up=True)
    assert (look(redis).caught_up, look(redis).are_abreast) == (2, True)


def test_who_fell_silent_is_forgotten_though_others_go_on(redis: Redis) -> None:
    Tail(redis, SHARDS).read()
    assert look(redis, KEPT_S - 5).caught_up == 1
    assert look(redis, KEPT_S + 5).caught_up == 0
    assert redis.hlen(FOLLOWERS_KEY) == 0


def test_who_leaves_is_no_follower_any_more(redis: Redis) -> None:
    staying, leaving = Tail(redis, SHARDS), Tail(redis, SHARDS)
    staying.read()
    leaving.read()
    leaving.leave()
    assert look(redis).caught_up == 1


def test_lost_events_are_counted_by_one(redis: Redis) -> None:
    first, second = Tail(redis, SHARDS), Tail(redis, SHARDS)
    first.read(lost=3)
    second.read(lost=2)
    assert followers.count_lost(redis) == 5
    assert followers.count_lost(redis) == 0
