"""What is erased, what stays, and what a run that was killed leaves, on a real lake and a real Redis."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from redis import Redis
from typer.testing import CliRunner

from tastemaker import columns, config, retention
from tastemaker.cli import app
from tastemaker.config import Settings
from tastemaker.decisions import archive
from tastemaker.erasure import TOMBSTONES
from tastemaker.features.files import FRESH_USER_FILE, STATE_FILE, USER_FILE
from tastemaker.lake import EVENT_SCHEMA, TIMESTAMP_TYPE, USER_SCHEMA, Lake
from tastemaker.retention import KEPT_MS, Erased, erase

from .decisions.examples import decision

NOW = datetime.now(UTC)
SNAPSHOTS = pa.schema([(columns.USER_ID, pa.string()), (columns.EVENT_TIMESTAMP, TIMESTAMP_TYPE)])


def rows(schema: pa.Schema, moment: str, *people: tuple[str, float]) -> pa.Table:
    """A row for each (user, hours from now)."""
    common = {columns.ITEM_ID: "i", columns.EVENT_TYPE: "view"}
    told = [
        common | {columns.EVENT_ID: f"{user}{hours}", columns.USER_ID: user, moment: NOW + timedelta(hours=hours)}
        for user, hours in people
    ]
    return pa.Table.from_pylist(told, schema)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """Users a, b and c, of whom a has been active until now and c has a clock that is ahead."""
    lake = Lake(settings.lake)
    lake.append_events(rows(EVENT_SCHEMA, columns.TIMESTAMP, ("a", -9), ("b", -9), ("a", -2), ("c", 5)))
    lake.append_events(rows(EVENT_SCHEMA, columns.TIMESTAMP, ("b", -1)))
    lake.profiles.replace(rows(USER_SCHEMA, columns.CREATED_AT, ("a", -99), ("b", -99)))
    lake.write(USER_FILE, rows(SNAPSHOTS, columns.EVENT_TIMESTAMP, ("a", -9), ("b", -9), ("a", -2)))
    lake.write(FRESH_USER_FILE, rows(SNAPSHOTS, columns.EVENT_TIMESTAMP, ("a", -2)))
    lake.write_json(STATE_FILE, {})
    then = NOW.timestamp() - 3600
    archive.append(lake, [decision("r1", user_id="a", time=then), decision("r2", user_id="b", time=then)])
    return lake


def ask(redis: Redis, *users: str, hours: float = 0.0) -> None:
    when = datetime.now(UTC) + timedelta(hours=hours)
    redis.hset(TOMBSTONES, mapping={user: int(when.timestamp() * 1000) for user in users})


def users_of(table: pa.Table) -> list[str]:
    return sorted(table[columns.USER_ID].to_pylist())


def run(lake: Lake, redis: Redis, keep_days: int | None = None, **others: Any) -> Erased:
    return erase(lake, redis, keep_days, lambda users: None, **others)


def test_all_that_is_of_a_forgotten_user_goes_and_nothing_else(lake: Lake, redis: Redis) -> None:
    ask(redis, "a", "nobody")
    forgotten: list[str] = []

    done = erase(lake, redis, None, forgotten.extend)

    assert done == Erased(users=2, events=2, profiles=1, decisions=1, features=3, dead_letters=0, expired=0)
    assert users_of(lake.events()) == ["b", "b", "c"]
    assert users_of(lake.users()) == ["b"]
    assert users_of(lake.read(USER_FILE)) == ["b"]
    assert archive.find(lake, "r1") is None
    assert archive.find(lake, "r2") == decision("r2", user_id="b", time=NOW.timestamp() - 3600)
    assert sorted(forgotten) == ["a", "nobody"]
    assert not lake.exists(STATE_FILE), "the next feature build would go on from the user's events"


def test_running_again_changes_no_file(lake: Lake, redis: Redis, settings: Settings) -> None:
    ask(redis, "a")
    run(lake, redis)
    lake.write_json(STATE_FILE, {})
    before = contents(Path(settings.lake))

    assert astuple(run(lake, redis)) == (1, 0, 0, 0, 0, 0, 0)
    assert contents(Path(settings.lake)) == before


def test_what_a_user_did_after_they_asked_stays(lake: Lake, redis: Redis) -> None:
    ask(redis, "a", hours=-5)
    done = run(lake, redis)
    assert (done.events, done.features, done.decisions, done.profiles) == (1, 1, 0, 1)
    assert users_of(lake.events()) == ["a", "b", "b", "c"]
    assert archive.find(lake, "r1") is not None


def test_a_clock_that_is_ahead_saves_no_event(lake: Lake, redis: Redis) -> None:
    ask(redis, "c")
    assert run(lake, redis).events == 1
    assert users_of(lake.events()) == ["a", "a", "b", "b"]


def test_a_tombstone_stays_until_what_was_under_way_has_come(lake: Lake, redis: Redis) -> None:
    days = datetime.now(UTC) + timedelta(milliseconds=KEPT_MS)
    ask(redis, "a", "b")
    run(lake, redis, now=days)
    assert set(redis.hkeys(TOMBSTONES)) == {b"a", b"b"}  # type: ignore[arg-type]
    ask(redis, "b", hours=1)
    run(lake, redis, now=days + timedelta(minutes=1))
    assert redis.hkeys(TOMBSTONES) == [b"b"]


def test_who_asks_again_meanwhile_keeps_their_tombstone(redis: Redis) -> None:
    ask(redis, "a", "b")
    old: Any = redis.hgetall(TOMBSTONES)
    ask(redis, "a", hours=1)
    retention._lay_down(redis, old, int(datetime.now(UTC).timestamp() * 1000) + 10**9)
    assert redis.hkeys(TOMBSTONES) == [b"a"]


def test_decisions_of_old_days_go_whoever_they_are_of(lake: Lake, redis: Redis) -> None:
    for days in (9, 10, 11):
        day = f"{archive.FOLDER}/date={NOW - timedelta(days=days):%Y-%m-%d}"
        lake.write(f"{day}/x.parquet", archive.to_arrow([decision(f"old{days}")]))
    assert run(lake, redis, None).expired == 0
    assert run(lake, redis, 10, now=NOW).expired == 1
    assert [archive.find(lake, f"old{days}") is None for days in (9, 10, 11)] == [False, False, True]


KILLED = """
import os, sys
from redis import Redis
from tastemaker.lake import Lake
from tastemaker.retention import erase
lake = Lake(sys.argv[1])
move, left = lake._fs.mv, int(sys.argv[3])
def mv(*places):
    global left
    if not left:
        os._exit(7)
    left -= 1
    move(*places)
lake._fs.mv = mv
erase(lake, Redis.from_url(sys.argv[2]), None, lambda users: None)
"""


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_run_that_is_killed_leaves_whole_files_and_the_next_one_finishes(
    moves: int, lake: Lake, redis: Redis, redis_url: str, settings: Settings
) -> None:
    ask(redis, "a")
    killed = subprocess.run([sys.executable, "-c", KILLED, settings.lake, redis_url, str(moves)], check=False)

    assert killed.returncode == 7
    assert [user for user in users_of(lake.events()) if user != "a"] == ["b", "b", "c"]
    assert users_of(lake.users())[-1] == "b"
    run(lake, redis)
    assert users_of(lake.events()) == ["b", "b", "c"]
    assert users_of(lake.users()) == ["b"]
    assert users_of(lake.read(USER_FILE)) == ["b"]
    assert archive.find(lake, "r1") is None


@pytest.fixture
def configured(settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = settings.model_copy(update={"redis_url": redis_url})
    monkeypatch.setattr(config, "load", lambda: settings)
    return settings


@pytest.mark.usefixtures("lake", "configured")
def test_the_command_says_what_it_erased(redis: Redis) -> None:
    ask(redis, "a")
    told = CliRunner().invoke(app, ["data", "erase", "--json"], catch_exceptions=False)
    assert json.loads(told.stdout) == {
        "users": 1,
        "events": 2,
        "profiles": 1,
        "decisions": 1,
        "features": 3,
        "dead_letters": 0,
        "expired": 0,
    }
    told = CliRunner().invoke(app, ["data", "erase"], catch_exceptions=False)
    assert "1 users want to be forgotten; erased: 0 events" in told.stdout


@pytest.mark.usefixtures("configured")
def test_an_empty_lake_has_nothing_to_erase(redis: Redis) -> None:
    ask(redis, "a")
    told = CliRunner().invoke(app, ["data", "erase", "--json"], catch_exceptions=False)
    assert set(json.loads(told.stdout).values()) == {0, 1}


def contents(folder: Path) -> dict[str, Sequence[int]]:
    return {str(file): (file.stat().st_ino, file.stat().st_size) for file in folder.rglob("*") if file.is_file()}
