"""What a run learns from: events, catalogue and features, split in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.features import vocabulary
from tastemaker.features.store import Features
from tastemaker.lake import Lake
from tastemaker_training import sufficiency, user_sample
from tastemaker_training.dataset import category_matrix, profiles_at
from tastemaker_training.features import build as batch_features
from tastemaker_training.interactions import Floats, Interactions, Split, from_lake, split_by_time
from tastemaker_training.narrator import Narrator
from tastemaker_training.recipes import Recipe


@dataclass(frozen=True)
class Data:
    """What a run learns from."""

    items: pa.Table
    vocabulary: list[str]
    categories: Floats  # (N, G)
    window: tuple[datetime, datetime]
    split: Split  # what is known, and the holdout of the evaluation
    inner: Split  # of what is known: what the towers fit first, and what stops them and trains the ranker
    profiles: Floats  # (E + 1, P) of every known event's user, just before it; last, of a user without features

    countries: tuple[str | None, ...]  # of the users, by code

    @property
    def known(self) -> Interactions:
        """Everything but the holdout."""
        return self.split.past


def read(settings: Settings, recipe: Recipe, narrator: Narrator) -> Data:
    """Events, catalogue and features, split in time.

    Raises:
        InvalidInput: there is too little to learn from. NotFound: the lake has no events or no catalogue.
    """
    lake = Lake(settings.lake)
    with narrator.step("Events and catalogue") as tell:
        events, items = user_sample.events(settings), lake.items()
        whole = from_lake(events, items, settings)
        split = split_by_time(whole, recipe.holdout)
        inner = split_by_time(split.past, recipe.validation)
        sufficiency.check(events, settings.event_types, split, inner, recipe)
        tell(f"{len(whole.items):,} events of {len(whole.user_ids):,} users with {items.num_rows:,} items")
    with narrator.step("Features in time") as tell:
        batch_features.build(lake, settings)
        names = vocabulary.read(lake)
        known = split.past
        users = [known.user_ids[user] for user in known.users]
        profiles = profiles_at(Features(settings), users, known.timestamps, len(names))
        tell(f"{len(profiles):,} profiles of {profiles.shape[1]} features")
    nobody = np.zeros((1, profiles.shape[1]), dtype=np.float32)
    nobody[0, 0] = 1.0  # the flag of missing features
    times = events[columns.TIMESTAMP]
    window = (times[0].as_py(), times[-1].as_py() + timedelta(microseconds=1))
    profiles = np.concatenate([profiles, nobody])
    countries = _countries(lake.users(), known.user_ids)
    return Data(items, names, category_matrix(items, names), window, split, inner, profiles, countries)


def _countries(users: pa.Table, user_ids: Sequence[str]) -> tuple[str | None, ...]:
    told = dict(zip(users[columns.USER_ID].to_pylist(), users[columns.COUNTRY].to_pylist(), strict=True))
    return tuple(told.get(user) for user in user_ids)
