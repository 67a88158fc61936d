from __future__ import annotations

import json
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput, NotFound
from tastemaker.importing import ImportReport, ImportRequest, import_data
from tastemaker.lake import Lake

HEADER = "user_id,item_id,timestamp,event_type"
ROWS = [f"u{row % 7},i{row % 5},{1577836800 + row},view" for row in range(200)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def events(tmp_path: Path) -> Path:
    file = tmp_path / "events.csv"
    file.write_text("\n".join([HEADER, *ROWS]))
    return file


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    file = tmp_path / "items.csv"
    file.write_text("item_id,name,categories\ni0,Zero,A|B\ni9,Nine,\n")
    return file


def run(lake: Lake, request: ImportRequest) -> ImportReport:
    return import_data(lake, request, Settings())


def test_the_same_import_again_changes_nothing(lake: Lake, events: Path, catalogue: Path) -> None:
    request = ImportRequest("csv", events, items=catalogue, items_mapping={"title": "name"})
    first = run(lake, request)
    before = lake.events(), lake.items()
    again = run(lake, request)

    assert (first.events, first.new_events, first.items, first.untitled_items) == (200, 200, 6, 4)
    assert (again.events, again.new_events, again.items) == (200, 0, 6)
    assert lake.events().equals(before[0])
    assert lake.items().sort_by(columns.ITEM_ID).equals(before[1].sort_by(columns.ITEM_ID))


def test_what_the_lake_has_is_told_by_user_and_event_id(lake: Lake, tmp_path: Path) -> None:
    header = "event_id,user_id,item_id,timestamp,event_type"
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text(f"{header}\n1,a,i,1577836800,view\n1,b,j,1577836801,view\n1,a,k,1577836802,view\n")
    second.write_text(f"{header}\n1,a,i,1577836800,view\n1,c,i,1577836803,view\n2,a,i,1577836804,view\n")

    assert run(lake, ImportRequest("csv", first)).new_events == 2
    assert run(lake, ImportRequest("csv", second)).new_events == 2
    found = lake.events()
    assert found[columns.USER_ID].to_pylist() == ["a", "b", "c", "a"]
    assert found[columns.ITEM_ID].to_pylist() == ["i", "j", "i", "i"]


def test_every_format_brings_the_same_events(tmp_path: Path, events: Path) -> None:
    table = pa_csv.read_csv(events)
    pq.write_table(table, tmp_path / "events.parquet")
    (tmp_path / "events.jsonl").write_text("\n".join(json.dumps(row) for row in table.to_pylist()))
    imported = []
    for kind in ("csv", "jsonl", "parquet"):
        lake = Lake(str(tmp_path / kind))
        run(lake, ImportRequest(kind, tmp_path / f"events.{kind}"))
        imported.append(lake.events())

    assert imported[0].equals(imported[1])
    assert imported[0].equals(imported[2])


def test_items_known_from_events_alone_get_their_id_for_a_title(lake: Lake, events: Path, catalogue: Path) -> None:
    run(lake, ImportRequest("csv", events))
    assert set(lake.items()[columns.TITLE].to_pylist()) == {"i0", "i1", "i2", "i3", "i4"}

    report = run(lake, ImportRequest("csv", events, items=catalogue, items_mapping={"title": "name"}))
    titles = dict(zip(*(lake.items()[name].to_pylist() for name in ("item_id", "title")), strict=True))
    assert titles == {"i0": "Zero", "i9": "Nine", "i1": "i1", "i2": "i2", "i3": "i3", "i4": "i4"}
    assert report.untitled_items == 0


def test_a_few_bad_rows_are_left_out_and_shown(lake: Lake, events: Path) -> None:
    events.write_text("\n".join([HEADER, *ROWS, "u,i,never,view"]))
    report = run(lake, ImportRequest("csv", events))

    assert (report.events, report.bad_rows) == (200, 1)
    assert report.first_bad[0].startswith("events.csv line 202: timestamp 'never' is not")


@pytest.mark.parametrize("bad_file", ["events", "items"])
def test_too_many_bad_rows_are_refused_and_nothing_is_written(
    lake: Lake, events: Path, catalogue: Path, bad_file: str
) -> None:
    if bad_file == "events":
        events.write_text("\n".join([HEADER, *ROWS, *["u,,1577836800,view"] * 3]))
    else:
        catalogue.write_text(catalogue.read_text() + "i8,,\n")
    request = ImportRequest("csv", events, items=catalogue, items_mapping={"title": "name"})

    with pytest.raises(InvalidInput, match=rf"of \d+ rows of {bad_file}.csv cannot be used.*line \d+: .* is empty"):
        run(lake, request)
    with pytest.raises(NotFound):
        lake.events()
    with pytest.raises(NotFound):
        lake.items()
    tolerant = ImportRequest("csv", events, items=catalogue, items_mapping={"title": "name"}, max_bad=0.5)
    assert run(lake, tolerant).bad_rows in (1, 3)


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (ImportRequest("xml", Path("x")), "unknown format 'xml'.*movielens, csv, jsonl, parquet"),
        (ImportRequest("csv", Path("x"), max_bad=2), "--max-bad is 2"),
        (ImportRequest("movielens", Path("x"), event_type="view"), "says itself"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(lake: Lake, request_: ImportRequest, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        run(lake, request_)


def test_a_file_without_rows_is_refused(lake: Lake, events: Path) -> None:
    events.write_text(HEADER + "\n")
    with pytest.raises(InvalidInput, match="has no rows"):
        run(lake, ImportRequest("csv", events))
