from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest
from prometheus_client import REGISTRY
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.catalogue import log
from tastemaker.changes import keeper
from tastemaker.changes.keeper import ITEMS_KEPT_DAYS, Keeper
from tastemaker.lake import ITEM_SCHEMA, Lake
from tastemaker.types import Item


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


async def publish(redis_url: str, **items: str | None) -> int:
    async with AsyncRedis.from_url(redis_url) as redis:
        return await log.items.publish(
            redis, {name: None if title is None else Item(name, title) for name, title in items.items()}
        )


def of_items(redis: Redis, lake: Lake, kept_days: int = ITEMS_KEPT_DAYS) -> Keeper:
    return Keeper(redis, log.items, lake.catalogue, kept_days)


def titles(lake: Lake) -> dict[str, str]:
    items = lake.items()
    return dict(zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True))


async def test_changes_reach_the_lake_once_and_a_new_worker_goes_on_from_there(redis_url: str, lake: Lake) -> None:
    await publish(redis_url, a="A", b="B")
    with Redis.from_url(redis_url) as redis:
        worker = of_items(redis, lake)
        assert [worker.step(), worker.step()] == [2, 0]
        version = await publish(redis_url, a=None, b="Bee", c="C")
        assert of_items(redis, lake).step() == 3
    assert titles(lake) == {"b": "Bee", "c": "C"}
    assert lake.catalogue.version() == version


async def test_an_import_keeps_changes_and_a_change_survives_an_import_that_began_before_it(
    redis_url: str, lake: Lake
) -> None:
    lake.replace_items(pa.Table.from_pylist([{"item_id": "a", "title": "A"}], ITEM_SCHEMA))
    with Redis.from_url(redis_url) as redis:
        worker = of_items(redis, lake)
        await publish(redis_url, b="B")
        worker.step()
        read, version = lake.items(), lake.catalogue.version()
        await publish(redis_url, b="Bee", c="C")
        worker.step()
        lake.replace_items(read, version)
    assert titles(lake) == {"a": "A", "b": "Bee", "c": "C"}


async def test_many_files_become_one(redis_url: str, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tastemaker.changes.files.CHANGE_FILES", 3)
    with Redis.from_url(redis_url) as redis:
        worker = of_items(redis, lake)
        for number in range(6):
            await publish(redis_url, **{f"i{number % 4}": str(number)})
            worker.step()
    assert len(lake.files("items/changes")) <= 3
    assert titles(lake) == {"i0": "4", "i1": "5", "i2": "2", "i3": "3"}


async def test_the_log_forgets_what_is_old_and_stored(
    redis_url: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("log", "keeper"):
        monkeypatch.setattr(f"tastemaker.changes.{module}.PAGE", 2)
    await publish(redis_url, **dict.fromkeys("abcde", "A"))
    with Redis.from_url(redis_url) as redis:
        assert of_items(redis, lake).step() == 5
        assert redis.zcard(log.items.changes_key) == 5
        assert of_items(redis, lake, kept_days=0).step() == 0
        assert redis.zcard(log.items.changes_key) == 0
    assert titles(lake) == dict.fromkeys("abcde", "A")


async def test_a_worker_goes_on_past_changes_that_cannot_be_read(
    redis_url: str, lake: Lake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in ("log", "keeper"):
        monkeypatch.setattr(f"tastemaker.changes.{module}.PAGE", 2)
    await publish(redis_url, **dict.fromkeys("abcd", "A"))
    before = unreadable()
    with Redis.from_url(redis_url) as redis:
        redis.hset(log.items.documents_key, mapping=dict.fromkeys("abc", "{"))
        worker = of_items(redis, lake)
        assert [worker.step(), worker.step()] == [1, 0]
        await publish(redis_url, e="E")
        assert worker.step() == 1
    assert titles(lake) == {"d": "A", "e": "E"}
    assert unreadable() - before == 3
    assert caplog.text.count("cannot be read and is skipped") == 3


def unreadable() -> float:
    found = REGISTRY.get_sample_value("tastemaker_changes_total", {"table": "items", "result": "unreadable"})
    return found or 0.0


async def test_what_came_before_the_signal_to_stop_is_stored(redis_url: str, lake: Lake) -> None:
    await publish(redis_url, a="A")
    stop = threading.Event()
    stop.set()
    keeper.keep(lake, redis_url, stop)
    assert titles(lake) == {"a": "A"}
