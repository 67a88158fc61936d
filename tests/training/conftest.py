"""Small worlds that training tests share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from tastemaker.lake import EVENT_SCHEMA, ITEM_SCHEMA

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
