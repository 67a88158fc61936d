"""How a rollout's status changes: each change of phase or step is told in its history, with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tastemaker.rollout.decide import Move
from tastemaker.rollout.observe import lasted
from tastemaker.rollout.resources import FINAL, ModelRolloutStatus, Transition
from tastemaker.rollout.world import Rollout, World, rfc3339

SWITCHED: Final = "Draining"
"""Reason of a rollout in `Promoting` whose colour serves everyone already."""
LONGEST_HISTORY: Final = 100
REFRESH_S: Final = 5
"""Figures in a message are renewed so often: a status that changes every second is a write and a line every second."""


def moved(rollout: Rollout, move: Move, world: World, users: int | None = None) -> ModelRolloutStatus:
    """The status after a move, with an entry in its history if the phase, the step or what Promoting does changed."""
    old = rollout.status
    switched = move.phase == "Promoting" and move.reason != old.reason
    if (move.phase, move.step) == (old.phase, old.step) and not switched:
        return still(rollout, move.reason, move.message, world, users, move.lift)
    now = rfc3339(world.now)
    entry = Transition(phase=move.phase, step=move.step, reason=move.reason, message=move.message, time=now)
    paused, resumed = move.phase == "Paused", old.phase == "Paused" and move.phase == old.resume
    new_step = move.phase == "Progressing" and not resumed
    compared_anew = new_step and rollout.spec.steps[move.step].weight < 100
    return old.model_copy(
        update={
            "phase": move.phase,
            "step": move.step,
            "weight": rollout.spec.steps[move.step].weight if new_step else _weight(old, move),
            "since": now,
            "resume": old.phase if paused else None,
            "elapsed_before_pause": int(lasted(old, world.now)) if paused or resumed else 0,
            "reason": move.reason,
            "message": move.message,
            "users": 0 if new_step else old.users if users is None else users,
            "lift": "" if compared_anew else old.lift if move.lift is None else move.lift,
            "history": [*old.history, entry][-LONGEST_HISTORY:],
        }
    )


def still(
    rollout: Rollout, reason: str, message: str, world: World, users: int | None = None, lift: str | None = None
) -> ModelRolloutStatus:
    """The status of a rollout that stays where it is; figures are renewed every few seconds."""
    old = rollout.status
    if reason == old.reason and world.now.second % REFRESH_S:
        return old
    return old.model_copy(
        update={
            "reason": reason,
            "message": message,
            "users": old.users if users is None else users,
            "lift": old.lift if lift is None else lift,
        }
    )


def _weight(old: ModelRolloutStatus, move: Move) -> int:
    if move.phase in {"RollingBack", "RolledBack", "Failed"}:
        return 0
    return 100 if move.phase == "Completed" or move.reason == SWITCHED else old.weight


def waits(current: Rollout | None, message: str, world: World) -> dict[str, ModelRolloutStatus]:
    if current is None or current.status.phase != "Pending":
        return {}
    return {current.name: still(current, "Waiting", message, world)}


def with_status(rollout: Rollout, status: ModelRolloutStatus) -> Rollout:
    return replace(rollout, status=status)


def refused(current: Rollout | None, rollouts: Sequence[Rollout], world: World) -> dict[str, ModelRolloutStatus]:
    if current is None:
        return {}
    message = f"rollout {current.name} of the same recommender goes first; create this one anew when that has ended"
    return {
        rollout.name: moved(rollout, Move("Failed", rollout.status.step, "Conflict", message), world)
        for rollout in rollouts
        if rollout.name != current.name and rollout.status.phase not in FINAL
    }
