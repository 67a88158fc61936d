from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from tastemaker import preferences, profiles
from tastemaker.features.trail import epoch_key
from tastemaker.preferences import Preferences
from tastemaker.profiles import Profile


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def test_what_was_written_is_read_and_others_have_the_defaults(client: Redis) -> None:
    liked = Preferences(("Drama",), ("i1", "i2"))
    await preferences.records.write(client, "7", liked)
    assert await preferences.records.read(client, ["8", "7"]) == [Preferences(), liked]
    assert await preferences.records.read(client, []) == []


async def test_kinds_do_not_mix_and_both_outdate_cached_slates(client: Redis) -> None:
    profile = Profile("DE", datetime(2026, 1, 31, tzinfo=UTC))
    await preferences.records.write(client, "7", Preferences(("Drama",)))
    await profiles.records.write(client, "7", profile)
    assert await profiles.records.read(client, ["7"]) == [profile]
    assert await client.get(epoch_key("7")) == b"2"


def test_the_keys_of_a_user_lie_on_one_node() -> None:
    assert preferences.records.key("7") == "tm:{7}:preferences"
    assert profiles.records.key("7") == "tm:{7}:profile"


@pytest.mark.parametrize("blob", [None, b"", b"\xff", b"\x81\xa5items\x01"])
def test_what_cannot_be_read_says_nothing(blob: bytes | None) -> None:
    assert preferences.records.decode(blob) == Preferences()
