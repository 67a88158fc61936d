"""What whoever runs an edge asks it."""

from __future__ import annotations

from typing import Any

import httpx

from .conftest import SLATE, FakeRay


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
