"""What a run learns from: events, catalogue and features, split in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

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
        items = lake.items()
        split, inner, window = _events(settings, items, recipe)
        # Arrow's allocator keeps what was freed, and the arrays that follow are of another.
        pa.default_memory_pool().release_unused()
        known, total = split.past, len(split.is_past)
        tell(f"{total:,} events of {len(known.user_ids):,} users with {items.num_rows:,} items")
    with narrator.step("Features in time") as tell:
        batch_features.build(lake, settings)
        names = vocabulary.read(lake)
        profiles = profiles_at(Features(settings), known.user_ids, known.users, known.timestamps, len(names))
        tell(f"{len(known.items):,} profiles of {profiles.shape[1]} features")
    countries = _countries(lake, known.user_ids)
    return Data(items, names, category_matrix(items, names), window, split, inner, profiles, countries)


def _events(settings: Settings, items: pa.Table, recipe: Recipe) -> tuple[Split, Split, tuple[datetime, datetime]]:
    """The events of the users in the sample, split in time, what is known split again, and the time that they span."""
    events = user_sample.events(settings)
    split = split_by_time(from_lake(events, items, settings), recipe.holdout)
    inner = split_by_time(split.past, recipe.validation)
    sufficiency.check(events, settings.event_types, split, inner, recipe)
    span = pc.min_max(events[columns.TIMESTAMP])
    return split, inner, (span["min"].as_py(), span["max"].as_py() + timedelta(microseconds=1))


def _countries(lake: Lake, user_ids: Sequence[str]) -> tuple[str | None, ...]:
    users = lake.users(pa.array(user_ids, pa.string()))
    rows = pc.index_in(pa.array(user_ids, pa.string()), value_set=users[columns.USER_ID])
    return tuple(users[columns.COUNTRY].combine_chunks().take(rows).to_pylist())
