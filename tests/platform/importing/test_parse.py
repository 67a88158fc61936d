from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker.importing.parse import Checked, parse_events, parse_items
from tastemaker.importing.sources import Source
from tastemaker.lake import EVENT_SCHEMA

SETTINGS = Settings()
GOOD = {"user_id": "u", "item_id": "i", "timestamp": "1577836800", "event_type": "view", "value": ""}


def source(*rows: dict[str, Any]) -> Source:
    table = pa.Table.from_pylist([{**GOOD, **row} for row in rows])
    return Source(Path("x.csv"), table, np.arange(2, 2 + len(rows)))


def events(*rows: dict[str, Any]) -> Checked:
    return parse_events(source(*rows), {}, None, SETTINGS)


@pytest.mark.parametrize(
    "written",
    [
        "1577836800",
        "1577836800.0",
        "1577836800000",
        "1577836800000000",
        "2020-01-01",
        "2020-01-01T00:00:00Z",
        "2020-01-01 01:00:00+01:00",
        " 2020-01-01T00:00:00.000 ",
    ],
)
def test_times_are_understood_in_every_usual_form(written: str) -> None:
    assert events({"timestamp": written}).table[columns.TIMESTAMP].to_pylist() == [datetime(2020, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("typed"), [datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC), 1577836800, 1577836800.0], ids=str
)
def test_typed_times_are_understood(typed: object) -> None:
    assert events({"timestamp": typed}).table[columns.TIMESTAMP].to_pylist() == [datetime(2020, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"user_id": " "}, "user_id is empty"),
        ({"item_id": None}, "item_id is empty"),
        ({"timestamp": "yesterday"}, "timestamp 'yesterday' is not a time"),
        ({"timestamp": "2020-13-01"}, "timestamp '2020-13-01' is not a time"),
        ({"timestamp": "-5"}, "timestamp '-5' is not a time"),
        ({"timestamp": str(datetime.now(UTC) + timedelta(days=3))}, "that is past"),
        (
            {"event_type": "stare"},
            "event_type 'stare' is not one of click, complete, dislike, like, play, rating, view",
        ),
        ({"value": "four"}, "value 'four' is not a number"),
        ({"value": "1e999"}, "value '1e999' is not a number"),
        ({"position": "1.5"}, "position '1.5' is not a whole number"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_reason(row: dict[str, Any], reason: str) -> None:
    checked = parse_events(source({"position": None}, {"position": None, **row}), {}, None, SETTINGS)

    assert (checked.table.num_rows, checked.bad, checked.rows) == (1, 1, 2)
    assert checked.first_bad[0].line == 3
    assert reason in checked.first_bad[0].reason


def test_event_ids_are_derived_from_the_content() -> None:
    first, second, other = events({}, {}, {"user_id": "v"}).table[columns.EVENT_ID].to_pylist()
    assert first == second != other
    assert events({}).table[columns.EVENT_ID].to_pylist() == [first]


def test_event_ids_of_the_source_are_kept() -> None:
    rows = source({"event_id": "mine"}, {"event_id": ""})
    kept, derived = parse_events(rows, {}, None, SETTINGS).table[columns.EVENT_ID].to_pylist()
    assert kept == "mine"
    assert len(derived) == 32


def test_columns_are_mapped_and_one_type_is_given_to_all() -> None:
    rows = Source(Path("x.csv"), pa.table({"who": [1.0], "what": [2], "when": [1577836800]}), np.array([2]))
    mapping = {"user_id": "who", "item_id": "what", "timestamp": "when"}
    table = parse_events(rows, mapping, "play", SETTINGS).table

    assert table.schema == EVENT_SCHEMA
    assert table.select([columns.USER_ID, columns.ITEM_ID, columns.EVENT_TYPE]).to_pylist() == [
        {"user_id": "1", "item_id": "2", "event_type": "play"}
    ]


@pytest.mark.parametrize(
    ("mapping", "event_type", "problem"),
    [
        ({"user": "user_id"}, None, "--map user=user_id: there is no 'user'.*user_id"),
        ({"user_id": "who"}, None, "no column 'who'.*--map user_id=COLUMN.*it has user_id, item_id"),
        ({"scene": "where"}, None, "no column 'where'"),
        ({"event_type": "kind"}, None, "no column 'kind'.*--event-type"),
        ({}, "stare", "unknown event_type 'stare'.*Use one of click"),
    ],
)
def test_a_mapping_that_names_what_is_not_there_is_refused(
    mapping: dict[str, str], event_type: str | None, problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        parse_events(source({}), mapping, event_type, SETTINGS)


def test_items_part_their_categories_and_the_last_row_of_an_id_counts() -> None:
    table = pa.table(
        {
            "item_id": ["1", "2", "1", "3"],
            "title": ["Old", "Two", "New", ""],
            "categories": ["", "A|B", "C", ""],
            "release_year": ["x", "", "1995", ""],
        }
    )
    checked = parse_items(Source(Path("items.csv"), table, np.arange(2, 6)), {})

    assert checked.table.select(["item_id", "title", "categories", "release_year", "text"]).to_pylist() == [
        {"item_id": "2", "title": "Two", "categories": ["A", "B"], "release_year": None, "text": ""},
        {"item_id": "1", "title": "New", "categories": ["C"], "release_year": 1995, "text": ""},
    ]
    assert [bad.line for bad in checked.first_bad] == [2, 5]


def test_items_say_who_made_them_and_when_they_came_out() -> None:
    table = pa.table(
        {
            "item_id": ["1", "2", "3"],
            "title": ["One", "Two", "Three"],
            "author": [" Ann ", "", ""],
            "published_at": ["2026-01-31T18:00:00Z", "", "soon"],
        }
    )
    checked = parse_items(Source(Path("items.csv"), table, np.arange(2, 5)), {})

    assert checked.table.select(["author", "published_at"]).to_pylist() == [
        {"author": "Ann", "published_at": datetime(2026, 1, 31, 18, tzinfo=UTC)},
        {"author": None, "published_at": None},
    ]
    (bad,) = checked.first_bad
    assert (bad.line, "published_at 'soon'" in bad.reason) == (4, True)


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4), st.text(max_size=8)), min_size=1, max_size=10))
def test_every_row_is_either_usable_or_bad(rows: list[tuple[str, str, str]]) -> None:
    checked = events(*({"user_id": user, "timestamp": time, "value": value} for user, time, value in rows))
    assert checked.table.num_rows + checked.bad == len(rows)
    assert checked.table[columns.USER_ID].null_count == checked.table[columns.TIMESTAMP].null_count == 0


def test_items_say_whether_they_may_be_shown() -> None:
    table = pa.table({"item_id": list("abcde"), "title": ["T"] * 5, "available": ["true", "0", "", "False", "perhaps"]})
    checked = parse_items(Source(Path("items.csv"), table, np.arange(2, 7)), {})

    assert checked.table["available"].to_pylist() == [True, False, None, False]
    assert "available 'perhaps' is not true or false" in checked.first_bad[0].reason
