"""Who asked to be forgotten, on a real Valkey."""

from __future__ import annotations

import pytest
from redis import Redis

from tastemaker import tombstones
from tastemaker.erasure import TOMBSTONES
from tastemaker.events import schema
from tastemaker.events.schema import Record
from tastemaker.tombstones import Tombstones

ASKED_MS = 1_770_000_000_000


def event(user: str, ms: int) -> Record:
    return Record(f"{user}{ms}", user, "i", "like", (ASKED_MS + ms) * 1000)


@pytest.fixture
def all_of_them(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Tombstones:
    monkeypatch.setattr(tombstones, "LOOK_S", 0.0)
    return Tombstones(redis)


def test_whoever_asked_is_told_once_and_again_when_they_asked_again(redis: Redis, all_of_them: Tombstones) -> None:
    assert all_of_them.look() == []
    redis.hset(TOMBSTONES, mapping={"ann": ASKED_MS, "bob": ASKED_MS})
    assert sorted(all_of_them.look()) == ["ann", "bob"]
    assert all_of_them.look() == []
    redis.hset(TOMBSTONES, "bob", str(ASKED_MS + 1))
    assert all_of_them.look() == ["bob"]


def test_only_events_of_before_they_asked_are_passed_over(redis: Redis, all_of_them: Tombstones) -> None:
    events = schema.to_arrow([event("ann", -5), event("ann", 0), event("ann", 1), event("bob", -5)])
    assert all_of_them.without(events) == events
    redis.hset(TOMBSTONES, "ann", str(ASKED_MS))
    all_of_them.look()
    assert all_of_them.without(events)["event_id"].to_pylist() == ["ann1", "bob-5"]
    assert all_of_them.without(schema.to_arrow([])).num_rows == 0


def test_redis_is_asked_now_and_then(redis: Redis) -> None:
    seldom = Tombstones(redis)
    assert seldom.look() == []
    redis.hset(TOMBSTONES, "ann", str(ASKED_MS))
    assert seldom.look() == []
