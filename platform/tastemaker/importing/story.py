"""One import from the request to the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from tastemaker import columns
from tastemaker.changes.tables import at_version, version_of
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput, NotFound
from tastemaker.importing import movielens
from tastemaker.importing.parse import Checked, parse_events, parse_items
from tastemaker.importing.sources import READERS, read
from tastemaker.lake import EVENT_SCHEMA, ITEM_SCHEMA, Lake, firsts

MOVIELENS = "movielens"
FORMATS = (MOVIELENS, *READERS)


@dataclass(frozen=True)
class ImportRequest:
    """What to import, and how its columns map to ours."""

    format: str
    path: Path
    mapping: Mapping[str, str] = field(default_factory=dict)
    """Event column → column of the source, where the two differ."""
    event_type: str | None = None
    """Type of all events, for a source that does not say."""
    items: Path | None = None
    """The catalogue, in the same format. MovieLens brings its own."""
    items_mapping: Mapping[str, str] = field(default_factory=dict)
    max_bad: float = 0.01
    """Share of rows of a file, in [0, 1], that may be left out as bad."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did."""

    events: int
    """Usable events in the source."""
    new_events: int
    """Those that the lake did not have yet."""
    items: int
    """Items in the lake's catalogue now."""
    untitled_items: int
    """Items known from events alone, which got their id for a title."""
    bad_rows: int
    first_bad: tuple[str, ...]
    """The first bad rows of each file: place and reason."""
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {**vars(self), "first_bad": list(self.first_bad), "seconds": round(self.seconds, 3)}


def import_data(
    lake: Lake, request: ImportRequest, settings: Settings, step: Callable[[str], None] = lambda _: None
) -> ImportReport:
    """Import what `request` names into `lake`. Importing the same again changes nothing.

    Args:
        step: told what begins, for progress.

    Raises:
        InvalidInput: the format, a column, an event type or too many rows cannot be used; nothing was written.
        NotFound: there is no such file.
    """
    started = time.monotonic()
    if not 0 <= request.max_bad <= 1:
        raise InvalidInput(f"--max-bad is {request.max_bad}", "Give a share between 0 and 1")
    events, items = _read(request, settings, step)
    checked = [part for part in (events, items) if part is not None]
    for part in checked:
        _refuse_if_too_bad(part, request.max_bad)

    step("writing to the lake")
    catalogue, untitled = _catalogue(lake, items, events.table)
    unseen = _unseen(lake, events.table)
    # The catalogue first: items without events do no harm, events without items would.
    lake.replace_items(catalogue, version_of(catalogue))
    written = lake.append_events(unseen)
    return ImportReport(
        events=events.table.num_rows,
        new_events=written,
        items=catalogue.num_rows,
        untitled_items=untitled,
        bad_rows=sum(part.bad for part in checked),
        first_bad=tuple(
            f"{part.source.path.name} line {bad.line}: {bad.reason}" for part in checked for bad in part.first_bad
        ),
        seconds=time.monotonic() - started,
    )


def _read(request: ImportRequest, settings: Settings, step: Callable[[str], None]) -> tuple[Checked, Checked | None]:
    if request.format == MOVIELENS:
        if request.items or request.mapping or request.items_mapping or request.event_type:
            raise InvalidInput("a MovieLens data set says itself what its columns are", "Leave the other flags out")
        return _read_movielens(request.path, settings, step)
    if request.format not in READERS:
        raise InvalidInput(f"unknown format {request.format!r}", f"Use one of {', '.join(FORMATS)}")
    step(f"reading {request.path.name}")
    source = read(request.format, request.path, _wanted(EVENT_SCHEMA, request.mapping))
    step(f"checking {request.path.name}")
    events = parse_events(source, request.mapping, request.event_type, settings)
    if request.items is None:
        return events, None
    step(f"reading {request.items.name}")
    catalogue = read(request.format, request.items, _wanted(ITEM_SCHEMA, request.items_mapping))
    return events, parse_items(catalogue, request.items_mapping)


def _read_movielens(path: Path, settings: Settings, step: Callable[[str], None]) -> tuple[Checked, Checked]:
    with movielens.opened(path) as folder:
        step("reading ratings")
        ratings = movielens.read_ratings(folder)
        step("reading movies and tags")
        movies = movielens.read_movies(folder)
    step("checking")
    events = parse_events(ratings, movielens.EVENT_MAPPING, movielens.EVENT_TYPE, settings)
    return events, parse_items(movies, {**movielens.ITEM_MAPPING, columns.RELEASE_YEAR: columns.RELEASE_YEAR})


def _wanted(schema: pa.Schema, mapping: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys([*(mapping.get(name, name) for name in schema.names), *mapping.values()]))


def _refuse_if_too_bad(part: Checked, max_bad: float) -> None:
    name = part.source.path.name
    if part.rows == 0:
        raise InvalidInput(f"{name} has no rows", "Check the path and the format")
    if part.bad > max_bad * part.rows or part.bad == part.rows:
        shown = "; ".join(f"line {bad.line}: {bad.reason}" for bad in part.first_bad)
        raise InvalidInput(
            f"{part.bad} of {part.rows} rows of {name} cannot be used ({part.bad / part.rows:.1%}, at most "
            f"{max_bad:.1%}), so nothing was imported: {shown}",
            "Correct them, map the columns with `--map`, or allow more with `--max-bad`",
        )


def _catalogue(lake: Lake, items: Checked | None, events: pa.Table) -> tuple[pa.Table, int]:
    """The lake's catalogue with `items` in the place of rows of the same id, and a bare row for each item of `events`
    that neither knows; and how many those are."""
    try:
        present = lake.items()
    except NotFound:
        present = ITEM_SCHEMA.empty_table()
    fresh = ITEM_SCHEMA.empty_table() if items is None else items.table
    kept = present.filter(pc.invert(pc.is_in(present[columns.ITEM_ID], value_set=fresh[columns.ITEM_ID])))
    catalogue = pa.concat_tables([kept.cast(ITEM_SCHEMA), fresh.cast(ITEM_SCHEMA)])
    ids = pc.unique(events[columns.ITEM_ID])
    bare_ids = ids.filter(pc.invert(pc.is_in(ids, value_set=catalogue[columns.ITEM_ID])))
    columns_of_bare = {name: pa.nulls(len(bare_ids), ITEM_SCHEMA.field(name).type) for name in ITEM_SCHEMA.names}
    columns_of_bare |= {columns.ITEM_ID: bare_ids, columns.TITLE: bare_ids}
    columns_of_bare[columns.CATEGORIES] = pa.array([[]] * len(bare_ids), pa.list_(pa.string()))
    columns_of_bare[columns.TEXT] = pa.array([""] * len(bare_ids), pa.string())
    whole = pa.concat_tables([catalogue, pa.table(columns_of_bare, schema=ITEM_SCHEMA)])
    return at_version(whole, version_of(present)), len(bare_ids)


def _unseen(lake: Lake, events: pa.Table) -> pa.Table:
    """Those of `events` that the lake does not have, once each."""
    names = [columns.USER_ID, columns.EVENT_ID]
    files = list(lake.event_files())
    wanted = ds.field(columns.USER_ID).isin(pc.unique(events[columns.USER_ID]))
    present = [lake.scan(files, names, wanted).select(names)] if files else []
    known = sum(table.num_rows for table in present)
    first = firsts(pa.concat_tables([*present, events.select(names)]))
    return events.take(first[first >= known] - known)
