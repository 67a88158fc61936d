"""Ray Serve's Recommender as the edge calls it: in micro-batches, behind a breaker.

The client is aiohttp, whose parser is compiled: a POST costs 0.3 ms of CPU where httpx takes 1.6 to 2.7.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from aiohttp import ClientError, ClientPayloadError, ClientSession, ClientTimeout

from tastemaker import telemetry
from tastemaker.config import MicroBatch
from tastemaker.metrics import BATCH_SIZE
from tastemaker_serving import wire
from tastemaker_serving.edge.batcher import Batcher
from tastemaker_serving.edge.breaker import Breaker

FAILURES = (ClientError, OSError, msgspec.DecodeError)
HEADERS = {"Content-Type": wire.CONTENT_TYPE}

PROBE = wire.Query(request_id="probe", user_id="probe", scene="home", device=None, n=1)
"""A whole request: a Ray Serve that is up but cannot rank is not up."""


class Answer(NamedTuple):
    """A query's slate with what holds for its whole batch."""

    slate: wire.RankedSlate
    model_version: str
    stage_ms: dict[str, float]
    degraded: list[str]


class Recommender:
    """The Recommender at `url` (scheme, host and port).

    Args:
        timeout_s: bound of one POST, which frees its slot when Ray hangs.
    """

    def __init__(self, client: ClientSession, url: str, limits: MicroBatch, timeout_s: float) -> None:
        self.breaker = Breaker("Ray Serve", self._probe, FAILURES)
        self._client = client
        self._url = url + wire.PATH
        self._timeout = ClientTimeout(total=timeout_s)
        self._batcher = Batcher(self._send, limits)

    async def ask(self, query: wire.Query) -> Answer:
        """The answer to one query.

        Raises:
            Unavailable: Ray refused, broke off, hung or answered nonsense, or did so lately.
        """
        # Queueing for a dependency that is away would cost the caller its deadline.
        self.breaker.check()
        if query.traced:
            # Alone: no other user pays for the trace, and the same numbers come out when it is asked again.
            (answer,) = await self._send([query])
            return answer
        if trace := telemetry.traceparent():
            query = msgspec.structs.replace(query, traceparent=trace)
        return await self._batcher.ask(query)

    async def close(self) -> None:
        """Break off what is under way."""
        await self._batcher.close()
        await self.breaker.close()

    async def _send(self, queries: list[wire.Query]) -> list[Answer]:
        BATCH_SIZE.observe(len(queries))
        with self.breaker:
            return await self._post(queries)

    async def _probe(self) -> None:
        await self._post([PROBE])

    async def _post(self, queries: list[wire.Query]) -> list[Answer]:
        body = wire.encode_queries(queries)
        async with self._client.post(self._url, data=body, headers=HEADERS, timeout=self._timeout) as response:
            response.raise_for_status()
            batch = wire.decode_batch(await response.read())
        if len(batch.slates) != len(queries):
            raise ClientPayloadError(f"{len(batch.slates)} slates for {len(queries)} queries")
        return [Answer(slate, batch.model_version, batch.stage_ms, batch.degraded) for slate in batch.slates]
