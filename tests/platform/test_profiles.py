"""A profile's way from the edge to the lake's users, and out of there, on a real lake and a real Redis."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import columns, erasure, profiles, retention
from tastemaker.changes import keeper
from tastemaker.lake import USER_SCHEMA, Lake
from tastemaker.profiles import Profile

SINCE = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[AsyncRedis]:
    async with AsyncRedis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def keep(lake: Lake, redis: Redis) -> int:
    """What a new ingest worker brings into the lake."""
    return sum(each.step() for each in keeper.keepers(lake, redis))


def countries(lake: Lake) -> dict[str, str | None]:
    users = lake.users()
    return dict(zip(users[columns.USER_ID].to_pylist(), users[columns.COUNTRY].to_pylist(), strict=True))


def waiting(redis: Any) -> int:
    return int(redis.zcard(profiles.changes.changes_key) + redis.hlen(profiles.changes.documents_key))


def everywhere(lake: Lake) -> str:
    """All that the files of the lake's users say."""
    files = Path(lake.url).joinpath("users").rglob("*.parquet")
    return "".join(str(pq.read_table(file).to_pylist()) for file in files)


async def test_the_newest_profile_of_each_user_is_in_the_lake(client: AsyncRedis, redis: Redis, lake: Lake) -> None:
    assert lake.users().equals(USER_SCHEMA.empty_table())
    await profiles.put(client, "a", Profile("DE", SINCE))
    await profiles.put(client, "b", Profile("AT"))
    assert keep(lake, redis) == 2
    await profiles.put(client, "a", Profile("FR", SINCE))
    await profiles.put(client, "a", Profile("IT", SINCE))
    await profiles.put(client, "b", Profile())
    assert keep(lake, redis) == 2

    assert countries(lake) == {"a": "IT", "b": None}
    assert lake.users().schema.equals(USER_SCHEMA)
    assert set(lake.users()[columns.CREATED_AT].to_pylist()) == {SINCE, None}
    assert await profiles.records.read(client, ["a"]) == [Profile("IT", SINCE)]
    assert waiting(redis) == 0, "Redis keeps a profile once, and not once more for the lake that has it"


async def test_a_profile_wins_over_one_that_the_lake_had_from_elsewhere(
    client: AsyncRedis, redis: Redis, lake: Lake
) -> None:
    lake.profiles.replace(pa.Table.from_pylist([{columns.USER_ID: user} for user in "ab"], USER_SCHEMA))
    await profiles.put(client, "a", Profile("DE"))
    keep(lake, redis)
    assert countries(lake) == {"a": "DE", "b": None}


KILLED = """
import os, sys
from redis import Redis
from tastemaker.changes import keeper
from tastemaker.lake import Lake
setattr(getattr(keeper, sys.argv[3]), sys.argv[4], lambda *_: os._exit(7))
_, of_profiles = keeper.keepers(Lake(sys.argv[1]), Redis.from_url(sys.argv[2]))
of_profiles.step()
"""


@pytest.mark.parametrize(("at", "stored"), [(("ChangingTable", "append"), 0), (("ChangeLog", "forget"), 2)])
async def test_a_worker_that_is_killed_loses_nothing(
    at: tuple[str, str], stored: int, client: AsyncRedis, redis: Redis, redis_url: str, lake: Lake
) -> None:
    """Killed before the lake has the changes, and after it, before Redis knows."""
    await profiles.put(client, "a", Profile("DE"))
    await profiles.put(client, "b", Profile("AT"))
    killed = subprocess.run([sys.executable, "-c", KILLED, lake.url, redis_url, *at], check=False)
    assert killed.returncode == 7
    assert len(countries(lake)) == stored
    assert waiting(redis) == 4

    assert keep(lake, redis) == 2 - stored
    assert countries(lake) == {"a": "DE", "b": "AT"}
    assert waiting(redis) == 0


async def test_an_erased_user_is_in_the_lakes_users_no_more_and_then_in_no_file(
    client: AsyncRedis, redis: Redis, lake: Lake
) -> None:
    lake.profiles.replace(pa.Table.from_pylist([{columns.USER_ID: user} for user in "ab"], USER_SCHEMA))
    for user in "ab":
        await profiles.put(client, user, Profile("DE"))
    keep(lake, redis)
    await profiles.put(client, "a", Profile("FR"))
    keep(lake, redis)
    await erasure.erase(client, "a")
    keep(lake, redis)
    assert countries(lake) == {"b": "DE"}

    assert retention.erase(lake, redis, None, lambda users: None).profiles == 4
    assert countries(lake) == {"b": "DE"}
    assert "'a'" not in everywhere(lake)
    assert "'b'" in everywhere(lake)
    assert waiting(redis) == 0
    assert retention.erase(lake, redis, None, lambda users: None).profiles == 0


async def test_files_of_which_erasure_left_nothing_become_one_like_others(
    client: AsyncRedis, redis: Redis, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    await profiles.put(client, "a", Profile("DE"))
    keep(lake, redis)
    await erasure.erase(client, "a")
    keep(lake, redis)
    retention.erase(lake, redis, None, lambda users: None)
    version = lake.profiles.version()
    monkeypatch.setattr("tastemaker.changes.files.CHANGE_FILES", 1)
    lake.profiles._merge()
    assert (len(lake.profiles.change_files()), lake.profiles.version()) == (1, version)
    await profiles.put(client, "b", Profile("DE"))
    keep(lake, redis)
    assert countries(lake) == {"b": "DE"}


async def test_a_profile_that_was_on_its_way_is_erased_whatever_the_edges_clock_says(
    client: AsyncRedis, redis: Redis, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    await profiles.put(client, "a", Profile("DE"))
    keep(lake, redis)
    late = time.time_ns() - 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: late)
    await profiles.put(client, "a", Profile("FR"))
    await erasure.erase(client, "a")
    monkeypatch.undo()

    assert retention.erase(lake, redis, None, lambda users: None).profiles == 1
    keep(lake, redis)
    assert countries(lake) == {}
    retention.erase(lake, redis, None, lambda users: None)
    assert "'a'" not in everywhere(lake)


async def test_who_comes_back_keeps_the_new_profile(client: AsyncRedis, redis: Redis, lake: Lake) -> None:
    await profiles.put(client, "a", Profile("DE", SINCE))
    keep(lake, redis)
    await erasure.erase(client, "a")
    time.sleep(0.002)  # the tombstone is in milliseconds
    await profiles.put(client, "a", Profile("FR", SINCE - timedelta(days=1)))
    keep(lake, redis)
    retention.erase(lake, redis, None, lambda users: None)
    assert countries(lake) == {"a": "FR"}
    assert "DE" not in everywhere(lake)


async def test_erasure_goes_on_while_a_worker_makes_one_file_of_many(
    client: AsyncRedis, redis: Redis, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in "abc":
        await profiles.put(client, user, Profile("DE"))
        keep(lake, redis)
    await erasure.erase(client, "a")
    holding, calls = lake.holding, 0

    def once_late(*arguments: Any) -> list[str]:
        nonlocal calls
        calls += 1
        if calls == 1:
            monkeypatch.setattr("tastemaker.changes.files.CHANGE_FILES", 1)
            keep(lake, redis)
        return holding(*arguments)

    monkeypatch.setattr(lake, "holding", once_late)
    retention.erase(lake, redis, None, lambda users: None)
    assert len(lake.profiles.change_files()) == 1
    assert countries(lake) == {"b": "DE", "c": "DE"}
    assert "'a'" not in everywhere(lake)
