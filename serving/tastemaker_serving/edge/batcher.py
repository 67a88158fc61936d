"""Micro-batching at the caller: concurrent requests share one hop.

A lone request leaves at the end of the event loop's turn, without an artificial wait. While `max_in_flight` batches
are under way, newcomers gather into the next one, so batches grow with the load.
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
        for _, answer in self._waiting:
            answer.cancel()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _dispatch(self) -> None:
        self._scheduled = False
        while len(self._under_way) < self._limits.max_in_flight:
            batch = self._take()
            if not batch:
                return
            task = asyncio.get_running_loop().create_task(self._deliver(batch))
            self._under_way.add(task)
            task.add_done_callback(self._arrived)

    def _take(self) -> list[tuple[Query, asyncio.Future[Answer]]]:
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
