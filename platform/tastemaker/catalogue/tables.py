"""The catalogue as Arrow tables: items, and changes to them.

A change carries the version that the log gave it (`catalogue.log`). A table of items carries, in its schema's metadata,
the version up to which it holds all changes; it keeps that through Parquet, from the lake into a bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from tastemaker import columns

TIMESTAMP_TYPE = pa.timestamp("us", tz="UTC")
ITEM_SCHEMA = pa.schema(
    [
        (columns.ITEM_ID, pa.string()),
        (columns.TITLE, pa.string()),
        (columns.CATEGORIES, pa.list_(pa.string())),
        (columns.RELEASE_YEAR, pa.int32()),
        (columns.CONTENT_LENGTH_MIN, pa.float32()),
        (columns.TEXT, pa.string()),
        (columns.AUTHOR, pa.string()),
        (columns.PUBLISHED_AT, TIMESTAMP_TYPE),
        (columns.AVAILABLE, pa.bool_()),
    ]
)
VERSION: Final = "version"
REMOVED: Final = "removed"
CHANGE_SCHEMA = pa.schema([*ITEM_SCHEMA, (VERSION, pa.int64()), (REMOVED, pa.bool_())])
_METADATA: Final = b"catalogue_version"


def as_items(table: pa.Table) -> pa.Table:
    """What `table` says of its items, in ITEM_SCHEMA: columns that it lacks, or that came after it, are null."""
    given = set(table.column_names)
    arrays = [
        table[field.name].cast(field.type) if field.name in given else pa.nulls(table.num_rows, field.type)
        for field in ITEM_SCHEMA
    ]
    return at_version(pa.table(arrays, schema=ITEM_SCHEMA), version_of(table))


def version_of(items: pa.Table) -> int:
    """The version up to which `items` hold all changes; 0 for none."""
    return int((items.schema.metadata or {}).get(_METADATA, 0))


def at_version(items: pa.Table, version: int) -> pa.Table:
    """`items` that say of themselves that they hold all changes up to `version`."""
    return items.replace_schema_metadata({_METADATA: str(version)} if version else None)


def newest(changes: Sequence[pa.Table]) -> pa.Table:
    """One change per item: of all `changes` (CHANGE_SCHEMA) the one of the highest version."""
    table = pa.concat_tables([CHANGE_SCHEMA.empty_table(), *changes]).sort_by([(VERSION, "descending")])
    firsts = pc.index_in(pc.unique(table[columns.ITEM_ID]), value_set=table[columns.ITEM_ID])
    return table.take(firsts)


def changed(items: pa.Table, changes: Sequence[pa.Table]) -> pa.Table:
    """`items` (ITEM_SCHEMA) after those `changes` that are newer than they are; changed and new items come last."""
    known = version_of(items)
    fresh = newest([table.filter(pc.field(VERSION) > known) for table in changes])
    kept = items.filter(pc.invert(pc.is_in(items[columns.ITEM_ID], value_set=fresh[columns.ITEM_ID])))
    there = fresh.filter(pc.invert(fresh[REMOVED])).select(ITEM_SCHEMA.names)
    version = max(known, pc.max(fresh[VERSION]).as_py() or 0)
    return at_version(pa.concat_tables([kept, there]), version)
