"""The colours that may answer a request, and which of them does.

An edge looks at the routing document (`tastemaker.rollout.routing`) twice a second: that costs less than a request, and
nothing has to be noticed when a connection breaks. While Redis is away it keeps the last one, and an edge that starts
then reads the copy in `edge.routing_file`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from contextlib import suppress
from time import perf_counter
from typing import NamedTuple

import msgspec
from aiohttp import ClientSession
from msgspec import structs
from redis.asyncio import Redis

from tastemaker.config import Settings
from tastemaker.errors import Unavailable
from tastemaker.metrics import ROUTING_WEIGHT
from tastemaker.rollout import routing as routes
from tastemaker.rollout.resources import COLOURS
from tastemaker.rollout.routing import Routing, Target
from tastemaker_serving import wire
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.meter import Meter, Outcome
from tastemaker_serving.edge.ray_serve import Answer, Recommender

LOOK_S = 0.5
NEWCOMERS_PART = 0.5
"""Of a request's time that a new colour gets, so that the stable one can stand in for it."""
MOST_COPIES = 64
"""Shadow copies under way at once: a new colour that hangs must not fill the edge."""

log = logging.getLogger(__name__)


class Endpoint(NamedTuple):
    """A colour's name, and the client that asks it."""

    colour: str
    recommender: Recommender


class Colours:
    """The clients of the colours, each with its own batches and breaker.

    Args:
        first: the routing until another one is read.
    """

    def __init__(self, client: ClientSession, settings: Settings, meter: Meter, first: Routing | None) -> None:
        self.meter = meter
        self.routing: Routing | None = None
        self.routing_digest = ""
        self._client = client
        self._limits = settings.edge.batch
        self._timeout_s = settings.edge.deadline_ms / 1000
        self._recommenders: dict[str, Recommender] = {}
        self._background: set[asyncio.Task[None]] = set()
        first = first or _from_file(settings)
        if first is not None:
            self.follow(first)

    def follow(self, routing: Routing) -> None:
        """Route by `routing` from now on."""
        self.routing = routing
        self.routing_digest = routes.digest(routing)
        self.meter.period = routing.period
        targets = [target for target in (routing.stable, routing.candidate) if target is not None]
        urls = {target.url for target in targets}
        for url in urls - self._recommenders.keys():
            self._recommenders[url] = Recommender(self._client, url, self._limits, self._timeout_s)
        for colour in COLOURS:
            ROUTING_WEIGHT.labels(colour).set(0)
        for url in self._recommenders.keys() - urls:
            # Requests under way are still answered; nobody waits longer than the request's own deadline.
            self._later(_closed_after(self._recommenders.pop(url), self._timeout_s))
        weight = routing.weight if routing.candidate else 0.0
        ROUTING_WEIGHT.labels(routing.stable.colour).set(100 - weight)
        if routing.candidate:
            ROUTING_WEIGHT.labels(routing.candidate.colour).set(weight)

    def target_of(self, user_id: str) -> Target:
        """The colour that this user belongs to.

        Raises:
            Unavailable: no model was ever deployed.
        """
        return routes.target_of(self._routed(), user_id)

    @property
    def breaker(self) -> Breaker:
        """Of the stable colour."""
        return self._recommenders[self._routed().stable.url].breaker

    async def ask(self, query: wire.Query, deadline: float) -> Answer:
        """The answer of the user's colour. A new colour that fails or runs late is stood in for by the stable one.

        Raises:
            Unavailable, TimeoutError: the stable colour does not answer (`deadline` is on the event loop's clock).
        """
        routing = self._routed()
        target = routes.target_of(routing, query.user_id or query.request_id)
        # Both are looked up now: by the time that one has failed, another routing may have neither.
        asked, stable = self._endpoint(target), self._endpoint(routing.stable)
        self._shadow(routing, structs.replace(query, traced=False) if query.traced else query)
        if target is routing.stable:
            return await self._measured(stable, query, deadline)
        now = asyncio.get_running_loop().time()
        try:
            return await self._measured(asked, query, now + (deadline - now) * NEWCOMERS_PART)
        except (Unavailable, TimeoutError):
            return await self._measured(stable, query, deadline)

    async def keep_following(self, redis: Redis, breaker: Breaker) -> None:
        """Follow the document in Redis until cancelled."""
        seen: bytes | None = None
        while True:
            with suppress(Unavailable):
                with breaker:
                    document = await redis.get(routes.KEY)
                if document is not None and document != seen:
                    seen = document
                    self._try_to_follow(document)
            await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        """Break off what is under way."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for recommender in self._recommenders.values():
            await recommender.close()

    def _routed(self) -> Routing:
        if self.routing is None:
            raise Unavailable("no model is deployed yet", "Import data and train one; see `tastemaker train --help`")
        return self.routing

    def _endpoint(self, target: Target) -> Endpoint:
        """Where a colour of the routing as of now is asked; its client outlives whoever waits for it."""
        return Endpoint(target.colour, self._recommenders[target.url])

    async def _measured(self, asked: Endpoint, query: wire.Query, deadline: float) -> Answer:
        started = perf_counter()
        try:
            async with asyncio.timeout_at(deadline):
                answer = await asked.recommender.ask(query)
        except (Unavailable, TimeoutError):
            self.meter.asked(asked.colour, perf_counter() - started, "error")
            raise
        outcome: Outcome = "ok" if answer.slate.served_from == "ranked" else "fallback"
        self.meter.asked(asked.colour, perf_counter() - started, outcome)
        return answer

    def _shadow(self, routing: Routing, query: wire.Query) -> None:
        self.meter.saw(query)
        if routing.candidate is None or len(self._background) >= MOST_COPIES:
            return
        if random.random() * 100 < routing.shadow:
            self._later(self._copy(self._endpoint(routing.candidate), query))

    async def _copy(self, asked: Endpoint, query: wire.Query) -> None:
        with suppress(Unavailable, TimeoutError):
            await self._measured(asked, query, asyncio.get_running_loop().time() + self._timeout_s)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _try_to_follow(self, document: bytes) -> None:
        try:
            self.follow(routes.decode(document))
        except msgspec.DecodeError as error:
            log.warning("the routing in Redis cannot be read and is ignored: %s", error)


def _from_file(settings: Settings) -> Routing | None:
    path = settings.edge.routing_file
    if path is None or not path.is_file():
        return None
    try:
        return routes.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        log.warning("%s holds no routing and is ignored: %s", path, error)
        return None


async def _closed_after(recommender: Recommender, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await recommender.close()
