"""Times the stages of one request and notes which of them failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from time import perf_counter

from tastemaker import telemetry
from tastemaker.errors import Unavailable
from tastemaker.metrics import DEGRADED, STAGE_SECONDS

_seconds = cache(STAGE_SECONDS.labels)
_failed = cache(DEGRADED.labels)


class Stopwatch:
    """`stage_ms` by stage, in milliseconds; `degraded` names the stages that failed or ran late.

    Args:
        end: when the request must be answered, on the event loop's clock; None: nobody waits for it.
    """

    def __init__(self, end: float | None = None) -> None:
        self.end = end
        self.stage_ms: dict[str, float] = {}
        self.degraded: list[str] = []

    def note(self, degraded: Iterable[str]) -> None:
        """Count the stages that failed or ran late elsewhere."""
        for name in dict.fromkeys(degraded):
            self.degraded.append(name)
            _failed(name).inc()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage. When its dependency is away or late, the request goes on without its result."""
        started = perf_counter()
        try:
            yield
        except (Unavailable, TimeoutError):
            self.degraded.append(name)
            _failed(name).inc()
        finally:
            took = perf_counter() - started
            self.stage_ms[name] = round(took * 1000, 3)
            _seconds(name).observe(took)
            telemetry.stage(name, started, took)
