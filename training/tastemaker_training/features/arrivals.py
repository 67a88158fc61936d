"""Event files as tasks read them: in the order of arrival, each user's events in one partition, each event once.

What is done with the events of a partition is what `by_partition` of an engine does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from tastemaker import columns
from tastemaker.ids import keys_of
from tastemaker.lake import EVENT_SCHEMA, Lake, settled
from tastemaker_training.features.engine import PARTITION

PARTITION_BYTES = 4 * 2**20
"""Event files (zstd) of one partition: a task holds it decoded, some thirty times as much."""
SCAN_BYTES = 16 * 2**20
"""Event files that one task reads."""
ARRIVAL = "arrival"
"""Column whose values ascend with the arrival of events."""

Part = tuple[int, int]
"""Event files by their number: from the first to the one before the second."""
Kept = Callable[[pa.ChunkedArray], pa.Array]
"""Which of these users' events are read: flags."""


def partitions_for(size: int) -> int:
    """How many partitions event files of `size` bytes make."""
    return max(1, -(-size // PARTITION_BYTES))


def parts_of(sizes: Iterable[int]) -> list[Part]:
    """Ranges of event files, at least one, that are read at once."""
    parts, start, held, end = [], 0, 0, 0
    for size in sizes:
        if held and held + size > SCAN_BYTES:
            parts.append((start, end))
            start, held = end, 0
        held += size
        end += 1
    return [*parts, (start, end)]


def partitions_of(ids: pa.ChunkedArray, count: int) -> pa.Array:
    """The partition of each id, by its hash: (n,) int32."""
    encoded = pc.dictionary_encode(ids.combine_chunks())
    keys = keys_of(encoded.dictionary.to_pylist()) % np.uint64(count)
    return pa.array(keys.astype(np.int32)[encoded.indices.to_numpy()])


def arrival_of(file: npt.NDArray[np.int64]) -> pa.Array:
    """The order of arrival of rows, by the number of each one's file, in whose order they lie."""
    return pa.array((file << 32) + np.arange(len(file)))


def read_arrived(
    part: Part,
    lake: str,
    files: Sequence[str],
    names: Sequence[str],
    partitions: int,
    wanted: ds.Expression | None = None,
    kept: Kept | None = None,
) -> pa.Table:
    """Columns `names` of the events of some files, with ARRIVAL and PARTITION, repeated events included.

    Args:
        lake: its URL. wanted: which events, by default all. kept: of which users.
    """
    found, numbers = [pa.schema([EVENT_SCHEMA.field(name) for name in names]).empty_table()], [np.empty(0, np.int64)]
    for number in range(*part):
        for rows in Lake(lake).parts(files[number], names, wanted):
            found.append(rows if kept is None else rows.filter(kept(rows[columns.USER_ID])))
            numbers.append(np.full(found[-1].num_rows, number))
    events = pa.concat_tables(found)
    events = events.append_column(ARRIVAL, arrival_of(np.concatenate(numbers)))
    return events.append_column(PARTITION, partitions_of(events[columns.USER_ID], partitions))


def settled_arrivals(events: pa.Table) -> pa.Table:
    """`events`, in any order, once each and by time; ties, and which of a repeated one counts, by arrival."""
    return settled(events.sort_by(ARRIVAL))
