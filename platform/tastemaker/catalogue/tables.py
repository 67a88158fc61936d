"""The catalogue as an Arrow table, which says of itself up to which version it holds all changes (`changes.tables`)."""

from __future__ import annotations

import pyarrow as pa

from tastemaker import columns
from tastemaker.changes.tables import fitted

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


def as_items(table: pa.Table) -> pa.Table:
    """What `table` says of its items, in ITEM_SCHEMA: columns that it lacks, or that came after it, are null."""
    return fitted(table, ITEM_SCHEMA)
