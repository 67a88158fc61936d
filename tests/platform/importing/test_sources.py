from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.errors import InvalidInput, NotFound
from tastemaker.importing.sources import read

CELL = st.text(st.sampled_from('ab,"\n é'), max_size=6)


def test_csv_rows_know_their_line_across_quoted_newlines_blank_lines_and_bad_rows(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(b'\xef\xbb\xbfa,b\r\n1,"two\r\nlines"\r\n\r\n3\r\n"x\n\ny",5\r\n6,7,8\r\n9,10')
    source = read("csv", file, ())

    assert source.table.to_pylist() == [
        {"a": "1", "b": "two\r\nlines"},
        {"a": "x\n\ny", "b": "5"},
        {"a": "9", "b": "10"},
    ]
    assert source.lines.tolist() == [2, 6, 10]
    assert [(bad.line, bad.reason) for bad in source.unreadable] == [
        (5, "1 columns where the header has 2: '3'"),
        (9, "3 columns where the header has 2: '6,7,8'"),
    ]


@given(st.lists(st.tuples(CELL, CELL).filter(any), min_size=1, max_size=8))
def test_csv_lines_agree_with_the_file(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    file = tmp_path_factory.getbasetemp() / "property.csv"
    written, lines = io.StringIO(newline=""), []
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(("a", "b"))
    for row in rows:
        lines.append(written.getvalue().count("\n") + 1)
        writer.writerow(row)
    file.write_text(written.getvalue(), newline="")
    source = read("csv", file, ())

    assert [tuple(row.values()) for row in source.table.to_pylist()] == rows
    assert source.lines.tolist() == lines


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "is empty"), (b"a,a\n1,2\n", "names the column 'a' twice"), (b"a,b\n1,\xff\n", "UTF-8")],
)
def test_a_csv_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=problem):
        read("csv", file, ())


def test_jsonl_lines_that_are_no_objects_are_named(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"id": 1, "tags": ["a", "b"], "odd name": 2.5}\n\n{"id": tru}\n[1]\n{"id": {}}\n{"id": "z"}\n')
    source = read("jsonl", file, ("id", "tags", "odd name", "absent"))

    assert source.table.to_pydict() == {"id": ["1", "z"], "tags": ["a|b", None], "odd name": ["2.5", None]}
    assert source.lines.tolist() == [1, 6]
    assert [bad.line for bad in source.unreadable] == [3, 4, 5]
    assert "$.id" in source.unreadable[2].reason


def test_parquet_keeps_types_and_counts_rows(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": [7, 8], "other": [1, 2]}), file)
    source = read("parquet", file, ("id", "absent"))

    assert source.table.to_pydict() == {"id": [7, 8]}
    assert source.lines.tolist() == [1, 2]


def test_a_path_that_is_no_such_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("a,b\n")
    with pytest.raises(NotFound, match="there is no"):
        read("csv", tmp_path / "absent.csv", ())
    with pytest.raises(InvalidInput, match="is a directory"):
        read("csv", tmp_path, ())
    with pytest.raises(InvalidInput, match="cannot be read as Parquet"):
        read("parquet", tmp_path / "x.txt", ())
