"""The training set as Ray Data streams it: one row per user, in random order, sharded to the workers.

A shard that fits a worker's memory is loaded into arrays once. From a larger one chunks of users stream through: a
worker draws from one chunk while the next is fetched and made ready, and each pass takes the blocks in another order.

Columns: `row` is the user's code, `user` the id, then one list each of `items`, `preferences`, `timestamps` and, flat,
`profiles` over the user's events, oldest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray.data

from tastemaker_training.interactions import Interactions, Ints
from tastemaker_training.towers.loop import Draws, Stage
from tastemaker_training.towers.two_tower import Batch

BLOCKS_PER_WORKER = 16  # at least, so that shards come out even and the order may change
BLOCK_BYTES = 64 * 2**20
RESIDENT_CHUNKS = 3  # in memory at once: drawn from, made ready, under way


def rows(stage: Stage, seed: int) -> pa.Table:
    """The stage's users with events, in an order drawn from `seed`."""
    data = stage.interactions
    counts = np.diff(data.offsets)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(counts))
    offsets = np.concatenate([[0], np.cumsum(counts[order])])
    events = np.repeat(data.offsets[order] - offsets[:-1], counts[order]) + np.arange(offsets[-1])

    def lists(values: npt.NDArray[Any]) -> pa.Array:
        chosen = values[events]
        return pa.LargeListArray.from_arrays(offsets * (chosen[:1].size or 1), chosen.ravel())

    return pa.table(
        {
            "row": order,
            "user": pa.array([data.user_ids[user] for user in order], pa.string()),
            "items": lists(data.items.astype(np.int32)),
            "preferences": lists(data.preferences),
            "timestamps": lists(data.timestamps),
            "profiles": lists(stage.profiles),
        }
    )


def dataset(table: pa.Table, workers: int) -> ray.data.Dataset:
    """Rows of users as Ray Data, whose blocks lie in the object store and come in another order on each pass."""
    blocks = max(BLOCKS_PER_WORKER * workers, table.nbytes // BLOCK_BYTES)
    size = -(-table.num_rows // blocks)
    return ray.data.from_arrow(
        [table.slice(start, size) for start in range(0, table.num_rows, size)]
    ).randomize_block_order()


def chunk_users(table: pa.Table, workers: int, memory: int) -> int | None:
    """Users in a chunk when each of `workers` may hold `memory` bytes of rows; None where its whole shard fits."""
    if table.nbytes <= memory * workers:
        return None
    return max(1, int(table.num_rows * memory / (RESIDENT_CHUNKS * table.nbytes)))


def hollow(stage: Stage) -> Stage:
    """The stage without its events: what a worker knows of it before its shard arrives."""
    none = stage.interactions.where(np.zeros(len(stage.interactions.items), dtype=bool))
    nobody = replace(none, user_ids=[], offsets=none.offsets[:1])
    return replace(stage, interactions=nobody, profiles=stage.profiles[-1:])


def filled(stage: Stage, table: pa.Table) -> Stage:
    """A hollow stage with the events of the users in `table`, in the order of their codes."""
    table = table.sort_by("row")
    column = {name: table[name].combine_chunks() for name in table.column_names}
    data = Interactions(
        user_ids=column["user"].to_pylist(),
        item_ids=stage.interactions.item_ids,
        offsets=_offsets(column["items"]),
        items=_values(column["items"]).astype(np.int64),
        preferences=_values(column["preferences"]),
        timestamps=_values(column["timestamps"]),
    )
    profiles = _values(column["profiles"]).reshape(-1, stage.profiles.shape[1])
    return replace(stage, interactions=data, profiles=np.concatenate([profiles, stage.profiles]))


def whole(shard: ray.data.DataIterator) -> pa.Table:
    """All rows of a worker's shard."""
    return pa.concat_tables(shard.iter_batches(batch_size=None, batch_format="pyarrow"))  # type: ignore[arg-type]


def passes(shard: ray.data.DataIterator, users: int) -> Iterator[pa.Table]:
    """Chunks of so many users, pass after pass over a worker's shard."""
    while True:
        yield from shard.iter_batches(batch_size=users, batch_format="pyarrow", prefetch_batches=1)


class Chunks:
    """Draws from one chunk of users after the other, while the next is made ready in the background.

    Of each draw a worker keeps its share (`World.share`), so that `workers` times as many are made from a chunk.
    """

    def __init__(self, chunks: Iterator[pa.Table], source: Callable[[pa.Table], Draws], workers: int = 1) -> None:
        self._workers = workers
        self._ready = ((chunk.num_rows, source(chunk)) for chunk in chunks)
        self._background = ThreadPoolExecutor(1, thread_name_prefix="chunks")
        self._next = self._background.submit(next, self._ready)
        self._left = 0

    def draw(self, size: int) -> Batch:
        """A batch of `size` users; about as many are kept of a chunk as there are in it."""
        if self._left <= 0:
            users, self._source = self._next.result()
            self._left = users * self._workers
            self._next = self._background.submit(next, self._ready)
        self._left -= size
        return self._source.draw(size)


def _offsets(lists: pa.Array) -> Ints:
    lengths = np.asarray(lists.value_lengths()).astype(np.int64)
    return np.concatenate([[0], np.cumsum(lengths)])


def _values(lists: pa.Array) -> npt.NDArray[Any]:
    """What the lists hold, one after the other; a copy, since Ray's memory is not this process's to keep."""
    return np.array(lists.flatten())
