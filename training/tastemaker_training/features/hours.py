"""What features count in: microseconds since 1970, hours, and running sums that begin anew with each owner."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemaker import columns

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US


def micros(events: pa.Table) -> Ints:
    """When the events happened, shape (E,)."""
    return np.asarray(events[columns.TIMESTAMP].cast(pa.int64()).to_numpy())


def hour_end(time: Ints) -> Ints:
    """The first full hour after `time`."""
    return (time // HOUR_US + 1) * HOUR_US


def last_of_runs(owner: Ints, time: Ints) -> Ints:
    """Positions of the last of each run of equal (owner, time)."""
    if not len(owner):
        return np.empty(0, np.int64)
    changes = (owner[1:] != owner[:-1]) | (time[1:] != time[:-1])
    return np.append(np.flatnonzero(changes), len(owner) - 1)


def restarted(sums: Ints, owner: Ints) -> Ints:
    """Running sums (S, …) that begin anew with each owner (S,)."""
    if not len(owner):
        return sums
    is_start: npt.NDArray[Any] = np.concatenate([[True], owner[1:] != owner[:-1]])
    starts = np.flatnonzero(is_start)
    before = np.concatenate([np.zeros_like(sums[:1]), sums[starts[1:] - 1]])
    new: Ints = sums - before[np.cumsum(is_start) - 1]
    return new
