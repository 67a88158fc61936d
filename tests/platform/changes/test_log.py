from __future__ import annotations

from datetime import UTC, datetime

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.catalogue.log import items
from tastemaker.changes import log
from tastemaker.types import Item

ITEM = Item("a", "One", ("Drama",), author="Ann", published_at=datetime(2026, 1, 1, tzinfo=UTC), available=False)


async def test_changes_come_back_in_order_and_of_an_item_only_the_newest(redis_url: str) -> None:
    async with AsyncRedis.from_url(redis_url) as redis:
        assert await items.follow(redis, 0) == []
        first = await items.publish(redis, {"a": Item("a", "Old"), "b": Item("b", "Two")})
        second = await items.publish(redis, {"a": ITEM, "c": None})

        changes = await items.follow(redis, 0)
        assert [(change.id, change.document) for change in changes] == [
            ("b", Item("b", "Two")),
            ("a", ITEM),
            ("c", None),
        ]
        assert [change.version for change in changes] == [first, second - 1, second]
        assert [change.id for change in await items.follow(redis, first)] == ["a", "c"]
        assert await items.follow(redis, second) == []


async def test_more_changes_than_a_page_are_all_read(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "PAGE", 2)
    async with AsyncRedis.from_url(redis_url) as redis:
        await items.publish(redis, {str(number): None for number in range(5)})
        assert [change.id for change in await items.follow(redis, 0)] == ["0", "1", "2", "3", "4"]


async def test_versions_go_on_rising_when_redis_forgot_everything(redis_url: str) -> None:
    async with AsyncRedis.from_url(redis_url) as redis:
        before = await items.publish(redis, {"a": None})
        await redis.flushall()
        assert await items.publish(redis, {"a": None}) > before


async def test_only_what_did_not_change_again_is_forgotten(redis_url: str) -> None:
    async with AsyncRedis.from_url(redis_url) as redis:
        old = await items.publish(redis, {"a": None, "b": None})
        new = await items.publish(redis, {"b": ITEM})
        with Redis.from_url(redis_url) as sync:
            assert items.forget(sync, old) == 1
            assert [change.id for change in items.read(sync, 0).changes] == ["b"]
            assert items.forget(sync, new) == 1
            assert not sync.exists(items.changes_key, items.documents_key)


async def test_a_document_that_cannot_be_read_is_skipped(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with AsyncRedis.from_url(redis_url) as redis:
        version = await items.publish(redis, {"a": ITEM, "b": ITEM})
        with Redis.from_url(redis_url) as sync:
            sync.hset(items.documents_key, "a", "{")
        assert [change.id for change in await items.follow(redis, 0)] == ["b"]
    assert f"change {version - 1} of tm:catalogue:{{items}}:changes cannot be read" in caplog.text
