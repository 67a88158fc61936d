"""The user profile that models see, made by one function from historical rows (training) and online rows (serving).

B users, G categories of a model, P = profile_width(G).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemaker import columns

Floats = npt.NDArray[np.float32]
HOURS: Final = 24
DEVICES: Final = ("mobile", "desktop", "tv", "other")
MISSING: Final = 0
"""Where a profile says that its user is not known."""
SCALARS: Final = 4
"""Missing flag, then log1p of account age, items consumed and session duration."""


@dataclass(frozen=True, slots=True)
class UserRows:
    """The feature rows of B users, column by column. A user without a row is not `known` and has zeros."""

    known: npt.NDArray[np.bool_]  # (B,)
    age_s: npt.NDArray[np.float64]  # (B,) seconds since the row's event_timestamp, NaN where unknown
    account_age_days: Floats  # (B,)
    total_items_consumed: Floats  # (B,)
    avg_session_duration_7d: Floats  # (B,) seconds
    device_type: tuple[str, ...]  # B
    active_hours: Floats  # (B, 24) share of events by hour of the day, UTC
    genre_affinity: Floats  # (B, vocabulary) in [-1, 1]

    def __len__(self) -> int:
        return len(self.known)


def rows_from(columns_by_name: Mapping[str, Sequence[Any]], ages: npt.NDArray[np.float64]) -> UserRows:
    """Rows from feature columns, each of B values with None or NaN where a user has no row.

    Args:
        ages: seconds since each row's event_timestamp (B,), NaN where there is no row.
    """
    return UserRows(
        known=~np.isnan(ages),
        age_s=ages,
        account_age_days=_scalars(columns_by_name[columns.ACCOUNT_AGE_DAYS]),
        total_items_consumed=_scalars(columns_by_name[columns.TOTAL_ITEMS_CONSUMED]),
        avg_session_duration_7d=_scalars(columns_by_name[columns.AVG_SESSION_DURATION_7D]),
        device_type=tuple(value if isinstance(value, str) else "" for value in columns_by_name[columns.DEVICE_TYPE]),
        active_hours=_vectors(columns_by_name[columns.ACTIVE_HOURS], HOURS),
        genre_affinity=_vectors(columns_by_name[columns.GENRE_AFFINITY]),
    )


def rows_of(snapshots: pa.Table, ages: npt.NDArray[np.float64]) -> UserRows:
    """Rows from users' snapshots (`features.snapshots`) of these ages [s] (B,)."""
    return UserRows(
        known=np.ones(len(ages), dtype=np.bool_),
        age_s=ages,
        account_age_days=_numbers(snapshots[columns.ACCOUNT_AGE_DAYS]),
        total_items_consumed=_numbers(snapshots[columns.TOTAL_ITEMS_CONSUMED]),
        avg_session_duration_7d=_numbers(snapshots[columns.AVG_SESSION_DURATION_7D]),
        device_type=tuple(snapshots[columns.DEVICE_TYPE].fill_null("").to_pylist()),
        active_hours=_matrix(snapshots[columns.ACTIVE_HOURS], HOURS),
        genre_affinity=_matrix(snapshots[columns.GENRE_AFFINITY]),
    )


def profile_width(categories: int) -> int:
    """P, the length of a profile over `categories` categories."""
    return SCALARS + HOURS + len(DEVICES) + categories


def profile_matrix(rows: UserRows, categories: int) -> Floats:
    """Profiles (B, P): missing flag, log1p account age [days], log1p items consumed, log1p session [s], active hours,
    device one-hot (`DEVICES`), affinity to the first `categories` categories of the vocabulary."""
    profile = np.zeros((len(rows), profile_width(categories)), dtype=np.float32)
    profile[:, MISSING] = ~rows.known
    profile[:, 1] = np.log1p(rows.account_age_days)
    profile[:, 2] = np.log1p(rows.total_items_consumed)
    profile[:, 3] = np.log1p(rows.avg_session_duration_7d)
    devices = SCALARS + HOURS
    profile[:, SCALARS:devices] = rows.active_hours
    known = np.flatnonzero(rows.known)
    profile[known, devices + np.array([_device(rows.device_type[row]) for row in known], dtype=np.int64)] = 1.0
    # A row older than the newest category is shorter, a model older than it takes fewer.
    shared = min(categories, rows.genre_affinity.shape[1])
    affinity = devices + len(DEVICES)
    profile[:, affinity : affinity + shared] = rows.genre_affinity[:, :shared]
    return profile


def _device(name: str) -> int:
    return DEVICES.index(name) if name in DEVICES else len(DEVICES) - 1


def _scalars(values: Sequence[Any]) -> Floats:
    return np.nan_to_num(np.array(values, dtype=np.float32))


def _vectors(values: Sequence[Any], width: int | None = None) -> Floats:
    """A matrix of vectors that may be absent or of different lengths, with zeros at their ends."""
    lengths = [len(value) if hasattr(value, "__len__") else 0 for value in values]
    matrix = np.zeros((len(values), max(lengths, default=0) if width is None else width), dtype=np.float32)
    for row, (value, length) in enumerate(zip(values, lengths, strict=True)):
        if length:
            matrix[row, :length] = value
    return matrix


def _numbers(column: pa.ChunkedArray) -> Floats:
    return np.nan_to_num(np.asarray(column.to_numpy(), dtype=np.float32))


def _matrix(column: pa.ChunkedArray, width: int = 0) -> Floats:
    """A matrix of lists that may be absent or of different lengths, at least `width` wide, with zeros at their ends."""
    lists = column.combine_chunks()
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    matrix = np.zeros((len(lists), lengths.max(initial=width)), dtype=np.float32)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = lists.flatten().to_numpy(zero_copy_only=False)
    return matrix
