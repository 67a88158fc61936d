from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.config import EventType, Ingest, Settings
from tastemaker.errors import InvalidInput
from tastemaker.events import schema
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker.types import Event

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
records = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from([-1.0, 0.5])), max_size=12)


def to_arrow(events: list[Event]) -> pa.Table:
    return schema.to_arrow(schema.records_of(events))


def make(*rows: tuple[int, int, float]) -> trail.Trail:
    return np.array(list(rows), trail.RECORD)


def event(user: str, item: str, minutes: int, event_type: str = "like", value: float | None = None) -> Event:
    return Event(f"{user}-{item}-{minutes}", user, item, event_type, NOON + timedelta(minutes=minutes), value)


def test_keys_of_a_user_share_a_cluster_slot() -> None:
    assert trail.trail_key("u 1") == "tm:{u 1}:trail"
    assert trail.epoch_key("u 1") == "tm:{u 1}:epoch"
    assert trail.slate_key("u 1", "home") == "tm:{u 1}:slate:home"


def test_a_record_has_16_bytes_and_survives_the_wire() -> None:
    history = make((2**64 - 1, 2**32 - 1, -1.0), (1, 2**32 - 1, 0.25))
    blob = trail.encode(history)
    assert len(blob) == 32
    assert trail.decode(blob).tolist() == history.tolist()
    assert len(trail.decode(None)) == 0


def test_late_arrivals_are_read_in_order_of_time() -> None:
    assert trail.decode(trail.encode(make((1, 10, 1), (2, 30, 1), (3, 20, 1), (4, 20, 1))))["item"].tolist() == [
        1,
        3,
        4,
        2,
    ]


async def test_many_trails_are_read_at_once(redis: Redis, redis_url: str) -> None:
    trail.fill(redis, {"ann": make((1, 1, 1.0)), "bob": make((2, 2, 0.5))})
    async with AsyncRedis.from_url(redis_url) as client:
        assert [t["item"].tolist() for t in await trail.read(client, ["bob", "nobody", "ann"])] == [[2], [], [1]]
        assert await trail.read(client, []) == []


def test_filling_twice_changes_nothing(redis: Redis) -> None:
    trails = {f"user{number}": make((number, number, 1.0)) for number in range(2500)}
    assert trail.fill(redis, trails) == 2500
    assert trail.fill(redis, trails) == 0
    assert redis.get(trail.epoch_key("user0")) == b"1"


@given(lake=records, online=records)
def test_a_merge_keeps_every_event_of_either_side_once(
    lake: list[tuple[int, int, float]], online: list[tuple[int, int, float]]
) -> None:
    left, right = trail.encode(make(*lake)), trail.encode(make(*online))
    merged = trail._merge(left, right)
    rows = trail.decode(merged).tolist()
    assert Counter(rows) == Counter(lake) | Counter(online)
    assert trail._merge(left, merged) == merged


def test_an_event_that_arrives_while_filling_is_kept(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    redis.set(trail.trail_key("ann"), trail.encode(make((1, 10, 1.0))))
    late = [trail.encode(make((9, 90, 1.0)))]
    read = redis.mget

    def read_then_race(keys: list[str]) -> list[bytes | None]:
        blobs = read(keys)
        if late:
            redis.append(trail.trail_key("ann"), late.pop())
        return list(blobs)

    monkeypatch.setattr(redis, "mget", read_then_race)
    trail.fill(redis, {"ann": make((5, 50, 1.0)), "bob": make((6, 60, 1.0))})
    assert trail.decode(redis.get(trail.trail_key("ann")))["item"].tolist() == [1, 5, 9]
    assert trail.decode(redis.get(trail.trail_key("bob")))["item"].tolist() == [6]


def test_trails_are_made_from_the_lakes_events(settings: Settings) -> None:
    events = to_arrow(
        [
            event("ann", "b", 2, "rating", 5.0),
            event("bob", "a", 1, "view"),
            event("ann", "a", 1, "rating", 2.5),
            event("ann", "c", 2, "dislike"),
        ]
    )
    trails = trail.from_events(events, settings)
    seconds = int(NOON.timestamp())
    assert trails["ann"].tolist() == [
        (key_of("a"), seconds + 60, 0.0),
        (key_of("b"), seconds + 120, 1.0),
        (key_of("c"), seconds + 120, -1.0),
    ]
    assert trails["bob"]["preference"].tolist() == [pytest.approx(0.2)]


def test_only_the_newest_events_are_kept(settings: Settings) -> None:
    short = settings.model_copy(update={"ingest": Ingest(trail_length=2)})
    events = to_arrow([event("ann", str(minute), minute) for minute in (3, 1, 2)])
    assert trail.from_events(events, short)["ann"]["item"].tolist() == [key_of("2"), key_of("3")]


def test_no_events_make_no_trails(settings: Settings) -> None:
    assert trail.from_events(to_arrow([]), settings) == {}


def test_chunked_tables_are_read(settings: Settings) -> None:
    parts = [to_arrow([event("ann", "a", 1)]), to_arrow([event("bob", "b", 2), event("ann", "b", 2)])]
    assert {user: len(t) for user, t in trail.from_events(pa.concat_tables(parts), settings).items()} == {
        "ann": 2,
        "bob": 1,
    }


@given(
    value=st.none() | st.floats(-1e6, 1e6),
    weight=st.floats(-1, 1),
    scale=st.none() | st.tuples(st.floats(-10, 10), st.floats(0.1, 10)),
)
def test_preferences_of_columns_are_those_of_single_events(
    value: float | None, weight: float, scale: tuple[float, float] | None
) -> None:
    kind = EventType(weight=weight, neutral=scale[0] if scale else None, full=sum(scale) if scale else None)
    settings = Settings(event_types={"rated": kind})
    events = to_arrow([event("ann", "a", 0, "rated", value)])
    assert trail.preferences(events, settings)[0] == pytest.approx(kind.preference(value), abs=1e-6)


def test_an_undeclared_event_type_is_named(settings: Settings) -> None:
    with pytest.raises(InvalidInput, match="unknown event_type 'glance'"):
        trail.from_events(to_arrow([event("ann", "a", 0, "glance")]), settings)


def test_a_session_is_a_trail_of_likes_just_now() -> None:
    found = trail.of_items(["a", "b"], 1_800_000_000)
    assert found.tolist() == make((key_of("a"), 1_800_000_000, 1.0), (key_of("b"), 1_800_000_000, 1.0)).tolist()
