"""What edges are told by the leader, and whether they know."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from redis import RedisError

from tastemaker.errors import TastemakerError
from tastemaker.rollout import routing as routes
from tastemaker.rollout.decide import MEASURED, held_phase
from tastemaker.rollout.observe import period
from tastemaker.rollout.resources import ActiveColour, RecommenderStatus
from tastemaker.rollout.routing import Routing, Target
from tastemaker.rollout.world import Rollout, World


def routing_for(recommender: RecommenderStatus, rollout: Rollout | None, world: World) -> Routing | None:
    """What edges shall follow by these statuses; None where no colour serves."""
    active = recommender.active
    stable = None if active is None else _target(active, world)
    if active is None or stable is None:
        return None
    if rollout is None or rollout.name != recommender.rollout or rollout.status.colour in {None, active.colour}:
        return Routing(stable)
    status, phase = rollout.status, held_phase(rollout.status)
    if phase not in {*MEASURED, "Promoting"} or status.colour is None or status.version is None:
        return Routing(stable)
    new = ActiveColour(colour=status.colour, version=status.version, template="")
    shadow = rollout.spec.shadow.share if phase == "Shadow" and rollout.spec.shadow else 0
    name = period(rollout.uid, phase, status.step)
    return Routing(stable, _target(new, world), float(status.weight), float(shadow), rollout.uid, name)


def _target(active: ActiveColour, world: World) -> Target | None:
    url = world.colours.look(active.colour).url
    return Target(active.colour, url, f"{world.model_name}/{active.version}") if url else None


def settled(recommender: RecommenderStatus, current: Rollout | None, world: World) -> bool:
    """Whether Redis holds the routing that these statuses ask for, so that edges know."""
    routing = routing_for(recommender, current, world)
    try:
        return routing is not None and routes.read(world.redis) == routing
    except (RedisError, msgspec.DecodeError):
        return False


def publish(recommender: RecommenderStatus, current: Rollout | None, world: World) -> Routing | None:
    """Tell the edges. With Redis away they keep what they have, and the next look tells them."""
    try:
        routing = routing_for(recommender, current, world)
    except TastemakerError:
        return None
    if routing is not None:
        with suppress(RedisError):
            routes.write(world.redis, routing)
    return routing
