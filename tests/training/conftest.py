"""Small worlds that training tests share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from tastemaker.config import Settings
from tastemaker.lake import EVENT_SCHEMA, ITEM_SCHEMA
from tastemaker_training import recipes
from tastemaker_training.data import Data
from tastemaker_training.dataset import category_matrix
from tastemaker_training.interactions import Split, from_lake, split_by_time
from tastemaker_training.towers.loop import Task
from tastemaker_training.towers.stage import tower_task as tower_task_of

START = datetime(2020, 1, 1, tzinfo=UTC)
GENRES = ("Comedy", "Drama")


@pytest.fixture(scope="session")
def catalogue() -> pa.Table:
    """40 items: even ones comedies, odd ones dramas."""
    codes = range(40)
    columns = {
        "item_id": [f"i{code}" for code in codes],
        "title": [f"Film {code}" for code in codes],
        "categories": [[GENRES[code % 2]] for code in codes],
        "release_year": [1990 + code % 20 for code in codes],
        "content_length_min": [None for _ in codes],
        "text": ["" for _ in codes],
        "author": [None for _ in codes],
        "published_at": [None for _ in codes],
        "available": [None for _ in codes],
    }
    return pa.table(columns, schema=ITEM_SCHEMA)


@pytest.fixture(scope="session")
def two_tastes() -> pa.Table:
    """60 users with 15 ratings each: even users love comedies, odd ones dramas; each rates one of the others low."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(60):
        loved = random.permutation(20)[:14] * 2 + user % 2
        items = [*loved.tolist(), int(random.integers(20)) * 2 + 1 - user % 2]
        for place, item in enumerate(items):
            rows.append(
                {
                    "event_id": f"{user}-{place}",
                    "user_id": f"u{user:02}",
                    "item_id": f"i{item}",
                    "event_type": "rating",
                    "timestamp": START + timedelta(days=user, minutes=place),
                    "value": 5.0 if place < 14 else 1.0,
                }
            )
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


@pytest.fixture(scope="session")
def tower_task(two_tastes: pa.Table, catalogue: pa.Table) -> Task:
    """A two-tower fit of a second or two over the two tastes."""
    recipe = recipes.smoke()
    known = split_by_time(from_lake(two_tastes, catalogue, Settings()), recipe.holdout).past
    profiles = np.zeros((len(known.items) + 1, 6), dtype=np.float32)
    profiles[-1, 0] = 1.0
    data = Data(
        items=catalogue,
        vocabulary=list(GENRES),
        categories=category_matrix(catalogue, list(GENRES)),
        window=(START, START),
        split=Split(known, known, np.ones(len(known.items), dtype=bool)),
        inner=split_by_time(known, recipe.validation),
        profiles=profiles,
        countries=(None,) * len(known.user_ids),
    )
    return tower_task_of(data, recipe)
