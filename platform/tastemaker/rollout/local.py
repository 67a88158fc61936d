"""Rollouts on a laptop: the documents that Kubernetes would keep, in Redis.

    tm:rollouts      hash: `NAME/spec` is what a person asked for, `NAME/status` what the leader made of it
    tm:recommender   status of the recommender

Specification and status are written by different processes and lie apart, so neither can undo the other.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from redis import Redis
from redis.client import Pipeline

from tastemaker.errors import Conflict, NotFound
from tastemaker.rollout.resources import (
    FINAL,
    Action,
    ActiveColour,
    ModelRolloutSpec,
    ModelRolloutStatus,
    RecommenderStatus,
    Transition,
)
from tastemaker.rollout.world import Outcome, Rollout, rfc3339

KEY: Final = "tm:rollouts"
RECOMMENDER_KEY: Final = "tm:recommender"
TEMPLATE: Final = "laptop"
"""Colours of a laptop are all made alike."""


class LocalRollouts:
    """The rollouts in Redis, as the command line edits them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def create(self, name: str, spec: Mapping[str, Any]) -> None:
        """Add a rollout.

        Raises:
            Conflict: there is one of that name.
        """
        document = {"uid": uuid.uuid4().hex, "created": datetime.now(UTC).isoformat(), "spec": spec}
        if not self._redis.hsetnx(KEY, f"{name}/spec", json.dumps(document)):
            raise Conflict(f"there is a rollout {name!r} already", f"Delete it: tastemaker rollout delete {name}")

    def all(self) -> list[Rollout]:
        """Every rollout, oldest first."""
        found: Any = self._redis.hgetall(KEY)
        fields = {field.decode(): json.loads(document) for field, document in found.items()}
        names = [field.removesuffix("/spec") for field in fields if field.endswith("/spec")]
        rollouts = [_rollout(name, fields[f"{name}/spec"], fields.get(f"{name}/status")) for name in names]
        return sorted(rollouts, key=lambda rollout: (rollout.created, rollout.name))

    def act(self, name: str, action: Action) -> None:
        """Set `spec.action`.

        Raises:
            NotFound: there is no such rollout.
        """

        def edit(document: dict[str, Any]) -> str:
            return json.dumps(document | {"spec": document["spec"] | {"action": action}})

        self._if_there(name, lambda pipe, document: pipe.hset(KEY, f"{name}/spec", edit(document)))

    def delete(self, name: str) -> None:
        """Remove a rollout; one under way is taken back by the leader.

        Raises:
            NotFound: there is no such rollout.
        """
        self._if_there(name, lambda pipe, _: pipe.hdel(KEY, f"{name}/spec", f"{name}/status"))

    def keep(self, name: str, uid: str, status: ModelRolloutStatus) -> None:
        """Write the status of a rollout, unless that was deleted meanwhile."""
        written = json.dumps({"uid": uid, "status": status.model_dump(mode="json", by_alias=True)})

        def write(pipe: Pipeline, document: dict[str, Any]) -> None:
            if document["uid"] == uid:
                pipe.hset(KEY, f"{name}/status", written)

        try:
            self._if_there(name, write)
        except NotFound:
            return

    def _if_there(self, name: str, change: Callable[[Pipeline, dict[str, Any]], object]) -> None:
        def attempt(pipe: Pipeline) -> None:
            held: Any = pipe.hget(KEY, f"{name}/spec")
            if held is None:
                raise NotFound(f"there is no rollout {name!r}", "See `tastemaker rollout list`")
            pipe.multi()
            change(pipe, json.loads(held))

        self._redis.transaction(attempt, KEY)


def recommender(redis: Redis) -> RecommenderStatus:
    """The status of the recommender."""
    held: Any = redis.get(RECOMMENDER_KEY)
    return RecommenderStatus() if held is None else RecommenderStatus.model_validate_json(held)


def persist(redis: Redis, rollouts: list[Rollout], outcome: Outcome) -> None:
    """Write what a look of the leader led to."""
    redis.set(RECOMMENDER_KEY, outcome.recommender.model_dump_json(by_alias=True))
    uids = {rollout.name: rollout.uid for rollout in rollouts}
    for name, status in outcome.rollouts.items():
        LocalRollouts(redis).keep(name, uids[name], status)


def begin(redis: Redis, version: str) -> None:
    """`tastemaker serve` starts: blue serves `version`, and whatever an earlier run was about ended with it."""
    active = ActiveColour(colour="blue", version=version, template=TEMPLATE)
    status = RecommenderStatus(phase="Ready", message=f"version {version} serves on blue", active=active)
    redis.set(RECOMMENDER_KEY, status.model_dump_json(by_alias=True))
    store = LocalRollouts(redis)
    for rollout in store.all():
        if rollout.status.phase not in {*FINAL, "Pending"}:
            store.keep(rollout.name, rollout.uid, _ended(rollout.status, version))


def _ended(status: ModelRolloutStatus, version: str) -> ModelRolloutStatus:
    """Processes of an earlier run are gone, and with them the colour; the registry says which one was kept."""
    promoted = status.phase == "Promoting" and status.version == version
    phase, reason = ("Completed", "Promoted") if promoted else ("RolledBack", "ServerStopped")
    message = (
        f"version {version} serves on blue"
        if promoted
        else "`tastemaker serve` ended during the rollout; begin again with `tastemaker rollout start`"
    )
    now = rfc3339(datetime.now(UTC))
    entry = Transition.model_validate(
        {"phase": phase, "step": status.step, "reason": reason, "message": message, "time": now}
    )
    parts = {"phase": phase, "reason": reason, "message": message, "since": now, "weight": 100 if promoted else 0}
    return status.model_copy(update={**parts, "resume": None, "history": [*status.history, entry]})


def _rollout(name: str, document: dict[str, Any], status: dict[str, Any] | None) -> Rollout:
    # A status that outlived its rollout must not be taken for that of a new one of the same name.
    mine = status is not None and status["uid"] == document["uid"]
    return Rollout(
        name=name,
        uid=document["uid"],
        created=datetime.fromisoformat(document["created"]),
        spec=ModelRolloutSpec.model_validate(document["spec"]),
        status=ModelRolloutStatus.model_validate(status["status"]) if status and mine else ModelRolloutStatus(),
    )
