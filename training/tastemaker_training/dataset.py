"""The catalogue as arrays, and profiles as of a time: what every model may be told of items and users.

B users, N items, G categories, P profile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tastemaker import columns
from tastemaker.features.profile import MISSING, profile_matrix, profile_width, rows_of
from tastemaker.features.store import Features
from tastemaker_training.interactions import Floats, Interactions, Ints

SMOOTHING = 5.0  # events at the overall mean that every item's mean preference starts from
YEAR_CENTRE, YEAR_SPREAD = 1990.0, 20.0


def category_matrix(items: pa.Table, vocabulary: list[str]) -> Floats:
    """Membership of each item in each category, shape (N, G), 0 or 1."""
    place = {name: index for index, name in enumerate(vocabulary)}
    matrix = np.zeros((items.num_rows, len(vocabulary)), dtype=np.float32)
    for code, names in enumerate(items[columns.CATEGORIES].to_pylist()):
        matrix[code, [place[name] for name in names or () if name in place]] = 1.0
    return matrix


def item_metadata(items: pa.Table, interactions: Interactions, liked: float) -> Floats:
    """Facts of every item, shape (N, 6): year, mean preference, log events, log likes, year², whether it is new."""
    n = items.num_rows
    year = items[columns.RELEASE_YEAR].to_pandas().astype("float64")
    usual = YEAR_CENTRE if year.isna().all() else year.median()
    age = ((year.fillna(usual) - YEAR_CENTRE) / YEAR_SPREAD).to_numpy()
    events = np.bincount(interactions.items, minlength=n)
    likes = np.bincount(interactions.items, weights=interactions.preferences >= liked, minlength=n)
    mean = float(interactions.preferences.mean())
    total = np.bincount(interactions.items, weights=interactions.preferences, minlength=n)
    average = (total + SMOOTHING * mean) / (events + SMOOTHING) - mean
    facts = [age, 2.5 * average, np.log1p(events), np.log1p(likes), age**2, events == 0]
    return np.stack(facts, axis=1).astype(np.float32)


def profiles_at(features: Features, user_ids: Sequence[str], users: Ints, times: Ints, categories: int) -> Floats:
    """Profiles (B + 1, P) of users as they were at a time, by the feature store's join; last, of somebody unknown.

    Args:
        users: (B,) places among `user_ids`. times: (B,) seconds since 1970.
    """
    profiles = np.zeros((len(users) + 1, profile_width(categories)), dtype=np.float32)
    profiles[:, MISSING] = 1.0
    for part in features.historical(user_ids, users, times):
        snapshots = rows_of(part.snapshots, np.zeros(part.snapshots.num_rows))
        profiles[part.rows] = profile_matrix(snapshots, categories)[part.places]
    return profiles
