from __future__ import annotations

import json
import time
from typing import Any

import pytest
from redis import Redis

from tastemaker import erasure, retention
from tastemaker.events import dead_letters
from tastemaker.events.stream import Group, stream_key
from tastemaker.lake import Lake

NOW_MS = time.time_ns() // 1_000_000
HOUR_MS = 3_600_000


def file(redis: Redis, shard: int, *events: Any) -> None:
    """What a worker does with an entry of `events`, one of a type that is not declared."""
    group = Group(redis, "online", shard, {"view"})
    redis.xadd(stream_key(shard), {"events": json.dumps(events)})
    assert group.finish(group.read(1000), 100_000) == len(events)


def event(user: Any, when_ms: Any = NOW_MS - HOUR_MS, event_type: str = "glance") -> list[Any]:
    return ["e", user, "i", event_type, when_ms * 1000]


def left(redis: Redis) -> set[str]:
    return {letter.payload for letter in dead_letters.read(redis, 4, 10_000)}


@pytest.mark.parametrize(
    "letter", [event("a"), event("a", "x"), ["e", "a"], {"user_id": "a", "item": 1}, ["e", "a", "i", "view", -1]]
)
def test_a_letter_that_says_whose_it_is_goes_with_its_user(redis: Redis, letter: Any) -> None:
    others = [["e", "b"], ["e", "aa"], {"user_id": "b"}, ["e"], {"user": "a"}, "a", 7, None]
    file(redis, 2, letter, *others)
    assert dead_letters.erase(redis, {"a": NOW_MS + HOUR_MS, "nobody": NOW_MS}) == 1
    assert left(redis) == {json.dumps(other) for other in others}
    assert dead_letters.erase(redis, {"a": NOW_MS + HOUR_MS}) == 0


def test_what_a_user_did_after_they_asked_stays(redis: Redis) -> None:
    file(redis, 0, event("a", NOW_MS - HOUR_MS), ["e", "a", "i", "late"], ["e", "a"])
    assert dead_letters.erase(redis, {"a": NOW_MS - HOUR_MS // 2}) == 1, "it happened before, and came after"
    assert left(redis) == {'["e", "a", "i", "late"]', '["e", "a"]'}


def test_users_whose_ids_were_sent_as_numbers_are_found(redis: Redis) -> None:
    file(redis, 0, event(7), {"user_id": 7}, event(8))
    assert dead_letters.erase(redis, {"7": NOW_MS + HOUR_MS}) == 2


def test_letters_of_shards_that_are_no_more_and_of_all_pages_go(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "PAGE", 3)
    for shard in (0, 50):
        file(redis, shard, *(event("ab"[number % 2]) for number in range(10)))
        redis.delete(stream_key(shard))
    assert dead_letters.erase(redis, {"a": NOW_MS + HOUR_MS}) == 10
    assert redis.xlen(f"{stream_key(50)}:dead") == 5


def test_the_job_erases_them_and_leaves_what_cannot_be_read(redis: Redis) -> None:
    file(redis, 0, event("a"), event("b"))
    redis.xadd(stream_key(0), {"events": '[["e", "a"'})
    group = Group(redis, "online", 0, {"view"})
    group.finish(group.read(1), 100)
    redis.hset(erasure.TOMBSTONES, "a", str(NOW_MS + HOUR_MS))
    lake = Lake("memory://dead-letters")
    assert retention.erase(lake, redis, None, lambda users: None).dead_letters == 1
    assert redis.xlen(f"{stream_key(0)}:dead") == 2
