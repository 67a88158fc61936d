"""Batch features: hourly snapshots of users and items, each made of the events before it and nothing else.

E events, S snapshots, G categories. A snapshot's `event_timestamp` is the end of an hour and covers the events strictly
before that instant, so a row joined in time never knows what it shall predict. Times are microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.features import vocabulary
from tastemaker.features.files import ITEM_FILE, USER_FILE
from tastemaker.features.profile import HOURS
from tastemaker.features.trail import preferences
from tastemaker.lake import TIMESTAMP_TYPE, Lake

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US
SESSION_GAP_US = HOUR_US // 2
"""Idle time that ends a session where events name none; half an hour is web analytics' convention."""
OTHER_DEVICE = "other"


@dataclass(frozen=True)
class Timeline:
    """Events user by user, oldest first, and where each user's hours of activity end."""

    users: pa.Array  # user ids by code
    user: Ints  # (E,) codes
    time: Ints  # (E,)
    last: Ints  # (S,) position of the last event of each user-hour
    hour_end: Ints  # (S,)

    def running(self, values: npt.NDArray[Any]) -> Doubles:
        """Sums of `values` (E,) over each snapshot's user from the first event on: (S,)."""
        return _restarted(np.cumsum(values, dtype=np.float64)[self.last], self.user[self.last])

    def running_bins(self, bins: Ints, values: Doubles, events: Ints, width: int) -> Doubles:
        """Like `running` for n values that fall into bins: (S, width). `events` (n,) says whose value each is."""
        snapshot = np.searchsorted(self.last, events)
        change = np.bincount(snapshot * width + bins, weights=values, minlength=len(self.last) * width)
        return _restarted(np.cumsum(change.reshape(len(self.last), width), axis=0), self.user[self.last])


def build(lake: Lake, settings: Settings, events: pa.Table | None = None) -> tuple[int, int]:
    """Write the feature files that Feast reads, each whole or not at all; returns the rows for users and for items.

    Args:
        events: what the features may know; by default everything in the lake. An evaluation leaves its holdout out.

    Raises:
        NotFound: there are no events or no catalogue.
    """
    events = lake.events() if events is None else events
    if not events.num_rows:
        raise NotFound("there are no events to build features from", "Import some with `tastemaker data import`")
    items = lake.items()
    names = pc.list_flatten(items[columns.CATEGORIES]).drop_null().unique().to_pylist()
    categories = vocabulary.extend(lake, names)
    users = user_snapshots(events, items, lake.users(), categories, settings)
    item_rows = item_snapshots(events, items, settings)
    lake.write(USER_FILE, users)
    lake.write(ITEM_FILE, item_rows)
    return int(users.num_rows), int(item_rows.num_rows)


def user_snapshots(
    events: pa.Table, items: pa.Table, users: pa.Table, categories: Sequence[str], settings: Settings
) -> pa.Table:
    """One row per user and hour of activity.

    avg_session_duration_7d [s]   mean over the sessions begun in the seven days before, the last one as far as it went
    genre_affinity [-1, 1] (G,)   each event's preference, split among its item's categories, over the sum of
                                  |preference|: the share of a category in what the user expressed
    active_hours [0, 1] (24,)     share of the events by hour of the day, UTC
    device_type                   the last one seen, `other` where none was
    account_age_days              since the profile was created, or else since the first event
    total_items_consumed          distinct items
    """
    events, line = _timeline(events)
    preference = preferences(events, settings).astype(np.float64)
    every = np.arange(len(line.time))
    hours = line.running_bins(line.time % DAY_US // HOUR_US, np.ones(len(every)), every, HOURS)
    affinity = line.running_bins(*_category_shares(events, items, categories, preference), len(categories))
    expressed = np.maximum(line.running(np.abs(preference)), 1e-9)
    age_days = (line.hour_end - _created(line, users)[line.user[line.last]]) / DAY_US
    return pa.table(
        {
            columns.USER_ID: line.users.take(line.user[line.last]),
            columns.EVENT_TIMESTAMP: pa.array(line.hour_end).cast(TIMESTAMP_TYPE),
            columns.AVG_SESSION_DURATION_7D: pa.array(_session_seconds(line, events), pa.float32()),
            columns.GENRE_AFFINITY: _lists(affinity / expressed[:, None]),
            columns.ACTIVE_HOURS: _lists(hours / hours.sum(axis=1, keepdims=True)),
            columns.DEVICE_TYPE: _last_device(line, events),
            columns.ACCOUNT_AGE_DAYS: pa.array(np.maximum(age_days, 0.0), pa.float32()),
            columns.TOTAL_ITEMS_CONSUMED: pa.array(line.running(_is_first_of_item(line, events)).astype(np.int64)),
        }
    )


def item_snapshots(events: pa.Table, items: pa.Table, settings: Settings) -> pa.Table:
    """One row per item and hour in which an event came, or left the window of seven days.

    Every item of the catalogue has a row from the first hour of the data on, so none is ever without one.

    avg_rating             mean value of the events whose type has a scale; null before the first
    popularity_score_7d    events of positive preference in the seven days before
    genre                  the item's first category; release_year, content_length_min as in the catalogue
    """
    item_or_null = pc.index_in(events[columns.ITEM_ID], value_set=items[columns.ITEM_ID].combine_chunks())
    events = events.filter(item_or_null.is_valid())
    item = item_or_null.drop_null().to_numpy().astype(np.int64)
    hour_end = _hour_end(_micros(events))
    rating = _ratings(events, settings)
    is_liked = preferences(events, settings) > 0
    window_end = hour_end[is_liked] + WEEK_US
    came, every = np.ones(len(item)), np.arange(items.num_rows)

    # Changes of (ratings, their sum, popularity): none at first, then what events bring and take as they leave.
    start = hour_end.min() if len(hour_end) else 0
    row = np.concatenate([every, item, item[is_liked]])
    time = np.concatenate([np.full(len(every), start), hour_end, window_end])
    none = np.zeros(len(every)), np.zeros(len(window_end))
    changes = np.stack(
        [
            np.concatenate([none[0], came * ~np.isnan(rating), none[1]]),
            np.concatenate([none[0], np.nan_to_num(rating), none[1]]),
            np.concatenate([none[0], came * is_liked, -np.ones(len(window_end))]),
        ],
        axis=1,
    )
    order = np.lexsort((time, row))
    order = order[time[order] <= (hour_end.max() if len(hour_end) else 0)]
    row, time, sums = row[order], time[order], np.cumsum(changes[order], axis=0)
    last = _last_of_runs(row, time)
    row, time, sums = row[last], time[last], _restarted(sums[last], row[last])
    average = np.divide(sums[:, 1], sums[:, 0], out=np.full(len(sums), np.nan), where=sums[:, 0] > 0)
    return _item_table(items, row, time, average, sums[:, 2])


def _item_table(items: pa.Table, row: Ints, time: Ints, average: Doubles, popularity: Doubles) -> pa.Table:
    categories = items[columns.CATEGORIES].combine_chunks()
    genre = pa.array([names[0] if names else None for names in categories.to_pylist()], pa.string())
    return pa.table(
        {
            columns.ITEM_ID: items[columns.ITEM_ID].take(row),
            columns.EVENT_TIMESTAMP: pa.array(time).cast(TIMESTAMP_TYPE),
            columns.GENRE: genre.take(pa.array(row)),
            columns.RELEASE_YEAR: items[columns.RELEASE_YEAR].cast(pa.int64()).take(row),
            columns.AVG_RATING: pa.array(average, pa.float32(), mask=np.isnan(average)),
            columns.POPULARITY_SCORE_7D: pa.array(popularity, pa.float32()),
            columns.CONTENT_LENGTH_MIN: items[columns.CONTENT_LENGTH_MIN].take(row),
        }
    )


def _timeline(events: pa.Table) -> tuple[pa.Table, Timeline]:
    """`events` in the timeline's order, and the timeline."""
    encoded = pc.dictionary_encode(events[columns.USER_ID].combine_chunks())
    user, time = encoded.indices.to_numpy().astype(np.int64), _micros(events)
    order = np.lexsort((time, user))
    user, time = user[order], time[order]
    last = _last_of_runs(user, _hour_end(time))
    return events.take(order), Timeline(encoded.dictionary, user, time, last, _hour_end(time[last]))


def _session_seconds(line: Timeline, events: pa.Table) -> Doubles:
    """Mean duration of each snapshot's sessions of the last seven days (S,), 0 where none began in them."""
    starts = np.flatnonzero(_begins_session(line, events))
    begun = line.time[starts]
    session = np.searchsorted(starts, line.last, side="right") - 1
    lasted = line.time[np.append(starts[1:], len(line.time)) - 1] - begun
    total = np.concatenate([[0], np.cumsum(lasted)])
    # Sessions ascend by (user, time), so one search over both finds the first of a user within the week.
    origin, user = int(line.time.min()), line.user[line.last]
    span = (int(line.hour_end.max()) - origin) // SECOND_US + 1
    wanted = np.maximum(line.hour_end - WEEK_US - origin, 0) // SECOND_US
    first = np.searchsorted(line.user[starts] * span + (begun - origin) // SECOND_US, user * span + wanted)
    count = session - first + 1
    seconds = (total[session] - total[np.minimum(first, session)] + line.time[line.last] - begun[session]) / SECOND_US
    return np.where(count > 0, seconds / np.maximum(count, 1), 0.0)


def _begins_session(line: Timeline, events: pa.Table) -> npt.NDArray[np.bool_]:
    """Where a session begins (E,): by the events' own session ids; between two without one, by idle time."""
    names = pc.dictionary_encode(events[columns.SESSION_ID].combine_chunks()).indices
    name = names.fill_null(-1).to_numpy()
    idle = np.diff(line.time) > SESSION_GAP_US
    named = (name[1:] >= 0) & (name[:-1] >= 0)
    begins = np.where(named, name[1:] != name[:-1], idle) | (line.user[1:] != line.user[:-1])
    return np.concatenate([[True], begins])


def _category_shares(
    events: pa.Table, items: pa.Table, categories: Sequence[str], preference: Doubles
) -> tuple[Ints, Doubles, Ints]:
    """Each event's preference split among its item's categories: category codes, values, events (n,)."""
    lists = items[columns.CATEGORIES].combine_chunks()
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    code_or_null = pc.index_in(pc.list_flatten(lists), value_set=pa.array(categories, pa.string()))
    codes = pc.fill_null(code_or_null, -1).to_numpy().astype(np.int64)
    begins = np.cumsum(sizes) - sizes
    item_or_null = pc.index_in(events[columns.ITEM_ID], value_set=items[columns.ITEM_ID].combine_chunks())
    known = np.flatnonzero(item_or_null.is_valid().to_numpy())
    item = item_or_null.drop_null().to_numpy()
    repeats = sizes[item]
    event = np.repeat(known, repeats)
    within = np.arange(len(event)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    code, share = codes[np.repeat(begins[item], repeats) + within], preference[event] / np.repeat(repeats, repeats)
    is_known = code >= 0
    return code[is_known], share[is_known], event[is_known]


def _created(line: Timeline, users: pa.Table) -> Ints:
    """When each user's account began, by user code."""
    first = np.searchsorted(line.user, np.arange(len(line.users)))
    created = line.time[first]
    profile = pc.index_in(line.users, value_set=users[columns.USER_ID].combine_chunks())
    told = users[columns.CREATED_AT].cast(pa.int64()).take(profile)
    return np.where(told.is_valid().to_numpy(), pc.fill_null(told, 0).to_numpy(), created)


def _last_device(line: Timeline, events: pa.Table) -> pa.Array:
    device = events[columns.DEVICE].combine_chunks()
    seen = np.where(device.is_valid().to_numpy(zero_copy_only=False), np.arange(len(device)), -1)
    latest = np.maximum.accumulate(seen)[line.last]
    first = np.searchsorted(line.user, line.user[line.last])
    return pc.fill_null(device.take(pa.array(latest, mask=latest < first)), OTHER_DEVICE)


def _is_first_of_item(line: Timeline, events: pa.Table) -> npt.NDArray[np.bool_]:
    """Whether an event is its user's first with its item (E,)."""
    encoded = pc.dictionary_encode(events[columns.ITEM_ID].combine_chunks())
    pair = line.user * len(encoded.dictionary) + encoded.indices.to_numpy()
    is_first = np.zeros(len(pair), dtype=bool)
    is_first[np.unique(pair, return_index=True)[1]] = True
    return is_first


def _ratings(events: pa.Table, settings: Settings) -> Doubles:
    """Values of the events whose type has a scale (E,), NaN for the others."""
    scaled = pa.array([name for name, kind in settings.event_types.items() if kind.full is not None], pa.string())
    is_scaled = pc.is_in(events[columns.EVENT_TYPE], value_set=scaled).to_numpy()
    return np.where(is_scaled, events[columns.VALUE].cast(pa.float64()).to_numpy(), np.nan)


def _restarted(sums: Doubles, owner: Ints) -> Doubles:
    """Running sums (S, …) that begin anew with each owner (S,)."""
    is_start = np.concatenate([[True], owner[1:] != owner[:-1]])
    starts = np.flatnonzero(is_start)
    before = np.concatenate([np.zeros_like(sums[:1]), sums[starts[1:] - 1]])
    restarted: Doubles = sums - before[np.cumsum(is_start) - 1]
    return restarted


def _last_of_runs(owner: Ints, time: Ints) -> Ints:
    """Positions of the last of each run of equal (owner, time)."""
    changes = (owner[1:] != owner[:-1]) | (time[1:] != time[:-1])
    return np.append(np.flatnonzero(changes), len(owner) - 1)


def _hour_end(time: Ints) -> Ints:
    """The first full hour after `time`."""
    return (time // HOUR_US + 1) * HOUR_US


def _micros(events: pa.Table) -> Ints:
    return np.asarray(events[columns.TIMESTAMP].cast(pa.int64()).to_numpy())


def _lists(matrix: Doubles) -> pa.ListArray:
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel(), pa.float32()))
