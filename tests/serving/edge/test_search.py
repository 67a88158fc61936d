from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from tastemaker.answers import Found

from .conftest import FakeRay


async def search(client: httpx.AsyncClient, query: str, **others: Any) -> Found:
    answer = await client.post("/v1/search", json={"query": query, **others})
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Found)


def ids(found: Found) -> list[str]:
    return [item.item_id for item in found.items]


async def test_the_models_order_what_has_the_words(client: httpx.AsyncClient, ray: FakeRay) -> None:
    found = await search(client, "film comedy", user_id="7", n=3)
    (query,) = ray.batches[0]
    assert (query.scene, query.user_id, query.n) == ("search", "7", 3)
    assert len(query.candidates) == len(query.candidate_scores) == 20
    assert query.candidate_scores == sorted(query.candidate_scores, reverse=True)
    assert ids(found) == query.candidates[:-4:-1]
    assert (found.served_from, found.degraded, found.suggestions) == ("ranked", (), ())
    assert {item.source for item in found.items} == {"text"}
    assert {"text", "ray"} <= found.stage_ms.keys()


async def test_without_a_user_nobody_is_asked_and_the_popular_comes_first(
    client: httpx.AsyncClient, ray: FakeRay
) -> None:
    found = await search(client, "drama", n=2)
    assert ids(found) == ["i1", "i4"]
    assert (found.served_from, found.degraded, found.user_id) == ("candidates", (), None)
    assert ray.batches == []


async def test_without_the_models_the_text_decides(alone: httpx.AsyncClient) -> None:
    found = await search(alone, "drama", user_id="7", n=2)
    assert ids(found) == ["i1", "i4"]
    assert (found.served_from, found.degraded) == ("candidates", ("ray",))


async def test_hits_that_the_models_do_not_know_come_last(client: httpx.AsyncClient, ray: FakeRay) -> None:
    ray.short = 1
    found = await search(client, "drama", user_id="7", n=3)
    assert ids(found) == [ray.batches[0][0].candidates[-1], "i1", "i4"]


async def test_an_item_that_the_user_has_seen_is_found(client: httpx.AsyncClient) -> None:
    assert ids(await search(client, "film 33", user_id="7"))[:1] == ["i33"]


async def test_nothing_found_is_an_empty_list_with_what_is_popular_beside_it(client: httpx.AsyncClient) -> None:
    for user in ({}, {"user_id": "7"}):
        found = await search(client, "xyzzy", n=2, **user)
        assert found.items == ()
        assert [item.item_id for item in found.suggestions] == ["i0", "i1"]
        assert found.served_from == "static"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "'query'"),
        ({"query": ""}, "no words"),
        ({"query": " \t\n"}, "no words"),
        ({"query": 7}, "query: "),
        ({"query": "a" * 201}, "query: "),
        ({"query": "film", "n": 0}, "n: "),
        ({"query": "film", "n": 101}, "n: "),
        ({"query": "film", "user_id": ""}, "user_id: "),
        ({"query": "film", "limit": 3}, "'limit'"),
        (["film"], "'array'"),
        ("film", "'str'"),
    ],
)
async def test_a_body_that_is_no_search_is_refused_by_name(alone: httpx.AsyncClient, body: Any, named: str) -> None:
    answer = await alone.post("/v1/search", json=body)
    assert answer.status_code == 400
    assert named in answer.json()["error"]
    assert "query" in answer.json()["remedy"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"query": "\\ud83d"}', b"[" * 100_000])
async def test_a_body_that_is_no_json_is_refused(alone: httpx.AsyncClient, body: bytes) -> None:
    answer = await alone.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


async def test_a_search_takes_no_query_parameters_and_only_json(alone: httpx.AsyncClient) -> None:
    assert (await alone.post("/v1/search?n=3", json={"query": "film"})).status_code == 400
    assert (await alone.post("/v1/search", content=b"query=film")).status_code == 415


async def test_the_example_in_the_documentation_is_a_search(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()["paths"]["/v1/search"]["post"]
    example = document["requestBody"]["content"]["application/json"]["example"]
    assert (await client.post("/v1/search", json=example)).status_code == 200
    assert {"200", "400", "413", "415"} <= document["responses"].keys()
