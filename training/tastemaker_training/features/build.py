"""Building batch features: what a run makes is what a run over everything would make, but it does only what is new.

    new event files → users touched → all their events, by partition → their snapshots anew
                                                                     → changes of item-hours → all items' snapshots

A user is touched by an event, however late, by another profile, or by other categories of an item of theirs. All of a
touched user's snapshots are made again from all their events, so nothing has to be undone, whatever the order of
arrival. They go into the file of fresh ones, so that a run does not copy everybody's; a full run makes one file of all.
Users and items lie in P partitions, by the hashes of their ids; each is the work of one task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.features import vocabulary
from tastemaker.features.files import FRESH_USER_FILE, ITEM_FILE, USER_FILE
from tastemaker.lake import Lake
from tastemaker_training.features import state as feature_state
from tastemaker_training.features.arrivals import partitions_for, partitions_of, parts_of
from tastemaker_training.features.engine import PARTITION, Engine, engine_for
from tastemaker_training.features.partitions import (
    FIRST,
    HOURS,
    ITEMS,
    LAST,
    USERS,
    Run,
    make_items,
    partition_name,
    read_events,
    renew_hours,
    renew_users,
)
from tastemaker_training.features.state import State, place

ITEM_FACTS = (columns.ITEM_ID, columns.CATEGORIES, columns.RELEASE_YEAR, columns.CONTENT_LENGTH_MIN)
PROFILE_FACTS = (columns.USER_ID, columns.CREATED_AT)
"""What snapshots take from the catalogue and from the profiles."""


@dataclass(frozen=True)
class Built:
    """What a run did."""

    new_files: int
    users: int | None
    """Users whose snapshots were made anew; None for all of them."""
    user_rows: int
    item_rows: int
    """Snapshots written."""


def build(lake: Lake, settings: Settings, *, full: bool = False) -> Built:
    """Bring the feature files that Feast reads up to date, each whole or not at all.

    Running it again changes nothing. A run that is cut short leaves the state as it was, and the next one does its
    work, too.

    Args:
        full: go by nothing that earlier runs did.

    Raises:
        NotFound: there are no events or no catalogue.
        Unavailable: there are so many events that the build is Ray's, and it does not answer.
    """
    files = lake.event_files()
    if not files:
        raise NotFound("there are no events to build features from", "Import some with `tastemaker data import`")
    with feature_state.running(lake) as name:
        return _build(name, lake, settings, files, full=full)


def _build(name: str, lake: Lake, settings: Settings, files: Mapping[str, int], *, full: bool) -> Built:
    state = None if full else feature_state.load(lake)
    new = None if state is None else _arrivals(lake, settings, state, list(files))
    if state is None or new is None:
        state, new = _nothing(partitions_for(sum(files.values())), settings), list(files)
    known = _known(lake, len(state.users))
    before = {name: lake.read(file) for name, file in state.known.items()}
    if not new and _is_published(lake, state) and all(known[name].equals(before[name]) for name in known):
        return Built(new_files=0, users=0, user_rows=0, item_rows=0)

    run = _run(name, lake, settings, state, list(files), new, known)
    touched = _touched(lake, run, known, before) if before else None
    with engine_for(sum(files.values()), run.partitions, settings) as engine:
        after = _advance(run, touched, engine, list(files.values()))
    after = _publish(lake, run, after, whole=touched is None)
    feature_state.save(lake, after)
    user_rows = after.rows[USER_FILE if touched is None else FRESH_USER_FILE]
    return Built(len(new), None if touched is None else len(touched), user_rows, after.rows[ITEM_FILE])


def _arrivals(lake: Lake, settings: Settings, state: State, files: list[str]) -> list[str] | None:
    """The files that `state` lacks; None where it cannot be gone on from."""
    if state.rules != feature_state.rules(settings) or lake.rows(USER_FILE) != state.rows[USER_FILE]:
        return None
    return feature_state.arrivals(state.consumed, files)


def _nothing(partitions: int, settings: Settings) -> State:
    """The state before the first run."""
    none: list[Any] = [None] * partitions
    return State("", feature_state.rules(settings), {}, none, none, none, {}, {})


def _known(lake: Lake, partitions: int) -> dict[str, pa.Table]:
    """What snapshots take from the catalogue, each item with its partition, and from the profiles."""
    items = lake.items().select(ITEM_FACTS)
    items = items.append_column(PARTITION, partitions_of(items[columns.ITEM_ID], partitions))
    return {ITEMS: items, USERS: lake.users().select(PROFILE_FACTS)}


def _is_published(lake: Lake, state: State) -> bool:
    return all(lake.rows(file) == rows for file, rows in state.rows.items())


def _run(
    name: str,
    lake: Lake,
    settings: Settings,
    state: State,
    files: list[str],
    new: list[str],
    known: Mapping[str, pa.Table],
) -> Run:
    """The new run, which has the catalogue and the profiles as they are now, whatever happens to them meanwhile."""
    names = pc.list_flatten(known[ITEMS][columns.CATEGORIES]).drop_null().unique().to_pylist()
    categories = vocabulary.extend(lake, names)
    copies = {what: place(name, f"known-{what}.parquet") for what in known}
    for what, table in known.items():
        lake.write(copies[what], table)
    arrived = set(new)
    is_new = tuple(file in arrived for file in files)
    return Run(name, lake.url, settings, state, tuple(files), is_new, copies, tuple(categories))


def _touched(lake: Lake, run: Run, known: Mapping[str, pa.Table], before: Mapping[str, pa.Table]) -> pa.Array:
    """The users whose snapshots are not what they were."""
    new = [file for file, is_new in zip(run.files, run.is_new, strict=True) if is_new]
    done = [file for file, is_new in zip(run.files, run.is_new, strict=True) if not is_new]
    found = [_other_profiles(before[USERS], known[USERS])]
    if new:
        found.append(lake.scan(new, [columns.USER_ID])[columns.USER_ID].unique())
    items = _other_items(before[ITEMS], known[ITEMS])
    if done and len(items):
        wanted = ds.field(columns.ITEM_ID).isin(items)
        found.append(lake.scan(done, [columns.USER_ID], wanted)[columns.USER_ID].unique())
    return pc.unique(pa.concat_arrays(found))


def _other_profiles(before: pa.Table, now: pa.Table) -> pa.Array:
    """The users whose profile came, went, or says otherwise: a row of theirs stands in one of the tables only."""
    rows = pa.concat_tables([before, now]).group_by(PROFILE_FACTS).aggregate([([], "count_all")])
    return pc.unique(rows.filter(pc.field("count_all") == 1)[columns.USER_ID])


def _other_items(before: pa.Table, now: pa.Table) -> pa.Array:
    """The items that came, went, or have other categories."""
    names = (columns.ITEM_ID, columns.CATEGORIES)
    old, new = (dict(zip(*(table[name].to_pylist() for name in names), strict=True)) for table in (before, now))
    items = {item for item in old.keys() | new.keys() if old.get(item, Ellipsis) != new.get(item, Ellipsis)}
    return pa.array(sorted(items), pa.string())


def _advance(run: Run, touched: pa.Array | None, engine: Engine[Any], sizes: Sequence[int]) -> State:
    """Do the run's work on the partitions; returns the state after it."""
    users, hours, extents = list(run.state.users), list(run.state.hours), list(run.state.extents)
    if touched is None or len(touched):
        events = engine.make(parts_of(sizes), partial(read_events, run, touched=touched))
        changes = engine.by_partition(events, partial(renew_users, run))
        for row in engine.collect(engine.by_partition(changes, partial(renew_hours, run))).to_pylist():
            hours[row[PARTITION]] = place(run.name, partition_name(HOURS, row[PARTITION]))
            extents[row[PARTITION]] = None if row[FIRST] is None else (row[FIRST], row[LAST])
    lake = Lake(run.lake)
    for partition in range(run.partitions):
        file = place(run.name, partition_name(USERS, partition))
        users[partition] = file if lake.exists(file) else users[partition]
    after = State(
        run.name,
        run.state.rules,
        feature_state.consumed(run.files),
        users,
        hours,
        extents,
        run.known,
        run.state.rows,
    )
    engine.collect(engine.make(range(run.partitions), partial(_make_items, run, after)))
    return after


def _make_items(run: Run, after: State, partition: int) -> pa.Table:
    return make_items(run, partition, after.hours[partition], after.extent)


def _publish(lake: Lake, run: Run, after: State, *, whole: bool) -> State:
    """Write what readers read, partition by partition; returns the state with the rows of each file.

    Args:
        whole: the run made everybody's snapshots; otherwise those of the users touched since a run that did.
    """
    rows = dict(run.state.rows)
    users = (lake.read(file) for file in after.users if file is not None)
    if whole:
        rows |= {USER_FILE: lake.write_all(USER_FILE, users), FRESH_USER_FILE: 0}
        lake.remove(FRESH_USER_FILE)
        after = replace(after, users=[None] * run.partitions)
    elif any(after.users):
        rows[FRESH_USER_FILE] = lake.write_all(FRESH_USER_FILE, users)
    items = (lake.read(place(run.name, partition_name(ITEMS, number))) for number in range(run.partitions))
    return replace(after, rows=rows | {ITEM_FILE: lake.write_all(ITEM_FILE, items)})
