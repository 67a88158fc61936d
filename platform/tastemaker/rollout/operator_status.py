"""Custom resources to and from the leader's nouns: bodies, statuses, conditions, events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from tastemaker.rollout.operator_api import FIELD_MANAGER, Object
from tastemaker.rollout.resources import (
    API_VERSION,
    FINAL,
    Condition,
    ModelRolloutSpec,
    ModelRolloutStatus,
    Phase,
    RecommenderSpec,
    RecommenderStatus,
)
from tastemaker.rollout.world import Rollout

WARNINGS: Final = ("RollingBack", "RolledBack", "Failed")
INVALID: Final = "InvalidSpec"
LONGEST_EVENT: Final = 1024
"""Characters of an event's message that the API server takes."""


def recommender_of(body: Object) -> tuple[RecommenderSpec, RecommenderStatus]:
    """Specification and status of a Recommender.

    Raises:
        ValueError: it is not valid, in words.
    """
    try:
        return RecommenderSpec.model_validate(body["spec"]), recommender_status(body)
    except ValidationError as error:
        raise ValueError(in_words(error)) from error


def recommender_status(body: Object) -> RecommenderStatus:
    """Status of a Recommender; a fresh one where it has none that can be read."""
    try:
        return RecommenderStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return RecommenderStatus()


def rollout_of(body: Object) -> Rollout:
    """A ModelRollout as the leader sees it.

    Raises:
        ValueError: it is not valid, in words.
    """
    metadata = body["metadata"]
    try:
        return Rollout(
            metadata["name"],
            metadata["uid"],
            datetime.fromisoformat(metadata["creationTimestamp"]),
            ModelRolloutSpec.model_validate(body["spec"]),
            ModelRolloutStatus.model_validate(body.get("status") or {}),
        )
    except ValidationError as error:
        raise ValueError(in_words(error)) from error


def in_words(error: ValidationError) -> str:
    """The first thing that is wrong, with its place."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}"


def finished_recommender(
    status: RecommenderStatus, before: RecommenderStatus, body: Object, now: str
) -> RecommenderStatus:
    """The leader's status with conditions, as it is written."""
    serving = status.active is not None
    moving = status.phase in {"Starting", "Updating", "RollingOut"}
    conditions = [
        ("Ready", serving, status.phase if serving or status.phase != "Ready" else "NoColour", status.message),
        ("Progressing", moving, status.phase, status.message),
        ("Valid", True, "Valid", ""),
    ]
    return status.model_copy(update=_standard(conditions, before.conditions, body, now))


def refused_recommender(before: RecommenderStatus, words: str, body: Object, now: str) -> RecommenderStatus:
    """The status of a Recommender whose specification cannot be used: what serves goes on serving."""
    message = f"the specification is not valid: {words}"
    kept = [
        (one.type, one.status == "True", one.reason, one.message) for one in before.conditions if one.type != "Valid"
    ]
    conditions = [*kept, ("Valid", False, INVALID, words)]
    return before.model_copy(update={"message": message} | _standard(conditions, before.conditions, body, now))


def finished_rollout(
    status: ModelRolloutStatus, before: ModelRolloutStatus, body: Object, now: str
) -> ModelRolloutStatus:
    """The leader's status with conditions, as it is written."""
    reason = status.reason or status.phase
    conditions = [
        ("Progressing", status.phase not in (*FINAL, "Paused"), reason, status.message),
        ("Completed", status.phase == "Completed", reason, status.message),
    ]
    return status.model_copy(update=_standard(conditions, before.conditions, body, now))


def refused_rollout(words: str, body: Object, now: str) -> ModelRolloutStatus:
    """The status of a rollout whose specification cannot be used."""
    failed: Phase = "Failed"
    status = ModelRolloutStatus(
        phase=failed, reason=INVALID, message=f"the specification is not valid: {words}", since=now
    )
    return finished_rollout(status, ModelRolloutStatus(), body, now)


def as_json(status: RecommenderStatus | ModelRolloutStatus) -> Object:
    """A status for a merge patch: null takes a field out."""
    return status.model_dump(mode="json", by_alias=True)


def event(body: Object, reason: str, message: str, now: str) -> Object:
    """A Kubernetes event about a resource (`kubectl describe`, `kubectl get events`)."""
    metadata = body["metadata"]
    about = {"apiVersion": API_VERSION, "kind": body["kind"]} | {
        key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"]},
        "involvedObject": about,
        "type": "Warning" if any(word in reason for word in (*WARNINGS, INVALID)) else "Normal",
        "reason": reason,
        "message": message[:LONGEST_EVENT] or reason,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def new_events(before: ModelRolloutStatus, after: ModelRolloutStatus, body: Object, now: str) -> list[Object]:
    """One for each change of phase or step since `before`. The history is bounded: what it had is found by content."""
    known = {(one.time, one.phase, one.step, one.reason) for one in before.history}
    fresh = [one for one in after.history if (one.time, one.phase, one.step, one.reason) not in known]
    return [event(body, one.phase, f"{one.reason}: {one.message}" if one.reason else one.message, now) for one in fresh]


def _standard(
    wanted: Sequence[tuple[str, bool, str, str]], before: Sequence[Condition], body: Object, now: str
) -> dict[str, Any]:
    """Conditions with the time of their last turn, and the generation that they are about."""
    generation = body["metadata"].get("generation", 0)
    turned = {one.type: (one.status, one.last_transition_time) for one in before}
    found = []
    for kind, holds, reason, message in wanted:
        status = "True" if holds else "False"
        last = turned.get(kind)
        since = last[1] if last is not None and last[0] == status else now
        found.append(
            Condition(
                type=kind,
                status="True" if holds else "False",
                reason=reason,
                message=message,
                last_transition_time=since,
                observed_generation=generation,
            )
        )
    return {"observed_generation": generation, "conditions": found}
