"""Reading the snapshots that feature builds left: users' of the last full build and over them the fresh ones, items'.

An hourly build writes only the users whom new events touched, all rows of each, into a file of their own; a full one
writes everybody into the whole file, and empties the fresh one. Both lie partition by partition, and within one id by
id, the oldest snapshot first. They are read some ten thousand rows at a time: nobody holds all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from tastemaker import columns
from tastemaker.features.files import FRESH_USER_FILE, ITEM_FILE, USER_FILE
from tastemaker.lake import Lake

REMEDY: Final = "Build them with `tastemaker features build`"
SECOND_US: Final = 1_000_000

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Joined:
    """Some snapshots, and rows that were asked for (n,), each with the newest of these at or before its time."""

    snapshots: pa.Table  # S rows
    rows: Ints  # (n,) among those asked for
    places: Ints  # (n,) of their snapshots
    age_s: Ints  # (n,) [s] of their snapshots


def users(lake: Lake, only: pa.Array | None = None) -> Iterator[pa.Table]:
    """The snapshots of the users `only`, by default of all, in parts; a user's follow one another, the oldest first.

    Raises:
        NotFound: no features have been built.
    """
    id_, wanted = ds.field(columns.USER_ID), None if only is None else ds.field(columns.USER_ID).isin(only)
    if lake.rows(FRESH_USER_FILE):
        fresh = [pc.unique(part[columns.USER_ID]) for part in lake.parts(FRESH_USER_FILE, [columns.USER_ID], wanted)]
        yield from lake.parts(FRESH_USER_FILE, wanted=wanted)
        if fresh:
            others = ~id_.isin(pc.unique(pa.concat_arrays(fresh)))
            wanted = others if wanted is None else wanted & others
    yield from lake.parts(USER_FILE, wanted=wanted, remedy=REMEDY)


def items(lake: Lake) -> Iterator[pa.Table]:
    """Every item's snapshots, in parts as those of users. Raises NotFound where no features have been built."""
    return lake.parts(ITEM_FILE, remedy=REMEDY)


def newest(parts: Iterable[pa.Table], key: str) -> Iterator[pa.Table]:
    """The newest snapshot of each id in column `key`, once, in parts."""
    held = None  # the last row so far: the next part may go on with its id
    for part in parts:
        rows = part if held is None else pa.concat_tables([held, part])
        ids = rows[key].combine_chunks()
        ends = np.flatnonzero(pc.not_equal(ids[:-1], ids[1:]).to_numpy(zero_copy_only=False))
        held = rows.slice(rows.num_rows - 1)
        yield rows.take(ends)
    if held is not None:
        yield held


def joined(lake: Lake, user_ids: Sequence[str], users_asked: Ints, times: Ints) -> Iterator[Joined]:
    """Users' snapshots as they were at a time, for B rows; a row that nobody has is one before its user's first.

    A row comes twice where its user's snapshots lie in two parts: what comes later counts.

    Args:
        users_asked: (B,) places among `user_ids`, of which none is there twice. times: (B,) seconds since 1970.

    Raises:
        NotFound: no features have been built.
    """
    known, user, counts = np.unique(users_asked, return_inverse=True, return_counts=True)
    by_user = np.argsort(user, kind="stable")
    begins = np.cumsum(counts) - counts
    names = pa.array([user_ids[place] for place in known.tolist()], pa.string())
    for part in users(lake, names):
        owner = pc.index_in(part[columns.USER_ID], value_set=names).to_numpy().astype(np.int64)
        made = part[columns.EVENT_TIMESTAMP].cast(pa.int64()).to_numpy() // SECOND_US
        present = np.unique(owner)
        rows = by_user[_ranges(begins[present], counts[present])]
        newest_before = _newest_before(owner, made, np.repeat(present, counts[present]), times[rows])
        has_one = newest_before >= 0
        rows, places = rows[has_one], newest_before[has_one]
        yield Joined(part, rows, places, times[rows] - made[places])


def _newest_before(owner: Ints, made: Ints, asked_owner: Ints, asked: Ints) -> Ints:
    """For each owner and time asked (n,) the place of the owner's newest row made at or before it, -1 for none.

    Args:
        owner, made: (S,) in no order.
    """
    origin = min(made.min(), asked.min())
    span = max(made.max(), asked.max()) - origin + 1
    order = np.lexsort((made, owner))
    keys = owner[order] * span + made[order] - origin
    before = np.searchsorted(keys, asked_owner * span + asked - origin, side="right") - 1
    places = order[np.maximum(before, 0)]
    return np.where((before >= 0) & (owner[places] == asked_owner), places, -1)


def _ranges(begins: Ints, counts: Ints) -> Ints:
    """The numbers from each of `begins` on, as many as `counts` says, one range after another."""
    firsts = np.cumsum(counts) - counts
    return np.asarray(np.arange(counts.sum()) + np.repeat(begins - firsts, counts))
