"""The candidate sources, each within its budget. One that fails or runs late is left out of the batch and named.

A thread asks them in turn: their kernels share the processors that the replica has, and a thread for each would cost a
request a quarter more. When one is late, its thread is left to it and another one goes on with the rest; it is not
asked again before it has come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter

import numpy as np

from tastemaker.candidates import SOURCES
from tastemaker.config import Sources as Budgets
from tastemaker.errors import InvalidInput, Unavailable
from tastemaker.retrieval import Heard, Source, Wanted
from tastemaker_serving import models

log = logging.getLogger(__name__)


@dataclass
class Round:
    """A batch on its way along the sources: whom it is with and since when, and what was heard so far."""

    waiting: Sequence[int]
    heard: dict[int, Heard] = field(default_factory=dict)
    given_up: bool = False
    at: tuple[int, float] = field(init=False)

    def __post_init__(self) -> None:
        self.at = self.waiting[0], perf_counter()

    def go(self, sources: Mapping[int, Source], wanted: Wanted, lengths: Mapping[int, int]) -> None:
        """Ask the sources in turn, unless somebody has given this round up."""
        for source in self.waiting:
            if self.given_up:
                return
            self.at = source, perf_counter()
            try:
                self.heard[source] = sources[source](wanted, lengths[source])
            except Unavailable as error:
                log.info("source %s: %s", SOURCES[source], error)
            except Exception:
                log.exception("source %s failed", SOURCES[source])


def among_first(items: int, source: Source) -> Source:
    """`source`, which may hear of items before others do, without any but the first so many."""

    def ask(wanted: Wanted, k: int) -> Heard:
        heard = source(wanted, k)
        if heard.proposed.max(initial=-1) < items:
            return heard
        return replace(heard, proposed=np.where(heard.proposed < items, heard.proposed, np.int32(-1)))

    return ask


class Panel:
    """Every source of this process, by its position in SOURCES."""

    def __init__(self, sources: Mapping[int, Source], budgets: Budgets, threads: int) -> None:
        """Start nothing yet.

        Args:
            threads: of the sources' kernels.

        Raises:
            InvalidInput: a budget is for a source that does not exist.
        """
        for name in budgets.budgets_ms:
            if name not in SOURCES:
                raise InvalidInput(
                    f"serving.sources.budgets_ms is for {name!r}, which is no source", f"Use {', '.join(SOURCES)}"
                )
        self._sources = sources
        self._budget_s = {source: budgets.of(SOURCES[source]) / 1e3 for source in sources}
        self._new_thread = partial(ThreadPoolExecutor, 1, "sources", partial(models.use_threads, threads))
        self._thread = self._new_thread()
        self._late: dict[int, Future[None]] = {}
        self._one_batch_at_a_time = asyncio.Lock()

    def follow(self, sources: Mapping[int, Source]) -> None:
        """Ask `sources` from the next batch on, in the place of those of the same position."""
        self._sources = {**self._sources, **sources}

    def stop(self) -> None:
        """Ask no more."""
        self._thread.shutdown(wait=False)

    async def ask(self, wanted: Wanted, lengths: Mapping[int, int]) -> tuple[dict[int, Heard], list[str]]:
        """What the sources say when asked for so many items each, and the names of those that failed or ran late."""
        asked = [source for source in lengths if source in self._sources]
        heard: dict[int, Heard] = {}
        async with self._one_batch_at_a_time:
            waiting = [source for source in asked if source not in self._late or self._late[source].done()]
            while waiting:
                one = Round(waiting)
                work = self._thread.submit(one.go, self._sources, wanted, lengths)
                late = await self._watch(one, work)
                heard |= one.heard
                waiting = waiting[waiting.index(late) + 1 :] if late is not None else []
        return heard, [SOURCES[source] for source in asked if source not in heard]

    async def _watch(self, one: Round, work: Future[None]) -> int | None:
        """Wait for the round to end, or for a source to run late, which is returned."""
        ended = asyncio.wrap_future(work)
        try:
            while not ended.done():
                source, since = one.at
                left = since + self._budget_s[source] - perf_counter()
                if left <= 0:
                    self._leave(source, work)
                    return source
                await asyncio.wait([ended], timeout=left)
        finally:
            one.given_up = True
        return None

    def _leave(self, source: int, work: Future[None]) -> None:
        log.warning("source %s ran late (%.0f ms)", SOURCES[source], self._budget_s[source] * 1e3)
        self._late[source] = work
        self._thread.shutdown(wait=False)
        self._thread = self._new_thread()
