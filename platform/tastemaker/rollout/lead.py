"""Leads rollouts: one look at everything, the next thing done. Called about once a second; it never sleeps.

All that it knows lies in the statuses, which the caller keeps: a leader that starts anew goes on where another stopped,
and a look that is repeated after a crash does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis import RedisError

from tastemaker.errors import Conflict, NotFound, TastemakerError
from tastemaker.promotion import check, crown
from tastemaker.rollout.decide import Move, decide, held_phase
from tastemaker.rollout.edges import publish, settled
from tastemaker.rollout.observe import observe, since
from tastemaker.rollout.resources import FINAL, ActiveColour, ModelRolloutStatus, RecommenderStatus
from tastemaker.rollout.statuses import SWITCHED, moved, refused, waits, with_status
from tastemaker.rollout.update import changed, clean_up, go_on, other, outdated, serving, start
from tastemaker.rollout.world import Colours, Outcome, Readiness, Rollout, World, rfc3339

__all__ = ["Colours", "Outcome", "Readiness", "Rollout", "World", "reconcile"]

Look = tuple[RecommenderStatus, dict[str, ModelRolloutStatus]]
"""The recommender's new status, and those of the rollouts that were looked at."""


def reconcile(recommender: RecommenderStatus, rollouts: Sequence[Rollout], world: World) -> Outcome:
    """One look: does whatever is next, and returns the new statuses and the routing.

    A dependency that is away ends the look: the statuses stay as they were, and their messages say why.
    """
    current = _current(recommender, rollouts)
    try:
        informed = settled(recommender, current, world)
        after, statuses = _look(recommender, current, rollouts, informed, world)
    except (TastemakerError, RedisError) as error:
        after, statuses = changed(recommender, message=str(error)), {}
        if current is not None:
            statuses[current.name] = current.status.model_copy(update={"message": str(error)})
    before = {rollout.name: rollout.status for rollout in rollouts}
    if current is not None and current.name in statuses:
        current = with_status(current, statuses[current.name])
    routing = publish(after, current, world)
    return Outcome(after, {name: status for name, status in statuses.items() if status != before[name]}, routing)


def _look(
    recommender: RecommenderStatus, current: Rollout | None, rollouts: Sequence[Rollout], informed: bool, world: World
) -> Look:
    others = refused(current, rollouts, world)
    if recommender.active is None:
        waiting = waits(current, "waits for the first model to serve", world)
        return start(recommender, world), others | waiting
    active = recommender.active
    if active.template == world.colours.template:
        world.colours.bring_up(active.colour, active.version)
    if recommender.update is not None and recommender.update.phase != "Failed":
        waiting = waits(current, f"waits: {recommender.message}", world)
        return go_on(recommender, informed, world), others | waiting
    if _orphaned(recommender, current, rollouts):
        return clean_up(recommender, world), others
    if current is None or (current.status.phase == "Pending" and current.spec.action == "Pause"):
        if (updating := outdated(recommender, world)) is not None:
            return updating, others
        failed = recommender.update is not None and active.template != world.colours.template
        held = waits(current, "begins when spec.action is Run", world)
        return (recommender if failed else serving(recommender)), others | held
    after, status = _lead(recommender, active, current, informed, world)
    return after, others | {current.name: status}


def _lead(
    recommender: RecommenderStatus, active: ActiveColour, rollout: Rollout, informed: bool, world: World
) -> tuple[RecommenderStatus, ModelRolloutStatus]:
    """The next thing of the rollout under way."""
    phase = rollout.status.phase
    if phase == "Pending":
        after = _begin(active, rollout, world)
    elif phase == "Promoting":
        return _promote(recommender, rollout, informed, world)
    elif phase == "RollingBack":
        after = _roll_back(rollout, informed, world)
    else:
        after = _measure(active, rollout, world)
    if after.phase in FINAL or after.phase == "Pending":
        return serving(recommender), after
    message = f"rollout {rollout.name} of version {after.version} is {after.phase}"
    return changed(recommender, phase="RollingOut", update=None, rollout=rollout.name, message=message), after


def _begin(active: ActiveColour, rollout: Rollout, world: World) -> ModelRolloutStatus:
    spec = rollout.spec
    if spec.action == "Abort":
        return moved(rollout, Move("RolledBack", 0, "Aborted", "aborted before it began"), world)
    if spec.queries and world.prometheus_url is None:
        message = "it has queries, and no Prometheus is configured to ask"
        return moved(rollout, Move("Failed", 0, "PrometheusNotConfigured", message), world)
    try:
        version = world.registry.resolve(spec.model).version
    except NotFound as error:
        return moved(rollout, Move("Failed", 0, "NoSuchVersion", str(error)), world)
    found = rollout.status.model_copy(
        update={"version": version, "previous_version": active.version, "template": world.colours.template}
    )
    if version == active.version:
        # Asked for again is not asked wrongly: what was asked for is so, and the alias says so from now on.
        crown(world.registry, version)
        message = f"version {version} serves already"
        return moved(with_status(rollout, found), Move("Completed", 0, "AlreadyServing", message), world)
    try:
        check(world.registry, version, live=True)
    except Conflict as error:
        return moved(with_status(rollout, found), Move("Failed", 0, "GateFailed", str(error)), world)
    found = found.model_copy(update={"colour": other(active.colour)})
    message = f"version {version} comes up on {found.colour}; {active.version} serves on {active.colour}"
    return moved(with_status(rollout, found), Move("Preparing", 0, "Began", message), world)


def _measure(active: ActiveColour, rollout: Rollout, world: World) -> ModelRolloutStatus:
    """Preparing, Warming, Shadow, Progressing, Paused."""
    status = rollout.status
    assert status.colour is not None
    assert status.version is not None
    if held_phase(status) == "Preparing":
        world.colours.bring_up(status.colour, status.version)
        status = status.model_copy(update={"template": world.colours.template})
    rollout = with_status(rollout, status)
    seen = observe(rollout, active.colour, world)
    move = decide(rollout.spec, status, seen)
    return moved(rollout, move, world, seen.candidate.users)


def _promote(
    recommender: RecommenderStatus, rollout: Rollout, informed: bool, world: World
) -> tuple[RecommenderStatus, ModelRolloutStatus]:
    """Alias, then routing, then the old colour's end."""
    status = rollout.status
    assert status.colour is not None
    assert status.version is not None
    old = other(status.colour)
    if status.reason != SWITCHED:
        crown(world.registry, status.version)
    template = status.template or world.colours.template
    new = ActiveColour(colour=status.colour, version=status.version, template=template)
    recommender = changed(recommender, active=new, phase="RollingOut", update=None, rollout=rollout.name)
    if status.reason == SWITCHED and not informed:
        return recommender, status.model_copy(update={"since": rfc3339(world.now)})
    if status.reason != SWITCHED:
        message = f"version {status.version} is champion and serves everyone; {old} is drained"
        return recommender, moved(rollout, Move("Promoting", status.step, SWITCHED, message), world)
    if since(status.since, world.now) < world.drain_s:
        return recommender, status
    world.colours.take_down(old)
    message = f"version {status.version} serves on {status.colour}"
    return serving(recommender), moved(rollout, Move("Completed", status.step, "Promoted", message), world)


def _roll_back(rollout: Rollout, informed: bool, world: World) -> ModelRolloutStatus:
    """Everyone is back on the old colour since this phase began; the new one is drained and goes."""
    status = rollout.status
    assert status.colour is not None
    if not informed:
        return status.model_copy(update={"since": rfc3339(world.now)})
    if since(status.since, world.now) < world.drain_s:
        return status
    world.colours.take_down(status.colour)
    return moved(rollout, Move("RolledBack", status.step, status.reason, status.message), world)


# -- which rollout -----------------------------------------------------------------------------------------------------


def _current(recommender: RecommenderStatus, rollouts: Sequence[Rollout]) -> Rollout | None:
    """The rollout under way, else the oldest that waits."""
    waiting = [rollout for rollout in rollouts if rollout.status.phase not in FINAL]
    return min(
        waiting,
        key=lambda it: (it.status.phase == "Pending", it.name != recommender.rollout, it.created, it.name),
        default=None,
    )


def _orphaned(recommender: RecommenderStatus, current: Rollout | None, rollouts: Sequence[Rollout]) -> bool:
    """Whether the rollout that was under way is gone, or another one took its name."""
    if recommender.rollout is None:
        return False
    named = next((rollout for rollout in rollouts if rollout.name == recommender.rollout), None)
    return named is None or named.status.phase == "Pending"
