from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tastemaker.config import Settings
from tastemaker.decisions.sampling import Decisions, Shares

from .conftest import SLATE, FakeRay, free_port, serving, settings_for


def logging_all(ray_port: int, decisions: Decisions, **edge: Any) -> Settings:
    return settings_for(ray_port, **edge).model_copy(update={"decisions": decisions})


@pytest.fixture
async def client(ray: FakeRay, bundle_path: Path, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """An edge that logs everything in full detail."""
    settings = logging_all(ray.port, Decisions(slates=1, full=1))
    async with serving(settings, bundle_path, redis_url) as client:
        yield client


async def explained(client: httpx.AsyncClient, request_id: str, **parameters: str) -> dict[str, Any]:
    """What is told of a request, once it is written."""
    async with asyncio.timeout(10):
        while True:
            answer = await client.get(f"/v1/requests/{request_id}", params=parameters)
            if answer.status_code == 200:
                found: dict[str, Any] = answer.json()
                return found
            assert answer.status_code == 404, answer.text
            await asyncio.sleep(0.05)


async def test_a_slate_is_explained_by_its_request(client: httpx.AsyncClient, ray: FakeRay) -> None:
    slate = (await client.get(SLATE, params={"n": 2, "exclude": "i59"})).json()
    told = await explained(client, slate["request_id"], item="i20")
    assert [query.traced for query in ray.batches[0]] == [True]
    assert (told["user_id"], told["colour"], told["model_version"]) == ("7", "blue", "model-1")
    assert (told["n"], told["exclude"], told["detail"], told["candidates"]) == (2, ["i59"], "full", 58)
    assert [(item["item_id"], item["rank"], item["position"]) for item in told["items"]] == [
        ("i58", 1, 0),
        ("i57", 2, 1),
    ]
    assert told["items"][0]["signals"] == {"two_tower": {"value": 9.0, "rank": 1}}
    assert (told["item"]["stage"], told["item"]["rank"]) == ("ranking", 39)
    assert told["stage_ms"].keys() >= {"cache", "ray", "rank"}
    proposed_by_none = (await explained(client, slate["request_id"], item="i5"))["item"]
    assert proposed_by_none["stage"] == "sources"
    assert "The catalogue does not have it" not in proposed_by_none["why"]
    unknown = (await explained(client, slate["request_id"], item="i500"))["item"]
    assert "The catalogue does not have it now" in unknown["why"]
    assert (await explained(client, slate["request_id"], item="i59"))["item"]["stage"] == "excluded"


async def test_a_slate_from_the_cache_leads_to_the_request_that_computed_it(client: httpx.AsyncClient) -> None:
    first, second = [(await client.get(SLATE)).json() for _ in range(2)]
    assert second["served_from"] == "cache"
    told = await explained(client, second["request_id"])
    assert (told["origin"], told["detail"]) == (first["request_id"], "full")
    assert (await explained(client, first["request_id"]))["items"] == told["items"]


async def test_a_scene_that_is_not_sampled_costs_nothing(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    quiet = Decisions(slates=1, full=1, scenes={"home": Shares(slates=0, full=0)})
    async with serving(logging_all(ray.port, quiet), bundle_path, redis_url) as client:
        slate = (await client.get(SLATE)).json()
        assert [query.traced for query in ray.batches[0]] == [False]
    with Redis.from_url(redis_url) as redis:
        assert redis.keys("*decision*") == []
    assert "explanation" not in slate


async def test_explain_computes_anew_and_returns_the_explanation(
    ray: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    async with serving(logging_all(ray.port, Decisions(slates=0, full=0)), bundle_path, redis_url) as client:
        await client.get(SLATE)
        slate = (await client.get(SLATE, params={"explain": "true"})).json()
        assert slate["served_from"] == "ranked"
        assert slate["explanation"]["dropped"] == {"ranking": 29, "re-ranking": 10}
        assert [item["item_id"] for item in slate["explanation"]["items"]] == [
            item["item_id"] for item in slate["items"]
        ]
        assert (await explained(client, slate["request_id"]))["items"] == slate["explanation"]["items"]


async def test_an_explained_slate_is_one_request(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    async with serving(settings_for(ray.port, rate_limit=2), bundle_path, redis_url) as client:
        asked = [await client.get(SLATE, params={"explain": "true"}) for _ in range(3)]
        assert [answer.status_code for answer in asked] == [200, 200, 429]


async def test_what_users_have_had_is_shown_to_keepers_of_the_key(
    ray: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    settings = logging_all(ray.port, Decisions(slates=1, full=1), api_key="secret")
    async with serving(settings, bundle_path, redis_url) as client:
        slate = (await client.get(SLATE)).json()
        assert (await client.get(f"/v1/requests/{slate['request_id']}")).status_code == 401
        assert (await client.get(SLATE, params={"explain": "true"})).status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        assert (await explained(client, slate["request_id"]))["user_id"] == "7"
        assert (await client.get(SLATE, params={"explain": "true"})).status_code == 200


async def test_what_was_not_logged_is_not_found(client: httpx.AsyncClient) -> None:
    lost = await client.get("/v1/requests/nothing")
    assert lost.status_code == 404
    assert "tastemaker explain" in lost.json()["remedy"]
    assert (await client.get("/v1/requests/a%20b")).status_code == 400
    assert (await client.get("/v1/requests/nothing", params={"items": "i1"})).status_code == 400


async def test_without_redis_slates_go_on_and_explanations_wait(ray: FakeRay, bundle_path: Path) -> None:
    settings = logging_all(ray.port, Decisions(slates=1, full=1))
    async with serving(settings, bundle_path, f"redis://127.0.0.1:{free_port()}") as client:
        slate = await client.get(SLATE)
        assert (slate.status_code, slate.json()["served_from"]) == (200, "ranked")
        away = await client.get("/v1/requests/r1")
        assert (away.status_code, away.headers["retry-after"]) == (503, "1")


async def test_lists_of_every_scene_are_logged(client: httpx.AsyncClient) -> None:
    answers = [
        await client.get("/v1/items/i0/similar", params={"n": 3}),
        await client.get("/v1/items/i0/similar", params={"n": 3, "user_id": "7"}),
        await client.get("/v1/trending", params={"n": 3}),
        await client.post("/v1/search", json={"query": "film 7", "n": 3}),
        await client.post("/v1/sessions/recommendations", json={"item_ids": ["i1"], "n": 3}),
    ]
    told = [await explained(client, answer.json()["request_id"]) for answer in answers]
    assert [(one["scene"], one["user_id"]) for one in told] == [
        ("similar", ""),
        ("similar", "7"),
        ("trending", ""),
        ("search", ""),
        ("home", ""),
    ]
    for answer, one in zip(answers, told, strict=True):
        assert [item["item_id"] for item in answer.json()["items"]] == [item["item_id"] for item in one["items"]]


async def test_the_call_is_documented(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    call = document["paths"]["/v1/requests/{request_id}"]["get"]
    assert [parameter["name"] for parameter in call["parameters"]] == ["request_id", "item"]
    assert call["responses"].keys() >= {"200", "400", "401", "404", "503"}
