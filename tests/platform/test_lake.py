from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker import columns
from tastemaker.errors import InvalidInput, NotFound
from tastemaker.lake import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA, Lake

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def events(*rows: tuple[str, int], user: str = "u") -> pa.Table:
    """One event of the user for each (event_id, minutes after NOON)."""
    return pa.Table.from_pylist(
        [
            {
                columns.EVENT_ID: event_id,
                columns.USER_ID: user,
                columns.ITEM_ID: "i",
                columns.EVENT_TYPE: "view",
                columns.TIMESTAMP: NOON + timedelta(minutes=minutes),
            }
            for event_id, minutes in rows
        ],
        EVENT_SCHEMA,
    )


def ids(table: pa.Table) -> list[str]:
    return list(table[columns.EVENT_ID].to_pylist())


@pytest.fixture(params=["directory", "file://", "memory://"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    urls = {
        "directory": str(tmp_path / "lake"),
        "file://": f"file://{tmp_path}/lake",
        "memory://": f"memory://{tmp_path.name}",
    }
    return Lake(urls[request.param])


def test_events_come_back_in_time_order_whichever_append_brought_them(lake: Lake) -> None:
    assert lake.append_events(events(("c", 3), ("a", 1))) == 2
    lake.append_events(events(("b", 2)))

    assert ids(lake.events()) == ["a", "b", "c"]
    assert lake.events().schema == EVENT_SCHEMA


def test_a_repeated_event_counts_once_and_the_first_to_arrive_stays(lake: Lake) -> None:
    lake.append_events(events(("a", 1), ("b", 2), ("a", 5)))
    lake.append_events(events(("b", 9)))

    assert ids(lake.events()) == ["a", "b"]
    assert lake.events()[columns.TIMESTAMP].to_pylist() == [NOON + timedelta(minutes=m) for m in (1, 2)]


def test_an_event_id_is_its_users_own(lake: Lake) -> None:
    lake.append_events(events(("1", 1), ("2", 2), user="a"))
    lake.append_events(events(("1", 3), ("2", 0), ("2", 9), user="b"))
    lake.append_events(events(("1", 7), user="a"))

    found = lake.events()
    assert [*zip(found[columns.USER_ID].to_pylist(), ids(found), strict=True)] == [
        ("b", "2"),
        ("a", "1"),
        ("a", "2"),
        ("b", "1"),
    ]


def test_events_of_the_same_instant_keep_the_order_of_arrival(lake: Lake) -> None:
    for name in "zyx":
        lake.append_events(events((name, 0)))

    assert ids(lake.events()) == ["z", "y", "x"]


def test_a_window_includes_its_start_and_excludes_its_end(lake: Lake) -> None:
    lake.append_events(events(("a", 0), ("b", 1), ("c", 2)))

    assert ids(lake.events(since=NOON + timedelta(minutes=1))) == ["b", "c"]
    assert ids(lake.events(until=NOON + timedelta(minutes=1))) == ["a"]
    assert ids(lake.events(NOON + timedelta(minutes=1), NOON + timedelta(minutes=2))) == ["b"]
    assert ids(lake.events(since=datetime.now(UTC) + timedelta(days=30))) == []


def test_rows_are_counted_without_reading_them(lake: Lake) -> None:
    assert lake.rows("events.parquet") == 0
    lake.write("events.parquet", events(("a", 1), ("b", 2)))
    assert lake.rows("events.parquet") == 2


def test_a_failed_move_leaves_nothing_visible(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.append_events(events(("a", 0)))
    lake.replace_items(ITEM_SCHEMA.empty_table())

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(lake._fs, "mv", fail)
    with pytest.raises(OSError, match="disk full"):
        lake.append_events(events(("b", 1)))
    monkeypatch.undo()

    assert ids(lake.events()) == ["a"]
    assert [file for file in lake._fs.find(lake._root) if "draft" in file] == []


def test_a_process_killed_between_write_and_move_leaves_nothing_visible(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.append_events(events(("a", 0)))
    source = lake.events()
    program = (
        "import os, sys; from tastemaker.lake import Lake; lake = Lake(sys.argv[1])\n"
        "lake._fs.mv = lambda *_: os._exit(7)\n"
        "table = lake.events(); ids = table['user_id'].combine_chunks()\n"
        "lake.append_events(table.set_column(0, 'event_id', ids))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)

    assert killed.returncode == 7
    assert list(tmp_path.rglob("*.draft")), "the killed process must have come as far as its draft"
    assert lake.events().equals(source)


def test_an_append_of_nothing_makes_no_file(lake: Lake) -> None:
    assert lake.append_events(EVENT_SCHEMA.empty_table()) == 0
    with pytest.raises(NotFound, match="tastemaker data import"):
        lake.events()


def test_items_and_users_are_replaced_as_a_whole(lake: Lake) -> None:
    for title in ("one", "two"):
        lake.replace_items(pa.Table.from_pylist([{columns.ITEM_ID: "1", columns.TITLE: title}], ITEM_SCHEMA))
    lake.profiles.replace(pa.Table.from_pylist([{columns.USER_ID: "u", columns.CREATED_AT: NOON}], USER_SCHEMA))

    assert lake.items()[columns.TITLE].to_pylist() == ["two"]
    assert lake.users()[columns.CREATED_AT].to_pylist() == [NOON]


def test_a_catalogue_from_before_a_column_came_is_read_with_nulls_there(lake: Lake) -> None:
    lake.write(lake.catalogue.base, pa.table({columns.ITEM_ID: ["1"], columns.TITLE: ["one"]}))

    assert lake.items().schema == ITEM_SCHEMA
    (item,) = lake.items().to_pylist()
    assert (item[columns.TITLE], item[columns.AUTHOR], item[columns.PUBLISHED_AT]) == ("one", None, None)


def test_an_empty_lake_has_no_users_and_says_how_to_get_items(lake: Lake) -> None:
    assert lake.users().equals(USER_SCHEMA.empty_table())
    with pytest.raises(NotFound, match="tastemaker data import"):
        lake.items()


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (events(("a", 0)).drop_columns([columns.USER_ID]), "lack the columns user_id"),
        (events(("a", 0)).set_column(1, columns.USER_ID, pa.nulls(1, pa.string())), "1 rows without user_id"),
        (events(("a", 0)).set_column(5, columns.VALUE, pa.array(["much"])), "do not fit"),
    ],
)
def test_events_that_do_not_fit_are_refused(lake: Lake, table: pa.Table, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        lake.append_events(table)
    with pytest.raises(NotFound):
        lake.events()


def test_an_unknown_scheme_is_refused_with_a_remedy() -> None:
    with pytest.raises(InvalidInput, match="install the file system of its scheme"):
        Lake("nowhere://bucket")


def test_files_are_located_where_other_tools_find_them(lake: Lake) -> None:
    lake.write_json("features/x.json", [1, "é"])
    assert lake.read_json("features/x.json") == [1, "é"]
    located = lake.locate("features/x.json")
    assert located.startswith("memory://") or Path(located).is_file()


@given(st.lists(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), max_size=5), min_size=1, max_size=5))
def test_reading_keeps_the_first_arrival_of_each_id_sorted_by_time(appends: list[list[tuple[str, int]]]) -> None:
    lake = Lake(f"memory://{datetime.now().timestamp()}")
    arrived: dict[str, int] = {}
    for rows in appends:
        lake.append_events(events(*rows))
        for event_id, minutes in rows:
            arrived.setdefault(event_id, minutes)
    if arrived:
        assert ids(lake.events()) == sorted(arrived, key=arrived.__getitem__)
