from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.events import dead_letters, stream
from tastemaker.events.stream import Entry, Group, stream_key
from tastemaker.types import Event

KEY = stream_key(0)


def events(*numbers: int, user: str = "ann", event_type: str = "view") -> list[Event]:
    return [Event(f"e{number}", user, str(number), event_type, datetime(2026, 1, 1, tzinfo=UTC)) for number in numbers]


def ids(entries: Sequence[Entry]) -> list[str]:
    return [record.event_id for entry in entries for record in entry.records]


def reasons(entries: Sequence[Entry]) -> list[str]:
    return [refused.reason for entry in entries for refused in entry.refused]


def group(redis: Redis, name: str = "g") -> Group:
    return Group(redis, name, 0, {"view"})


async def publish(url: str, *numbers: int, event_type: str = "view") -> None:
    async with AsyncRedis.from_url(url) as client:
        await stream.publish(client, events(*numbers, event_type=event_type), 1)


async def test_each_group_reads_every_event_in_order(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, 1, 2)
    await publish(redis_url, 3)
    for name in ("online", "lake"):
        reader = group(redis, name)
        assert ids(reader.read(10)) == ["e1", "e2", "e3"]
        assert reader.caught_up
        assert reader.read(10) == []


async def test_a_users_events_are_in_one_shard_and_one_request_makes_one_entry_of_it(
    redis: Redis, redis_url: str
) -> None:
    sent = [event for user in "abcdefgh" for event in events(*range(5), user=user)]
    async with AsyncRedis.from_url(redis_url) as client:
        await stream.publish(client, sent, 3)
    users = []
    for shard in range(3):
        (entry,) = Group(redis, "g", shard, {"view"}).read(100)
        users.append({record.user_id for record in entry.records})
        assert entry.size == len(entry.records) == 5 * len(users[-1])
    assert sorted(user for some in users for user in some) == list("abcdefgh")


async def test_a_read_ends_soon_after_the_events_that_were_asked_for(redis: Redis, redis_url: str) -> None:
    async with AsyncRedis.from_url(redis_url) as client:
        for number in range(3 * stream.READ_ENTRIES):
            await stream.publish(client, events(number), 1)
    reader = group(redis)
    assert len(reader.read(stream.READ_ENTRIES + 1)) == 2 * stream.READ_ENTRIES
    assert not reader.caught_up
    assert len(reader.read(10_000)) == stream.READ_ENTRIES
    assert reader.caught_up


async def test_long_requests_are_several_entries(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, *range(2 * stream.ENTRY_EVENTS + 1))
    assert [entry.size for entry in group(redis).read(1000)] == [stream.ENTRY_EVENTS, stream.ENTRY_EVENTS, 1]


async def test_what_was_not_acknowledged_comes_again_first(redis: Redis, redis_url: str) -> None:
    for number in range(3):
        await publish(redis_url, number)
    before = group(redis)
    taken = before.read(3)
    assert not any(entry.redelivered for entry in taken)
    before.finish(taken[:1], 0)
    await publish(redis_url, 3)

    after = group(redis)
    again = after.read(5)
    assert ids(again) == ["e1", "e2"]
    assert all(entry.redelivered for entry in again)
    assert ids(after.read(5)) == ["e3"]


async def test_rewinding_starts_with_unfinished_work(redis: Redis, redis_url: str) -> None:
    reader = group(redis)
    await publish(redis_url, 1)
    reader.read(1)
    reader.rewind()
    assert ids(reader.read(1)) == ["e1"]


async def test_what_is_no_event_is_handed_out_with_the_reason(redis: Redis, redis_url: str) -> None:
    redis.xadd(KEY, {"events": b"nonsense"})
    redis.xadd(KEY, {"else": b"{}"})
    await publish(redis_url, 1, event_type="glance")
    reader = group(redis)
    entries = reader.read(5)
    assert ids(entries) == []
    assert [reason.split(":")[0] for reason in reasons(entries)] == [
        "not a list of events",
        "without a field events",
        "undeclared event_type 'glance'",
    ]
    redis.xtrim(KEY, maxlen=0, approximate=False)
    reader.rewind()
    gone = reader.read(5)
    assert reasons(gone) == ["removed from the stream before it was read"] * 3
    reader.finish(gone, 0)
    reader.rewind()
    assert reader.read(5) == []


async def test_dead_letters_are_filed_once_with_what_they_were(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, 1, event_type="glance")
    one, other = group(redis), group(redis)
    mine = one.read(5)
    theirs = other.read(5)  # begins with what is unfinished
    assert one.finish(mine, 100) == 1
    assert other.finish(theirs, 100) == 0
    (letter,) = dead_letters.read(redis, 1, 10)
    assert letter.reason == "undeclared event_type 'glance'"
    assert '"e1","ann","1","glance"' in letter.payload
    assert letter.shard == 0


async def test_the_latest_dead_letters_of_all_shards_are_shown(redis: Redis, redis_url: str) -> None:
    for number in range(6):
        shard = number % 2
        redis.xadd(stream_key(shard), {"events": f"nonsense {number}"})
        reader = Group(redis, "g", shard, {"view"})
        reader.finish(reader.read(1), 100)
        time.sleep(0.002)
    assert [letter.payload for letter in dead_letters.read(redis, 2, 3)] == [f"nonsense {n}" for n in (5, 4, 3)]
    assert len(dead_letters.read(redis, 2, 100)) == 6


async def test_a_file_has_only_what_nobody_else_has_filed(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, 1)
    await publish(redis_url, 2)
    one, other = group(redis), group(redis)
    mine = one.read(1)
    assert other.commit(other.read(5)[:1], "theirs")
    assert not one.commit(mine, "mine")
    one.rewind()
    left = one.read(5)
    assert ids(left) == ["e2"]
    assert one.commit(left, "mine")
    assert one.promised() == ["mine", "theirs"]
    assert stream.backlog(redis, 1, ["g"]) == {"g": 2}
    for reader in (one, other):
        reader.keep("theirs")
    assert other.promised() == ["mine"]
    assert stream.backlog(redis, 1, ["g"]) == {"g": 1}
    stream.trim(redis, 0, ["g"])
    one.keep("mine")
    assert stream.backlog(redis, 1, ["g"]) == {"g": 0}


async def test_an_entry_goes_when_all_groups_are_done_with_it(redis: Redis, redis_url: str) -> None:
    for number in range(3):
        await publish(redis_url, number)
    one, other = group(redis, "one"), group(redis, "other")
    one.finish(one.read(5), 0)
    assert stream.trim(redis, 0, ["one", "other"]) == 0  # which has not even joined
    entries = other.read(5)
    other.finish(entries[1:], 0)
    assert stream.trim(redis, 0, ["one", "other"]) == 0
    other.finish(entries[:1], 0)
    await publish(redis_url, 3)
    assert stream.trim(redis, 0, ["one", "other"]) == 3
    assert ids(other.read(5)) == ["e3"]


async def test_another_teams_group_keeps_its_entries(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, 1)
    redis.xgroup_create(KEY, "theirs", id="0")
    mine = group(redis)
    mine.finish(mine.read(5), 0)
    assert stream.trim(redis, 0, ["g"]) == 0
    assert ids(group(redis, "theirs").read(5)) == ["e1"]


async def test_the_backlog_is_what_a_group_is_not_done_with(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, 1, 2, 3)
    await publish(redis_url, 4)
    assert stream.backlog(redis, 1, ["g", "never"]) == {"g": 4, "never": 4}
    reader = group(redis)
    entries = reader.read(10)
    assert stream.backlog(redis, 1, ["g"]) == {"g": 4}
    reader.finish(entries[:1], 0)
    reader.finish(entries[:1], 0)
    assert stream.backlog(redis, 1, ["g", "never"]) == {"g": 1, "never": 4}


async def test_the_backlog_is_set_right_when_somebody_else_removed_entries(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, 1, 2)
    redis.xtrim(KEY, maxlen=0, approximate=False)
    reader = group(redis)
    reader.finish(reader.read(5), 0)
    assert stream.backlog(redis, 1, ["g"]) == {"g": 2}
    stream.trim(redis, 0, ["g"])
    assert stream.backlog(redis, 1, ["g"]) == {"g": 0}


async def test_the_load_is_what_waits_and_the_memory_in_use(redis: Redis, redis_url: str) -> None:
    await publish(redis_url, 1, 2)
    async with AsyncRedis.from_url(redis_url) as client:
        load = await stream.load(client, 1)
        redis.config_set("maxmemory-policy", "volatile-lru")
        try:
            evicting = await stream.load(client, 1)
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
    assert load.waiting == {"online": 2, "lake": 2}
    assert 0 < load.memory < 1
    assert evicting.memory == 0


def test_shards_of_a_larger_number_are_found(redis: Redis) -> None:
    redis.xadd(stream_key(5), {"events": "[]"})
    assert stream.shards_in_use(redis, 2) == [0, 1, 5]
    assert stream.shards_in_use(redis, 6) == list(range(6))


def test_keys_of_a_shard_are_on_one_node(redis: Redis) -> None:
    keys = [stream_key(3) + suffix for suffix in ("", ":published", ":finished", ":files", ":dead")]
    assert len({redis.cluster("KEYSLOT", key) for key in keys}) == 1
