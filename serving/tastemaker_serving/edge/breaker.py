"""A circuit breaker that probes in the background: no user waits to find out whether a dependency is back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType

from tastemaker.errors import Unavailable

THRESHOLD = 3
PAUSE_S = 0.5


class Breaker:
    """Guards calls to one dependency: `with breaker: await call()`.

    Closed, calls pass; `threshold` failures in a row open it. Open, every call fails at once, while a probe asks the
    dependency every `pause_s` seconds; its first success closes the breaker (the half-open state of the pattern,
    M. Nygard, Release It!, with the probe in place of a user's request).

    Args:
        name: of the dependency, for messages.
        probe: a cheap call that raises while the dependency is away.
        failures: exceptions that count as the dependency's failure; callers see them as `Unavailable`.
        refusals: those of them by which it does answer, and says no: callers see them as `Unavailable`, too, but it is
            not away.
    """

    def __init__(
        self,
        name: str,
        probe: Callable[[], Awaitable[object]],
        failures: tuple[type[BaseException], ...],
        *,
        refusals: tuple[type[BaseException], ...] = (),
        threshold: int = THRESHOLD,
        pause_s: float = PAUSE_S,
    ) -> None:
        self.name = name
        self.probe = probe
        self._failures = failures
        self._refusals = refusals
        self._threshold = threshold
        self._pause_s = pause_s
        self._failed = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the dependency is taken to be away."""
        return self._probing is not None

    def check(self) -> None:
        """Raise `Unavailable` while the breaker is open."""
        if self.is_open:
            raise self._unavailable("has not answered lately")

    def __enter__(self) -> None:
        self.check()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._failed = 0
        elif isinstance(error, self._refusals):
            self._failed = 0
            raise self._unavailable(f"refuses this: {error!s:.200}") from error
        elif isinstance(error, self._failures):
            self._failed += 1
            if self._failed >= self._threshold and not self.is_open:
                self._probing = asyncio.get_running_loop().create_task(self._probe_until_it_answers())
            raise self._unavailable(f"does not answer: {str(error) or type(error).__name__:.200}") from error

    async def close(self) -> None:
        """Stop probing."""
        if self._probing is not None:
            self._probing.cancel()
            with suppress(asyncio.CancelledError):
                await self._probing

    async def _probe_until_it_answers(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s)
            with suppress(Exception):
                await self.probe()
                break
        self._failed = 0
        self._probing = None

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(f"{self.name} {what}", "Try again in a moment")
