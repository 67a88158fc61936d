"""Hourly snapshots of users, each made of the events before it and nothing else.

E events, S snapshots, G categories. A snapshot's `event_timestamp` is the end of an hour and covers the events strictly
before that instant, so a row joined in time never knows what it shall predict. Times are microseconds since 1970.

Running sums are of integers, and so exact: a user's rows are the same to the bit whoever else is computed with them,
and however the events were spread over arrivals and partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.features.profile import HOURS
from tastemaker.features.trail import preferences
from tastemaker.lake import TIMESTAMP_TYPE
from tastemaker_training.features.hours import (
    DAY_US,
    HOUR_US,
    SECOND_US,
    WEEK_US,
    Doubles,
    Ints,
    hour_end,
    last_of_runs,
    micros,
    restarted,
)

SESSION_GAP_US = HOUR_US // 2
"""Idle time that ends a session where events name none; half an hour is web analytics' convention."""
OTHER_DEVICE = "other"
UNIT = 2.0**32
"""Preferences are summed in multiples of 1 / UNIT. A sum that overflows on the way, over users, comes back: only the
difference of two sums counts, and that of one user stays below 2³¹."""


@dataclass(frozen=True)
class Timeline:
    """Events user by user, oldest first, and where each user's hours of activity end."""

    users: pa.Array  # user ids by code
    user: Ints  # (E,) codes
    time: Ints  # (E,)
    last: Ints  # (S,) position of the last event of each user-hour
    hour_end: Ints  # (S,)

    def running(self, values: Ints) -> Ints:
        """Sums of `values` (E,) over each snapshot's user from the first event on: (S,)."""
        return restarted(np.cumsum(values)[self.last], self.user[self.last])

    def running_bins(self, bins: Ints, values: Ints, events: Ints, width: int) -> Ints:
        """Like `running` for n values that fall into bins: (S, width). `events` (n,) says whose value each is."""
        snapshot = np.searchsorted(self.last, events)
        # Summed in float64, which holds the integers of one user's hour exactly.
        change = np.bincount(snapshot * width + bins, weights=values, minlength=len(self.last) * width)
        sums = np.cumsum(change.astype(np.int64).reshape(len(self.last), width), axis=0)
        return restarted(sums, self.user[self.last])


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
    hours = line.running_bins(line.time % DAY_US // HOUR_US, np.ones(len(every), np.int64), every, HOURS)
    codes, shares, owners = _category_shares(events, items, categories, preference)
    affinity = line.running_bins(codes, _units(shares), owners, len(categories))
    expressed = np.maximum(line.running(_units(np.abs(preference))), 1)
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
            columns.TOTAL_ITEMS_CONSUMED: pa.array(line.running(_is_first_of_item(line, events).astype(np.int64))),
        }
    )


def _timeline(events: pa.Table) -> tuple[pa.Table, Timeline]:
    """`events` in the timeline's order, and the timeline."""
    encoded = pc.dictionary_encode(events[columns.USER_ID].combine_chunks())
    user, time = encoded.indices.to_numpy().astype(np.int64), micros(events)
    order = np.lexsort((time, user))
    user, time = user[order], time[order]
    last = last_of_runs(user, hour_end(time))
    return events.take(order), Timeline(encoded.dictionary, user, time, last, hour_end(time[last]))


def _session_seconds(line: Timeline, events: pa.Table) -> Doubles:
    """Mean duration of each snapshot's sessions of the last seven days (S,), 0 where none began in them."""
    starts = np.flatnonzero(_begins_session(line, events))
    begun = line.time[starts]
    session = np.searchsorted(starts, line.last, side="right") - 1
    lasted = line.time[np.append(starts[1:], len(line.time)) - 1] - begun
    total = np.concatenate([[0], np.cumsum(lasted)])
    # Sessions ascend by (user, time), so one search over both finds the first of a user within the week. From a full
    # hour on, the week begins at a full second, and whole seconds tell what lies in it.
    origin, user = int(line.time.min()) // HOUR_US * HOUR_US, line.user[line.last]
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


def _units(values: Doubles) -> Ints:
    return np.rint(values * UNIT).astype(np.int64)


def _lists(matrix: Doubles) -> pa.ListArray:
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel(), pa.float32()))
