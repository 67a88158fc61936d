"""Readers: a file as a table of raw columns, with the line on which each row starts and the lines that are no rows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tastemaker.errors import InvalidInput, NotFound

Lines = npt.NDArray[np.int64]
LIST_SEPARATOR = "|"
"""What parts the elements of a list, such as categories, within one text."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used. `line` counts from 1; in Parquet files, which have no lines, it counts rows."""

    line: int
    reason: str


@dataclass(frozen=True)
class Source:
    """What a file holds: R raw rows, text as it stood there or typed values (Parquet)."""

    path: Path
    table: pa.Table
    lines: Lines  # (R,)
    unreadable: tuple[BadRow, ...] = ()


def read_csv(path: Path, _wanted: Collection[str] = ()) -> Source:
    """A comma-separated file in UTF-8 whose first row names its columns; every column as text.

    Raises:
        InvalidInput: it is empty, names a column twice, or is not UTF-8.
    """
    invalid: list[pa_csv.InvalidRow] = []

    def keep(row: pa_csv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    try:
        header = _csv_header(path)
        table = pa_csv.read_csv(
            path,
            # Row numbers of invalid rows are known only when one thread reads.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=1 << 24),
            parse_options=pa_csv.ParseOptions(
                newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=keep
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
            ),
        )
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise InvalidInput(f"{path} cannot be read as CSV: {error}", "Save it as comma-separated UTF-8") from error
    lines, invalid_lines = _csv_lines(table, header, invalid)
    unreadable = tuple(
        BadRow(line, f"{row.actual_columns} columns where the header has {row.expected_columns}: {row.text[:80]!r}")
        for line, row in zip(invalid_lines.tolist(), invalid, strict=True)
    )
    # An empty line reads as a row of empty texts: it is no row.
    filled = _any(pc.not_equal(column, "") for column in table.columns)
    return Source(path, table.filter(pa.array(filled)), lines[filled], unreadable)


def read_jsonl(path: Path, wanted: Collection[str]) -> Source:
    """A file with one JSON object a line; the fields `wanted` as text, lists joined by `|`. Empty lines are no rows."""
    fields = {f"field_{index}": name for index, name in enumerate(wanted)}
    value = str | int | float | list[str] | None
    row_type = msgspec.defstruct("Row", [(field, value, None) for field in fields], rename=fields)
    decoder = msgspec.json.Decoder(row_type)
    rows, lines, unreadable = [], [], []
    with path.open("rb") as stream:
        for line, text in enumerate(stream, start=1):
            if text.isspace():
                continue
            try:
                rows.append(decoder.decode(text))
                lines.append(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                unreadable.append(BadRow(line, f"not a JSON object that fits: {error}"))
    columns = {
        name: pa.array([_text(getattr(row, field)) for row in rows], pa.string()) for field, name in fields.items()
    }
    present = {name: column for name, column in columns.items() if column.null_count < len(column)}
    return Source(path, pa.table(present), np.array(lines, dtype=np.int64), tuple(unreadable))


def read_parquet(path: Path, wanted: Collection[str]) -> Source:
    """The columns `wanted` of a Parquet file or of a directory of them.

    Raises:
        InvalidInput: it is not Parquet.
    """
    try:
        names = set(pq.ParquetDataset(path).schema.names)
        table = pq.read_table(path, columns=[name for name in wanted if name in names])
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{path} cannot be read as Parquet: {error}", "Name another --format") from error
    return Source(path, table, np.arange(1, table.num_rows + 1))


READERS: dict[str, Callable[[Path, Collection[str]], Source]] = {
    "csv": read_csv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
}


def read(kind: str, path: Path, wanted: Collection[str]) -> Source:
    """The file at `path` in the format `kind`, one of READERS.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is not of that format.
    """
    if not path.exists():
        raise NotFound(f"there is no {path}", "Check the path")
    if path.is_dir() and kind != "parquet":
        raise InvalidInput(f"{path} is a directory", f"Name one {kind} file in it")
    return READERS[kind](path, wanted)


def _csv_header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = next(csv.reader(stream), [])
    if not header:
        raise InvalidInput(f"{path} is empty", "Its first row names the columns")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InvalidInput(f"{path} names the column {twice[0]!r} twice", "Rename one of them")
    return header


def _csv_lines(table: pa.Table, header: list[str], invalid: list[Any]) -> tuple[Lines, Lines]:
    """Lines on which valid and invalid rows start. Arrow numbers the rows, header included, from 1."""
    heights = np.ones(1 + table.num_rows + len(invalid), dtype=np.int64)
    heights[0] += sum(name.count("\n") for name in header)
    is_valid = np.ones(len(heights), dtype=bool)
    is_valid[0] = False
    for row in invalid:
        is_valid[row.number - 1] = False
        heights[row.number - 1] += row.text.rstrip("\r\n").count("\n")
    for column in table.columns:
        heights[is_valid] += pc.count_substring(column, "\n").to_numpy()
    starts = np.concatenate([[1], 1 + np.cumsum(heights)[:-1]])
    return starts[is_valid], starts[[row.number - 1 for row in invalid]] if invalid else starts[:0]


def _any(masks: Iterator[pa.ChunkedArray]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = np.logical_or.reduce([mask.to_numpy() for mask in masks])
    return found


def _text(value: str | float | list[str] | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return LIST_SEPARATOR.join(value) if isinstance(value, list) else str(value)
