from __future__ import annotations

from typing import Any

import httpx
import pytest

from .conftest import FakeRay

CALL = "/v1/sessions/recommendations"


async def test_the_models_are_asked_about_the_items_of_the_session(client: httpx.AsyncClient, ray: FakeRay) -> None:
    answer = await client.post(CALL, json={"item_ids": ["i9", "i3"], "n": 2}, headers={"X-Request-Id": "r-1"})

    assert answer.json() == {
        "request_id": "r-1",
        "items": [
            {"item_id": "i59", "score": 1.0, "position": 0, "source": "two-tower", "reason": "For you"},
            {"item_id": "i58", "score": 0.99, "position": 1, "source": "two-tower", "reason": "For you"},
        ],
        "model_version": "model-1",
        "served_from": "ranked",
        "degraded": [],
    }
    (query,) = ray.batches[0]
    assert (query.user_id, query.history, query.n) == ("", ["i9", "i3"], 2)


async def test_without_models_the_neighbours_of_the_session_answer(alone: httpx.AsyncClient) -> None:
    answer = (await alone.post(CALL, json={"item_ids": ["i0", "unknown"], "n": 4})).json()

    assert (answer["served_from"], answer["degraded"]) == ("session", ["ray"])
    assert [item["item_id"] for item in answer["items"]] == ["i3", "i6", "i9", "i12"]
    assert answer["items"][0]["reason"] == "Because you liked Film 0"


async def test_a_session_of_unknown_items_still_gets_a_list(alone: httpx.AsyncClient) -> None:
    answer = (await alone.post(CALL, json={"item_ids": ["unknown"]})).json()

    assert (answer["served_from"], len(answer["items"])) == ("static", 20)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "item_ids"),
        ({"item_ids": []}, "item_ids"),
        ({"item_ids": ["i1"] * 101}, "item_ids"),
        ({"item_ids": ["i1"], "n": 0}, "n: "),
        ({"item_ids": ["i1"], "user": "7"}, "user"),
    ],
)
async def test_what_cannot_be_used_is_refused_by_name(
    client: httpx.AsyncClient, body: dict[str, Any], problem: str
) -> None:
    answer = await client.post(CALL, json=body)

    assert answer.status_code == 400
    assert problem in answer.json()["error"]
