from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from redis import Redis

from tastemaker import audience
from tastemaker.erasure import TOMBSTONES
from tastemaker.lake import EVENT_SCHEMA, USER_SCHEMA, Lake

NOW = datetime.now(UTC)


@pytest.fixture
def lake() -> Lake:
    lake = Lake(f"memory://audience-{id(object())}")
    lake.profiles.replace(pa.Table.from_pylist([{"user_id": "quiet"}], USER_SCHEMA))
    for hours in (0, 30):
        events = [
            {
                "event_id": f"{user}-{hours}",
                "user_id": user,
                "item_id": "i",
                "event_type": "click",
                "timestamp": NOW - timedelta(hours=hours),
            }
            for user in (("new", "both") if hours == 0 else ("old", "both"))
        ]
        lake.append_events(pa.Table.from_pylist(events, EVENT_SCHEMA))
    return lake


def test_everyone_has_a_profile_or_an_event(lake: Lake) -> None:
    assert audience.everyone(lake) == ["both", "new", "old", "quiet"]


def test_active_are_those_with_a_late_event(lake: Lake) -> None:
    assert audience.active(lake, NOW - timedelta(hours=24)) == ["both", "new"]


def test_an_empty_lake_has_nobody() -> None:
    empty = Lake("memory://audience-empty")
    assert audience.everyone(empty) == audience.active(empty, NOW) == []


def test_the_forgotten_are_those_with_a_tombstone(redis: Redis) -> None:
    redis.hset(TOMBSTONES, "gone", "1")
    assert audience.forgotten(redis) == {"gone"}
