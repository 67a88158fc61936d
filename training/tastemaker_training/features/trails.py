"""Users' newest events put online, where serving reads them: by partition, on the engine of feature builds."""

from __future__ import annotations

from functools import partial

import pyarrow as pa
from redis import Redis

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.features import trail
from tastemaker.lake import Lake
from tastemaker_training.features.arrivals import partitions_for, parts_of, read_arrived, settled_arrivals
from tastemaker_training.features.engine import engine_for

COLUMNS = (
    columns.EVENT_ID,
    columns.USER_ID,
    columns.ITEM_ID,
    columns.EVENT_TYPE,
    columns.TIMESTAMP,
    columns.VALUE,
)
"""What a trail and a training example are made of."""
TRAILS = "trails"


def fill_trails(settings: Settings, redis_url: str) -> int:
    """Merge the lake's events into the trails online (`trail.fill`); returns how many users have some.

    Raises:
        redis.RedisError: Redis does not answer.
        Unavailable: there are so many events that this is Ray's work, and it does not answer.
    """
    files = Lake(settings.lake).event_files()
    size = sum(files.values())
    partitions = partitions_for(size)
    read = partial(read_arrived, lake=settings.lake, files=list(files), names=COLUMNS, partitions=partitions)
    with engine_for(size, partitions, settings) as engine:
        events = engine.make(parts_of(files.values()), read)
        filled = engine.collect(engine.by_partition(events, partial(_fill, settings, redis_url)))
    return sum(filled[TRAILS].to_pylist()) if TRAILS in filled.column_names else 0


def _fill(settings: Settings, redis_url: str, events: pa.Table) -> pa.Table:
    """Put the trails of a partition's users online; returns how many there are."""
    trails = trail.from_events(settled_arrivals(events), settings)
    with Redis.from_url(redis_url) as redis:
        trail.fill(redis, trails)
    return pa.table({TRAILS: [len(trails)]})
