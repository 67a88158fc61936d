"""Events as arrays: what every model trains on.

U users, N items, E events. Events lie user by user, oldest first, as in a compressed sparse row matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.features import trail
from tastemaker.ids import keys_of

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Interactions:
    """The events of U users with the N items of a catalogue."""

    user_ids: list[str]
    item_ids: list[str]
    offsets: Ints  # (U + 1,) user u's events are offsets[u]:offsets[u + 1]
    items: Ints  # (E,) item codes
    preferences: Floats  # (E,) in [-1, 1]
    timestamps: Ints  # (E,) seconds since 1970
    completed: Flags | None = None  # (E,) whether the user had the item to its end, where event types say so

    @property
    def users(self) -> Ints:
        """User code of every event, shape (E,)."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.offsets))

    @property
    def ordered(self) -> bool:
        """Whether any user's events differ in time: else they are sets, and nothing comes before anything."""
        same_user = np.diff(self.users) == 0
        return bool((np.diff(self.timestamps)[same_user] > 0).any())

    def of(self, user: int) -> slice:
        """Where the events of user code `user` lie."""
        return slice(int(self.offsets[user]), int(self.offsets[user + 1]))

    def had(self, users: Ints) -> tuple[Ints, Ints]:
        """The events of `users` (B,): whose each is, as a place among them, and its item."""
        events = [np.arange(self.offsets[user], self.offsets[user + 1]) for user in users]
        rows = np.repeat(np.arange(len(users)), [len(some) for some in events])
        return rows, self.items[np.concatenate(events)] if events else self.items[:0]

    def trails(self) -> list[trail.Trail]:
        """Every user's events as they would lie online."""
        records = np.empty(len(self.items), trail.RECORD)
        records["item"] = keys_of(self.item_ids)[self.items]
        records["timestamp"] = self.timestamps
        records["preference"] = self.preferences
        return [records[self.of(user)] for user in range(len(self.user_ids))]

    def where(self, keep: npt.NDArray[np.bool_]) -> Interactions:
        """The same users and items with only the events that `keep` (E,) marks."""
        counts = np.bincount(self.users[keep], minlength=len(self.user_ids))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return Interactions(
            self.user_ids,
            self.item_ids,
            offsets,
            self.items[keep],
            self.preferences[keep],
            self.timestamps[keep],
            None if self.completed is None else self.completed[keep],
        )


@dataclass(frozen=True)
class Split:
    """Each user's newest events apart from the older ones."""

    past: Interactions
    future: Interactions
    is_past: npt.NDArray[np.bool_]  # of every event of both, in their common order


def from_lake(events: pa.Table, items: pa.Table, settings: Settings) -> Interactions:
    """Arrays of `events` over the catalogue `items`, whose row order gives the item codes.

    Events of items outside the catalogue are left out.

    Raises:
        NotFound: there is no event of any catalogue item.
    """
    item_ids = items[columns.ITEM_ID].to_pylist()
    codes = pc.index_in(events[columns.ITEM_ID], value_set=items[columns.ITEM_ID])
    asked, events = events.num_rows, events.filter(codes.is_valid())
    if events.num_rows == 0:
        raise NotFound(
            f"no event of a catalogue item is among the {asked} that were asked for",
            "Import the items that they are of, with `tastemaker data import`",
        )
    codes = codes.drop_null().to_numpy().astype(np.int64)
    encoded = pc.dictionary_encode(events[columns.USER_ID].combine_chunks())
    users = encoded.indices.to_numpy().astype(np.int64)
    timestamps = pc.cast(events[columns.TIMESTAMP], pa.int64()).to_numpy() // 1_000_000
    preferences = trail.preferences(events, settings)
    completing = [name for name, kind in settings.event_types.items() if kind.completes]
    completed = pc.is_in(events[columns.EVENT_TYPE], value_set=pa.array(completing, pa.string())).to_numpy()
    order = np.lexsort((np.arange(len(users)), timestamps, users))
    counts = np.bincount(users, minlength=len(encoded.dictionary))
    return Interactions(
        user_ids=encoded.dictionary.to_pylist(),
        item_ids=item_ids,
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        items=codes[order],
        preferences=preferences[order],
        timestamps=timestamps[order],
        completed=completed[order],
    )


def split_by_time(interactions: Interactions, share: float) -> Split:
    """Hold out the newest `share` of each user's events; a user with n events keeps the first n - ceil(share · n)."""
    counts = np.diff(interactions.offsets)
    kept = counts - np.ceil(counts * share).astype(np.int64)
    rank = np.arange(len(interactions.items)) - np.repeat(interactions.offsets[:-1], counts)
    is_past = rank < np.repeat(kept, counts)
    return Split(interactions.where(is_past), interactions.where(~is_past), is_past)
