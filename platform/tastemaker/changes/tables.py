"""Tables that change row by row, and changes to them, in Arrow. The first column of a schema is the row's id.

A change carries the version that the log gave it (`changes.log`). A table carries, in its schema's metadata, the
version up to which it holds all changes; it keeps that through Parquet, from the lake into a bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tastemaker.changes.log import Change

VERSION: Final = "version"
REMOVED: Final = "removed"
_METADATA: Final = b"catalogue_version"


def change_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of changes to a table in `schema`."""
    return pa.schema([*schema, (VERSION, pa.int64()), (REMOVED, pa.bool_())])


def to_arrow(changes: Sequence[Change[Any]], schema: pa.Schema) -> pa.Table:
    """Changes to a table in `schema`, whose names are those of the documents' attributes."""
    id_, *names = schema.names
    rows = [
        {name: getattr(change.document, name, None) for name in names}
        | {id_: change.id, VERSION: change.version, REMOVED: change.document is None}
        for change in changes
    ]
    return pa.Table.from_pylist(rows, change_schema(schema))


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` in `schema`: columns that it lacks, or that came after it, are null."""
    given = set(table.column_names)
    arrays = [
        table[field.name].cast(field.type) if field.name in given else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return at_version(pa.table(arrays, schema=schema), version_of(table))


def version_of(table: pa.Table) -> int:
    """The version up to which `table` holds all changes; 0 for none."""
    return int((table.schema.metadata or {}).get(_METADATA, 0))


def at_version(table: pa.Table, version: int) -> pa.Table:
    """`table`, which says of itself that it holds all changes up to `version`."""
    return table.replace_schema_metadata({_METADATA: str(version)} if version else None)


def newest(changes: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """One change per id: of all `changes` to a table in `schema` the one of the highest version."""
    wanted = change_schema(schema)
    parts = [wanted.empty_table(), *(fitted(part, wanted) for part in changes)]
    table = pa.concat_tables(parts).sort_by([(VERSION, "descending")])
    firsts = pc.index_in(pc.unique(table[schema.names[0]]), value_set=table[schema.names[0]])
    return table.take(firsts)


def changed(table: pa.Table, changes: Sequence[pa.Table]) -> pa.Table:
    """`table` after those `changes` to it that are newer than it is; changed and new rows come last."""
    known, names = version_of(table), table.column_names
    fresh = newest([part.filter(pc.field(VERSION) > known) for part in changes], table.schema)
    kept = table.filter(pc.invert(pc.is_in(table[names[0]], value_set=fresh[names[0]])))
    there = fresh.filter(pc.invert(fresh[REMOVED])).select(names)
    version = max(known, pc.max(fresh[VERSION]).as_py() or 0)
    return at_version(pa.concat_tables([kept, there]), version)
