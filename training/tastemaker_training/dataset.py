"""The catalogue as arrays, and profiles as of a time: what every model may be told of items and users.

B users, N items, G categories, P profile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from tastemaker import columns
from tastemaker.features.profile import profile_matrix, rows_from_frame
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


def profiles_at(features: Features, user_ids: Sequence[str], timestamps: Ints, categories: int) -> Floats:
    """Profiles (B, P) of users as they were at given seconds since 1970, by the feature store's join in time."""
    asked = pd.DataFrame(
        {columns.USER_ID: list(user_ids), columns.EVENT_TIMESTAMP: pd.to_datetime(timestamps, unit="s", utc=True)}
    )
    return profile_matrix(rows_from_frame(features.historical(asked)), categories)
