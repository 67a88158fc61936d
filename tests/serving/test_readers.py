from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from tastemaker import preferences, profiles
from tastemaker.config import Settings
from tastemaker.features import trail
from tastemaker.features.profile import profile_width
from tastemaker.features.store import Features
from tastemaker.preferences import Preferences
from tastemaker.profiles import Profile
from tastemaker_serving.bench import seed_users
from tastemaker_serving.readers import Reader

CATEGORIES = 3
DEAD = "redis://127.0.0.1:1"


def reader(home: Path, trails_url: str, features_url: str) -> Reader:
    return Reader(Redis.from_url(trails_url), Features(Settings(home=home), features_url), CATEGORIES, budget_s=5.0)


async def test_trails_and_profiles_come_for_the_whole_batch(redis_url: str, tmp_path: Path) -> None:
    (user,) = seed_users(redis_url, ["i1", "i2", "i3"], users=1, events=5)
    reading = reader(tmp_path, redis_url, redis_url)

    trails, profiles, degraded = await reading.read([user, "nobody"])

    assert [len(found) for found in trails] == [5, 0]
    assert profiles.shape == (2, profile_width(CATEGORIES))
    assert profiles[:, 0].tolist() == [1.0, 1.0]  # neither has a feature row
    assert degraded == []
    await reading.redis.aclose()


@pytest.mark.parametrize(
    ("trails_alive", "features_alive", "named"),
    [(False, True, ["trails"]), (True, False, ["features"]), (False, False, ["trails", "features"])],
)
async def test_a_read_that_fails_is_named_and_answered_with_nothing(
    redis_url: str, tmp_path: Path, trails_alive: bool, features_alive: bool, named: list[str]
) -> None:
    reading = reader(tmp_path, redis_url if trails_alive else DEAD, redis_url if features_alive else DEAD)

    trails, profiles, degraded = await reading.read(["u1", "u2"])

    assert degraded == named
    assert all(found.dtype == trail.RECORD and len(found) == 0 for found in trails)
    assert np.array_equal(profiles[:, 0], [1.0, 1.0])
    await reading.redis.aclose()


async def test_newcomers_tell_of_themselves(redis_url: str, tmp_path: Path) -> None:
    reading = reader(tmp_path, redis_url, redis_url)
    await preferences.records.write(reading.redis, "u1", Preferences(("Drama",), ("i1",)))
    await profiles.records.write(reading.redis, "u2", Profile("DE"))

    told = await reading.introductions(["u1", "u2"])

    assert told == ([Preferences(("Drama",), ("i1",)), Preferences()], [Profile(), Profile("DE")], [])
    await reading.redis.aclose()


async def test_without_redis_newcomers_tell_nothing(tmp_path: Path) -> None:
    told = await reader(tmp_path, DEAD, DEAD).introductions(["u1"])

    assert told == ([Preferences()], [Profile()], ["preferences"])
