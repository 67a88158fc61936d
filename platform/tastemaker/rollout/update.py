"""Changes of the Recommender itself: its first colour, and a new specification carried out through the idle colour.

A rollout that was deleted ends here, too: what it left is drained and taken down.
"""

from __future__ import annotations

from tastemaker.errors import NotFound, Unavailable
from tastemaker.registry import CHAMPION
from tastemaker.rollout.decide import WARMING_S
from tastemaker.rollout.observe import replay, since
from tastemaker.rollout.resources import COLOURS, ActiveColour, Colour, RecommenderStatus, Update
from tastemaker.rollout.world import World, rfc3339


def other(colour: Colour) -> Colour:
    """The colour that is idle while this one serves."""
    return COLOURS[1] if colour == COLOURS[0] else COLOURS[0]


def start(recommender: RecommenderStatus, world: World) -> RecommenderStatus:
    """The next thing on the way to the first colour: the champion, as soon as there is one. It is never given up."""
    update = recommender.update
    if update is None or update.phase in {"Preparing", "Failed"}:
        try:
            version = world.registry.resolve(CHAMPION).version
        except NotFound:
            # A colour that was begun is one whose version is gone.
            if update is not None:
                world.colours.take_down(update.colour)
            message = "no model is champion yet: train one with `tastemaker train`, or run the chart's training job"
            return changed(recommender, phase="WaitingForModel", update=None, message=message)
        except Unavailable as error:
            if update is None:
                return changed(recommender, phase="Starting", message=str(error))
            version = update.version
        if update is None or (update.version, update.template) != (version, world.colours.template):
            update = _begun(COLOURS[0], version, world)
    return _advance(changed(recommender, phase="Starting", update=update), update, True, world)


def outdated(recommender: RecommenderStatus, world: World) -> RecommenderStatus | None:
    """The beginning of an update where the serving colour was made from another specification; None where not."""
    active, update = recommender.active, recommender.update
    assert active is not None
    template = world.colours.template
    if active.template == template or (update is not None and update.template == template):
        return None
    begun = _begun(other(active.colour), active.version, world)
    message = f"the specification changed: {begun.colour} comes up with it"
    return changed(recommender, phase="Updating", update=begun, message=message)


def clean_up(recommender: RecommenderStatus, world: World) -> RecommenderStatus:
    """The beginning of the end of what a deleted rollout left."""
    assert recommender.active is not None
    left = other(recommender.active.colour)
    draining = Update(colour=left, version="", template="", phase="Draining", since=rfc3339(world.now))
    message = f"rollout {recommender.rollout} is gone: {left} is drained and taken down"
    return changed(recommender, phase="Updating", update=draining, message=message)


def go_on(recommender: RecommenderStatus, informed: bool, world: World) -> RecommenderStatus:
    """The next thing of the update under way. `informed`: edges were told what they shall follow."""
    update, active = recommender.update, recommender.active
    assert update is not None
    assert active is not None
    if update.phase in {"Preparing", "Warming"} and update.template != world.colours.template:
        update = _begun(update.colour, active.version, world)
    return _advance(changed(recommender, phase="Updating", update=update), update, informed, world)


def serving(recommender: RecommenderStatus, message: str = "") -> RecommenderStatus:
    """Nothing is under way."""
    active = recommender.active
    assert active is not None
    said = message or f"version {active.version} serves on {active.colour}"
    return changed(recommender, phase="Ready", update=None, rollout=None, message=said)


def changed(recommender: RecommenderStatus, **parts: object) -> RecommenderStatus:
    """A copy with other parts."""
    return recommender.model_copy(update=parts)


def _begun(colour: Colour, version: str, world: World) -> Update:
    template = world.colours.template
    return Update(colour=colour, version=version, template=template, phase="Preparing", since=rfc3339(world.now))


def _advance(recommender: RecommenderStatus, update: Update, informed: bool, world: World) -> RecommenderStatus:
    if update.phase == "Preparing":
        return _prepare(recommender, update, world)
    if update.phase == "Warming":
        return _warm(recommender, update, world)
    if update.phase == "Promoting":
        new = ActiveColour(colour=update.colour, version=update.version, template=update.template)
        if recommender.active is None:
            return serving(changed(recommender, active=new))
        return _next(changed(recommender, active=new), update, "Draining", f"{other(new.colour)} is drained", world)
    if update.phase == "Draining":
        return _drain(recommender, update, informed, world)
    return recommender


def _prepare(recommender: RecommenderStatus, update: Update, world: World) -> RecommenderStatus:
    world.colours.bring_up(update.colour, update.version)
    seen = world.colours.look(update.colour)
    if seen.ready:
        return _next(recommender, update, "Warming", f"{update.colour} is up and answers", world)
    late = since(update.since, world.now) > world.progress_deadline_s
    reason = seen.failure or (f"not ready within {world.progress_deadline_s:.0f} s" if late else "")
    if reason and recommender.active is not None:
        return _give_up(recommender, update, reason, world)
    message = f"{update.colour} comes up with version {update.version}" + (f": {reason}" if reason else "")
    return _said(recommender, update, message)


def _warm(recommender: RecommenderStatus, update: Update, world: World) -> RecommenderStatus:
    seen = world.colours.look(update.colour)
    warm, trouble = replay(seen.url, world) if seen.ready else (False, seen.failure or "its health check fails")
    first = recommender.active is None
    # The first colour has nobody to stand in for it: cold is better than nothing.
    if warm or (first and seen.ready):
        return _next(recommender, update, "Promoting", f"{update.colour} is warm", world)
    if since(update.since, world.now) > WARMING_S and not first:
        return _give_up(recommender, update, trouble, world)
    return _said(recommender, update, f"{update.colour} is warmed: {trouble}")


def _drain(recommender: RecommenderStatus, update: Update, informed: bool, world: World) -> RecommenderStatus:
    active = recommender.active
    assert active is not None
    if not informed:
        return _next(recommender, update, "Draining", "edges are being told", world)
    if since(update.since, world.now) < world.drain_s:
        return recommender
    world.colours.take_down(other(active.colour))
    return serving(recommender)


def _give_up(recommender: RecommenderStatus, update: Update, reason: str, world: World) -> RecommenderStatus:
    active = recommender.active
    assert active is not None
    world.colours.take_down(update.colour)
    message = f"the changed specification does not work, {active.colour} serves on with the old one: {reason}"
    failed = update.model_copy(update={"phase": "Failed", "message": message, "since": rfc3339(world.now)})
    return changed(recommender, phase="Failed", update=failed, message=message)


def _next(recommender: RecommenderStatus, update: Update, phase: str, message: str, world: World) -> RecommenderStatus:
    moved = update.model_copy(update={"phase": phase, "message": message, "since": rfc3339(world.now)})
    return changed(recommender, update=moved, message=message)


def _said(recommender: RecommenderStatus, update: Update, message: str) -> RecommenderStatus:
    return changed(recommender, update=update.model_copy(update={"message": message}), message=message)
