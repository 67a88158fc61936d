"""Slates of active users, computed before they ask: hourly, into the cache that the edge looks in first.

Each entry carries the epoch that its user had before it was computed: an event outdates it as it does any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import pyarrow as pa
from redis import Redis

from tastemaker import scenes
from tastemaker.features.trail import epoch_key, slate_key
from tastemaker.scenes import stamp
from tastemaker.types import SlateItem
from tastemaker_serving import batch, wire
from tastemaker_serving.batch import BATCH, Plan
from tastemaker_serving.edge.cache import Entry, encode_entry, variant_of

PART_USERS: Final = 1000
LIFE_S: Final = 3900
"""How long an entry is fresh as long as its user does nothing: until the next hourly run is done."""


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


class PrecomputeWorker:
    """Makes the slates of a part of the users, and puts them into the cache."""

    def __init__(self, plan: Plan, wanted: Wanted) -> None:
        # Imported here: only workers need Ray Serve, which takes seconds.
        from tastemaker_serving.in_process import InProcess

        models = plan.models
        self._recommender = InProcess(plan.settings, models.bundle(plan.settings), models.version, plan.redis_url)
        self._redis = Redis.from_url(plan.redis_url)
        self._version = models.version
        self._wanted = wanted
        self._scene = scenes.load(plan.settings)[wanted.scene]

    def __call__(self, part: pa.Table) -> pa.Table:
        """Do one part."""
        users = part["users"][0].as_py()
        kept = sum(self._keep(users[start : start + BATCH]) for start in range(0, len(users), BATCH))
        return pa.table({"users": [len(users)], "slates": [kept]})

    def _keep(self, users: Sequence[str]) -> int:
        wanted = self._wanted
        epochs = self._epochs(users)  # before the slates: an event meanwhile must outdate them
        queries = [
            wire.Query("precompute", user, wanted.scene, device, wanted.n)
            for user, device in product(users, wanted.devices)
        ]
        slates = [
            slate
            for start in range(0, len(queries), BATCH)
            for slate in self._recommender.slates(queries[start : start + BATCH])
        ]
        kept, rules = 0, self._scene.in_force(time.time())
        any_length = self._scene.begins_alike(rules)
        with self._redis.pipeline(transaction=False) as pipe:
            for query, slate in zip(queries, slates, strict=True):
                if len(slate.item_ids) < wanted.n:
                    continue  # the edge tops it up with what it alone knows
                variant = variant_of(self._version, query, rules=stamp(rules), any_length=any_length)
                entry = self._entry(epochs[query.user_id], slate)
                pipe.set(slate_key(query.user_id, variant), encode_entry(entry), ex=max(LIFE_S, wanted.keep_s))
                kept += 1
            pipe.execute()
        return kept

    def _epochs(self, users: Sequence[str]) -> dict[str, int]:
        with self._redis.pipeline(transaction=False) as pipe:
            for user in users:
                pipe.get(epoch_key(user))
            epochs: list[Any] = pipe.execute()
        return {user: int(epoch or 0) for user, epoch in zip(users, epochs, strict=True)}

    def _entry(self, epoch: int, slate: wire.RankedSlate) -> Entry:
        places = zip(slate.item_ids, slate.scores, slate.sources, slate.reasons, strict=True)
        items = tuple(
            SlateItem(item_id, score, position, source, reason)
            for position, (item_id, score, source, reason) in enumerate(places)
        )
        return Entry(epoch, time.time(), self._version, slate.segment, items, life_s=LIFE_S)
