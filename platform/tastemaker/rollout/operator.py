"""The operator: kopf watches the resources, and once a second each Recommender is looked at and led on.

Nothing is kept but in the resources themselves. kopf only watches (`index`): handlers that it would retry need
finalizers and annotations, and a namespace must go even when no operator is there to let it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import kopf
from redis import Redis

from tastemaker.errors import Conflict, NotFound, TastemakerError
from tastemaker.registry import Registry
from tastemaker.rollout import routing
from tastemaker.rollout.lead import reconcile
from tastemaker.rollout.manifests import service_url
from tastemaker.rollout.operator_api import RECOMMENDERS, ROLLOUTS, Api, Object
from tastemaker.rollout.operator_colours import Applied, KubernetesColours, Url
from tastemaker.rollout.operator_metrics import Shown
from tastemaker.rollout.operator_status import (
    INVALID,
    as_json,
    event,
    finished_recommender,
    finished_rollout,
    new_events,
    recommender_of,
    recommender_status,
    refused_recommender,
    refused_rollout,
    rollout_of,
)
from tastemaker.rollout.pods import Place
from tastemaker.rollout.resources import GROUP, VERSION, ModelRolloutStatus, RecommenderSpec, RecommenderStatus, seconds
from tastemaker.rollout.world import Rollout, World, rfc3339

log = logging.getLogger(__name__)
Index = kopf.Index[str, Object]

PERIOD_S: Final = 1.0
LONGEST_PAUSE_S: Final = 15.0
"""Between looks at a Recommender that fails again and again."""


@dataclass(frozen=True)
class Surroundings:
    """What the operator works with."""

    api: Api
    redis: Redis
    registry: Registry
    model_name: str
    prometheus_url: str | None = None
    url: Url = service_url
    applied: Applied = field(default_factory=Applied)


class Watched:
    """The resources as the API server last showed them: by the watch, or in answer to our own patch."""

    def __init__(self) -> None:
        self._answers: dict[str, Object] = {}

    def answered(self, body: Object) -> None:
        """What a patch made of an object; the watch tells later."""
        self._answers[body["metadata"]["uid"]] = body

    def freshest(self, bodies: list[Object]) -> list[Object]:
        """Those that the watch knows, in their newest state."""
        uids = {body["metadata"]["uid"] for body in bodies}
        self._answers = {uid: body for uid, body in self._answers.items() if uid in uids}
        return [max(body, self._answers.get(body["metadata"]["uid"], body), key=_age) for body in bodies]


class Operator:
    """Looks at Recommenders. One object leads one Recommender at a time; several may be led at once."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._is = surroundings
        self._watched = Watched()
        self._lock = threading.Lock()
        self._copied: dict[str, bytes] = {}
        self._pauses: dict[str, tuple[float, float]] = {}

    def freshest(self, bodies: list[Object]) -> list[Object]:
        """`Watched.freshest`, of all the resources of one kind."""
        with self._lock:
            return self._watched.freshest(bodies)

    def look(self, body: Object, rollouts: list[Object]) -> None:
        """One look at a Recommender. What goes wrong is logged, and looked at again after a growing pause."""
        uid, name = body["metadata"]["uid"], body["metadata"]["name"]
        until, pause = self._pauses.get(uid, (0.0, 0.0))
        if time.monotonic() < until:
            return
        try:
            self._lead(body, rollouts)
            self._pauses.pop(uid, None)
        except Conflict:
            log.debug("%s changed while it was looked at", name)
        except Exception as error:  # one broken Recommender must not stop the others
            pause = min(max(2 * pause, PERIOD_S), LONGEST_PAUSE_S)
            self._pauses[uid] = (time.monotonic() + pause, pause)
            log.warning("recommender %s: %s; again in %.0f s", name, error, pause)
            if not isinstance(error, TastemakerError):
                log.exception("recommender %s", name)

    def _lead(self, body: Object, bodies: list[Object]) -> None:
        now = datetime.now(UTC)
        try:
            spec, status = recommender_of(body)
            colours = self._colours(body, spec)
        except ValueError as error:
            before = recommender_status(body)
            self._write(body, before, refused_recommender(before, str(error), body, rfc3339(now)))
            self._tell_once(body, before, str(error), now)
            return
        by_name = {one["metadata"]["name"]: one for one in self._own(bodies, body, status)}
        rollouts = list(self._valid(by_name, now))
        world = World(
            colours=colours,
            redis=self._is.redis,
            registry=self._is.registry,
            model_name=self._is.model_name,
            prometheus_url=self._is.prometheus_url,
            now=now,
            progress_deadline_s=seconds(spec.progress_deadline),
            drain_s=seconds(spec.drain),
        )
        outcome = reconcile(status, rollouts, world)
        after = finished_recommender(outcome.recommender, status, body, rfc3339(now))
        self._write(body, status, after)
        if after.phase != status.phase:
            self._tell([event(body, after.phase, after.message, rfc3339(now))])
        for rollout in rollouts:
            led = outcome.rollouts.get(rollout.name, rollout.status)
            self._write_rollout(by_name[rollout.name], rollout.status, led, now)
        if outcome.routing is not None:
            self._copy(body, routing.encode(outcome.routing))

    def _colours(self, body: Object, spec: RecommenderSpec) -> KubernetesColours:
        name, uid = body["metadata"]["name"], body["metadata"]["uid"]
        return KubernetesColours(self._is.api, name, uid, spec, self._is.applied, self._is.url)

    def _own(self, bodies: list[Object], recommender: Object, status: RecommenderStatus) -> Iterator[Object]:
        """The rollouts of a recommender. One that seems to be gone is asked for: a watch may only be late."""
        name = recommender["metadata"]["name"]
        mine = [one for one in bodies if one["spec"].get("recommender") == name]
        yield from mine
        if status.rollout is not None and status.rollout not in {one["metadata"]["name"] for one in mine}:
            with contextlib.suppress(NotFound):
                yield self._is.api.get("ModelRollout", status.rollout)

    def _valid(self, bodies: Mapping[str, Object], now: datetime) -> Iterator[Rollout]:
        """Those that can be read; the others fail in words."""
        for body in bodies.values():
            try:
                yield rollout_of(body)
            except ValueError as error:
                before = ModelRolloutStatus()
                if (body.get("status") or {}).get("reason") != INVALID:
                    self._write(body, before, refused_rollout(str(error), body, rfc3339(now)))
                    self._tell([event(body, INVALID, str(error), rfc3339(now))])

    def _write_rollout(
        self, body: Object, before: ModelRolloutStatus, after: ModelRolloutStatus, now: datetime
    ) -> None:
        after = finished_rollout(after, before, body, rfc3339(now))
        self._write(body, before, after)
        self._tell(new_events(before, after, body, rfc3339(now)))

    def _write(
        self,
        body: Object,
        before: RecommenderStatus | ModelRolloutStatus,
        after: RecommenderStatus | ModelRolloutStatus,
    ) -> None:
        if after == before and body.get("status"):
            return
        written = self._is.api.patch_status(body, as_json(after))
        with self._lock:
            self._watched.answered(written)

    def _tell_once(self, body: Object, before: RecommenderStatus, words: str, now: datetime) -> None:
        if not any(one.type == "Valid" and one.message == words for one in before.conditions):
            self._tell([event(body, INVALID, words, rfc3339(now))])

    def _tell(self, events: list[Object]) -> None:
        """Events are for people; the status has it all, so one that is lost does no harm."""
        for one in events:
            try:
                self._is.api.create(one)
            except TastemakerError as error:
                log.warning("no event %s: %s", one["reason"], error)

    def _copy(self, body: Object, document: bytes) -> None:
        """Keep the routing where an edge that starts without Redis finds it."""
        uid, name = body["metadata"]["uid"], body["metadata"]["name"]
        if self._copied.get(uid) == document:
            return
        place = Place(name, uid, self._is.api.namespace, "blue", "")
        metadata = place.metadata(f"{name}-routing")
        metadata = {key: metadata[key] for key in ("name", "namespace", "ownerReferences")}
        data = {"routing.json": document.decode()}
        self._is.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        self._copied[uid] = document

    def forget(self, recommenders: list[Object]) -> None:
        """Drop what is remembered of Recommenders that are gone."""
        uids = {body["metadata"]["uid"] for body in recommenders}
        for uid in (set(self._copied) | set(self._pauses)) - uids:
            self._copied.pop(uid, None)
            self._pauses.pop(uid, None)
            self._is.applied.forget(uid)


async def look_at_all(operator: Operator, shown: Shown, found: list[Object]) -> None:
    """One look at everything in the namespace."""
    bodies = operator.freshest(found)
    whole = [body for body in bodies if body["kind"] == "Recommender"]
    moving = [body for body in bodies if body["kind"] == "ModelRollout"]
    shown.update(moving)
    operator.forget(whole)
    await asyncio.gather(*(asyncio.to_thread(operator.look, body, moving) for body in whole))


def registered(operator: Operator, api: Api) -> kopf.OperatorRegistry:
    """What kopf calls: two indices, and our loop beside them. It logs in as `api` does."""
    registry = kopf.OperatorRegistry()
    loop: list[asyncio.Task[None]] = []

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(**api.credentials())

    @kopf.index(GROUP, VERSION, RECOMMENDERS, registry=registry, id="recommender_index")
    @kopf.index(GROUP, VERSION, ROLLOUTS, registry=registry, id="rollout_index")
    def index(uid: str, body: kopf.Body, **_: Any) -> dict[str, Object]:
        return {uid: dict(body)}

    @kopf.on.startup(registry=registry)
    async def start(**indices: Any) -> None:
        watched = [indices["recommender_index"], indices["rollout_index"]]
        loop.append(asyncio.create_task(_loop(operator, watched)))

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        for task in loop:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return registry


def settings() -> kopf.OperatorSettings:
    """Of kopf: it watches the two kinds in one namespace, and neither looks for others nor writes anything."""
    found = kopf.OperatorSettings()
    found.scanning.disabled = True
    found.posting.enabled = False
    found.networking.error_backoffs = (1, 2, 5, 10, 15)
    return found


async def _loop(operator: Operator, watched: Sequence[Index]) -> None:
    shown = Shown()
    while True:
        began = time.monotonic()
        try:
            await look_at_all(operator, shown, [body for index in watched for body in _bodies(index)])
        except Exception:  # the loop is the operator: without it nothing would be led any more
            log.exception("a look at all failed")
        await asyncio.sleep(max(0.0, PERIOD_S - (time.monotonic() - began)))


def _bodies(index: Index) -> list[Object]:
    return [body for store in list(index.values()) for body in list(store)]


def _age(body: Object) -> int:
    return int(body["metadata"]["resourceVersion"])
