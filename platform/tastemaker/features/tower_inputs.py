"""What the user tower sees of a user's trail, made alike in training and serving.

B users, L history, S items seen, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tastemaker.ids import Keys, keys_of

SECONDS_PER_DAY = 86_400.0
SESSION_GAP_S = 1_800.0
"""Longest pause within a session, as web analytics count them."""


@dataclass(frozen=True)
class KeyIndex:
    """Item codes by the 64-bit keys of their ids."""

    keys: Keys  # (N,) ascending
    codes: npt.NDArray[np.int32]  # (N,)

    @classmethod
    def of(cls, item_ids: Sequence[str]) -> KeyIndex:
        """The index of a catalogue in code order."""
        keys = keys_of(item_ids)
        order = np.argsort(keys)
        return cls(keys[order], order.astype(np.int32))

    def extended(self, item_ids: Sequence[str], first: int) -> KeyIndex:
        """The index with more items, which have the codes from `first` on."""
        keys = keys_of(item_ids)
        order = np.argsort(keys)
        places = np.searchsorted(self.keys, keys[order])
        codes = (first + order).astype(np.int32)
        return KeyIndex(np.insert(self.keys, places, keys[order]), np.insert(self.codes, places, codes))

    def find(self, keys: Keys) -> npt.NDArray[np.int32]:
        """Codes of `keys`, -1 for those that the catalogue lacks; same shape."""
        if not len(self.keys):
            return np.full(keys.shape, -1, dtype=np.int32)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.codes[place], np.int32(-1))


def no_times() -> npt.NDArray[np.uint32]:
    """For nobody."""
    return np.empty((0, 0), dtype=np.uint32)


@dataclass(frozen=True)
class TowerInputs:
    """Inputs of the user tower, and every item that the users have seen. Rows are aligned right: newest last."""

    history: npt.NDArray[np.int64]  # (B, L) item codes, -1 is padding
    preference: npt.NDArray[np.float32]  # (B, L) in [-1, 1]
    age: npt.NDArray[np.float32]  # (B, L) log1p(days before `now`)
    user: npt.NDArray[np.int64]  # (B, 2) hashed buckets
    seen: npt.NDArray[np.int32]  # (B, S) item codes, -1 is padding
    time: npt.NDArray[np.uint32] = field(default_factory=no_times)  # (B, L) seconds since 1970; no tower looks at it


def tower_inputs(
    user_ids: Sequence[str],
    trails: Sequence[npt.NDArray[np.void]],
    index: KeyIndex,
    *,
    length: int,
    buckets: int,
    now: int,
) -> TowerInputs:
    """Turn trails (`features.trail.Trail`, oldest first) into arrays.

    Items that the catalogue lacks are left out; of the rest the newest `length` make the history.

    Args:
        length: longest history; L is the longest of this batch, at least 1.
        buckets: rows of the tower's table of hashed users.
        now: time of the request in seconds since 1970.
    """
    sizes = [len(trail) for trail in trails]
    events = np.concatenate(trails)
    codes = index.find(np.ascontiguousarray(events["item"]))
    rows = np.repeat(np.arange(len(trails)), sizes)[codes >= 0]
    events, codes = events[codes >= 0], codes[codes >= 0]
    counts = np.bincount(rows, minlength=len(trails))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    width = max(1, int(counts.max(initial=0)))
    # Column of every event when rows are aligned right.
    column = np.arange(len(codes)) - offsets[rows] + width - counts[rows]
    seen = _scatter(np.int32(-1), rows, column, codes, (len(trails), width))
    recent = min(width, length)
    days = np.maximum(np.int64(now) - events["timestamp"].astype(np.int64), 0) / SECONDS_PER_DAY
    preference = _scatter(np.float32(0), rows, column, events["preference"], seen.shape)
    age = _scatter(np.float32(0), rows, column, np.log1p(days), seen.shape)
    return TowerInputs(
        history=seen[:, -recent:].astype(np.int64),
        preference=np.ascontiguousarray(preference[:, -recent:]),
        age=np.ascontiguousarray(age[:, -recent:]),
        user=user_buckets(user_ids, buckets),
        seen=seen,
        time=_scatter(np.uint32(0), rows, column, events["timestamp"], seen.shape)[:, -recent:],
    )


def session_lengths(history: npt.NDArray[np.integer[Any]], age: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """How many of the newest events are of the session that goes on now, (B,); 0 where none does.

    Args:
        history: item codes (B, L), newest last, -1 is padding. age: log1p(days before now), (B, L).
    """
    days = np.expm1(age)
    newer = np.concatenate([days[:, 1:], np.zeros((len(days), 1), dtype=days.dtype)], axis=1)
    ends = (days - newer > SESSION_GAP_S / SECONDS_PER_DAY) | (history < 0)
    back = ends[:, ::-1]
    lengths: npt.NDArray[np.int32] = np.where(back.any(axis=1), back.argmax(axis=1), history.shape[1]).astype(np.int32)
    return lengths


def user_buckets(user_ids: Sequence[str], buckets: int) -> npt.NDArray[np.int64]:
    """Two hashed buckets per user, shape (B, 2): users who share both are rare (Svenstrup et al. 2017)."""
    keys = keys_of(user_ids)
    halves = np.stack([keys & np.uint64(0xFFFFFFFF), keys >> np.uint64(32)], axis=1)
    return (halves % np.uint64(buckets)).astype(np.int64)


def _scatter(
    fill: np.generic, rows: npt.NDArray[Any], column: npt.NDArray[Any], values: npt.NDArray[Any], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    padded = np.full(shape, fill)
    padded[rows, column] = values
    return padded
