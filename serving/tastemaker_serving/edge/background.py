"""What the edge does beside its requests. It goes on as long as the edge does, whatever happens to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, wait_fixed

from tastemaker.errors import Unavailable

AGAIN_S: Final = 5.0
"""Before work that broke off begins again: what keeps breaking neither burdens anybody nor fills the log."""
STOPS: Final = 20
STOP_S: Final = 0.1
"""Work that is told to end so often, and so long apart, is left to itself."""

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]
"""Goes on until it is cancelled, and by itself copes with dependencies that are away."""


def every(pause_s: float, step: Work) -> Work:
    """`step` again and again, after a pause each time; where what it needs is away, the next one does its work, too."""

    async def work() -> None:
        while True:
            await asyncio.sleep(pause_s)
            with suppress(Unavailable):
                await step()

    return work


def begun(work: Mapping[str, Work]) -> list[asyncio.Task[None]]:
    """All `work` under way, each by its name. What breaks off by a fault is logged, and begun again."""
    return [asyncio.create_task(_kept_up(name, one), name=name) for name, one in work.items()]


async def ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Break off what is under way. A client that is just connecting may swallow the cancellation: it hears it again."""
    under_way = set(tasks)
    for _ in range(STOPS):
        for task in under_way:
            task.cancel()
        _, under_way = await asyncio.wait(under_way, timeout=STOP_S)
        if not under_way:
            return


async def _kept_up(name: str, work: Work) -> None:
    def mourn(broken: RetryCallState) -> None:
        error = broken.outcome.exception() if broken.outcome else None
        log.error("the edge goes on without %s for %g s", name, AGAIN_S, exc_info=error)

    await AsyncRetrying(wait=wait_fixed(AGAIN_S), before_sleep=mourn)(work)
