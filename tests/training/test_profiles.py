"""What users' accounts say of them (`PUT /v1/users/{id}`) is learned from, on a real Redis and a real lake."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import embedded, profiles
from tastemaker.changes.keeper import keepers
from tastemaker.config import Settings
from tastemaker.demographics import DEMOGRAPHIC
from tastemaker.features import snapshots
from tastemaker.lake import Lake
from tastemaker.profiles import Profile
from tastemaker_training import data, recipes
from tastemaker_training.narrator import Narrator
from tastemaker_training.ranker.stage import most_liked

from .conftest import START

MONTH = timedelta(days=30)


async def put(redis_url: str, lake: Lake) -> None:
    """Users who love comedies are from Germany, the others from Austria."""
    async with AsyncRedis.from_url(redis_url) as client:
        for user in range(60):
            await profiles.put(client, f"u{user:02}", Profile(("DE", "AT")[user % 2], START - MONTH))
    with Redis.from_url(redis_url) as redis:
        for keeper in keepers(lake, redis):
            keeper.step()


async def test_segments_and_features_are_of_the_profiles_that_were_sent(
    tmp_path: Path, two_tastes: pa.Table, catalogue: pa.Table
) -> None:
    settings, recipe = Settings(home=tmp_path), recipes.smoke()
    lake = Lake(settings.lake)
    lake.append_events(two_tastes)
    lake.replace_items(catalogue)
    with embedded.server(settings) as redis_url:
        await put(redis_url, lake)

    known = data.read(settings, recipe, Narrator(quiet=True))
    lists = most_liked(known, known.known, recipe)[DEMOGRAPHIC]["country"]  # type: ignore[index]
    comedies, dramas = lists["DE"][:14], lists["AT"][:14]
    assert {code % 2 for code in comedies} == {0}
    assert {code % 2 for code in dramas} == {1}
    first = (
        pa.concat_tables(snapshots.users(lake))
        .sort_by([("user_id", "ascending"), ("event_timestamp", "ascending")])
        .slice(0, 1)
    )
    assert first["account_age_days"].to_pylist() == pytest.approx([30 + 1 / 24])
