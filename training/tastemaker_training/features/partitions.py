"""What a feature build does with one partition of the users, or of the items: the tasks of `features.build`.

Each takes a partition's rows, writes its file into the lake, and returns what the next step wants to know. A task that
runs twice writes the same file twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.lake import FILE, Lake
from tastemaker_training.features.arrivals import ARRIVAL, Part, arrival_of, partitions_of, settled_arrivals
from tastemaker_training.features.engine import PARTITION
from tastemaker_training.features.items import END, HOURS_SCHEMA, item_hours, item_snapshots, negated, summed
from tastemaker_training.features.state import State, place
from tastemaker_training.features.users import user_snapshots

IS_NEW = "is_new"
COLUMNS = (
    columns.EVENT_ID,
    columns.USER_ID,
    columns.ITEM_ID,
    columns.EVENT_TYPE,
    columns.TIMESTAMP,
    columns.VALUE,
    columns.SESSION_ID,
    columns.DEVICE,
)
FIRST, LAST = "first", "last"
EXTENTS_SCHEMA = pa.schema([(PARTITION, pa.int32()), (FIRST, pa.int64()), (LAST, pa.int64())])
USERS, HOURS, ITEMS = "users", "hours", "items"
"""What the files of partitions hold."""


@dataclass(frozen=True)
class Run:
    """What all tasks of a run know."""

    name: str
    lake: str  # URL
    settings: Settings
    state: State  # what the run before left
    files: tuple[str, ...]  # event files in the order of arrival
    is_new: tuple[bool, ...]  # which of them the run before has not seen
    known: dict[str, str]  # copies of the catalogue and the profiles
    categories: tuple[str, ...]

    @property
    def partitions(self) -> int:
        """P."""
        return len(self.state.users)


def partition_name(what: str, partition: int) -> str:
    """The name of a partition's file within a run."""
    return f"{what}-{partition:05d}.parquet"


def read_events(run: Run, part: Part, touched: pa.Array | None) -> pa.Table:
    """The events of the `touched` users (None for all) in the run's files `part`, with their users' partitions."""
    first, end = part
    wanted = None if touched is None else ds.field(columns.USER_ID).isin(touched)
    events = Lake(run.lake).scan(run.files[first:end], COLUMNS, wanted)
    file = events[FILE].to_numpy().astype(np.int64) + first
    events = events.drop_columns(FILE).append_column(ARRIVAL, arrival_of(file))
    events = events.append_column(IS_NEW, pa.array(np.array(run.is_new, bool)[file]))
    return events.append_column(PARTITION, partitions_of(events[columns.USER_ID], run.partitions))


def renew_users(run: Run, events: pa.Table) -> pa.Table:
    """Write a partition's fresh snapshots with those of its touched users; returns the changes of item-hours.

    Args:
        events: all the events of these users.
    """
    lake, partition = Lake(run.lake), events[PARTITION][0].as_py()
    here = ds.field(columns.USER_ID).isin(pc.unique(events[columns.USER_ID]))
    items, profiles = lake.read(run.known[ITEMS]), lake.read(run.known[USERS], wanted=here)
    now, before = settled_arrivals(events), settled_arrivals(events.filter(pc.invert(events[IS_NEW])))
    rows = user_snapshots(now, items, profiles, run.categories, run.settings)
    kept = run.state.users[partition]
    if kept is not None:
        others = lake.read(kept)
        touched = pc.is_in(others[columns.USER_ID], value_set=pc.unique(now[columns.USER_ID]))
        rows = pa.concat_tables([others.filter(pc.invert(touched)), rows])
    lake.write(place(run.name, partition_name(USERS, partition)), _in_order(rows, columns.USER_ID))
    hours = pa.concat_tables([item_hours(now, run.settings), negated(item_hours(before, run.settings))])
    changes = summed(hours)
    return changes.append_column(PARTITION, partitions_of(changes[columns.ITEM_ID], run.partitions))


def renew_hours(run: Run, changes: pa.Table) -> pa.Table:
    """Write a partition's item-hours with `changes` added; returns the first and the last hour of them."""
    lake, partition = Lake(run.lake), changes[PARTITION][0].as_py()
    kept = run.state.hours[partition]
    before = HOURS_SCHEMA.empty_table() if kept is None else lake.read(kept)
    hours = summed(pa.concat_tables([before, changes.select(HOURS_SCHEMA.names)]))
    lake.write(place(run.name, partition_name(HOURS, partition)), hours)
    extent = pc.min_max(hours[END])
    row = {PARTITION: partition, FIRST: extent["min"].as_py(), LAST: extent["max"].as_py()}
    return pa.Table.from_pylist([row], EXTENTS_SCHEMA)


def make_items(run: Run, partition: int, hours: str | None, extent: tuple[int, int]) -> pa.Table:
    """Write the snapshots of a partition's items; returns nothing but the partition.

    Args:
        hours: the file of the partition's item-hours. extent: the first and the last hour of all data.
    """
    lake = Lake(run.lake)
    items = lake.read(run.known[ITEMS], wanted=ds.field(PARTITION) == partition)
    held = HOURS_SCHEMA.empty_table() if hours is None else lake.read(hours)
    rows = item_snapshots(held, items, extent)
    lake.write(place(run.name, partition_name(ITEMS, partition)), _in_order(rows, columns.ITEM_ID))
    return pa.table({PARTITION: pa.array([partition], pa.int32())})


def _in_order(rows: pa.Table, key: str) -> pa.Table:
    return rows.sort_by([(key, "ascending"), (columns.EVENT_TIMESTAMP, "ascending")])
