"""Raw columns into typed ones, a whole column at a time, with what failed and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker.importing.sources import LIST_SEPARATOR, BadRow, Source
from tastemaker.lake import CLOCK_SKEW, EVENT_SCHEMA, ITEM_SCHEMA, TIMESTAMP_TYPE

Mask = npt.NDArray[np.bool_]
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHOWN = 5
"""How many bad rows a report shows."""


@dataclass(frozen=True)
class Failure:
    """Rows in which one column does not hold what it must."""

    failed: Mask  # (R,)
    raw: pa.Array  # (R,) as it stood in the source
    column: str
    expected: str

    def reason(self, row: int) -> str:
        """Why `row` failed, for people."""
        value = self.raw[row].as_py()
        is_empty = value is None or not str(value).strip()
        return f"{self.column} is empty" if is_empty else f"{self.column} {value!r} is not {self.expected}"


@dataclass(frozen=True)
class Checked:
    """The usable rows of a source, and the count and first few of those that are not."""

    source: Source
    table: pa.Table
    bad: int
    first_bad: tuple[BadRow, ...]

    @property
    def rows(self) -> int:
        """Rows of the source, usable or not."""
        return int(self.table.num_rows) + self.bad


def parse_events(source: Source, mapping: Mapping[str, str], event_type: str | None, settings: Settings) -> Checked:
    """Events in EVENT_SCHEMA. Where the source has no event ids, they are derived from each row's content.

    Args:
        mapping: event column → column of the source, where the two differ.
        event_type: type of all events, for a source that does not say.

    Raises:
        InvalidInput: the source lacks a column, or `event_type` is not declared.
    """
    if event_type is not None:
        settings.event_type(event_type)
        source = _with_constant(source, mapping.get(columns.EVENT_TYPE, columns.EVENT_TYPE), event_type)
    elif mapping.get(columns.EVENT_TYPE, columns.EVENT_TYPE) not in source.table.column_names:
        raise InvalidInput(
            f"{source.path} has no column {mapping.get(columns.EVENT_TYPE, columns.EVENT_TYPE)!r}",
            f"Map it with `--map event_type=COLUMN`, or give all events one with `--event-type`; it has "
            f"{', '.join(source.table.column_names)}",
        )
    required = (columns.USER_ID, columns.ITEM_ID, columns.EVENT_TYPE, columns.TIMESTAMP)
    table, failures = _parse(source, mapping, EVENT_SCHEMA, required, "--map")
    known = pa.array(sorted(settings.event_types))
    unknown = ~_mask(pc.is_in(table[columns.EVENT_TYPE], value_set=known))
    raw = source.table[mapping.get(columns.EVENT_TYPE, columns.EVENT_TYPE)]
    failures.append(Failure(unknown, raw, columns.EVENT_TYPE, f"one of {', '.join(known.to_pylist())}"))
    checked = _checked(source, table, failures)
    return Checked(source, _with_event_ids(checked.table), checked.bad, checked.first_bad)


def parse_items(source: Source, mapping: Mapping[str, str]) -> Checked:
    """The catalogue in ITEM_SCHEMA; categories are parted by `|`. The last row of an item_id counts.

    Raises:
        InvalidInput: the source lacks a column.
    """
    table, failures = _parse(source, mapping, ITEM_SCHEMA, (columns.ITEM_ID, columns.TITLE), "--map-items")
    text = table.schema.get_field_index(columns.TEXT)
    table = table.set_column(text, columns.TEXT, pc.fill_null(table[columns.TEXT], ""))
    checked = _checked(source, table, failures)
    codes = pc.dictionary_encode(checked.table[columns.ITEM_ID].combine_chunks()).indices.to_numpy()
    _, last = np.unique(codes[::-1], return_index=True)
    return Checked(source, checked.table.take(np.sort(len(codes) - 1 - last)), checked.bad, checked.first_bad)


def _parse(
    source: Source, mapping: Mapping[str, str], schema: pa.Schema, required: Sequence[str], flag: str
) -> tuple[pa.Table, list[Failure]]:
    """Every column of `schema` from its source column, with the failures of each."""
    _check_mapping(source, mapping, schema, required, flag)
    parsed, failures = {}, []
    for field in schema:
        name = mapping.get(field.name, field.name)
        if name not in source.table.column_names:
            parsed[field.name] = pa.nulls(source.table.num_rows, field.type)
            continue
        raw = source.table[name].combine_chunks()
        values, expected = _column(raw, field)
        empty = _mask(pc.is_null(values))
        failed = empty if field.name in required else empty & ~_is_blank(raw)
        parsed[field.name] = values
        failures.append(Failure(failed, raw, field.name, expected))
    return pa.table(parsed), failures


def _check_mapping(
    source: Source, mapping: Mapping[str, str], schema: pa.Schema, required: Sequence[str], flag: str
) -> None:
    for name, column in mapping.items():
        if name not in schema.names:
            raise InvalidInput(f"{flag} {name}={column}: there is no {name!r}", f"Use one of {', '.join(schema.names)}")
    has = ", ".join(source.table.column_names) or "none"
    for name in (*required, *mapping):
        column = mapping.get(name, name)
        if column not in source.table.column_names:
            raise InvalidInput(
                f"{source.path} has no column {column!r}", f"Name another with `{flag} {name}=COLUMN`; it has {has}"
            )


def _column(raw: pa.Array, field: pa.Field) -> tuple[pa.Array, str]:
    """Values of the field's type, null where `raw` holds none or another, and what a value must be, in words."""
    if pa.types.is_timestamp(field.type):
        return _times(raw), "a time (ISO 8601, or seconds since 1970) that is past"
    if pa.types.is_list(field.type):
        return _lists(raw), "a list of texts"
    if pa.types.is_boolean(field.type):
        return _truths(raw), "true or false"
    if pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
        numbers = _numbers(raw)
        if pa.types.is_integer(field.type):
            whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), 2.0**31))
            return pc.if_else(whole, numbers, None).cast(field.type), "a whole number"
        return numbers.cast(field.type), "a number"
    return _texts(raw), "a text"


def _texts(raw: pa.Array) -> pa.Array:
    """Texts without outer spaces, null where nothing is left."""
    if pa.types.is_floating(raw.type) and pc.all(pc.equal(pc.floor(raw), raw)).as_py():
        raw = raw.cast(pa.int64())  # whole-number ids become floats in frames with gaps
    trimmed = pc.utf8_trim_whitespace(raw.cast(pa.string()))
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _truths(raw: pa.Array) -> pa.Array:
    """True and false, or 1 and 0; null where there is neither."""
    words = pc.utf8_lower(_texts(raw))
    yes, no = (pc.is_in(words, value_set=pa.array(known)) for known in (["true", "1"], ["false", "0"]))
    return pc.if_else(pc.or_(yes, no), yes, None)


def _numbers(raw: pa.Array) -> pa.Array:
    """Finite numbers as float64, null where there is none."""
    if pa.types.is_integer(raw.type) or pa.types.is_floating(raw.type):
        numbers = raw.cast(pa.float64())
    else:
        texts = _texts(raw)
        numbers = pc.if_else(pc.match_substring_regex(texts, NUMBER), texts, None).cast(pa.float64())
    return pc.if_else(pc.is_finite(numbers), numbers, None)


def _times(raw: pa.Array) -> pa.Array:
    """Past times in UTC: ISO 8601 (UTC where it names no zone), or a number since 1970 whose size tells its unit."""
    if pa.types.is_temporal(raw.type):
        zoned = raw.cast(pa.timestamp("us", tz=raw.type.tz)) if pa.types.is_timestamp(raw.type) else raw
        times = zoned.cast(TIMESTAMP_TYPE)
    else:
        numbers = _numbers(raw).to_numpy(zero_copy_only=False)
        micros = _micros(numbers)
        if np.isnan(numbers).any() and pa.types.is_string(raw.type):
            micros = _iso_micros(raw, micros)
        times = pa.array(np.nan_to_num(micros).astype(np.int64), pa.int64(), mask=np.isnan(micros)).cast(TIMESTAMP_TYPE)
    latest = datetime.now(UTC) + CLOCK_SKEW
    usable = pc.and_(
        pc.greater_equal(times, pa.scalar(EPOCH, TIMESTAMP_TYPE)), pc.less(times, pa.scalar(latest, TIMESTAMP_TYPE))
    )
    return pc.if_else(usable, times, None)


def _micros(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Microseconds since 1970. Below 1e11 a number counts seconds (until the year 5138), then ms, µs and ns."""
    size = np.abs(numbers)
    scale = np.select([size < 1e11, size < 1e14, size < 1e17], [1e6, 1e3, 1.0], 1e-3)
    return np.asarray(np.round(numbers * scale))


def _iso_micros(raw: pa.Array, micros: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    micros = micros.copy()
    rest = np.flatnonzero(np.isnan(micros))
    for row, text in zip(rest.tolist(), raw.take(rest).to_pylist(), strict=True):
        try:
            time = datetime.fromisoformat((text or "").strip())
        except ValueError:
            continue
        zoned = time if time.tzinfo else time.replace(tzinfo=UTC)
        micros[row] = (zoned - EPOCH) // timedelta(microseconds=1)
    return micros


def _lists(raw: pa.Array) -> pa.Array:
    if pa.types.is_list(raw.type) or pa.types.is_large_list(raw.type):
        return raw.cast(pa.list_(pa.string()))
    texts = pc.fill_null(_texts(raw), "")
    lists = pc.split_pattern(texts, LIST_SEPARATOR)
    return pc.if_else(pc.equal(texts, ""), pa.scalar([], pa.list_(pa.string())), lists)


def _is_blank(raw: pa.Array) -> Mask:
    blank = pc.is_null(raw)
    if pa.types.is_string(raw.type):
        blank = pc.or_(blank, pc.equal(pc.utf8_trim_whitespace(pc.fill_null(raw, "")), ""))
    elif pa.types.is_floating(raw.type):
        blank = pc.or_(blank, pc.fill_null(pc.is_nan(raw), True))
    return _mask(blank)


def _mask(array: pa.Array) -> Mask:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=bool)


def _checked(source: Source, table: pa.Table, failures: Sequence[Failure]) -> Checked:
    failed = np.zeros(table.num_rows, dtype=bool)
    for failure in failures:
        failed |= failure.failed
    rows = np.flatnonzero(failed)[:SHOWN].tolist()
    first = [
        BadRow(int(source.lines[row]), next(failure.reason(row) for failure in failures if failure.failed[row]))
        for row in rows
    ]
    first_bad = tuple(sorted([*first, *source.unreadable[:SHOWN]], key=lambda bad: bad.line)[:SHOWN])
    return Checked(source, table.filter(pa.array(~failed)), int(failed.sum()) + len(source.unreadable), first_bad)


def _with_constant(source: Source, column: str, value: str) -> Source:
    constant = pa.chunked_array([pa.repeat(pa.scalar(value), source.table.num_rows)])
    table = source.table.drop_columns([column]) if column in source.table.column_names else source.table
    return Source(source.path, table.append_column(column, constant), source.lines, source.unreadable)


def _with_event_ids(events: pa.Table) -> pa.Table:
    """Missing ids become the XXH3 hash of the event's content, so the same event has the same id in every import."""
    missing = pc.is_null(events[columns.EVENT_ID])
    if not pc.any(missing).as_py():
        return events
    numbered = events.set_column(4, columns.TIMESTAMP, events[columns.TIMESTAMP].cast(pa.int64()))
    content = [pc.fill_null(numbered[name].cast(pa.string()), "") for name in EVENT_SCHEMA.names[1:]]
    joined = pc.binary_join_element_wise(*content, "\x1f").cast(pa.binary()).to_pylist()
    derived = pa.array([xxhash.xxh3_128_hexdigest(text) for text in joined], pa.string())
    return events.set_column(0, columns.EVENT_ID, pc.if_else(missing, derived, events[columns.EVENT_ID]))
