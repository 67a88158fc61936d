"""What the leader sees: a colour's health, how it takes recent requests, the edges' sums, Prometheus."""

from __future__ import annotations

import math
import time
from datetime import datetime
from typing import Any, Final

import httpx
from redis import RedisError

from tastemaker.errors import TastemakerError
from tastemaker.rollout import meter
from tastemaker.rollout.decide import MEASURED, Observation, held_phase
from tastemaker.rollout.resources import Colour, ModelRolloutStatus, Phase, Query, seconds
from tastemaker.rollout.world import Rollout, World

RECOMMEND: Final = "/recommend"
BODY: Final = {"content-type": "application/msgpack"}
"""Path and type of the bodies that edges post to a colour (serving's `wire.py`)."""
REPLAYED: Final = 40
"""Recent bodies that a colour must answer before it gets traffic."""
REPLAY_S: Final = 3.0
"""Time of one look that replaying may take."""
ANSWER_S: Final = 2.0


def period(uid: str, phase: Phase, step: int) -> str:
    """The name under which edges count in this phase and step."""
    return f"{uid}.shadow" if phase == "Shadow" else f"{uid}.{step}"


def lasted(status: ModelRolloutStatus, now: datetime) -> float:
    """Seconds that the phase or step has lasted, pauses left out."""
    if status.phase == "Paused":
        return float(status.elapsed_before_pause)
    return status.elapsed_before_pause + since(status.since, now)


def since(moment: str | None, now: datetime) -> float:
    """Seconds from `moment` (RFC 3339) to `now`; 0 without one."""
    return 0.0 if moment is None else max(0.0, (now - datetime.fromisoformat(moment)).total_seconds())


def observe(rollout: Rollout, stable: Colour, world: World) -> Observation:
    """Everything that this phase of the rollout asks about. What does not answer is `trouble`, never a guess.

    Raises:
        Unavailable: what runs the colours does not answer.
    """
    status = rollout.status
    assert status.colour is not None, f"{status.phase} without a colour"
    phase, passed = held_phase(status), lasted(status, world.now)
    colour = world.colours.look(status.colour)
    if phase == "Warming" and colour.ready and status.phase != "Paused":
        warm, trouble = replay(colour.url, world)
        return Observation(seconds=passed, failure=colour.failure, warm=warm, trouble=trouble)
    basics = Observation(passed, colour.ready, colour.failure, deadline_s=world.progress_deadline_s)
    if phase not in MEASURED:
        return basics
    name = period(rollout.uid, phase, status.step)
    try:
        candidate = meter.read(world.redis, name, status.colour)
        other = meter.read(world.redis, name, stable)
    except RedisError as error:
        trouble = f"Redis does not answer, so nothing can be measured: {_short(error)}"
        return Observation(passed, colour.ready, colour.failure, trouble=trouble)
    queries, no_query = _ask_prometheus(rollout, phase, world)
    catalogue, no_catalogue = _catalogue(rollout, phase, passed, world)
    return Observation(
        seconds=passed,
        ready=colour.ready,
        failure=colour.failure,
        candidate=candidate,
        stable=other,
        queries=queries,
        catalogue=catalogue,
        trouble=no_query or no_catalogue,
    )


def replay(url: str, world: World) -> tuple[bool, str]:
    """Post recent requests to a colour. Returns whether it answered all of them, and what went wrong.

    Where nobody asked for anything lately there is nothing to replay, and the colour counts as warm.
    """
    try:
        bodies = meter.recent_bodies(world.redis)[:REPLAYED]
    except RedisError as error:
        return False, f"Redis does not answer, so there is nothing to warm with: {_short(error)}"
    if not bodies:
        return True, ""
    deadline = time.monotonic() + REPLAY_S
    try:
        with httpx.Client(timeout=ANSWER_S) as client:
            for place, body in enumerate(bodies):
                if time.monotonic() > deadline:
                    return False, f"it answered {place} of {len(bodies)} recent requests in {REPLAY_S:.0f} s"
                answer = client.post(url + RECOMMEND, content=body, headers=BODY)
                if answer.status_code != httpx.codes.OK:
                    return False, f"it answered {answer.status_code} to a recent request: {answer.text[:200]}"
    except httpx.HTTPError as error:
        return False, f"it did not answer a recent request: {_short(error)}"
    return True, ""


def ask(client: httpx.Client, query: Query, colour: Colour) -> tuple[float | None, str]:
    """The result of a query, None without one, and what is wrong with it."""
    try:
        answer = client.get("/api/v1/query", params={"query": query.query.replace("$colour", colour)})
        document: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        return None, f"Prometheus does not answer: {_short(error)}"
    if document.get("status") != "success":
        return None, f"Prometheus refuses query {query.name}: {str(document.get('error', answer.status_code))[:200]}"
    result = document["data"]["result"]
    if document["data"]["resultType"] == "scalar":
        return _number(result), ""
    if len(result) > 1:
        return None, f"query {query.name} has {len(result)} results; aggregate them to one"
    return (_number(result[0]["value"]) if result else None), ""


def _ask_prometheus(rollout: Rollout, phase: Phase, world: World) -> tuple[dict[str, float | None], str]:
    queries, colour = rollout.spec.queries, rollout.status.colour
    if not queries or phase != "Progressing" or world.prometheus_url is None or colour is None:
        return {}, ""
    results: dict[str, float | None] = {}
    with httpx.Client(base_url=world.prometheus_url, timeout=ANSWER_S) as client:
        for query in queries:
            results[query.name], trouble = ask(client, query, colour)
            if trouble:  # a Prometheus that is away must not hold up the look for each query anew
                return results, trouble
    return results, ""


def _catalogue(rollout: Rollout, phase: Phase, passed: float, world: World) -> tuple[int | None, str]:
    """Asked only at a step's end, where it is needed."""
    spec, status = rollout.spec, rollout.status
    if spec.guardrails.min_coverage == 0 or phase != "Progressing" or status.version is None:
        return None, ""
    if passed < seconds(spec.steps[status.step].duration):
        return None, ""
    try:
        return world.registry.catalogue(status.version), ""
    except TastemakerError as error:
        return None, str(error)


def _number(pair: list[Any]) -> float | None:
    number = float(pair[1])
    return None if math.isnan(number) else number


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
