"""A real Redis-protocol server for the tests of the shared package, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tastemaker import embedded
from tastemaker.config import Settings


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded.server(Settings(home=tmp_path_factory.mktemp("redis-home"))) as url:
        yield url


@pytest.fixture
def redis_url(server_url: str) -> str:
    with Redis.from_url(server_url) as redis:
        redis.flushall()
    return server_url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)
