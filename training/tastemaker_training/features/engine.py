"""Where a feature build runs: the same functions over partitions, in this process or on Ray Data.

Ray starts in some ten seconds and moves every row between processes; it pays when events no longer fit one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from tastemaker.config import Settings

PARTITION = "partition"
IN_PROCESS_BYTES = 64 * 2**20
"""Event files (zstd) up to which a build stays in this process: some five million events, in about 3 GB of memory."""

Rows = TypeVar("Rows")
Work = Callable[[pa.Table], pa.Table]


class Engine(Protocol, Generic[Rows]):
    """Tables in parts. What it is given to do must be picklable, and may be done twice."""

    def make(self, tasks: Sequence[Any], work: Callable[[Any], pa.Table]) -> Rows:
        """One table for each task, all of one schema."""

    def by_partition(self, rows: Rows, work: Work) -> Rows:
        """`work` done on the rows of each partition that has any, all at once and in no particular order."""

    def collect(self, rows: Rows) -> pa.Table:
        """All rows here."""


class InProcess:
    """One partition after another."""

    def make(self, tasks: Sequence[Any], work: Callable[[Any], pa.Table]) -> pa.Table:
        """One table for each task."""
        return pa.concat_tables([work(task) for task in tasks])

    def by_partition(self, rows: pa.Table, work: Work) -> pa.Table:
        """`work` done on the rows of each partition."""
        found = [work(rows.filter(pc.field(PARTITION) == part)) for part in pc.unique(rows[PARTITION]).to_pylist()]
        return pa.concat_tables(found) if found else rows

    def collect(self, rows: pa.Table) -> pa.Table:
        """The rows."""
        return rows


class OnRay:
    """Ray Data: a hash shuffle brings each of `partitions` to one worker."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def make(self, tasks: Sequence[Any], work: Callable[[Any], pa.Table]) -> Any:
        """One block for each task."""
        import ray.data

        def one(row: pa.Table) -> pa.Table:
            return work(tasks[row["number"][0].as_py()])

        numbers = [{"number": number} for number in range(len(tasks))]
        blocks = ray.data.from_items(numbers, override_num_blocks=len(tasks))
        return blocks.map_batches(one, batch_size=1, batch_format="pyarrow")

    def by_partition(self, rows: Any, work: Work) -> Any:
        """A group for each partition."""
        return rows.groupby(PARTITION, num_partitions=self._partitions).map_groups(work, batch_format="pyarrow")

    def collect(self, rows: Any) -> pa.Table:
        """All rows in this process."""
        import ray

        blocks = [block for block in ray.get(rows.to_arrow_refs()) if block.num_rows]
        return pa.concat_tables(blocks) if blocks else pa.table({})


@contextmanager
def engine_for(size: int, partitions: int, settings: Settings) -> Iterator[Engine[Any]]:
    """The engine for `partitions` of event files of `size` bytes; Ray is the one at `ray_address`, or else a local one.

    Raises:
        Unavailable: no cluster answers at `ray_address`.
    """
    if size <= IN_PROCESS_BYTES:
        yield InProcess()
        return
    from ray.data import DataContext

    from tastemaker import ray_session

    with ray_session.session(settings):
        DataContext.get_current().enable_progress_bars = False
        yield OnRay(partitions)
