from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import coverage

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC).timestamp()
HOUR = 3600


def test_what_was_shown_in_the_last_day_counts_once(redis: Redis) -> None:
    for age, items in ((0, ["a", "b"]), (5 * HOUR, ["b", "c"]), (24 * HOUR, ["d"]), (25 * HOUR, ["e"])):
        coverage.record(redis, items, NOW - age)
    assert coverage.ratio(redis, NOW, 8) == 4 / 8


def test_nothing_shown_is_no_coverage(redis: Redis) -> None:
    coverage.record(redis, [], NOW)
    assert redis.keys() == []
    assert coverage.ratio(redis, NOW, 8) == 0


def test_items_that_left_the_catalogue_do_not_make_it_more_than_whole(redis: Redis) -> None:
    coverage.record(redis, ["a", "b", "c"], NOW)
    assert coverage.ratio(redis, NOW, 2) == 1


async def test_a_pipeline_of_asyncio_records(redis: Redis, redis_url: str) -> None:
    async with AsyncRedis.from_url(redis_url) as client, client.pipeline(transaction=False) as pipe:
        coverage.record(pipe, iter(["a", "b"]), NOW)
        await pipe.execute()
    assert coverage.ratio(redis, NOW, 4) == 0.5


def test_an_hour_is_forgotten_when_it_no_longer_counts(redis: Redis) -> None:
    coverage.record(redis, ["a"], NOW)
    last_look = (NOW // HOUR + coverage.HOURS) * HOUR - 1
    kept_s: Any = redis.ttl(coverage.key_of_hour(NOW))
    assert last_look - NOW < kept_s <= coverage.LIFE_S


def test_a_large_catalogue_is_estimated_within_two_per_cent(redis: Redis) -> None:
    coverage.record(redis, (f"item-{number}" for number in range(10_000)), NOW)
    assert abs(coverage.ratio(redis, NOW, 50_000) - 0.2) < 0.004
