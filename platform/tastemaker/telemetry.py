"""Traces of requests by OpenTelemetry (https://opentelemetry.io/docs/specs/otel/trace/), sent by OTLP to a collector.

A request is a span and each of its stages one below it, at the edge and in the Recommender; the W3C header
`traceparent` joins them to the caller's. Stages take their times anyway, so their spans are made afterwards. Without a
collector nothing of OpenTelemetry is imported, and a stage pays one comparison. `OTEL_TRACES_SAMPLER` says how many
are traced.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from tastemaker.config import Settings
from tastemaker.errors import InvalidInput

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACES_PATH: Final = "/v1/traces"
HEADERS: Final = (b"traceparent", b"tracestate")


class Tracing(NamedTuple):
    """What spans are made with while a collector is configured."""

    provider: TracerProvider
    tracer: Tracer
    propagator: TraceContextTextMapPropagator


_tracing: Tracing | None = None


def begin(settings: Settings, service: str, exporter: SpanExporter | None = None) -> bool:
    """Trace from now on, where `otlp_endpoint` is set or an exporter is given; returns whether it is.

    Args:
        service: name of this program in traces.

    Raises:
        InvalidInput: the libraries are not installed.
    """
    global _tracing
    if exporter is None and settings.otlp_endpoint is None:
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError as error:
        raise InvalidInput(
            f"otlp_endpoint is set, and {error.name} is not installed", "Install the extra `telemetry`, or unset it"
        ) from error
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
    if exporter is None:
        collector = OTLPSpanExporter(f"{settings.otlp_endpoint}".rstrip("/") + TRACES_PATH)
        provider.add_span_processor(BatchSpanProcessor(collector))
    else:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    _tracing = Tracing(provider, provider.get_tracer("tastemaker"), TraceContextTextMapPropagator())
    return True


def end() -> None:
    """Send what is left, and trace no more."""
    global _tracing
    if _tracing is not None:
        _tracing.provider.shutdown()
        _tracing = None


@contextmanager
def request(name: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[Span | None]:
    """The span of a request that came in with these ASGI headers; stages within belong to it."""
    if _tracing is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    sent = {key.decode("latin-1"): value.decode("latin-1") for key, value in headers if key in HEADERS}
    parent = _tracing.propagator.extract(sent)
    with _tracing.tracer.start_as_current_span(name, parent, SpanKind.SERVER) as span:
        yield span


def stage(name: str, started: float, seconds: float) -> None:
    """Note a stage of the request under way; `started` is on `time.perf_counter`."""
    if _tracing is not None:
        _note(_tracing, name, None, started, seconds)


def traceparent() -> str:
    """The W3C header by which another program's spans join the request under way; empty where nothing is traced."""
    if _tracing is None:
        return ""
    carrier: dict[str, str] = {}
    _tracing.propagator.inject(carrier)
    return carrier.get("traceparent", "")


def batch(name: str, traceparents: Iterable[str], began: Mapping[str, float], stage_ms: Mapping[str, float]) -> None:
    """Note work that was done for several requests at once, in each of their traces.

    Args:
        began: when each stage did, on `time.perf_counter`.
        stage_ms: how long it took.
    """
    if _tracing is None or not began:
        return
    from opentelemetry.trace import SpanKind, set_span_in_context

    first, last = min(began.values()), max(at + stage_ms[each] / 1e3 for each, at in began.items())
    for sent in filter(None, traceparents):
        parent = _tracing.propagator.extract({"traceparent": sent})
        span = _tracing.tracer.start_span(name, parent, SpanKind.SERVER, start_time=_epoch_ns(first))
        if span.is_recording():
            inside = set_span_in_context(span)
            for each, at in began.items():
                _note(_tracing, each, inside, at, stage_ms[each] / 1e3)
        span.end(_epoch_ns(last))


def _note(tracing: Tracing, name: str, parent: Context | None, started: float, seconds: float) -> None:
    tracing.tracer.start_span(name, parent, start_time=_epoch_ns(started)).end(_epoch_ns(started + seconds))


def _epoch_ns(at: float) -> int:
    """A time on `time.perf_counter` as nanoseconds since 1970."""
    return time.time_ns() - int((time.perf_counter() - at) * 1e9)
