"""`GET /v1/users/{user_id}/recommendations` while all is well."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from .conftest import SLATE, FakeRay, item_ids, serving, settings_for, watch


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


async def test_commas_separate_what_is_excluded_unless_it_is_given_several_times(
    client: httpx.AsyncClient, ray: FakeRay
) -> None:
    for sent, read in (
        (["i59,i58"], ["i59", "i58"]),
        (["a,b", "a,b"], ["a,b"]),
        (["a,b", "i1"], ["a,b", "i1"]),
        ([""], []),
    ):
        await client.get(SLATE, params={"exclude": sent})
        assert ray.batches[-1][0].exclude == read


async def test_excluded_items_are_left_out(client: httpx.AsyncClient, ray: FakeRay) -> None:
    answer = await client.get(SLATE, params={"exclude": ["i59", "i58", "i57"], "n": 2})
    assert item_ids(answer) == ["i56", "i55"]
    assert ray.batches[0][0].exclude == ["i59", "i58", "i57"]


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


async def test_pages_go_on_where_the_ones_before_ended(bundle_path: Path, redis_url: str, ray: FakeRay) -> None:
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        first, second, third = [await client.get(SLATE, params={"n": 3, "page": page}) for page in range(3)]
        assert item_ids(first) + item_ids(second) + item_ids(third) == [f"i{code}" for code in range(59, 50, -1)]
        assert [item["position"] for item in third.json()["items"]] == [0, 1, 2]
        again = await client.get(SLATE, params={"n": 3, "page": 1})
        assert (again.json()["served_from"], item_ids(again)) == ("cache", item_ids(second))
        assert item_ids(await client.get("/v1/users/8/recommendations", params={"n": 3, "page": 2})) == item_ids(third)
        assert (await client.get(SLATE, params={"page": 10})).status_code == 400
