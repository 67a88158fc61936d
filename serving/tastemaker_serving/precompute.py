"""Slates of active users, computed before they ask: hourly, into the cache that the edge looks in first.

Each entry carries the epoch that its user had before it was computed: an event outdates it as it does any other. It is
computed as the user's own request would be, under an id of its own: so it explores by a chance of its own, sinks what
was shown lately, and is the origin of what is served from it. A share is logged in full detail, so that it can be
explained; what was only computed is otherwise neither logged nor counted as shown.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, NamedTuple

import pyarrow as pa
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import keepsakes, scenes
from tastemaker.decisions import recent as decisions
from tastemaker.decisions.record import Decision
from tastemaker.features.trail import epoch_key, shown_key, slate_key
from tastemaker.scenes import stamp
from tastemaker.types import Slate, SlateItem
from tastemaker_serving import batch, wire
from tastemaker_serving.batch import BATCH, Plan
from tastemaker_serving.edge import recent
from tastemaker_serving.edge.cache import Entry, encode_entry, variant_of
from tastemaker_serving.edge.decisions import decision_of
from tastemaker_serving.edge.recent import Shown

PART_USERS: Final = 1000
LIFE_S: Final = 3900
"""How long an entry is fresh as long as its user does nothing: until the next hourly run is done."""
COLOUR: Final = "precompute"
"""What is logged in the place of the colour that answered."""


@dataclass(frozen=True)
class Wanted:
    """Which requests shall find their slates: those of `scene` for `n` items, or fewer, on one of `devices`."""

    scene: str
    n: int
    devices: tuple[str | None, ...]
    keep_s: int
    """How long an entry may stand in when the models are away."""


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    model_version: str
    users: int
    slates: int
    """Kept in the cache; of users for whom there are too few items, none is."""
    seconds: float


def fill(
    plan: Plan, wanted: Wanted, users: Sequence[str], progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Summary:
    """Put the users' slates into the cache. It may be broken off and run again at any time.

    Args:
        progress: told the users done and all there are.

    Raises:
        Unavailable: a part failed.
    """
    began = time.monotonic()
    parts = [{"users": list(users[start : start + PART_USERS])} for start in range(0, len(users), PART_USERS)]
    done = slates = 0
    progress(done, len(users))
    for told in batch.run(PrecomputeWorker, plan, (wanted,), parts):
        done += told["users"]
        slates += told["slates"]
        progress(done, len(users))
    return Summary(plan.models.version, len(users), slates, round(time.monotonic() - began, 3))


class Asker(NamedTuple):
    """A user's epoch, and what the scene showed them lately, newest first."""

    epoch: int
    shown: Sequence[Shown]


class PrecomputeWorker:
    """Makes the slates of a part of the users, and puts them into the cache."""

    def __init__(self, plan: Plan, wanted: Wanted) -> None:
        # Imported here: only workers need Ray Serve, which takes seconds.
        from tastemaker_serving.in_process import InProcess

        models = plan.models
        self._plan, self._wanted = plan, wanted
        self._recommender = InProcess(plan.settings, models.bundle(plan.settings), models.version, plan.redis_url)
        self._redis = Redis.from_url(plan.redis_url)
        self._scene = scenes.load(plan.settings)[wanted.scene]

    def __call__(self, part: pa.Table) -> pa.Table:
        """Do one part."""
        users = part["users"][0].as_py()
        kept = sum(self._fill(users[start : start + BATCH]) for start in range(0, len(users), BATCH))
        return pa.table({"users": [len(users)], "slates": [kept]})

    def _fill(self, users: Sequence[str]) -> int:
        askers = self._askers(users)  # before the slates: an event meanwhile must outdate them
        queries = [self._query(user, device, askers[user]) for user, device in product(users, self._wanted.devices)]
        # The edge tops up what is too short with what it alone knows.
        whole = [(query, slate) for query, slate in self._slates(queries) if len(slate.item_ids) == query.n]
        self._log([self._decision(query, slate) for query, slate in whole if query.traced])
        rules, now = self._scene.in_force(time.time()), time.time()
        any_length, life_s = self._scene.begins_alike(rules), max(LIFE_S, self._wanted.keep_s)
        with self._redis.pipeline(transaction=False) as pipe:
            for query, slate in whole:
                variant = variant_of(self._plan.models.version, query, rules=stamp(rules), any_length=any_length)
                entry = self._entry(askers[query.user_id].epoch, now, query, slate)
                values = {slate_key(query.user_id, variant): encode_entry(entry)}
                keepsakes.keep(pipe, query.user_id, entry.epoch, values, life_s)
            pipe.execute()
        return len(whole)

    def _askers(self, users: Sequence[str]) -> Mapping[str, Asker]:
        with self._redis.pipeline(transaction=False) as pipe:
            for user in users:
                pipe.mget(epoch_key(user), shown_key(user, self._wanted.scene))
            told: Any = pipe.execute()
        return {
            user: Asker(int(epoch or 0), recent.decode(shown)) for user, (epoch, shown) in zip(users, told, strict=True)
        }

    def _query(self, user: str, device: str | None, asker: Asker) -> wire.Query:
        scene, request_id = self._wanted.scene, uuid.uuid4().hex
        is_traced = self._plan.settings.decisions.detail_of(scene, random.random()) == "full"
        query = wire.Query(request_id, user, scene, device, self._wanted.n, traced=is_traced)
        return recent.on_page(query, 0, asker.shown, self._scene.repetition).query

    def _slates(self, queries: Sequence[wire.Query]) -> Iterator[tuple[wire.Query, wire.RankedSlate]]:
        """The queries with their slates; those that are traced are asked alone, as they are by the edge."""
        together = [query for query in queries if not query.traced]
        batches = [[query] for query in queries if query.traced]
        batches += [together[start : start + BATCH] for start in range(0, len(together), BATCH)]
        for asked in batches:
            yield from zip(asked, self._recommender.slates(asked), strict=True)

    def _entry(self, epoch: int, now: float, query: wire.Query, slate: wire.RankedSlate) -> Entry:
        return Entry(
            epoch=epoch,
            created=now,
            model_version=self._plan.models.version,
            segment=slate.segment,
            items=_items(slate),
            request_id=query.request_id,
            life_s=LIFE_S,
            propensities=slate.chances(),
        )

    def _decision(self, query: wire.Query, slate: wire.RankedSlate) -> Decision:
        version = self._plan.models.version
        made = Slate(query.request_id, query.user_id, query.scene, _items(slate), version, slate.served_from)
        return decision_of(query, made, COLOUR, propensities=slate.chances(), trace=slate.trace)

    def _log(self, made: Sequence[Decision]) -> None:
        async def write() -> None:
            async with AsyncRedis.from_url(self._plan.redis_url) as redis:
                await decisions.write(redis, made, self._plan.settings.decisions)

        if made:
            asyncio.run(write())


def _items(slate: wire.RankedSlate) -> tuple[SlateItem, ...]:
    places = zip(slate.item_ids, slate.scores, slate.sources, slate.reasons, strict=True)
    return tuple(
        SlateItem(item_id, score, position, source, reason)
        for position, (item_id, score, source, reason) in enumerate(places)
    )
