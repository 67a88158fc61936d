from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker.events import schema
from tastemaker.lake import EVENT_SCHEMA
from tastemaker.types import Event

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEAST = {"user_id": "ann", "item_id": "1", "event_type": "view"}


def parse(document: Any, settings: Settings) -> list[Event]:
    return schema.parse(json.dumps(document).encode(), settings, NOW)


def test_one_object_or_a_list(settings: Settings) -> None:
    assert [event.user_id for event in parse(LEAST, settings)] == ["ann"]
    assert [event.user_id for event in parse([LEAST, LEAST | {"user_id": "bob"}], settings)] == ["ann", "bob"]
    assert parse([], settings) == []


def test_what_is_left_out_is_made_up(settings: Settings) -> None:
    first, second = parse([LEAST, LEAST], settings)
    assert first.timestamp == NOW
    assert len(first.event_id) == 32
    assert first.event_id != second.event_id
    assert first.value is None


def test_every_field_is_taken(settings: Settings) -> None:
    sent = LEAST | {
        "event_id": "e1",
        "event_type": "rating",
        "timestamp": "2026-01-01T12:30:00+01:00",
        "value": 4,
        "session_id": "s",
        "device": "tv",
        "scene": "home",
        "request_id": "r",
        "position": 3,
    }
    happened = datetime(2026, 1, 1, 11, 30, tzinfo=UTC)
    assert parse(sent, settings) == [Event("e1", "ann", "1", "rating", happened, 4.0, "s", "tv", "home", "r", 3)]


def test_a_clock_a_little_ahead_is_set_back(settings: Settings) -> None:
    assert parse(LEAST | {"timestamp": (NOW + timedelta(minutes=59)).isoformat()}, settings)[0].timestamp == NOW


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_id": ""}, r"event 1: user_id is ''\. Send a string of 1 to 128 characters"),
        ({"user_id": "x" * 129}, r"event 1: user_id is 'xxx.*\.\.\.\. Send"),
        ({"user_id": 7}, r"event 1: user_id is 7\. Send a string"),
        ({"item_id": None}, r"event 1: item_id is None\. Send a string"),
        ({"event_type": "glance"}, r"event 1: unknown event_type 'glance'\. Use one of click, complete, dislike"),
        ({"usr": "ann"}, r"event 1: unknown field 'usr'\. Known fields are user_id, item_id"),
        ({"timestamp": "yesterday"}, r"event 1: timestamp is 'yesterday'\. Send RFC 3339 with an offset"),
        ({"timestamp": "2026-01-01T12:00:00"}, r"event 1: timestamp is '2026-01-01T12:00:00'\. Send RFC 3339"),
        ({"timestamp": 1767268800}, r"event 1: timestamp is 1767268800\. Send RFC 3339"),
        ({"timestamp": "2036-01-01T12:00:00Z"}, r"event 1: timestamp 2036-01-01T12:00:00\+00:00 lies in the future"),
        ({"timestamp": "1969-12-31T23:59:59Z"}, r"event 1: timestamp 1969-12-31T23:59:59\+00:00 lies before 1970"),
        ({"value": "5"}, r"event 1: value is '5'\. Send a finite number"),
        ({"value": True}, r"event 1: value is True\. Send a finite number"),
        ({"position": -1}, r"event 1: position is -1\. Send the item's place"),
        ({"position": 2**31}, r"event 1: position is 2147483648\. Send the item's place"),
    ],
)
def test_a_refusal_names_index_field_value_and_remedy(change: dict[str, Any], message: str, settings: Settings) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse([LEAST, LEAST | change], settings)


def test_a_missing_field_is_named(settings: Settings) -> None:
    with pytest.raises(InvalidInput, match="event 0: item_id is missing"):
        parse({"user_id": "ann", "event_type": "view"}, settings)


def test_what_is_no_object_is_named(settings: Settings) -> None:
    with pytest.raises(InvalidInput, match=r"event 0: 'ann' is not an object\. Send user_id, item_id, event_type"):
        parse(["ann"], settings)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'"\xff"', b'{"value": NaN}', b'{"value": 1e999}', b'["\\ud800"]', b"[" * 100_000]
)
def test_what_is_not_json_is_refused(body: bytes, settings: Settings) -> None:
    with pytest.raises(InvalidInput, match="the body is not JSON"):
        schema.parse(body, settings, NOW)


def test_a_list_has_a_limit(settings: Settings) -> None:
    assert len(parse([LEAST] * 1000, settings)) == 1000
    with pytest.raises(InvalidInput, match=r"1001 events in one request\. Send at most 1000"):
        parse([LEAST] * 1001, settings)


def test_the_stream_and_the_lake_carry_every_field() -> None:
    full = Event("e1", "ann", "1", "rating", NOW, 4.5, "s", "tv", "home", "r", 3)
    least = Event("e2", "bob", "2", "view", NOW + timedelta(microseconds=1))
    records, refused = schema.decode(schema.encode(schema.records_of([full, least])))
    assert refused == []
    table = schema.to_arrow(records)
    assert table.schema == EVENT_SCHEMA
    assert [Event(**row) for row in table.to_pylist()] == [full, least]


def test_the_stream_of_a_newer_version_can_be_read() -> None:
    newer = ["e", "ann", "1", "view", 1_770_000_000_000_000, None, None, None, None, None, None, "a mood"]
    records, refused = schema.decode(json.dumps([newer]).encode())
    assert [record.user_id for record in records] == ["ann"]
    assert refused == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("ann", "not an event: Expected `array`"),
        (["e", "ann"], "not an event: Expected `array` of at least length 5"),
        (["e", "", "1", "view", 5], r"not an event: Expected `str` of length >= 1 - at `\$\[1\]`"),
        (["e", "ann", "1", "view", -1], "not an event: Expected `int` >= 0"),
        (["e", "ann", "1", "view", 2**32 * 1_000_000], "not an event: Expected `int` <= "),
        (["e", "ann", "1", "view", 5, None, None, None, None, None, 2**31], "not an event: Expected `int` <= "),
    ],
)
def test_what_is_no_event_is_put_aside_and_the_rest_is_read(bad: Any, reason: str) -> None:
    good = ["e", "ann", "1", "view", 5]
    records, refused = schema.decode(json.dumps([good, bad, good]).encode())
    assert [record.user_id for record in records] == ["ann", "ann"]
    (one,) = refused
    assert json.loads(one.payload) == bad
    assert re.match(reason, one.reason)


@pytest.mark.parametrize("blob", [b"", b"nonsense", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_list_is_put_aside_whole(blob: bytes) -> None:
    records, refused = schema.decode(blob)
    assert records == []
    assert [one.payload for one in refused] == [blob]
    assert refused[0].reason.startswith("not a list of events")
