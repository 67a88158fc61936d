"""Traces across the edge and the Recommender, in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tastemaker import telemetry
from tastemaker.config import Settings
from tastemaker_serving import wire
from tastemaker_serving.pipeline import StageClock

from .edge.conftest import FakeRay, serving, settings_for, standing_in

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SLATE = "/v1/users/7/recommendations"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry.begin(Settings(), "test", exporter)
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
    spans: InMemorySpanExporter, ray: FakeRay, bundle_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "begin", lambda *_: True)  # keeps the exporter in memory
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        await client.get(SLATE, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
        await client.get("/healthz")
        (query,) = ray.batches[0]
        answered(query)
        found = {span.name: span for span in spans.get_finished_spans()}
    whole = found["GET /v1/users/{user_id}/recommendations"]
    assert ids(whole)[::2] == (TRACE, CALLER)
    assert whole.attributes == {
        "http.request.method": "GET",
        "http.route": "/v1/users/{user_id}/recommendations",
        "http.response.status_code": 200,
    }
    for stage in ("cache", "ray", "cache_write", "recommend"):
        assert ids(found[stage])[::2] == (TRACE, ids(whole)[1]), stage
    assert ids(found["ranking"])[::2] == (TRACE, ids(found["recommend"])[1])
    assert set(found) == {whole.name, "cache", "ray", "cache_write", "recommend", "candidates", "ranking"}


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
