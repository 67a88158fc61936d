from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from redis import Redis

from tastemaker import erasure, exploration, preferences, profiles
from tastemaker.changes import keeper
from tastemaker.features.trail import claims_key, trail_key
from tastemaker.lake import Lake
from tastemaker.preferences import Preferences
from tastemaker.profiles import Profile

USER = "/v1/users/7"
SLATE = f"{USER}/recommendations"
LIKED = {"categories": ["Drama"], "items": ["i1", "i2"]}


@pytest.fixture
def redis(redis_url: str) -> Any:
    with Redis.from_url(redis_url) as redis:
        yield redis


async def test_preferences_are_online_and_outdate_the_cached_slate(client: httpx.AsyncClient, redis: Any) -> None:
    await client.get(SLATE)
    assert (await client.get(SLATE)).json()["served_from"] == "cache"
    answer = await client.put(f"{USER}/preferences", json=LIKED)
    assert (answer.status_code, answer.json()) == (200, {"user_id": "7"})
    stored = preferences.records.decode(redis.get(preferences.records.key("7")))
    assert stored == Preferences(("Drama",), ("i1", "i2"))
    assert (await client.get(SLATE)).json()["served_from"] == "ranked"


@pytest.mark.parametrize("user_id", ["a\nb", "ü/1", "{7}", "}7", "%", "a%2Fb", "/", "a?b#c", " "])
async def test_an_id_may_have_any_character(client: httpx.AsyncClient, redis: Any, user_id: str) -> None:
    answer = await client.put(f"/v1/users/{quote(user_id, safe='')}/preferences", json=LIKED)
    assert answer.json() == {"user_id": user_id}
    assert redis.exists(preferences.records.key(user_id))


async def test_a_profile_is_replaced_as_a_whole(client: httpx.AsyncClient, redis: Any) -> None:
    await client.put(USER, json={"country": "DE", "created_at": "2026-01-31T19:00:00+01:00"})
    stored = profiles.records.decode(redis.get(profiles.records.key("7")))
    assert stored == Profile("DE", datetime(2026, 1, 31, 18, tzinfo=UTC))
    await client.put(USER, json={})
    assert profiles.records.decode(redis.get(profiles.records.key("7"))) == Profile()


async def test_a_profile_reaches_the_lake_and_leaves_it_with_its_user(
    client: httpx.AsyncClient, redis: Any, tmp_path: Path
) -> None:
    lake = Lake(str(tmp_path))
    for user, country in (("7", "DE"), ("8", "AT"), ("7", "FR")):
        await client.put(f"/v1/users/{user}", json={"country": country})
    for erased, left in (((), {"7": "FR", "8": "AT"}), (("7",), {"8": "AT"})):
        for user in erased:
            await client.delete(f"/v1/users/{user}")
        for each in keeper.keepers(lake, redis):
            each.step()
        users = lake.users()
        assert dict(zip(users["user_id"].to_pylist(), users["country"].to_pylist(), strict=True)) == left


async def test_erasure_leaves_nothing_but_a_tombstone_and_no_trace_of_others(
    client: httpx.AsyncClient, redis: Any
) -> None:
    await client.put("/v1/users/7*/preferences", json=LIKED)
    await client.put("/v1/users/77/preferences", json=LIKED)
    for path, body in ((f"{USER}/preferences", LIKED), (USER, {"country": "DE"})):
        await client.put(path, json=body)
    redis.set(trail_key("7"), b"")
    redis.set(claims_key("7"), b"")
    redis.sadd(exploration.clicked_key("7", time.time()), "i1")
    await client.get(SLATE)
    answer = await client.delete(USER)
    # Trail, events, clicks, preferences, profile, cached slates, and what they have shown.
    assert answer.json() == {"user_id": "7", "keys": 7}
    assert sorted(redis.keys("tm:{7}:*")) == [b"tm:{7}:epoch", b"tm:{7}:erased"]
    assert redis.ttl("tm:{7}:epoch") > redis.ttl("tm:{7}:erased") > 0
    assert redis.hkeys(erasure.TOMBSTONES) == [b"7"]
    slate = await client.get(SLATE)
    assert slate.json()["served_from"] == "ranked"
    await client.delete("/v1/users/7*")
    assert redis.exists("tm:{77}:preferences")


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (USER, {"land": "DE"}, "land"),
        (USER, {"country": 7}, "country"),
        (USER, {"country": ""}, "country"),
        (USER, {"created_at": "yesterday"}, "created_at"),
        (USER, {"created_at": "2026-01-31T18:00:00"}, "created_at"),
        (USER, {"created_at": "2926-01-31T18:00:00Z"}, "future"),
        (USER, [], "object"),
        (f"{USER}/preferences", {"categories": "Drama"}, "categories"),
        (f"{USER}/preferences", {"items": [""]}, "items"),
        (f"{USER}/preferences", {"items": ["i"] * 101}, "items"),
        (f"{USER}/preferences?n=1", {}, "'n'"),
        (f"/v1/users/{'x' * 129}", {}, "user_id"),
    ],
)
async def test_what_cannot_be_used_is_refused_by_name(
    alone: httpx.AsyncClient, path: str, body: Any, named: str
) -> None:
    answer = await alone.put(path, json=body)
    assert answer.status_code == 400
    assert named in answer.json()["error"]
    assert answer.json()["remedy"]


async def test_without_redis_writers_are_told_to_try_again(alone: httpx.AsyncClient) -> None:
    for answer in (await alone.put(f"{USER}/preferences", json=LIKED), await alone.delete(USER)):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
