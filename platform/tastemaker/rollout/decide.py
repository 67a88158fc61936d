"""What a rollout does next, from its specification, its status and what was seen: a pure function.

Harm is looked for at every look and ends the rollout at once. A step is left only when everything asks for it: its time
has passed, the traffic that was asked for has come, no bound looks broken, and a larger loss of click-through than the
tolerable one is ruled out. Until then the rollout waits and says what is missing; it never guesses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tastemaker.rollout import guardrails
from tastemaker.rollout.lift import MISMATCH, Lift, lift, mismatch, tau_for, traffic_needed
from tastemaker.rollout.meter import Measured
from tastemaker.rollout.resources import ClickThrough, ModelRolloutSpec, ModelRolloutStatus, Phase, Query, seconds

WARMING_S: Final = 60.0
"""A colour that has not answered recent requests by then never will."""
MEASURED: Final[tuple[Phase, ...]] = ("Shadow", "Progressing")


@dataclass(frozen=True)
class Observation:
    """What was seen of the new colour, and of the old one beside it, in this phase or step."""

    seconds: float = 0.0
    """That the phase or step has lasted; pauses do not count."""
    ready: bool = True
    failure: str = ""
    """Not empty: the colour will not become ready."""
    warm: bool = False
    """It answered recent requests."""
    candidate: Measured = field(default_factory=Measured)
    stable: Measured = field(default_factory=Measured)
    queries: Mapping[str, float | None] = field(default_factory=dict)
    """Results by name; None where there was none."""
    catalogue: int | None = None
    """Items that could be shown; None: not known, coverage is not judged."""
    deadline_s: float = 600.0
    """A colour that is not ready after so long is given up."""
    trouble: str = ""
    """What could not be seen, in words."""


@dataclass(frozen=True)
class Move:
    """Where the rollout stands after this look; the phase and step may be those that it had."""

    phase: Phase
    step: int
    reason: str
    message: str
    lift: str | None = None
    """None: not judged at this look."""


def decide(spec: ModelRolloutSpec, status: ModelRolloutStatus, seen: Observation) -> Move:
    """The next move of a rollout that is Preparing, Warming, in Shadow, Progressing or Paused."""
    phase = held_phase(status)
    compared = _compare(spec, status, phase, seen)
    end = _harm(spec, status, phase, seen, compared)
    if end is not None:
        return Move("RollingBack", status.step, *end, _said(compared))
    if spec.action == "Pause":
        where = f"at {status.weight} % " if phase == "Progressing" else ""
        return Move("Paused", status.step, "Paused", f"held {where}until spec.action is Run", _said(compared))
    if status.phase == "Paused":
        return Move(phase, status.step, "Resumed", f"goes on with {phase}")
    if phase == "Preparing":
        return _prepared(status, seen)
    if phase == "Warming":
        return _warmed(spec, status, seen)
    if spec.action == "Promote":
        return Move("Promoting", status.step, "PromotedByHand", "what was left is skipped: spec.action is Promote")
    return _measured(spec, status, phase, seen, compared)


def held_phase(status: ModelRolloutStatus) -> Phase:
    """The phase that a rollout is in, or goes back to once it is no longer paused."""
    return status.resume or "Preparing" if status.phase == "Paused" else status.phase


def alpha_of_step(spec: ModelRolloutSpec, click_through: ClickThrough) -> float:
    """The error probability of one step's comparison: the rollout's, divided among the steps with a control group."""
    return (1 - click_through.confidence) / max(1, sum(step.weight < 100 for step in spec.steps))


def tolerable(spec: ModelRolloutSpec, click_through: ClickThrough, step: int) -> float:
    """The relative loss that must be ruled out before `step` is left, in (0, 1].

    Of all users the next step puts only so many at risk: `max_loss` bounds what all of them together may lose by it.
    """
    ahead = spec.steps[step + 1].weight if step + 1 < len(spec.steps) else 100
    return min(1.0, click_through.max_loss * 100 / ahead)


def _harm(
    spec: ModelRolloutSpec, status: ModelRolloutStatus, phase: Phase, seen: Observation, compared: Lift | None
) -> tuple[str, str] | None:
    """Reason and message of what ends the rollout now."""
    if spec.action == "Abort":
        return "Aborted", "spec.action is Abort"
    if seen.failure:
        return "ColourFailed", seen.failure
    if phase not in MEASURED:
        return None
    found = guardrails.broken(spec.guardrails, seen.candidate)
    if found is not None or phase == "Shadow":
        return found
    for query in spec.queries:
        message = _beyond(query, seen.queries.get(query.name))
        if message:
            return "QueryOutOfBounds", message
    if spec.click_through is None:
        return None
    weight = spec.steps[status.step].weight
    evidence = mismatch(seen.candidate.users, seen.stable.users, weight)
    if evidence >= MISMATCH:
        users = f"{seen.candidate.users:,} users got the new colour and {seen.stable.users:,} the old one"
        return "SampleRatioMismatch", f"{users}, which is no split at {weight} %: the comparison cannot be trusted"
    if compared is not None and compared.high < 0:
        return "ClickThroughLoss", f"click-through {compared}: a loss is certain"
    return None


def _compare(spec: ModelRolloutSpec, status: ModelRolloutStatus, phase: Phase, seen: Observation) -> Lift | None:
    rule = spec.click_through
    if rule is None or phase != "Progressing" or spec.steps[status.step].weight == 100:
        return None
    if min(seen.candidate.users, seen.stable.users) < rule.min_users:
        return None
    tau = tau_for(tolerable(spec, rule, status.step))
    return lift(seen.candidate, seen.stable, alpha_of_step(spec, rule), tau)


def _prepared(status: ModelRolloutStatus, seen: Observation) -> Move:
    if seen.ready:
        return Move("Warming", status.step, "ColourReady", f"{status.colour} is up and answers")
    if seen.seconds > seen.deadline_s:
        message = f"{status.colour} was not ready within {seen.deadline_s:.0f} s"
        return Move("RollingBack", status.step, "ProgressDeadlineExceeded", message)
    return Move("Preparing", status.step, "ColourStarting", seen.trouble or f"waits for {status.colour} to be ready")


def _warmed(spec: ModelRolloutSpec, status: ModelRolloutStatus, seen: Observation) -> Move:
    if seen.warm:
        if spec.action == "Promote":
            return Move("Promoting", status.step, "PromotedByHand", "what was left is skipped: spec.action is Promote")
        if spec.shadow is not None:
            return Move("Shadow", 0, "Warm", f"{spec.shadow.share} % of the requests are copied to {status.colour}")
        return _step(spec, 0, "Warm")
    if seen.seconds > WARMING_S:
        message = f"{status.colour} does not answer recent requests: {seen.trouble or 'no reason given'}"
        return Move("RollingBack", status.step, "WarmingFailed", message)
    return Move("Warming", status.step, "Warming", seen.trouble or f"recent requests are replayed to {status.colour}")


def _measured(
    spec: ModelRolloutSpec, status: ModelRolloutStatus, phase: Phase, seen: Observation, compared: Lift | None
) -> Move:
    said = _said(compared)
    reason, missing = _missing(spec, status, phase, seen, compared)
    if missing:
        return Move(phase, status.step, reason, "; ".join(missing), said)
    if phase == "Shadow":
        return _step(spec, 0, "ShadowPassed")
    narrow = guardrails.narrow(spec.guardrails, seen.candidate, seen.catalogue)
    if narrow is not None:
        certain, message = narrow
        return Move("RollingBack" if certain else phase, status.step, "LowCoverage", message, said)
    if status.step + 1 < len(spec.steps):
        return _step(spec, status.step + 1, "StepPassed", said)
    unjudged = spec.guardrails.min_coverage > 0 and not seen.catalogue
    note = "; coverage was not judged, for the registry does not know the catalogue's size" if unjudged else ""
    return Move("Promoting", status.step, "AllStepsPassed", f"every step was passed{note}", said)


def _missing(
    spec: ModelRolloutSpec, status: ModelRolloutStatus, phase: Phase, seen: Observation, compared: Lift | None
) -> tuple[str, list[str]]:
    """Reason and words for what keeps the rollout where it is; no words when nothing does."""
    if seen.trouble:
        return "CannotMeasure", [seen.trouble]
    if not seen.ready:
        return "ColourNotReady", [f"{status.colour} does not answer its health check"]
    doubts = guardrails.doubts(spec.guardrails, seen.candidate)
    if phase == "Progressing":
        step = spec.steps[status.step]
        doubts += [
            f"query {query.name} has no result" for query in spec.queries if seen.queries.get(query.name) is None
        ]
        if spec.click_through is not None and step.weight < 100:
            doubts += _not_ruled_out(spec, spec.click_through, status.step, seen, compared)
        duration = seconds(step.duration)
    else:
        duration = seconds(spec.shadow.duration) if spec.shadow else 0
    if seen.seconds < duration:
        return "Measuring", [f"{seen.seconds:.0f} of {duration} s", *doubts]
    return "WaitingForCertainty", [f"waits for certainty: {doubts[0]}", *doubts[1:]] if doubts else []


def _not_ruled_out(
    spec: ModelRolloutSpec, rule: ClickThrough, step: int, seen: Observation, compared: Lift | None
) -> list[str]:
    fewest = min(seen.candidate.users, seen.stable.users)
    if fewest < rule.min_users:
        return [f"{fewest:,} of {rule.min_users:,} users of each colour"]
    if compared is None:
        return ["too few clicks to compare"]
    most = tolerable(spec, rule, step)
    if compared.low > -most:
        return []
    factor = traffic_needed(compared, most, alpha_of_step(spec, rule), tau_for(most))
    more = f"about {factor:.1f} times this traffic is needed" if math.isfinite(factor) else "and it looks like one"
    return [f"click-through {compared} does not rule out a loss of {most:.1%}; {more}"]


def _said(compared: Lift | None) -> str | None:
    return None if compared is None else str(compared)


def _beyond(query: Query, result: float | None) -> str:
    if result is None:
        return ""
    if query.max is not None and result > query.max:
        return f"query {query.name} is {result:.4g}, above {query.max:g}"
    if query.min is not None and result < query.min:
        return f"query {query.name} is {result:.4g}, below {query.min:g}"
    return ""


def _step(spec: ModelRolloutSpec, step: int, reason: str, said: str | None = None) -> Move:
    before = f"; click-through before: {said}" if said else ""
    message = f"step {step + 1} of {len(spec.steps)}: {spec.steps[step].weight} % of the users{before}"
    return Move("Progressing", step, reason, message, said)
