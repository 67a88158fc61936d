"""Traces across the edge and the Recommender, in memory."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.routing import Route

from tastemaker import config, telemetry
from tastemaker.bundle import Bundle
from tastemaker_serving import wire
from tastemaker_serving.pipeline import StageClock

from .edge.conftest import SLATE, FakeRay, on_a_port, serving, settings_for, standing_in

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry.begin(config.Settings(), "test", exporter)
    yield exporter
    telemetry.end()


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    with standing_in() as fake:
        yield fake


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    assert span.context is not None
    parent = f"{span.parent.span_id:016x}" if span.parent else None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


async def test_the_callers_trace_goes_on_through_the_edge_to_the_recommender(
    spans: InMemorySpanExporter,
    model_bundle: Bundle,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry, "begin", lambda *_: True)  # keeps the exporter in memory
    patient = config.Deployment(timeout_ms=20_000)
    deployments = config.Deployments(recommender=patient, candidate_generator=patient, ranker=patient)
    settings = config.Settings(home=tmp_path, serving=config.Serving(deployments=deployments))
    with recommending(settings, model_bundle.path, redis_url) as port:
        edge = settings_for(port, deadline_ms=20_000)
        async with serving(edge, model_bundle.path, redis_url) as client:
            answer = await client.get(SLATE, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
            assert answer.json()["served_from"] == "ranked"
            await client.get("/healthz")
            found = {span.name: span for span in spans.get_finished_spans()}
    whole = found.pop("GET /v1/users/{user_id}/recommendations")
    assert ids(whole)[::2] == (TRACE, CALLER)
    assert whole.attributes == {
        "http.request.method": "GET",
        "http.route": "/v1/users/{user_id}/recommendations",
        "http.response.status_code": 200,
    }
    there = {"features", "user_tower", "candidates", "ranking", "reranking", "reasons", "answer"}
    assert {"cache", "ray", "cache_write", "recommend"} | there <= found.keys()
    for name, span in found.items():
        parent = found["recommend"] if name in there else whole
        assert ids(span)[::2] == (TRACE, ids(parent)[1]), name


@contextmanager
def recommending(settings: config.Settings, bundle_path: Path, redis_url: str) -> Iterator[int]:
    """The Recommender with its two deployments in this process, on a port; Ray's handles are all that is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray, about pydantic
        from tastemaker_serving.deployments import CandidateGenerator, Ranker, Recommender
    generator = CandidateGenerator(bundle_path, settings, redis_url)
    ranker = Ranker(bundle_path, settings.serving.funnel, 1, redis_url)
    recommender = Recommender(bundle_path, "model-1", redis_url, settings, handle(generator), handle(ranker))

    @asynccontextmanager
    async def closing(app: Starlette) -> AsyncIterator[None]:
        async with recommender._reader.redis:
            yield

    app = Starlette(routes=[Route(wire.PATH, recommender.__call__, methods=["POST"])], lifespan=closing)
    with on_a_port(app, "on") as port:
        yield port
    for role in (recommender, generator, ranker):
        role.close()


def handle(deployment: Any) -> Any:
    """What Ray Serve would give to call it by."""
    return SimpleNamespace(remote=deployment.__call__, ping=SimpleNamespace(remote=deployment.ping))


async def test_without_a_collector_nothing_is_traced(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        await client.get(SLATE, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    assert ray.batches[0][0].traceparent == ""


def test_the_edge_imports_nothing_of_opentelemetry_until_it_is_configured() -> None:
    code = "import sys, tastemaker_serving.edge.app; sys.exit('opentelemetry.sdk.trace' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


async def test_the_sampler_of_the_caller_is_respected(
    spans: InMemorySpanExporter, ray: FakeRay, bundle_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "begin", lambda *_: True)
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        await client.get(SLATE, headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
        answered(ray.batches[0][0])
        assert spans.get_finished_spans() == ()


def answered(query: wire.Query) -> None:
    """What the Recommender notes of a batch."""
    clock = StageClock()
    for name in ("candidates", "ranking"):
        with clock.stage(name):
            pass
    telemetry.batch("recommend", [query.traceparent, ""], clock.began, clock.stage_ms)
