"""Hourly snapshots of items, made of what each hour brought each item.

E events, H item-hours, S snapshots. Times are microseconds since 1970; a snapshot covers the events strictly before it.
Item-hours add up and take away exactly, since they are integers: events may arrive in any order and in any parts.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.features.trail import preferences
from tastemaker.lake import TIMESTAMP_TYPE
from tastemaker_training.features.hours import WEEK_US, Ints, hour_end, last_of_runs, micros, restarted

END, EVENTS, RATINGS, RATED, LIKES = "hour_end", "events", "ratings", "rated", "likes"
COUNTS = (EVENTS, RATINGS, RATED, LIKES)
HOURS_SCHEMA = pa.schema([(columns.ITEM_ID, pa.string()), *((name, pa.int64()) for name in (END, *COUNTS))])
"""Item-hours: events, those with a value on a scale, the sum of these values in millionths, events of positive
preference."""
MILLION = 1_000_000
LARGEST_RATING = 1e6
"""Values beyond it count as it."""


def item_hours(events: pa.Table, settings: Settings) -> pa.Table:
    """What each hour brought each item, of any catalogue: HOURS_SCHEMA, by item and hour."""
    value = _scaled_values(events, settings)
    is_rated = ~np.isnan(value)
    rated = np.rint(np.clip(np.nan_to_num(value), -LARGEST_RATING, LARGEST_RATING) * MILLION).astype(np.int64)
    likes = preferences(events, settings) > 0
    counts = (np.ones(len(value), np.int64), is_rated.astype(np.int64), rated, likes.astype(np.int64))
    arrays = [events[columns.ITEM_ID], pa.array(hour_end(micros(events))), *map(pa.array, counts)]
    return summed(pa.table(dict(zip(HOURS_SCHEMA.names, arrays, strict=True))))


def summed(hours: pa.Table) -> pa.Table:
    """One row for each item and hour of `hours`, in their order; rows that change nothing are gone.

    A change may take one event away and bring another: its sum of events is 0, those of the other counts are not.
    """
    sums = hours.group_by([columns.ITEM_ID, END], use_threads=False).aggregate([(name, "sum") for name in COUNTS])
    sums = sums.rename_columns([name.removesuffix("_sum") for name in sums.column_names]).select(HOURS_SCHEMA.names)
    is_something = reduce(or_, (pc.field(name) != 0 for name in COUNTS))
    return sums.filter(is_something).sort_by([(columns.ITEM_ID, "ascending"), (END, "ascending")])


def negated(hours: pa.Table) -> pa.Table:
    """What takes `hours` away when it is added."""
    for name in COUNTS:
        hours = hours.set_column(hours.column_names.index(name), name, pc.negate(hours[name]))
    return hours


def item_snapshots(hours: pa.Table, items: pa.Table, extent: tuple[int, int]) -> pa.Table:
    """One row per item and hour in which an event came, or left the window of seven days.

    Every item of the catalogue has a row from the first hour of the data on, so none is ever without one.

    avg_rating             mean value of the events whose type has a scale; null before the first
    popularity_score_7d    events of positive preference in the seven days before
    genre                  the item's first category; release_year, content_length_min as in the catalogue

    Args:
        hours: in HOURS_SCHEMA; of items outside `items` they count for nothing.
        extent: the first and the last hour of all data.
    """
    item_or_null = pc.index_in(hours[columns.ITEM_ID], value_set=items[columns.ITEM_ID].combine_chunks())
    hours = hours.filter(item_or_null.is_valid())
    item = item_or_null.drop_null().to_numpy().astype(np.int64)
    end, ratings, rated, likes = (hours[name].to_numpy() for name in (END, RATINGS, RATED, LIKES))
    first, last_hour = extent
    every, liked = np.arange(items.num_rows), np.flatnonzero(likes)

    # Changes of (ratings, their sum, popularity): none at first, then what hours bring and take as they leave.
    row = np.concatenate([every, item, item[liked]])
    time = np.concatenate([np.full(len(every), first), end, end[liked] + WEEK_US])
    changes = np.zeros((len(row), 3), np.int64)
    changes[len(every) : len(every) + len(item)] = np.stack([ratings, rated, likes], axis=1)
    changes[len(every) + len(item) :, 2] = -likes[liked]

    order = np.lexsort((time, row))
    order = order[time[order] <= last_hour]
    row, time, sums = row[order], time[order], np.cumsum(changes[order], axis=0)
    last = last_of_runs(row, time)
    return _table(items, row[last], time[last], restarted(sums[last], row[last]))


def _table(items: pa.Table, row: Ints, time: Ints, sums: Ints) -> pa.Table:
    count = sums[:, 0]
    average = np.divide(sums[:, 1] / MILLION, count, out=np.zeros(len(sums)), where=count > 0)
    categories = items[columns.CATEGORIES].combine_chunks()
    genre = pa.array([names[0] if names else None for names in categories.to_pylist()], pa.string())
    return pa.table(
        {
            columns.ITEM_ID: items[columns.ITEM_ID].take(row),
            columns.EVENT_TIMESTAMP: pa.array(time).cast(TIMESTAMP_TYPE),
            columns.GENRE: genre.take(pa.array(row)),
            columns.RELEASE_YEAR: items[columns.RELEASE_YEAR].cast(pa.int64()).take(row),
            columns.AVG_RATING: pa.array(average, pa.float32(), mask=count == 0),
            columns.POPULARITY_SCORE_7D: pa.array(sums[:, 2], pa.float32()),
            columns.CONTENT_LENGTH_MIN: items[columns.CONTENT_LENGTH_MIN].take(row),
        }
    )


def _scaled_values(events: pa.Table, settings: Settings) -> npt.NDArray[np.float64]:
    """Values of the events whose type has a scale (E,), NaN for the others."""
    scaled = pa.array([name for name, kind in settings.event_types.items() if kind.full is not None], pa.string())
    is_scaled = pc.is_in(events[columns.EVENT_TYPE], value_set=scaled).to_numpy()
    return np.where(is_scaled, events[columns.VALUE].cast(pa.float64()).to_numpy(), np.nan)
