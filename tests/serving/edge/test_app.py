from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis

from tastemaker import config, keys
from tastemaker.errors import InvalidInput
from tastemaker.events.stream import GROUPS, Group, shard_of, stream_key
from tastemaker.events.trending import WINDOW_S, Vote, count, post
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker_serving.edge.app import create_app

from .conftest import FakeRay, serving, settings_for

SLATE = "/v1/users/7/recommendations"
SHARDS = config.Ingest().shards
EVENT = {"user_id": "7", "item_id": "i59", "event_type": "like"}


def item_ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def watch(redis_url: str, user_id: str, item_id: str, preference: float = 1.0) -> None:
    """What the ingest worker does with an event."""
    record = np.array([(key_of(item_id), int(time.time()), preference)], trail.RECORD)
    with Redis.from_url(redis_url) as redis:
        redis.append(trail.trail_key(user_id), trail.encode(record))
        redis.incr(trail.epoch_key(user_id))


async def test_a_slate_has_the_form_of_the_design(client: httpx.AsyncClient) -> None:
    answer = await client.get(SLATE, params={"n": 2, "device": "tv"}, headers={"X-Request-Id": "abc-1"})
    stages = answer.json().pop("stage_ms")
    assert answer.headers["content-type"] == "application/json"
    assert {"cache", "ray", "rank"} <= stages.keys()
    assert answer.json() | {"stage_ms": {}} == {
        "request_id": "abc-1",
        "user_id": "7",
        "scene": "home",
        "items": [
            {"item_id": "i59", "score": 1.0, "position": 0, "source": "two-tower", "reason": "For you"},
            {"item_id": "i58", "score": 0.99, "position": 1, "source": "two-tower", "reason": "For you"},
        ],
        "model_version": "model-1",
        "experiments": {},
        "served_from": "ranked",
        "degraded": [],
        "stage_ms": {},
    }


async def test_an_unsafe_request_id_is_replaced(client: httpx.AsyncClient) -> None:
    answer = await client.get(SLATE, headers={"X-Request-Id": "a\tb"})
    assert len(answer.json()["request_id"]) == 32


async def test_the_second_slate_comes_from_the_cache_until_the_users_next_event(
    client: httpx.AsyncClient, ray: FakeRay, redis_url: str
) -> None:
    first = await client.get(SLATE)
    second = await client.get(SLATE)
    assert (first.json()["served_from"], second.json()["served_from"]) == ("ranked", "cache")
    assert item_ids(second) == item_ids(first)
    watch(redis_url, "7", "i59")
    assert (await client.get(SLATE)).json()["served_from"] == "ranked"
    assert len(ray.batches) == 2


async def test_other_parameters_have_their_own_cache_entry(client: httpx.AsyncClient) -> None:
    await client.get(SLATE)
    for other in ({"n": 3}, {"exclude": "i59"}, {"device": "tv"}, {"force_refresh": "true"}):
        assert (await client.get(SLATE, params=other)).json()["served_from"] == "ranked"


async def test_excluded_items_are_left_out(client: httpx.AsyncClient, ray: FakeRay) -> None:
    answer = await client.get(SLATE, params={"exclude": ["i59,i58", "i57"], "n": 2})
    assert item_ids(answer) == ["i56", "i55"]
    assert ray.batches[0][0].exclude == ["i59", "i58", "i57"]


async def test_a_short_answer_is_topped_up_from_the_ladder_without_seen_items(
    client: httpx.AsyncClient, ray: FakeRay, redis_url: str
) -> None:
    ray.short = 2
    watch(redis_url, "7", "i0")
    answer = await client.get(SLATE, params={"n": 4})
    assert item_ids(answer) == ["i59", "i58", "i3", "i6"]
    assert answer.json()["served_from"] == "ranked"


async def test_without_ray_an_old_slate_serves_then_the_session(
    client: httpx.AsyncClient, ray: FakeRay, redis_url: str
) -> None:
    await client.get(SLATE, params={"n": 3})
    ray.healthy = False
    watch(redis_url, "7", "i58")
    stale = await client.get(SLATE, params={"n": 3})
    assert stale.json()["served_from"] == "cache"
    assert stale.json()["degraded"] == ["ray"]
    assert item_ids(stale) == ["i59", "i57", "i1"]
    session = await client.get(SLATE, params={"n": 4})
    assert session.json()["served_from"] == "session"
    assert session.json()["items"][0]["reason"] == "Because you liked Film 58"


async def test_a_degraded_answer_is_counted_and_not_cached(client: httpx.AsyncClient, ray: FakeRay) -> None:
    ray.degraded = ["source:als"]
    first = await client.get(SLATE)
    assert 'tastemaker_degraded_total{stage="source:als"} 1.0' in (await client.get("/metrics")).text
    assert first.json()["degraded"] == ["source:als"]
    assert (await client.get(SLATE)).json()["served_from"] == "ranked"


async def test_with_everything_gone_an_answer_takes_under_ten_milliseconds(alone: httpx.AsyncClient) -> None:
    took = []
    for _ in range(20):
        started = time.perf_counter()
        answer = await alone.get(SLATE)
        took.append(time.perf_counter() - started)
        assert answer.json()["served_from"] == "static"
        assert answer.json()["degraded"] == ["cache", "ray", "trail"]
        assert len(item_ids(answer)) == 20
    assert sorted(took)[len(took) // 2] < 0.01


async def test_a_hanging_ray_costs_the_deadline_and_then_nothing(bundle_path: Path, redis_url: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = settings_for(silent.getsockname()[1], deadline_ms=50)
        async with serving(settings, bundle_path, redis_url) as client:
            for _ in range(4):
                await client.get(SLATE)
            started = time.perf_counter()
            answer = await client.get(SLATE)
            assert time.perf_counter() - started < 0.04
            assert answer.json()["degraded"] == ["ray"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("n=0", "'n'"),
        ("n=101", "'n'"),
        ("n=many", "'n'"),
        ("n=1&n=2", "'n'"),
        ("limit=3", "'limit'"),
        ("scene=moon", "'moon'"),
        ("scene=", "unknown scene ''"),
        ("force_refresh=perhaps", "'force_refresh'"),
        ("device=", "'device'"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_name(alone: httpx.AsyncClient, query: str, named: str) -> None:
    answer = await alone.get(f"{SLATE}?{query}")
    assert answer.status_code == 400
    assert named in answer.json()["error"]
    assert answer.json()["remedy"]


async def test_every_declared_scene_may_be_asked_for_and_has_its_cache_life(
    bundle_path: Path, redis_url: str, ray: FakeRay, tmp_path: Path
) -> None:
    declared = tmp_path / "scenes.yaml"
    declared.write_text("home: {cache_ttl_s: 60}\nlive: {cache_ttl_s: 0}\n")
    settings = settings_for(ray.port).model_copy(update={"scenes_file": declared})
    async with serving(settings, bundle_path, redis_url) as client:
        for scene, served in (("home", "cache"), ("live", "ranked")):
            answers = [await client.get(SLATE, params={"scene": scene}) for _ in range(2)]
            assert [answer.json()["served_from"] for answer in answers] == ["ranked", served]
            assert answers[0].json()["scene"] == scene
    assert {query.scene for batch in ray.batches for query in batch} == {"home", "live"}


RULED = """
home:
  repetition: {discount: 0.5}
  caps: {category: 2}
  rules:
    - {name: gone, action: ban, items: [i59, i0]}
    - {name: campaign, action: pin, position: 1, items: [i7]}
"""


async def test_rules_hold_with_and_without_the_models(
    bundle_path: Path, redis_url: str, ray: FakeRay, tmp_path: Path
) -> None:
    declared = tmp_path / "scenes.yaml"
    declared.write_text(RULED)
    settings = settings_for(ray.port).model_copy(update={"scenes_file": declared})
    async with serving(settings, bundle_path, redis_url) as client:
        whole = await client.get(SLATE, params={"n": 4})
        assert item_ids(whole) == ["i58", "i7", "i57", "i56"], "the edge makes up for a Recommender of other rules"
        ray.healthy = False
        without = await client.get(SLATE, params={"n": 6, "exclude": "i58"})
        assert without.json()["served_from"] == "static"
        assert item_ids(without) == ["i1", "i7", "i2", "i3", "i5", "i6"]
        assert item_ids(await client.get(SLATE, params={"n": 2, "exclude": "i7"})) == ["i1", "i2"]


async def test_pages_go_on_where_the_ones_before_ended(bundle_path: Path, redis_url: str, ray: FakeRay) -> None:
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        first, second, third = [await client.get(SLATE, params={"n": 3, "page": page}) for page in range(3)]
        assert item_ids(first) + item_ids(second) + item_ids(third) == [f"i{code}" for code in range(59, 50, -1)]
        assert [item["position"] for item in third.json()["items"]] == [0, 1, 2]
        again = await client.get(SLATE, params={"n": 3, "page": 1})
        assert (again.json()["served_from"], item_ids(again)) == ("cache", item_ids(second))
        assert item_ids(await client.get("/v1/users/8/recommendations", params={"n": 3, "page": 2})) == item_ids(third)
        assert (await client.get(SLATE, params={"page": 10})).status_code == 400


async def test_recent_slates_reach_the_models_where_their_repetition_counts(
    bundle_path: Path, redis_url: str, ray: FakeRay, tmp_path: Path
) -> None:
    declared = tmp_path / "scenes.yaml"
    declared.write_text("home: {repetition: {discount: 0.5, slates: 2}}")
    settings = settings_for(ray.port).model_copy(update={"scenes_file": declared})
    async with serving(settings, bundle_path, redis_url) as client:
        for _ in range(4):
            await client.get(SLATE, params={"n": 2, "force_refresh": "true"})
    shown = [query.shown for batch in ray.batches for query in batch]
    slate = ["i59", "i58"]
    assert shown == [[], [slate], [slate, slate], [slate, slate]]


async def test_similar_items_are_the_neighbours_without_what_the_user_saw(
    client: httpx.AsyncClient, ray: FakeRay, redis_url: str
) -> None:
    answer = await client.get("/v1/items/i0/similar", params={"n": 3})
    assert item_ids(answer) == ["i3", "i6", "i9"]
    assert answer.json()["items"][0]["reason"] == "Similar to Film 0"
    assert ray.batches == []
    watch(redis_url, "7", "i6")
    ray.healthy = False
    answer = await client.get("/v1/items/i0/similar", params={"n": 3, "user_id": "7"})
    assert item_ids(answer) == ["i3", "i9", "i12"]
    assert (answer.json()["served_from"], answer.json()["degraded"]) == ("session", ["ray"])


async def test_similar_items_for_a_user_are_in_the_models_order(
    client: httpx.AsyncClient, ray: FakeRay, redis_url: str
) -> None:
    watch(redis_url, "7", "i6")
    answer = await client.get("/v1/items/i0/similar", params={"n": 5, "user_id": "7"})
    (query,) = ray.batches[0]
    assert (query.scene, query.candidates) == ("similar", ["i3", "i9", "i12", "i15"])
    assert item_ids(answer) == ["i15", "i12", "i9", "i3", "i18"]
    assert answer.json()["served_from"] == "ranked"
    assert answer.json()["items"][0]["reason"] == "Similar to Film 0"


async def test_more_similar_items_than_neighbours_come_from_its_category(alone: httpx.AsyncClient) -> None:
    found = item_ids(await alone.get("/v1/items/i0/similar", params={"n": 16}))
    assert len(set(found)) == 16
    assert all(int(item_id[1:]) % 3 == 0 for item_id in found)


async def test_an_unknown_item_is_not_found(alone: httpx.AsyncClient) -> None:
    answer = await alone.get("/v1/items/nothing/similar")
    assert answer.status_code == 404
    assert "nothing" in answer.json()["error"]


async def test_trending_falls_back_to_the_bundles_list(alone: httpx.AsyncClient) -> None:
    assert item_ids(await alone.get("/v1/trending", params={"n": 3})) == ["i0", "i1", "i2"]
    assert item_ids(await alone.get("/v1/trending", params={"n": 2, "category": "Drama"})) == ["i1", "i4"]
    unknown = await alone.get("/v1/trending", params={"category": "Opera"})
    assert unknown.status_code == 404
    assert "Comedy, Drama, Thriller" in unknown.json()["remedy"]


async def test_trending_in_a_country_and_a_window(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    now = int(time.time())
    votes = [Vote("ann", "i5", now, 1.0, "DE"), Vote("bob", "i6", now, 1.0, "FR"), Vote("cat", "i6", now, 1.0)]
    with Redis.from_url(redis_url) as redis:
        count(redis, votes, now)
        for window in WINDOW_S:
            post(redis, window, now)
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        await client.get("/readyz")  # by then the lists were fetched

        async def first(**wanted: str) -> str:
            return item_ids(await client.get("/v1/trending", params={"n": 1, **wanted}))[0]

        assert await first() == "i6"
        assert await first(window="7d", country="DE") == "i5"
        assert await first(country="DE", category="Thriller") == "i5"
        assert await first(country="XX") == "i0"
        wrong = await client.get("/v1/trending", params={"window": "2h"})
    assert wrong.status_code == 400
    assert "window" in wrong.json()["error"]


async def test_events_are_accepted_once_the_stream_has_them(client: httpx.AsyncClient, redis_url: str) -> None:
    answer = await client.post("/v1/events", json=[EVENT, EVENT | {"event_id": "mine"}])
    assert answer.status_code == 202
    assert answer.json()["event_ids"][1] == "mine"
    with Redis.from_url(redis_url) as redis:
        assert redis.get(f"{stream_key(shard_of('7', SHARDS))}:published") == b"2"


async def test_events_are_held_back_while_too_many_wait(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    settings = settings_for(ray.port).model_copy(update={"ingest": config.Ingest(max_backlog=3)})
    async with serving(settings, bundle_path, redis_url) as client:
        assert (await client.post("/v1/events", json=[EVENT] * 2)).status_code == 202
        answer = await client.post("/v1/events", json=[EVENT] * 2)
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "5"
        assert "ingest.max_backlog" in answer.json()["error"]
        with Redis.from_url(redis_url) as redis:
            for name in GROUPS:
                group = Group(redis, name, shard_of("7", SHARDS), settings.event_types)
                group.finish(group.read(10), 0)
        await until(lambda: _posted(client))


async def _posted(client: httpx.AsyncClient) -> bool:
    return (await client.post("/v1/events", json=[EVENT] * 2)).status_code == 202


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 10
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


async def test_events_are_held_back_before_redis_is_full(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    settings = settings_for(ray.port)
    with Redis.from_url(redis_url) as redis:
        used: Any = redis.info("memory")
        try:
            redis.config_set("maxmemory", int(used["used_memory"] * 1.1))
            async with serving(settings, bundle_path, redis_url) as client:

                async def held_back() -> bool:
                    answer = await client.post("/v1/events", json=EVENT)
                    return answer.status_code == 429 and "ingest.max_memory" in answer.json()["error"]

                await until(held_back)
        finally:
            redis.config_set("maxmemory", 0)


async def test_a_full_redis_holds_events_back_and_still_answers_readers(
    ray: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    settings = settings_for(ray.port).model_copy(update={"ingest": config.Ingest(max_memory=1.0)})
    with Redis.from_url(redis_url) as redis:
        try:
            async with serving(settings, bundle_path, redis_url) as client:
                await asyncio.sleep(0.1)  # it has looked
                redis.config_set("maxmemory", 1)

                async def full() -> bool:
                    answer = await client.post("/v1/events", json=EVENT)
                    return answer.status_code == 429 and "no memory left" in answer.json()["error"]

                async def up() -> bool:
                    ready = (await client.get("/readyz")).json()
                    return bool(ready["dependencies"]["redis"]["up"])

                for condition in (full, full, full, full, up):
                    await until(condition)
        finally:
            redis.config_set("maxmemory", 0)


async def test_events_without_redis_may_be_sent_again(alone: httpx.AsyncClient) -> None:
    answer = await alone.post("/v1/events", json=EVENT)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "Redis" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "named"),
    [
        ("{", "application/json", 400, "JSON"),
        ('{"user_id": "7"}', "application/json", 400, "item_id"),
        ('{"user_id": "7", "item_id": "i1", "event_type": "stare"}', "application/json", 400, "stare"),
        ("{}", "text/plain", 415, "Content-Type"),
        (" " * (1 << 20) + "[]", "application/json", 413, "bytes"),
    ],
)
async def test_bad_events_are_refused(alone: httpx.AsyncClient, body: str, kind: str, status: int, named: str) -> None:
    answer = await alone.post("/v1/events", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert named in answer.json()["error"]


async def test_writers_show_the_key(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    settings = settings_for(ray.port, api_key="secret")
    async with serving(settings, bundle_path, redis_url) as client:
        refused = await client.post("/v1/events", json=EVENT)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        accepted = await client.post("/v1/events", json=EVENT, headers={"Authorization": "Bearer secret"})
        assert accepted.status_code == 202
        assert (await client.get(SLATE)).status_code == 200


async def test_keys_have_scopes_and_rates(ray: FakeRay, bundle_path: Path, redis_url: str, tmp_path: Path) -> None:
    (reader, kept), (writer, other) = (keys.make([scope], datetime.now(UTC)) for scope in ("read", "write"))
    (tmp_path / "keys.json").write_bytes(keys.encode_file([kept, other]))
    settings = settings_for(ray.port, keys_file=tmp_path / "keys.json", open_reads=False, rate_limit=0.01)
    async with serving(settings, bundle_path, redis_url) as client:
        assert (await client.get(SLATE)).status_code == 401
        mine = {"Authorization": f"Bearer {reader}"}
        assert (await client.get(SLATE, headers=mine)).status_code == 200
        limited = await client.get(SLATE, headers=mine)
        assert limited.status_code == 429
        assert 1 <= int(limited.headers["retry-after"]) <= 100
        forbidden = await client.get(SLATE, headers={"Authorization": f"Bearer {writer}"})
        assert forbidden.status_code == 403
        assert "write" in forbidden.json()["error"]


def test_an_open_port_without_a_key_is_refused(bundle_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"edge\.api_key"):
        create_app(settings_for(1, host="0.0.0.0"), bundle_path, "redis://127.0.0.1")


async def test_readiness_lists_the_dependencies(client: httpx.AsyncClient, ray: FakeRay) -> None:
    ready = (await client.get("/readyz")).json()
    assert (ready["status"], ready["items"]) == ("ready", 60)
    ray.healthy = False
    lame = await client.get("/readyz")
    assert lame.status_code == 200
    assert lame.json()["status"] == "degraded"
    assert lame.json()["dependencies"]["redis"] == {"up": True, "detail": ""}
    assert "500" in lame.json()["dependencies"]["ray"]["detail"]


async def test_operations(alone: httpx.AsyncClient) -> None:
    assert (await alone.get("/healthz")).json() == {"status": "ok"}
    await alone.get(SLATE)
    metrics = (await alone.get("/metrics")).text
    assert 'tastemaker_slates_total{scene="home",served_from="static"}' in metrics
    assert 'tastemaker_stage_seconds_bucket{le="0.001",stage="cache"}' in metrics
    assert 'tastemaker_request_seconds_count{code="200",endpoint="/v1/users/{user_id}/recommendations"}' in metrics
    assert 'tastemaker_request_seconds_count{code="200",endpoint="/healthz"}' in metrics
    wrong = await alone.post("/v1/users/7", json={})
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "DELETE, PUT")
    lost = await alone.get("/v2")
    assert lost.status_code == 404
    assert lost.json().keys() == {"error", "remedy"}


async def test_openapi_documents_parameters_answers_and_errors(alone: httpx.AsyncClient) -> None:
    document: dict[str, Any] = (await alone.get("/openapi.json")).json()
    slate = document["paths"]["/v1/users/{user_id}/recommendations"]["get"]
    assert [parameter["name"] for parameter in slate["parameters"]] == [
        "user_id",
        "n",
        "scene",
        "device",
        "country",
        "exclude",
        "page",
        "force_refresh",
        "explain",
    ]
    assert slate["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Slate")
    assert slate["responses"]["400"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
    events = document["paths"]["/v1/events"]["post"]
    assert "requestBody" in events
    assert events["security"] == [{name: []} for name in document["components"]["securitySchemes"]]
    assert slate["security"] == [*events["security"], {}]
    assert (await alone.get("/docs")).status_code == 200
