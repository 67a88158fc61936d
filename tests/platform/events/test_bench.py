from __future__ import annotations

import time

import pytest
from redis import Redis

from tastemaker.config import Settings
from tastemaker.events import bench, ingest, online, schema
from tastemaker.events.stream import LAKE, Group
from tastemaker.features.trail import trail_key
from tastemaker.lake import Lake


def test_nothing_is_lost_or_doubled_when_the_worker_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_REDIS_URL", "redis://somebody-elses.example:1")
    monkeypatch.setenv("TASTEMAKER_LAKE_URL", "s3://somebody-elses")
    said: list[str] = []
    result = bench.run(3000, 2, said.append)
    assert (result.events, result.kills, result.lost, result.doubled) == (3000, 2, 0, 0)
    assert min(result.events_per_s, result.events_per_s_per_core, result.worker_cpu_s, result.publisher_cpu_s) > 0
    assert "3,000 of 3,000 events; killed 2 times" in said


async def test_what_is_missing_or_too_much_is_counted_wherever_it_is(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    since = int(time.time())
    await bench._publish_all(redis_url, settings, 100)
    lake = Lake(settings.lake)
    groups = [Group(redis, LAKE, shard, settings.event_types) for shard in range(settings.ingest.shards)]
    taken = [(group, group.read(1000)) for group in groups]
    for group, entries in taken:
        online.apply(redis, entries, settings)
        ingest.store(lake, group, entries)
    assert bench._differences(redis, settings, 100, since) == (0, 0)

    records = taken[0][1][0].records
    lake.append_events(schema.to_arrow(records[:2]))
    assert bench._differences(redis, settings, 100, since) == (0, 2)
    redis.delete(trail_key(records[0].user_id))
    assert bench._differences(redis, settings, 100, since) == (1, 2)
    for key in redis.scan_iter("tm:trending:{*}"):
        redis.zincrby(key, 1.0, "item-0")
    lost, doubled = bench._differences(redis, settings, 100, since)
    assert lost == 1
    assert doubled > 2
