"""Micro-batching at the caller: concurrent requests share one hop.

A lone request leaves at the end of the event loop's turn, without an artificial wait. While another batch is under way
the next one waits until it is full, but no longer than `wait_ms`: each costs the servers some milliseconds, whatever it
carries. While `max_in_flight` batches are under way newcomers gather, so batches grow with the load.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from tastemaker.config import MicroBatch

Query = TypeVar("Query")
Answer = TypeVar("Answer")


class Batcher(Generic[Query, Answer]):
    """Gathers queries for `send`, which answers a list of them in their order or raises for all of them.

    Callers bound their own wait with `asyncio.timeout`; a query whose caller has gone is not sent.
    """

    def __init__(self, send: Callable[[list[Query]], Awaitable[Sequence[Answer]]], limits: MicroBatch) -> None:
        self._send = send
        self._limits = limits
        self._waiting: deque[tuple[Query, asyncio.Future[Answer]]] = deque()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._overdue = False
        self._under_way: set[asyncio.Task[None]] = set()

    async def ask(self, query: Query) -> Answer:
        """The answer to one query. Raises what `send` raised for its batch; other batches are not touched."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((query, answer))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._dispatch)
        return await answer

    async def close(self) -> None:
        """Break off the batches under way and what waits; their callers get `CancelledError`."""
        if self._timer is not None:
            self._timer.cancel()
        for _, answer in self._waiting:
            answer.cancel()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _dispatch(self) -> None:
        self._scheduled = False
        while len(self._under_way) < self._limits.max_in_flight:
            if self._gathers():
                return
            batch = self._take()
            if not batch:
                return
            task = asyncio.get_running_loop().create_task(self._deliver(batch))
            self._under_way.add(task)
            task.add_done_callback(self._arrived)

    def _gathers(self) -> bool:
        """Whether the next batch shall wait for more; then a timer ends its wait."""
        full = len(self._waiting) >= self._limits.max_size
        if full or not self._under_way or self._overdue or not self._limits.wait_ms:
            return False
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limits.wait_ms / 1e3, self._end_wait)
        return True

    def _end_wait(self) -> None:
        self._timer = None
        self._overdue = True
        self._dispatch()

    def _take(self) -> list[tuple[Query, asyncio.Future[Answer]]]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._overdue = False
        batch: list[tuple[Query, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._limits.max_size:
            query, answer = self._waiting.popleft()
            if not answer.done():
                batch.append((query, answer))
        return batch

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._dispatch()

    async def _deliver(self, batch: list[tuple[Query, asyncio.Future[Answer]]]) -> None:
        try:
            results = await self._send([query for query, _ in batch])
            for (_, answer), result in zip(batch, results, strict=True):
                if not answer.done():
                    answer.set_result(result)
        except Exception as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
        finally:
            # Whoever still waits would wait for ever: this task was cancelled.
            for _, answer in batch:
                answer.cancel()
