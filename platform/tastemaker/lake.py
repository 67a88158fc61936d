"""The data lake: Parquet files under any fsspec URL (a directory, `memory://`, `s3://`, `gs://`).

    events/date=YYYY-MM-DD/*.parquet   one file per append, by the UTC day on which the lake received it
    items/, users/                     catalogue and profiles, each a table that changes row by row (`changes`)
    features/…                         what feature builds make of the above

A file is written under a hidden name and then moved to its own, so a reader sees all of it or nothing. Events are filed
by arrival, not by their own time: an append is then one file and atomic as a whole, whatever span of history it covers.
"""

from __future__ import annotations

import posixpath
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from tastemaker import columns
from tastemaker.catalogue.tables import ITEM_SCHEMA as ITEM_SCHEMA
from tastemaker.catalogue.tables import TIMESTAMP_TYPE as TIMESTAMP_TYPE
from tastemaker.changes.files import ChangingTable
from tastemaker.errors import InvalidInput, NotFound
from tastemaker.lake_files import Files

EVENT_SCHEMA = pa.schema(
    [
        (columns.EVENT_ID, pa.string()),
        (columns.USER_ID, pa.string()),
        (columns.ITEM_ID, pa.string()),
        (columns.EVENT_TYPE, pa.string()),
        (columns.TIMESTAMP, TIMESTAMP_TYPE),
        (columns.VALUE, pa.float64()),
        (columns.SESSION_ID, pa.string()),
        (columns.DEVICE, pa.string()),
        (columns.SCENE, pa.string()),
        (columns.REQUEST_ID, pa.string()),
        (columns.POSITION, pa.int32()),
    ]
)
USER_SCHEMA = pa.schema(
    [(columns.USER_ID, pa.string()), (columns.CREATED_AT, TIMESTAMP_TYPE), (columns.COUNTRY, pa.string())]
)
REQUIRED = {
    columns.EVENT_ID,
    columns.USER_ID,
    columns.ITEM_ID,
    columns.EVENT_TYPE,
    columns.TIMESTAMP,
    columns.TITLE,
}
"""Columns that hold no nulls, in whichever table they occur."""

FILE = "file"
"""What `Lake.scan` adds to the columns of events."""
_NOT_NAMED_BY_US = 2**63 - 1
# An event reaches the lake after it happened; a client's clock may run ahead of ours by no more than this.
CLOCK_SKEW = timedelta(days=1)


class Lake(Files):
    """Events, items, users and feature files under one URL."""

    def __init__(self, url: str) -> None:
        """Open the lake at `url`, which need not exist yet.

        Raises:
            InvalidInput: no installed file system knows the URL's scheme.
        """
        super().__init__(url)
        self.catalogue = ChangingTable(self, "items", ITEM_SCHEMA)
        self.profiles = ChangingTable(self, "users", USER_SCHEMA)

    def append_events(self, events: pa.Table) -> int:
        """Add events as one new file; returns the rows written.

        Raises:
            InvalidInput: `events` does not fit EVENT_SCHEMA.
        """
        table = _conform(events, EVENT_SCHEMA, "events")
        if table.num_rows:
            self.write(_event_file(), table)
        return int(table.num_rows)

    def draft_events(self, events: pa.Table) -> str:
        """Write events where no reader sees them; returns the file's name for `publish`, empty without events.

        Raises:
            InvalidInput: `events` does not fit EVENT_SCHEMA.
        """
        table = _conform(events, EVENT_SCHEMA, "events")
        if not table.num_rows:
            return ""
        file = _event_file()
        self.draft(file, table)
        return file

    def events(self, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
        """Events with `since` <= timestamp < `until`, by timestamp; ties stay in the order of arrival.

        Of a user's events that share an `event_id` the first to arrive counts.

        Raises:
            NotFound: the lake has never received an event.
        """
        files = self.event_files(since)
        if not files and not self.event_files():
            raise NotFound(f"the lake at {self.url} has no events", "Fill it with `tastemaker data import`")
        return settled(self._events_in(list(files)).to_table(filter=happened(since, until)))

    def event_files(self, since: datetime | None = None) -> dict[str, int]:
        """Names of the event files, relative to the lake, in the order of arrival, and their bytes.

        Args:
            since: leave out files that came too early for events of then or later.
        """
        found = self._fs.glob(f"{self._root}/events/date=*/*.parquet", detail=True)
        files = {path[len(self._root) + 1 :]: int(found[path]["size"]) for path in sorted(found)}
        if since is None:
            return files
        first = f"events/date={since.astimezone(UTC) - CLOCK_SKEW:%Y-%m-%d}"
        return {file: size for file, size in files.items() if file >= first}

    def scan(self, files: Sequence[str], names: Sequence[str], wanted: ds.Expression | None = None) -> pa.Table:
        """Columns `names` of the events in `files` that are `wanted`, file by file, with repeated events.

        The last column, FILE, is each event's position in `files`.
        """
        source = self._events_in(files)
        paths = source.files
        table = source.to_table(columns=[*names, "__filename"], filter=wanted)
        place = pc.index_in(table["__filename"], value_set=pa.array(paths, pa.string()))
        return table.drop_columns("__filename").append_column(FILE, place)

    def _events_in(self, files: Sequence[str]) -> ds.FileSystemDataset:
        paths = [f"{self._root}/{file}" for file in files]
        return ds.dataset(paths, schema=EVENT_SCHEMA, format="parquet", filesystem=self._fs)

    def replace_items(self, items: pa.Table, version: int | None = None) -> None:
        """Make `items` the whole catalogue, up to and including the changes of `version`; by default all there are.

        Raises:
            InvalidInput: they do not fit ITEM_SCHEMA.
        """
        self.catalogue.replace(_conform(items, ITEM_SCHEMA, "items"), version)

    def items(self) -> pa.Table:
        """The catalogue in ITEM_SCHEMA with all changes. Raises NotFound when there is none."""
        items = self.catalogue.read()
        if items is None:
            raise NotFound(f"the lake at {self.url} has no items", "Fill it with `tastemaker data import`")
        return items

    def users(self, only: pa.Array | None = None) -> pa.Table:
        """The profiles in USER_SCHEMA of the users `only`, by default of all.

        There need not be any: a user is known by events alone.
        """
        users = self.profiles.read(only)
        return USER_SCHEMA.empty_table() if users is None else users


def arrival_ns(file: str) -> int:
    """When an event file was written, in ns since 1970, by its name; far ahead where another program named it."""
    stamp = posixpath.basename(file).partition("-")[0]
    return int(stamp) if stamp.isdigit() else _NOT_NAMED_BY_US


def _event_file() -> str:
    """Names sort by arrival, which is the order that ties in the events' own time keep."""
    return f"events/date={datetime.now(UTC):%Y-%m-%d}/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"


def happened(since: datetime | None, until: datetime | None) -> ds.Expression | None:
    """Which events have `since` <= timestamp < `until`."""
    timestamp = ds.field(columns.TIMESTAMP)
    window = None if since is None else timestamp >= pa.scalar(since, TIMESTAMP_TYPE)
    if until is None:
        return window
    before = timestamp < pa.scalar(until, TIMESTAMP_TYPE)
    return before if window is None else window & before


def settled(events: pa.Table) -> pa.Table:
    """Events once each (`firsts`), by timestamp; ties stay as they lie."""
    first = firsts(events)
    once = events if len(first) == events.num_rows else events.take(first)
    return once.take(pc.sort_indices(once[columns.TIMESTAMP]))


def firsts(events: pa.Table) -> npt.NDArray[np.int64]:
    """Rows of the events that count, ascending: of a user's that share an `event_id` the first.

    An event id is its user's own, as it is online (`events.online`): another user's event may have the same.
    """
    user, event = _codes(events[columns.USER_ID]), _codes(events[columns.EVENT_ID])
    _, first = np.unique(user * (int(event.max(initial=0)) + 1) + event, return_index=True)
    return np.sort(first)


def _conform(table: pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    """`table` with the columns and types of `schema`."""
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise InvalidInput(f"{what} lack the columns {', '.join(missing)}", f"Give {', '.join(schema.names)}")
    for name in REQUIRED.intersection(schema.names):
        if table[name].null_count:
            raise InvalidInput(f"{what} have {table[name].null_count} rows without {name}", "Every row needs one")
    try:
        return table.select(schema.names).cast(schema)
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{what} do not fit their schema: {error}", "Correct the values") from error


def _codes(names: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Integer codes of `names`, the same for the same name."""
    chunks = pc.dictionary_encode(names).chunks  # of one dictionary
    return np.concatenate([np.empty(0, np.int64), *(chunk.indices.to_numpy() for chunk in chunks)])
